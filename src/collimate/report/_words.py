"""What a run's data are called: pairs have a gap, answers judged alone do not."""

from __future__ import annotations

from dataclasses import dataclass

from collimate.report._record import RunRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """The names of one kind of data.

    unit: what is counted. better, worse: answers. gap: between the two. reward, likelihood: when a
    unit counts as right. mixed_up: what to look for where the gap shrinks.

    >>> PAIRS.units
    'pairs'
    """

    unit: str
    better: str
    worse: str
    gap: str
    reward: str
    likelihood: str
    mixed_up: str

    @property
    def units(self) -> str:
        """Several of them."""
        return f"{self.unit}s"


PAIRS = Words(
    unit="pair",
    better="chosen",
    worse="rejected",
    gap="the gap",
    reward="the gap of log-ratios is positive (ties count half)",
    likelihood="the chosen answer has the larger log-prob",
    mixed_up="chosen and rejected are not swapped",
)
THUMBS = Words(
    unit="answer",
    better="wanted",
    worse="unwanted",
    gap="the distance of their means",
    reward="the log-ratio has the sign of the label (0 counts half)",
    likelihood="not defined, for no two answers are compared",
    mixed_up="the labels are not swapped",
)
LISTS = Words(
    unit="list",
    better="best",
    worse="worst",
    gap="the gap",
    reward="share of its couples of different scores whose log-ratios are in order (ties count half)",
    likelihood="the same for log-probs",
    mixed_up="larger scores are the better ones",
)


def words_of(record: RunRecord) -> Words:
    """The words for what the training data were read as; pairs where the run does not say."""
    data = record.train_data
    if data is None:
        return PAIRS
    written, _, converted = data.format.partition(", read as ")
    kind = (converted.partition(":")[0] or written.partition(",")[0]).strip()
    return {"thumbs": THUMBS, "lists": LISTS}.get(kind, PAIRS)
