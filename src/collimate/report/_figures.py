"""Plotly figures as plain JSON, in the page's own style.

Colours are CSS variables, which the page fills in for light or dark. Names that users gave pass
through `label`, because plotly reads tags and entities in every text that it draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from collimate.report._format import Number
from collimate.report._thin import LIMIT, smooth, thin, window

Figure = dict[str, Any]
Trace = dict[str, Any]
Array = NDArray[np.float64]


def label(text: str, limit: int = 40) -> str:
    """`text` on one line, cut, and with no character that plotly would read as markup.

    >>> label("a <b>bold</b> & name")
    'a &lt;b&gt;bold&lt;/b&gt; &amp; name'
    """
    flat = " ".join(text.split())
    flat = flat if len(flat) <= limit else f"{flat[: limit - 1]}…"
    return flat.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def numbers(values: Sequence[Number] | Array) -> list[float | None]:
    """Six significant digits, which is more than a screen shows; None where not finite (a gap).

    >>> numbers([1.0, 0.123456789, float("nan")])
    [1.0, 0.123457, None]
    """
    return [float(f"{value:.6g}") if np.isfinite(value) else None for value in values]


def figure(traces: list[Trace], *, x: str, y: str, legend: bool = True, **layout: Any) -> Figure:
    """A figure with the page's axes; `x`, `y`: axis titles; `layout` adds to plotly's layout."""
    title = {"standoff": 8, "font": {"size": 12, "color": "var(--muted)"}}
    axis: Figure = {
        "gridcolor": "var(--chart-grid)",
        "linecolor": "var(--chart-axis)",
        "zeroline": False,
        "automargin": True,
        "ticks": "",
    }
    base: Figure = {
        "xaxis": {
            **axis,
            "title": {**title, "text": x},
            "showgrid": False,
            "showline": True,
        },
        "yaxis": {**axis, "title": {**title, "text": y}},
        "showlegend": legend,
        "legend": {
            "orientation": "h",
            "x": 0,
            "y": 1.02,
            "yanchor": "bottom",
            "bgcolor": "var(--none)",
        },
        "margin": {"l": 8, "r": 12, "t": 8, "b": 8},
        "font": {"size": 12, "color": "var(--ink)"},
        "paper_bgcolor": "var(--none)",
        "plot_bgcolor": "var(--none)",
        "hovermode": "x unified",
        "hoverlabel": {
            "bgcolor": "var(--surface)",
            "bordercolor": "var(--line)",
            "font": {"color": "var(--ink)"},
            "namelength": -1,
        },
    }
    return {"data": traces, "layout": {**base, **layout}}


def line(name: str, x: Array, y: Array, colour: str, *, limit: int = LIMIT, **more: Any) -> Trace:
    """A line through (x, y), both [point], thinned for display to at most `limit` points."""
    short_x, short_y = thin(x, y, limit)
    return {
        "type": "scatter",
        "mode": "lines" if len(x) > 1 else "markers",
        "name": name,
        "x": numbers(short_x),
        "y": numbers(short_y),
        "line": {"color": f"var(--{colour})", "width": 2},
        "marker": {"color": f"var(--{colour})", "size": 7},
        "hovertemplate": "%{y:.4g}",
        **more,
    }


def curve(name: str, x: Array, y: Array, colour: str, *, faint: bool = True) -> list[Trace]:
    """A noisy series [point]: its moving average, over the series itself if `faint`."""
    span = window(len(y))
    if span == 1:
        return [line(name, x, y, colour)]
    mean = line(name, x, smooth(y, span), colour)
    if not faint:
        return [mean]
    raw = line(
        name, x, y, colour, opacity=0.3, showlegend=False, hoverinfo="skip", hovertemplate=None
    )
    raw["line"] = {**raw["line"], "width": 1}
    return [raw, mean]


def marks(
    name: str,
    x: Sequence[Number],
    y: Sequence[Number],
    colour: str,
    intervals: Sequence[tuple[float, float] | None] = (),
) -> Trace:
    """Held-out points (x, y), both [point], with error bars where there are intervals."""
    trace: Trace = {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": numbers(x),
        "y": numbers(y),
        "marker": {
            "color": "var(--surface)",
            "size": 8,
            "symbol": "circle",
            "line": {"color": f"var(--{colour})", "width": 2},
        },
        "hovertemplate": "%{y:.4g}",
        "showlegend": False,  # the caption says what circles are; phones lack room
    }
    if any(interval is not None for interval in intervals):
        bounds = [interval or (value, value) for interval, value in zip(intervals, y, strict=True)]
        trace["error_y"] = {
            "type": "data",
            "symmetric": False,
            "array": numbers([high - value for (_, high), value in zip(bounds, y, strict=True)]),
            "arrayminus": numbers([value - low for (low, _), value in zip(bounds, y, strict=True)]),
            "color": f"var(--{colour})",
            "thickness": 1.2,
            "width": 3,
        }
    return trace


def level(y: float) -> dict[str, Any]:
    """A dotted horizontal line at `y`, as a plotly shape."""
    return {
        "type": "line",
        "xref": "paper",
        "x0": 0,
        "x1": 1,
        "y0": y,
        "y1": y,
        "layer": "below",
        "line": {"color": "var(--muted)", "width": 1, "dash": "dot"},
    }
