"""What a sweep measures of a finished run beside its record: KL and entropy, from its own samples."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from collimate._checks import BadConfig, BadData
from collimate._files import write_atomically
from collimate._types import Example
from collimate.diagnostics import bootstrap_mean
from collimate.engine.evaluate import log_probs
from collimate.engine.generate import drawn_answers
from collimate.engine.load import Tokenizer, load_model
from collimate.engine.model import LogProbModel
from collimate.engine.runtime import Runtime
from collimate.engine.tokenizer import load_tokenizer
from collimate.estimators import Estimate, entropy, kl_k1, kl_k2, kl_k3
from collimate.jobs._examples import load_examples
from collimate.jobs.run import Run
from collimate.jobs.settings import TrainSettings

SCHEMA_VERSION = 1
MEASURED = "measured.json"
PROMPTS = 32
TOKENS = 64


@dataclass(slots=True, kw_only=True, eq=False)
class Measuring:
    """What is measured of every run: `kl_samples` answers to each prompt, and the caller's `measure`.

    Errors: BadConfig for samples of a quantised policy, whose reference is not loaded like it.
    """

    inputs: Mapping[str, Any]
    options: TrainSettings
    kl_samples: int
    measure: Callable[[Run], Mapping[str, float]] | None
    loaded: tuple[nn.Module, Tokenizer, Sequence[Example]] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        if self.kl_samples and self.options.quantize is not None:
            raise BadConfig("kl_samples of a quantised policy are not measured: leave out quantize")

    def of(self, folder: Path, record: dict[str, Any], run: Run | None) -> dict[str, float]:
        """Numbers by name; of samples they are kept in the run folder, as measured.json.

        run: None where it was finished before, and its model is to be loaded.
        """
        path = folder / MEASURED
        kept = _read(path)
        wanted = self.kl_samples > 0 and (kept or {}).get("samples_per_prompt") != self.kl_samples
        if run is None and (wanted or self.measure is not None):
            run = Run(folder=folder, record=record, model=self._model(folder / "model"))
        if wanted:
            assert run is not None
            kept = self._sampled(run)
            record = {"schema_version": SCHEMA_VERSION, **kept}
            write_atomically(path, json.dumps(record, indent=1).encode())
        found: dict[str, float] = {}
        if self.kl_samples:
            assert kept is not None
            found |= {"kl": kept["kl"]["k1"]["mean"], "entropy": kept["entropy"]["mean"]}
        if self.measure is not None:
            assert run is not None
            found |= {str(k): float(v) for k, v in self.measure(run).items()}
        return found

    def _sampled(self, run: Run) -> dict[str, Any]:
        runtime = Runtime(device=self.options.device, precision=self.options.precision)
        if self.loaded is None:
            self.loaded = self._load(run.model)
        reference, tokenizer, prompts = self.loaded
        return policy_samples(
            run.model.to(runtime.device).eval(),
            reference.to(runtime.device).eval(),
            tokenizer,
            prompts,
            count=self.kl_samples,
            seed=run.record["seed"],
            budget=self.options.tokens_per_micro_batch,
            runtime=runtime,
        )

    def _load(self, policy: nn.Module) -> tuple[nn.Module, Tokenizer, Sequence[Example]]:
        """The reference, the tokenizer, and the held-out prompts: once for all runs."""
        trusted = self.options.trust_remote_code
        model = self.inputs["model"]
        tokenizer = load_tokenizer(self.inputs["tokenizer"], model, trust_remote_code=trusted)
        settings = replace(self.options, limit=None, on_bad_row="skip").of_data()
        read = load_examples(self.inputs["evaluation"], tokenizer, policy, kind=None, **settings)
        distinct = {example.prompt.tobytes(): example for example in read.examples}
        reference = self.inputs["reference"]
        loaded = self._model(model if reference is None else reference)
        return loaded, tokenizer, list(distinct.values())[:PROMPTS]

    def _model(self, given: Any) -> Any:
        return load_model(given, trust_remote_code=self.options.trust_remote_code)


def policy_samples(
    policy: nn.Module,
    reference: nn.Module,
    tokenizer: Tokenizer,
    prompts: Sequence[Example],
    *,
    count: int,
    seed: int,
    budget: int,
    runtime: Runtime,
    most_tokens: int = TOKENS,
) -> dict[str, Any]:
    """KL(policy‖reference) and the policy's entropy, by `count` answers that it draws to each prompt.

    Means over prompts of whole-answer sums (nats), answers cut after `most_tokens`: both are then
    those of the laws of an answer's first tokens. k1, k2, k3 with standard errors as of independent
    samples, and 95 % intervals by prompt: several answers to one prompt are no independent draws.
    """
    drawn = [
        drawn_answers(
            policy, tokenizer, prompt, count=count, seed=seed * PROMPTS + i, max_tokens=most_tokens
        )
        for i, prompt in enumerate(prompts)
    ]
    log_p, log_q = (_sums(model, drawn, budget, runtime) for model in (policy, reference))
    if not (log_p.isfinite().all() and log_q.isfinite().all()):
        raise BadData("a model gives an answer that was drawn a log-probability that is not finite")
    owner = [i for i in range(len(drawn)) for _ in range(count)]

    def told(estimate: Estimate) -> dict[str, Any]:
        return {
            "mean": estimate.mean,
            "standard_error": estimate.standard_error if len(owner) > 1 else None,
            "interval": list(bootstrap_mean(estimate.values.numpy(), owner)),
        }

    return {
        "samples_per_prompt": count,
        "prompts": len(prompts),
        "most_tokens": most_tokens,
        "kl": {
            "k1": told(kl_k1(log_p, log_q)),
            "k2": told(kl_k2(log_p, log_q)),
            "k3": told(kl_k3(log_p, log_q)),
        },
        "entropy": told(entropy(log_p)),
    }


def _sums(
    model: nn.Module, drawn: Sequence[Example], budget: int, runtime: Runtime
) -> torch.Tensor:
    rows = log_probs(
        LogProbModel(model, shared=False), drawn, budget=budget, autocast=runtime.autocast
    )
    sums = [answer.astype(np.float64).sum() for answers in rows for answer in answers]
    return torch.tensor(sums, dtype=torch.float64)


def _read(path: Path) -> dict[str, Any] | None:
    """What was measured before; None where it is not there, or nothing that this version wrote."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    good = isinstance(kept, dict) and kept.get("schema_version") == SCHEMA_VERSION
    return kept if good else None
