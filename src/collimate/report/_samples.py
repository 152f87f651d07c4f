"""The tab "Samples": what the model wrote before and after."""

from __future__ import annotations

from collimate.report._blocks import Block, Prose, Tab, Writing, Writings
from collimate.report._format import clip, plural
from collimate.report._record import RunRecord
from collimate.report._words import words_of

MOST_SAMPLES = 50
MOST_CHARACTERS = 8000


def samples_tab(record: RunRecord) -> Tab:
    """Prompts with the answers before and after side by side, white space kept."""
    if not record.samples:
        wait = " yet" if record.status == "running" else ""
        blocks: tuple[Block, ...] = (
            Prose(tone="empty", sentences=(f"This run has no samples{wait}.",)),
        )
        return Tab(identity="samples", title="Samples", blocks=blocks)
    better = words_of(record).better.capitalize()
    items = tuple(
        Writing(
            prompt=clip(sample.prompt, MOST_CHARACTERS),
            answers=(
                ("Before training", _answer(sample.before)),
                ("After training", _answer(sample.after)),
                *(
                    ((f"{better} in the data", _answer(sample.chosen)),)
                    if sample.chosen is not None
                    else ()
                ),
            ),
        )
        for sample in record.samples[:MOST_SAMPLES]
    )
    note = "A few answers show what the model writes, not how good it is on average."
    if len(record.samples) > MOST_SAMPLES:
        found = plural(len(record.samples), "sample")
        note += f" The first {MOST_SAMPLES} of {found}; the rest is in run.json."
    return Tab(identity="samples", title="Samples", blocks=(Writings(items=items, note=note),))


def _answer(text: str | None) -> str | None:
    return None if text is None else clip(text, MOST_CHARACTERS)
