"""What a page is made of. Texts are plain: the template escapes them.

A tab is a list of blocks; each block names its `kind`, by which the template picks its markup, and
whether it takes `half` the width where there is room for two.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Tone = Literal["plain", "good", "warn", "bad", "empty"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prose:
    """Sentences. tone: "empty" is a placeholder for something that the run does not have."""

    sentences: tuple[str, ...]
    title: str = ""
    tone: Tone = "plain"
    half: bool = False
    kind: Literal["prose"] = "prose"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """A label, its value, and a remark in smaller type."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """A list of facts.

    folded: shown only when asked for. code: values in fixed-width type. two: in two columns where
    there is room.
    """

    title: str
    rows: tuple[Fact, ...]
    note: str = ""
    folded: bool = False
    code: bool = False
    two: bool = False
    half: bool = False
    kind: Literal["facts"] = "facts"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiles:
    """The few numbers to see first."""

    tiles: tuple[Fact, ...]
    kind: Literal["tiles"] = "tiles"


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Cells [row, column], the first column a label, the others numbers."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    half: bool = False
    kind: Literal["table"] = "table"


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A plotly figure as plain JSON. Colours are CSS variables ("var(--name)").

    identity: element id. summary: what a reader who cannot see the chart is told. A trace whose
    `meta` is a number belongs to that line of the tab's `Legend`.
    """

    identity: str
    title: str
    figure: Mapping[str, Any]
    summary: str
    caption: tuple[str, ...] = ()
    half: bool = False
    kind: Literal["chart"] = "chart"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One row of `Bars`: a point and what it may be, as shares of the width in percent."""

    name: str
    colour: str
    middle: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Bars:
    """Intervals under one another, drawn without plotly, so that they are there at once.

    ticks: (share of the width in percent, text). chart: the same for a file.
    """

    rows: tuple[Bar, ...]
    ticks: tuple[tuple[float, str], ...]
    chart: Chart
    kind: Literal["bars"] = "bars"


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One line of a legend: what a colour (a CSS variable) and a dash stand for.

    shown: whether it is drawn until the reader says otherwise.
    """

    name: str
    colour: str
    dash: str
    shown: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Legend:
    """The keys of all charts of a tab, each to be switched on and off; a key's number is its place."""

    keys: tuple[Key, ...]
    note: str = ""
    kind: Literal["legend"] = "legend"


@dataclass(frozen=True, slots=True, kw_only=True)
class Writing:
    """A prompt and answers to it: (label, text or None)."""

    prompt: str
    answers: tuple[tuple[str, str | None], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Writings:
    """Samples, answers side by side."""

    items: tuple[Writing, ...]
    note: str = ""
    kind: Literal["writings"] = "writings"


Block = Prose | Facts | Tiles | Table | Chart | Bars | Legend | Writings


@dataclass(frozen=True, slots=True, kw_only=True)
class Tab:
    """One tab of the page. identity: element id and hash link."""

    identity: str
    title: str
    blocks: tuple[Block, ...]

    @property
    def charts(self) -> tuple[Chart, ...]:
        """The charts of this tab, in order."""
        return tuple(block for block in self.blocks if isinstance(block, Chart))
