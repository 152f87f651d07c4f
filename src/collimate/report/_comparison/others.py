"""The tabs "Frontier" and "Samples" of several runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from collimate.report._blocks import Block, Chart, Prose, Tab, Writing, Writings
from collimate.report._comparison.runs import Compared
from collimate.report._format import clip
from collimate.report._frontier import frontier_tab
from collimate.report._record import Frontier

MOST_PROMPTS = 10
CHARACTERS = 20_000  # of all answers together
LONGEST = 2000


def frontiers_tab(runs: Sequence[Compared]) -> Tab | None:
    """The frontier of each world with the points of all runs in it; None where no run has one."""
    worlds: list[Frontier] = []
    for run in runs:
        found = run.record.frontier
        if found is None:
            continue
        points = tuple(replace(p, name=f"{run.label}: {p.name}") for p in found.points)
        for place, world in enumerate(worlds):
            if (world.world, world.curves) == (found.world, found.curves):
                worlds[place] = replace(world, points=(*world.points, *points))
                break
        else:
            worlds.append(replace(found, points=points))
    if not worlds:
        return None
    blocks: list[Block] = []
    for place, world in enumerate(worlds):
        for block in frontier_tab(world).blocks:
            if isinstance(block, Chart) and place:  # an element's identity is its own
                block = replace(block, identity=f"{block.identity}-{place + 1}")
            blocks.append(block)
    return Tab(identity="frontier", title="Frontier", blocks=tuple(blocks))


def samples_tab(runs: Sequence[Compared]) -> Tab:
    """What each run wrote after training, prompt by prompt, where two or more had the same one."""
    answers: dict[str, list[tuple[str, str | None]]] = {}
    for run in runs:
        for sample in {sample.prompt: sample for sample in run.record.samples}.values():
            answers.setdefault(sample.prompt, []).append((run.label, sample.after))
    shared = [(prompt, found) for prompt, found in answers.items() if len(found) > 1]
    if not shared:
        said = ("No two runs have a sample of the same prompt.",)
        return Tab(
            identity="samples", title="Samples", blocks=(Prose(tone="empty", sentences=said),)
        )
    shown = shared[:MOST_PROMPTS]
    longest = min(LONGEST, CHARACTERS // sum(len(found) for _, found in shown))
    items = tuple(
        Writing(
            prompt=clip(prompt, LONGEST),
            answers=tuple(
                (label, None if text is None else clip(text, longest)) for label, text in found
            ),
        )
        for prompt, found in shown
    )
    note = (
        "After training. A few answers show what the models write, not how good it is on average."
    )
    return Tab(identity="samples", title="Samples", blocks=(Writings(items=items, note=note),))
