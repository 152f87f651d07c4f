"""What a run folder holds, as frozen records.

Log-probs and log-ratios are means over pairs of whole-answer sums, in nats. `None` means that the
run did not say; a number that is there but is NaN or infinite is kept, so that the page can say so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Held-out figures at one moment. Accuracies are shares; intervals are 95 %, by prompt.

    rows: number of pairs. loss: mean over them, in the method's unit. log_ratio_*: policy against
    reference on the given answers (nats; not a KL). log_prob_*: nats.
    """

    rows: int
    loss: float | None
    reward_accuracy: float | None
    reward_accuracy_interval: Interval | None
    likelihood_accuracy: float | None
    likelihood_accuracy_interval: Interval | None
    log_ratio_chosen: float | None
    log_ratio_rejected: float | None
    log_prob_chosen: float | None
    log_prob_rejected: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """The training lines of metrics.jsonl as columns [logged step], float64, NaN where absent.

    step: optimiser step, from 1. log_*: nats, mean over the step's pairs. linear_continuation:
    pairs beyond the range of a closed-form margin. skipped_steps: so far, for a loss or gradient
    that was not finite. seconds: wall time of the step.
    """

    step: NDArray[np.float64]
    epoch: NDArray[np.float64]
    loss: NDArray[np.float64]
    reward_accuracy: NDArray[np.float64]
    likelihood_accuracy: NDArray[np.float64]
    log_prob_chosen: NDArray[np.float64]
    log_prob_rejected: NDArray[np.float64]
    log_ratio_chosen: NDArray[np.float64]
    log_ratio_rejected: NDArray[np.float64]
    reward_gap: NDArray[np.float64]
    linear_continuation: NDArray[np.float64]
    gradient_norm: NDArray[np.float64]
    learning_rate: NDArray[np.float64]
    pairs: NDArray[np.float64]
    tokens: NDArray[np.float64]
    skipped_steps: NDArray[np.float64]
    seconds: NDArray[np.float64]

    def __len__(self) -> int:
        """Number of logged steps."""
        return len(self.step)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """Length of a kind of text over a file, in tokens."""

    median: float | None
    max: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFacts:
    """One data file as it was read. Counts are rows; chosen_longer is a share of the used rows."""

    file: str
    hash: str
    format: str
    rows: int | None
    used: int | None
    skipped: Mapping[str, int]
    prompt_tokens: Lengths | None
    chosen_tokens: Lengths | None
    rejected_tokens: Lengths | None
    prompts_truncated: int | None
    answers_truncated: int | None
    duplicates: int | None
    chosen_longer: float | None
    joint_tokenisation_differs: int | None
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodFacts:
    """The method of a run: its name, five choices and source, as text.

    composite: whether the loss is more than that one loss of that one margin; older runs do not say,
    and are taken to be.
    """

    name: str
    distribution: str
    divergence: str
    margin: str
    loss: str
    tradeoff: str
    composite: bool
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LayoutCheck:
    """Largest difference between the layout in use and the plain one, and what is allowed.

    log_prob: nats. gradient: relative to the largest entry.
    """

    log_prob: float | None
    gradient: float | None
    tolerance: float | None
    gradient_tolerance: float | None  # which older runs do not name


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """The trained model. layout: "shared" (one prompt for all its answers) or "plain"."""

    path: str
    architecture: str
    parameters: int | None
    trainable: int | None
    layout: str
    layout_reason: str
    check: LayoutCheck | None
    hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceFacts:
    """Where the reference's log-probs came from. Counts are rows; the log-ratio is in nats.

    is_policy: the reference is the policy as it was before the first step, not another model.
    """

    hash: str
    computed: int | None
    from_cache: int | None
    is_policy: bool
    first_step_max_log_ratio: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A prompt and what the model wrote before and after training."""

    prompt: str
    before: str | None
    after: str | None
    chosen: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """Something that the run noticed about itself: its name, the step, and a sentence."""

    name: str
    step: int | None
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """A line of exact (KL, reward) pairs; both [point], KL in nats."""

    name: str
    kl: tuple[float, ...]
    reward: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A trained policy against the exact frontier.

    kl: nats. share_of_gain: of the frontier's reward gain at that KL. outside: probability of
    answers that the world does not have. tv, tabular_tv: total variation to the optimum.
    """

    name: str
    kl: float
    reward: float
    share_of_gain: float | None
    outside: float | None
    tv: float | None
    tabular_tv: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Frontier:
    """A world in which every expectation is a sum, its exact curves, and the methods' points."""

    world: str
    curves: tuple[Curve, ...]
    points: tuple[Point, ...]


TRAINING_FIELDS = tuple(Training.__dataclass_fields__)


def columns(lines: list[Mapping[str, float]]) -> Training:
    """Columns from logged lines; a field that a line lacks is NaN.

    >>> columns([{"step": 1.0, "loss": 0.5}, {"step": 2.0}]).loss
    array([0.5, nan])
    """
    missing = float("nan")
    found = {
        name: np.array([line.get(name, missing) for line in lines], dtype=np.float64)
        for name in TRAINING_FIELDS
    }
    return Training(**found)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RunRecord:
    """One run folder, read; by default a run that has said nothing yet.

    folder: where. status: "running", "finished", "stopped" or "failed"; error: why it failed.
    seconds: wall time of the run. sizes: bytes by name. phases: seconds by part of the run;
    peak_memory: the most bytes in use.
    evaluations: (step, figures) in file order. partial_lines: incomplete last lines of
    metrics.jsonl that were left out (0 or 1).

    >>> record = RunRecord(folder=Path("runs/one"), name="one")
    >>> record.status, len(record.training)
    ('running', 0)
    """

    folder: Path
    name: str
    status: str = "running"
    error: str | None = None
    created: str = ""
    seconds: float | None = None
    steps: int | None = None
    seed: int | None = None
    config: Mapping[str, object] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    machine: Mapping[str, object] = field(default_factory=dict)
    method: MethodFacts | None = None
    model: ModelFacts | None = None
    sizes: Mapping[str, int] = field(default_factory=dict)
    phases: Mapping[str, float] = field(default_factory=dict)
    peak_memory: Mapping[str, int] = field(default_factory=dict)
    train_data: DataFacts | None = None
    evaluation_data: DataFacts | None = None
    reference: ReferenceFacts | None = None
    before: Evaluation | None = None
    after: Evaluation | None = None
    samples: tuple[Sample, ...] = ()
    frontier: Frontier | None = None
    alarms: tuple[Alarm, ...] = ()
    training: Training = field(default_factory=lambda: columns([]))
    evaluations: tuple[tuple[int, Evaluation], ...] = ()
    partial_lines: int = 0

    @property
    def starts_at_reference(self) -> bool:
        """Whether log-ratios are changes since the start: unless the reference is another model."""
        return self.reference is None or self.reference.is_policy
