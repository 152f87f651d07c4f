"""A chart of the page drawn by matplotlib: the same lines and points, on paper.

Only what our own charts are made of is read: lines, markers, error bars, areas down to zero, levels.
"""

from __future__ import annotations

import html
import io
import re
import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from collimate.report._blocks import Chart

if TYPE_CHECKING:  # an extra, imported when a figure is drawn
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIZE = (7.0, 4.2)  # inches
DOTS_PER_INCH = 200
ROW = 0.32  # inches, of a chart that has a row for each run
STYLES = {
    "solid": "-",
    "dash": "--",
    "dot": ":",
    "dashdot": "-.",
    "longdash": (0, (10, 3)),
    "longdashdot": (0, (10, 3, 1.5, 3)),
}
MARKERS = {
    "circle": "o",
    "square": "s",
    "diamond": "D",
    "triangle-up": "^",
    "cross": "P",
    "star": "*",
}
SETTINGS: dict[Any, Any] = {
    "text.parse_math": False,  # names come from users: a dollar is a dollar
    "svg.hashsalt": "collimate",  # the same file from the same run
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "legend.fontsize": 8,
}
LEGEND = 24  # names, beyond which a legend hides the curves


def drawn(chart: Chart, format: str) -> bytes:
    """The chart as the bytes of an SVG or a PNG file."""
    import matplotlib as mpl

    with mpl.rc_context(SETTINGS), warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="Glyph .* missing from"
        )  # a name's; drawn as a box
        found = io.BytesIO()
        metadata = {"Date": None} if format == "svg" else {}
        figure(chart).savefig(
            found, format=format, dpi=DOTS_PER_INCH, bbox_inches="tight", metadata=metadata
        )
        return found.getvalue()


def figure(chart: Chart) -> Figure:
    """The chart as a matplotlib figure."""
    from matplotlib.figure import Figure

    traces, layout = chart.figure["data"], chart.figure["layout"]
    rows = layout["yaxis"].get("tickvals")
    height = SIZE[1] if rows is None else 1.2 + ROW * len(rows)
    found = Figure(figsize=(SIZE[0], height), layout="constrained")
    axes = found.add_subplot()
    for shape in layout.get("shapes", ()):
        axes.axhline(shape["y0"], color=colour(shape["line"]["color"]), linewidth=1, linestyle=":")
    named = [trace for trace in traces if trace.get("showlegend", True)]
    for trace in traces:
        _draw(axes, trace)
    axes.set_title(chart.title)
    axes.set_xlabel(_plain(layout["xaxis"]["title"]["text"]))
    axes.set_ylabel(_plain(layout["yaxis"]["title"]["text"]))
    _scale(axes, layout)
    if len(named) > 1 and rows is None and len(named) <= LEGEND:
        found.legend(loc="outside lower left", ncols=3)
    return found


def _draw(axes: Axes, trace: Mapping[str, Any]) -> None:
    x, y = _numbers(trace["x"]), _numbers(trace["y"])
    label = (
        _plain(trace["name"]) if trace.get("showlegend", True) else "_"
    )  # "_": not in the legend
    alpha = trace.get("opacity", 1.0)
    if trace.get("fill") == "tozeroy":
        axes.fill_between(x, y, 0.0, color=colour(trace["fillcolor"]), linewidth=0)
        return
    if trace["mode"] == "lines":
        line = trace["line"]
        axes.plot(
            x,
            y,
            label=label,
            alpha=alpha,
            color=colour(line["color"]),
            linewidth=0.8 * line["width"],
            linestyle=STYLES[line.get("dash", "solid")],
        )
        return
    marker = trace["marker"]
    edge = marker.get("line", {})
    _bars(axes, trace, x, y)
    axes.plot(
        x,
        y,
        label=label,
        alpha=alpha,
        linestyle="none",
        marker=MARKERS[marker.get("symbol", "circle")],
        markersize=0.7 * marker["size"],
        color=colour(marker["color"]),
        markeredgecolor=colour(edge.get("color", marker["color"])),
        zorder=3,
    )


def _bars(
    axes: Axes, trace: Mapping[str, Any], x: NDArray[np.float64], y: NDArray[np.float64]
) -> None:
    for axis in ("x", "y"):
        bar = trace.get(f"error_{axis}")
        if bar is None:
            continue
        lengths = np.maximum([_numbers(bar["arrayminus"]), _numbers(bar["array"])], 0.0)
        axes.errorbar(
            x,
            y,
            xerr=lengths if axis == "x" else None,
            yerr=lengths if axis == "y" else None,
            fmt="none",
            ecolor=colour(bar["color"]),
            elinewidth=1.2,
            capsize=2,
        )


def _scale(axes: Axes, layout: Mapping[str, Any]) -> None:
    axes.grid(visible=True, axis="y", color=colour("var(--chart-grid)"), linewidth=0.8)
    axes.set_axisbelow(True)
    horizontal, vertical = layout["xaxis"], layout["yaxis"]
    if "tickvals" in vertical:
        axes.set_yticks(vertical["tickvals"], [_plain(text) for text in vertical["ticktext"]])
        axes.set_ylim(*vertical["range"])
        axes.grid(visible=False, axis="y")
        axes.grid(visible=True, axis="x", color=colour("var(--chart-grid)"), linewidth=0.8)
    if horizontal.get("rangemode") == "tozero":
        axes.set_xlim(left=min(0.0, axes.get_xlim()[0]))
    if vertical.get("rangemode") == "tozero":
        axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))


def colour(text: str) -> str | tuple[float, float, float, float]:
    """What a CSS variable stands for in the page's light style, as matplotlib reads it.

    >>> colour("var(--run-1)"), colour("var(--chosen-pale)")
    ('#1d55c4', (0.12156862745098039, 0.43529411764705883, 0.7058823529411765, 0.14))
    """
    value = _palette()[text.removeprefix("var(").removesuffix(")")]
    rgba = re.fullmatch(r"rgba\((\d+), (\d+), (\d+), ([\d.]+)\)", value)
    if rgba is None:
        return value
    red, green, blue = (int(part) / 255 for part in rgba.groups()[:3])
    return red, green, blue, float(rgba[4])


@cache
def _palette() -> Mapping[str, str]:
    style = (resources.files("collimate.report") / "templates" / "page.css").read_text("utf-8")
    light = style.partition("@media")[0]
    return dict(re.findall(r"(--[\w-]+): (#\w+|rgba\([^)]*\));", light))


def _numbers(values: Sequence[float | None]) -> NDArray[np.float64]:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def _plain(text: str) -> str:
    """A label as plain text: plotly's escapes undone, no control characters."""
    return "".join(c if c.isprintable() else " " for c in html.unescape(text))
