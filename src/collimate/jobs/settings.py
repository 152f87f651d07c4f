"""Every setting of a training run, checked before anything is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from collimate._checks import BadConfig, nearest, positive, within
from collimate.jobs.deepspeed import zero_settings

_DATA = ("format", "max_prompt", "max_answer", "truncate_answers", "on_bad_row", "limit")
SCORE_SETTINGS = (
    *_DATA,
    "precision",
    "device",
    "quantize",
    "tokens_per_micro_batch",
    "trust_remote_code",
    "progress",
)
"""The settings that `collimate.score` takes too."""
CHECK_SETTINGS = (
    *(name for name in _DATA if name != "on_bad_row"),  # it finds every bad row
    "epochs",
    "batch_size",
    "optimizer",
    "lora_rank",
    "quantize",
    "tokens_per_micro_batch",
    "activation_checkpointing",
    "trust_remote_code",
)
"""The settings that `collimate.check` takes too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainSettings:
    """How a run trains. Errors: BadConfig for a value outside its domain.

    Amount: epochs (passes over the data) or max_steps; batch_size examples per step. Optimiser:
    AdamW (adamw_8bit: moments of a byte each) with learning_rate (None: by the model's width),
    schedule after a warmup share of the steps, weight_decay, max_gradient_norm; steps without a
    finite loss and gradient are skipped, max_skipped_steps of them in all. Model: precision (fp32, or
    bf16 autocast over float32 weights), device, dropout, lora_rank and lora_alpha, quantize (linear
    layers of the base model to 4 bits, under an adapter). Data: format of a file whose name
    does not say it, limit to the first rows; max_prompt keeps the end of a prompt, max_answer
    refuses longer answers unless truncate_answers, on_bad_row stops or skips. Run: seed, log_every,
    evaluate_every and checkpoint_every in steps (None: evaluate before and after, checkpoint five
    times), keep so many checkpoints, resume, cache folder of reference log-probs and the cache_gb
    it may hold, trackers, samples before and after, progress, report; of recorded_pairs it keeps
    texts and figures, for the board and the alarms (0: of none). Memory:
    tokens_per_micro_batch, or the memory_budget in GB that it is measured for;
    activation_checkpointing computes layers again instead of keeping them; of several processes
    (torchrun, accelerate launch) each holds the whole model (parallel ddp) or a part (fsdp2).
    None of these changes a number beyond rounding. deepspeed names a ZeRO config whose settings,
    batch size and learning rate among them, are taken where none is given.
    """

    epochs: float = 1.0
    max_steps: int | None = None
    batch_size: int = 32
    format: Literal["auto", "jsonl", "json", "csv", "parquet"] = "auto"
    limit: int | None = None
    optimizer: Literal["adamw", "adamw_8bit"] = "adamw"
    learning_rate: float | None = None
    schedule: Literal["constant", "cosine", "linear"] = "cosine"
    warmup: float = 0.1
    weight_decay: float = 0.0
    max_gradient_norm: float = 1.0
    max_skipped_steps: int = 10
    precision: Literal["fp32", "bf16"] = "fp32"
    device: Literal["auto", "cuda", "mps", "cpu"] = "auto"
    dropout: bool = False
    lora_rank: int | None = None
    lora_alpha: int | None = None
    quantize: Literal["nf4"] | None = None
    max_prompt: int | None = None
    max_answer: int | None = None
    truncate_answers: bool = False
    on_bad_row: Literal["stop", "skip"] = "stop"
    seed: int = 0
    log_every: int = 1
    evaluate_every: int | None = None
    checkpoint_every: int | None = None
    keep: int = 2
    resume: bool = False
    cache: str | Path | None = None
    cache_gb: float = 20.0
    trackers: tuple[str, ...] = ()
    samples: int = 3
    recorded_pairs: int = 50_000
    tokens_per_micro_batch: int = 1024
    memory_budget: float | None = None
    activation_checkpointing: bool = False
    parallel: Literal["ddp", "fsdp2"] = "ddp"
    deepspeed: str | Path | None = None
    trust_remote_code: bool = False
    progress: bool = True
    report: bool = True

    def __post_init__(self) -> None:
        positive("epochs", self.epochs)
        for name in ("batch_size", "log_every", "keep", "tokens_per_micro_batch"):
            _count(name, getattr(self, name), least=1)
        for name in (
            "max_steps",
            "limit",
            "lora_rank",
            "lora_alpha",
            "max_prompt",
            "max_answer",
            "evaluate_every",
            "checkpoint_every",
        ):
            if getattr(self, name) is not None:
                _count(name, getattr(self, name), least=1)
        _count("max_skipped_steps", self.max_skipped_steps, least=0)
        _count("samples", self.samples, least=0)
        _count("recorded_pairs", self.recorded_pairs, least=0)
        _count("seed", self.seed, least=0)
        if self.learning_rate is not None:
            positive("learning_rate", self.learning_rate)
        if self.memory_budget is not None:
            positive("memory_budget", self.memory_budget)
        positive("max_gradient_norm", self.max_gradient_norm)
        within("warmup", self.warmup, 0.0, 1.0)
        within("weight_decay", self.weight_decay, 0.0, float("inf"))
        within("cache_gb", self.cache_gb, 0.0, float("inf"))
        if self.lora_alpha is not None and self.lora_rank is None:
            raise BadConfig("lora_alpha needs lora_rank: give it too, or leave lora_alpha out")
        if self.truncate_answers is True and self.max_answer is None:
            raise BadConfig("truncate_answers needs max_answer: give the length to cut answers to")
        for name, choices in _choices().items():
            _one_of(name, getattr(self, name), choices)
        packed = self.quantize or (self.optimizer == "adamw_8bit" and self.optimizer)
        if self.parallel == "fsdp2" and packed:
            raise BadConfig(
                f"parallel fsdp2 shards tensors by rows, which those of {packed} do not have: use ddp, "
                "or leave it out"
            )
        if isinstance(self.trackers, str) or not all(isinstance(t, str) for t in self.trackers):
            raise BadConfig(f"trackers must be a list of names, got {self.trackers!r}")
        if not isinstance(self.cache, str | Path | None):
            raise BadConfig(f"cache must be a folder, got {self.cache!r}")

    def of_data(self) -> dict[str, Any]:
        """The settings of reading data, by name."""
        return {name: getattr(self, name) for name in _DATA}

    def to_json(self) -> Mapping[str, Any]:
        """For the run record."""
        return {k: str(v) if isinstance(v, Path) else v for k, v in asdict(self).items()}


