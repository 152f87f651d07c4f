"""The tab "Frontier": trained policies against the exact optimum, where a world is known."""

from __future__ import annotations

import numpy as np

from collimate.report import _figures as draw
from collimate.report._blocks import Block, Chart, Prose, Tab, Table
from collimate.report._format import decimal, number, share
from collimate.report._record import Frontier

COLOURS = ("two", "three", "rejected", "four", "chosen", "five")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "star")
DASHES = ("solid", "dash", "dot", "dashdot")


def frontier_tab(frontier: Frontier) -> Tab:
    """Exact curves and the methods' points, as a chart and as a table."""
    blocks: list[Block] = []
    if frontier.world:
        blocks.append(Prose(title="The world", sentences=(frontier.world,)))
    blocks += [_chart(frontier), _table(frontier)]
    return Tab(identity="frontier", title="Frontier", blocks=tuple(blocks))


def _chart(frontier: Frontier) -> Chart:
    traces: list[draw.Trace] = []
    for index, curve in enumerate(frontier.curves):
        trace = draw.line(draw.label(curve.name), np.array(curve.kl), np.array(curve.reward), "one")
        trace["line"] = {**trace["line"], "dash": DASHES[index % len(DASHES)]}
        trace["hovertemplate"] = "KL %{x:.3g}, reward %{y:.4g}"
        traces.append(trace)
    for index, point in enumerate(frontier.points):
        colour = COLOURS[index % len(COLOURS)]
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": draw.label(point.name),
                "x": draw.numbers([point.kl]),
                "y": draw.numbers([point.reward]),
                "marker": {
                    "color": f"var(--{colour})",
                    "size": 11,
                    "symbol": SYMBOLS[index % len(SYMBOLS)],
                    "line": {"color": "var(--surface)", "width": 1.5},
                },
                "hovertemplate": "KL %{x:.3g}, reward %{y:.4g}",
            }
        )
    figure = draw.figure(
        traces, x="KL to the reference (nats)", y="expected reward", hovermode="closest"
    )
    figure["layout"]["xaxis"] |= {"rangemode": "tozero"}
    return Chart(
        identity="chart-frontier",
        title="Reward against KL",
        figure=figure,
        summary="; ".join(
            f"{p.name}: KL {number(p.kl)}, reward {number(p.reward)}" for p in frontier.points
        )
        or "No method has a point yet.",
        caption=(
            "Lines are exact optima. The nearer a point lies to its line, the less reward was "
            "given away at that KL.",
        ),
    )


def _table(frontier: Frontier) -> Block:
    if not frontier.points:
        return Prose(
            title="Methods", tone="empty", sentences=("No method has a point in this world yet.",)
        )
    rows = tuple(
        (
            point.name,
            decimal(point.kl, 3),
            decimal(point.reward, 3),
            decimal(point.share_of_gain, 3),
            share(point.outside),
            decimal(point.tv, 4),
            number(point.tabular_tv),
        )
        for point in frontier.points
    )
    return Table(
        title="Methods",
        columns=(
            "Method",
            "KL (nats)",
            "Reward",
            "Share of gain",
            "Mass outside",
            "TV",
            "Tabular TV",
        ),
        rows=rows,
        note="Share of gain: of the frontier's reward gain at the same KL. Mass outside: "
        "probability of answers that the world does not have. TV: total variation to the optimum, "
        "of the model and, beside it, of a table of logits fitted with the same loss, where "
        "exactness is claimed.",
    )
