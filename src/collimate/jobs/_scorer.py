"""What a worker does: load the models once, then turn block after block into lines. No Ray here."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from collimate._checks import BadModel
from collimate._types import Example
from collimate.engine.block import examples_of
from collimate.engine.check import LAYOUTS, check_layout
from collimate.engine.evaluate import Row, log_probs
from collimate.engine.fingerprint import model_fingerprint, sequence_key
from collimate.engine.kernels import choose_kernels
from collimate.engine.load import load_model, quiet
from collimate.engine.model import Kernels, LogProbModel
from collimate.engine.packing import token_weights
from collimate.engine.quantize import Quantization
from collimate.engine.readable import require_readable
from collimate.engine.runtime import Runtime, explaining_memory
from collimate.engine.store import segment_bytes
from collimate.engine.trial import kernels_of
from collimate.jobs.reference import Frozen, description_of
from collimate.jobs.score import ScoredRow, line, names_of
from collimate.jobs.settings import TrainSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Surveyed:
    """What a worker found a model to be.

    shared: whether answers may share their prompt. kernels: those for GPUs that serve. fingerprint,
    description: its name in the cache, and for people. quantize: how it is loaded. other_tokens: of
    a reference, the ids that mean another token to it than to the model.
    """

    name: str
    quantize: str | None
    shared: bool
    kernels: Kernels
    fingerprint: str
    description: Mapping[str, str]
    other_tokens: Mapping[int, tuple[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScorerSettings:
    """All that a worker needs to be told.

    threads: that torch computes with. tokens: whether lines hold a number for each token.
    segments: whether a block also gives a segment of the reference cache.
    """

    options: TrainSettings
    threads: int
    tokens: bool
    segments: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredBlock:
    """The JSON lines of a block, and the content of its segment of the cache, if asked for."""

    number: int
    lines: bytes
    segment: bytes | None


def survey(
    name: str, settings: ScorerSettings, *, longest: int, quantize: str | None = None
) -> Surveyed:
    """Load a model as every worker will, and say what it is. Errors: BadModel, BadConfig.

    longest: tokens of the longest example, which the layout is checked for as in training.
    """
    engine, runtime = _loaded(name, settings, quantize)
    with explaining_memory():
        gradients = "all" if settings.segments else "none"
        check = check_layout(engine.model, longest=longest, gradients=gradients)
        engine.shared = check.shared
        trials = choose_kernels(
            engine,
            longest=longest,
            tokens=settings.options.tokens_per_micro_batch,
            autocast=runtime.autocast,
            gradients=gradients,
        )
    engine.kernels = kernels_of(trials)
    fingerprint = _fingerprint(engine, settings.options)
    frozen = Frozen(given=name, engine=engine, fingerprint=fingerprint)
    return Surveyed(
        name=name,
        quantize=quantize,
        shared=check.shared,
        kernels=engine.kernels,
        fingerprint=fingerprint,
        description=description_of(frozen, settings.options),
    )


class Scorer:
    """A worker. Errors: BadModel if it does not find the models that were surveyed."""

    def __init__(
        self, model: Surveyed, reference: Surveyed | None, settings: ScorerSettings
    ) -> None:
        self.settings = settings
        self.model, self.runtime = self._load(model)
        self.reference = None if reference is None else self._load(reference)[0]
        self.other_tokens = {} if reference is None else reference.other_tokens

    def score(self, number: int, block: bytes) -> ScoredBlock:
        """Score the examples of a block. Errors: BadModel with the row, OutOfMemory."""
        examples = examples_of(block)
        with explaining_memory():
            rows = self._rows(self.model, examples)
            others = None
            if self.reference is not None:
                require_readable(self.reference.model, examples, self.other_tokens)
                others = self._rows(self.reference, examples)
        scored = [
            ScoredRow(
                row=example.row,
                names=names_of(example),
                answers=rows[i],
                weights=tuple(map(token_weights, example.answers)),
                reference=None if others is None else others[i],
            )
            for i, example in enumerate(examples)
        ]
        lines = [json.dumps(line(row, tokens=self.settings.tokens)) + "\n" for row in scored]
        segment = None
        if self.settings.segments:
            keyed = {
                sequence_key(example, answer): values
                for example, row in zip(examples, rows, strict=True)
                for answer, values in zip(example.answers, row, strict=True)
            }
            segment = segment_bytes(keyed)
        return ScoredBlock(number=number, lines="".join(lines).encode(), segment=segment)

    def _rows(self, engine: LogProbModel, examples: list[Example]) -> list[Row]:
        budget = self.settings.options.tokens_per_micro_batch
        return log_probs(engine, examples, budget=budget, autocast=self.runtime.autocast)

    def _load(self, expected: Surveyed) -> tuple[LogProbModel, Runtime]:
        engine, runtime = _loaded(expected.name, self.settings, expected.quantize)
        engine.shared, engine.kernels = expected.shared, expected.kernels
        if _fingerprint(engine, self.settings.options) != expected.fingerprint:
            raise BadModel(
                f"'{expected.name}' on the machine {platform.node()} is not the model, or not on the "
                "kind of device, that another worker found: give all machines the same files, or "
                "name the device with --device"
            )
        return engine, runtime


def _loaded(
    name: str, settings: ScorerSettings, quantize: str | None
) -> tuple[LogProbModel, Runtime]:
    options = settings.options
    torch.set_num_threads(settings.threads)
    quiet()
    runtime = Runtime(device=options.device, precision=options.precision)
    quantization = Quantization.of(quantize, precision=options.precision, device=runtime.device)
    if quantization is not None:
        quantization.require_runs()
    model = load_model(name, trust_remote_code=options.trust_remote_code, quantization=quantization)
    model.to(runtime.device).eval()
    return LogProbModel(model, shared=True), runtime


def _fingerprint(engine: LogProbModel, options: TrainSettings) -> str:
    layout = LAYOUTS[engine.shared] + engine.kernels.suffix
    return model_fingerprint(engine.model, layout=layout, precision=options.precision)