def settings_from(values: Mapping[str, Any], *names: str) -> TrainSettings:
    """Settings by name, among `names` or all.

    Errors: BadConfig for an unknown name, with the nearest known one.
    """
    known = names or [field.name for field in fields(TrainSettings)]
    for name in values:
        if name not in known:
            raise BadConfig(f"unknown setting '{name}'{nearest(name, known)}")
    if values.get("deepspeed") is not None:
        values = {**zero_settings(values["deepspeed"]), **values}
    return TrainSettings(**values)


@cache
def _choices() -> Mapping[str, tuple[Any, ...]]:
    """What each setting that is a choice, or on or off, may be."""
    hints = get_type_hints(TrainSettings)
    literal = {name: words for name, hint in hints.items() if (words := _words(hint))}
    return {**literal, **{name: (True, False) for name, hint in hints.items() if hint is bool}}


def _words(hint: Any) -> tuple[Any, ...]:
    """What a Literal may be, and None where it may be left out; nothing of any other hint."""
    if get_origin(hint) is Literal:
        return get_args(hint)
    words = [word for part in get_args(hint) for word in _words(part)]
    return (*words, None) if words and type(None) in get_args(hint) else ()


def _count(name: str, value: Any, *, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise BadConfig(f"{name} must be a whole number of at least {least}, got {value!r}")


def _one_of(name: str, value: Any, known: tuple[Any, ...]) -> None:
    if value not in known or type(value) not in map(type, known):  # 1 == True
        words = [str(word) for word in known if word is not None]
        raise BadConfig(
            f"{name} must be one of {', '.join(words)}, got {value!r}{nearest(str(value), words)}"
        )
