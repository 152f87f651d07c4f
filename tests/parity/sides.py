"""Our side, and how TRL's is started: the same models and rows for both."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from collimate._types import Answer, Batch, Example, PairLogProbs, Role
from collimate.axes import Method
from collimate.compose import Objective
from collimate.data import with_mismatched
from collimate.engine.evaluate import outputs, pack
from collimate.engine.model import LogProbModel
from collimate.engine.objective import initial_states, needs_of, objective_value
from collimate.engine.packing import step_batch
from collimate.engine.step import signals_of
from tests.engine.tiny import model_of
from tests.equivalence.runs import text_pairs, word_tokenizer

ROWS = 8
END = 2
"""Id of the end-of-sequence token, which both sides append to an answer."""
PARAMETERS = ("model.norm.weight", "model.layers.0.self_attn.q_proj.weight", "lm_head.weight")
"""Those whose gradients are compared: near the loss, far from it, and the head."""
GOLD = "reference"
"""TRL's name for TPO's third answer."""
WANTED = (0, 2, 5)
"""Rows of thumbs whose label is true: so that TRL's reference point of KTO is above 0 in the step and
in its second half, and held at 0 in the first."""


def trl_python() -> str:
    """TRL's interpreter; skips the test where none is named."""
    name = os.environ.get("TRL_PYTHON")
    if not name:
        pytest.skip(
            "TRL_PYTHON names no interpreter of an environment with TRL: `make parity` does"
        )
    if not Path(name).is_file():
        pytest.fail(f"TRL_PYTHON names {name}, which does not exist")
    return str(Path(name).absolute())  # not resolved: a link is what makes it the environment's


def moved(model: PreTrainedModel, noise: float, *, seed: int) -> PreTrainedModel:
    """The model after every weight was multiplied by 1 + noise·N(0, 1)."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1 + noise * torch.randn(parameter.shape, generator=generator))
    return model


def networks() -> dict[str, PreTrainedModel]:
    """A reference; policies some nats a row away from it, also a sure one, and hundreds of nats."""
    same, far, policy, sharp = (model_of("qwen2", factor=3.0) for _ in range(4))
    return {
        "reference": same,
        "policy": moved(policy, 0.5, seed=1),
        "sharp": surer(moved(sharp, 0.5, seed=1), 2),
        "far": surer(far, 40),
    }


def surer(model: PreTrainedModel, factor: float) -> PreTrainedModel:
    """The model after its logits were multiplied."""
    head: Any = model.get_output_embeddings()
    with torch.no_grad():
        head.weight.mul_(factor)
    return model


def rows() -> dict[str, list[dict[str, Any]]]:
    """What each trainer reads; the space after a prompt keeps its last word whole."""
    texts = text_pairs(2 * ROWS)
    pairs = [{**row, "prompt": row["prompt"] + " "} for row in texts[:ROWS]]
    gold = [{**row, GOLD: more["chosen"]} for row, more in zip(pairs, texts[ROWS:], strict=True)]
    thumbs = [
        {
            "prompt": row["prompt"],
            "completion": row["chosen" if i in WANTED else "rejected"],
            "label": i in WANTED,
        }
        for i, row in enumerate(pairs)
    ]
    return {"DPO": pairs, "CPO": pairs, "ORPO": pairs, "TPO": gold, "KTO": thumbs}


def examples(rows: Sequence[Mapping[str, Any]]) -> list[Example]:
    """Rows as the engine's records: chosen, rejected and perhaps a gold answer; or a labelled one."""
    tokenizer = word_tokenizer()

    def ids(text: str) -> np.ndarray:
        return np.array(tokenizer(text)["input_ids"])

    found: list[Example] = []
    for i, row in enumerate(rows):
        labels = {"chosen": 1, "rejected": -1, "completion": 1 if row.get("label") else -1}
        answers = tuple(
            Answer(
                ids=np.append(ids(row[name]), END),
                label=labels.get(name),
                role=Role.GOLD if name == GOLD else Role.ANSWER,
            )
            for name in ("chosen", "rejected", GOLD, "completion")
            if name in row
        )
        found.append(Example(prompt=ids(row["prompt"]), answers=answers, row=i))
    return found


@dataclass(frozen=True, kw_only=True, eq=False)
class Step:
    """The examples of a step with their token log-probs, the policy's with its gradient."""

    examples: list[Example]
    policy: nn.Module
    reference: nn.Module

    @cached_property
    def log_prob(self) -> Tensor:
        return tokens_of(self.policy, self.examples)

    @cached_property
    def held(self) -> Tensor:
        with torch.no_grad():
            return tokens_of(self.reference, self.examples)

    @cached_property
    def batch(self) -> Batch:
        return step_batch(self.examples, self.log_prob, self.held)

    @property
    def pairs(self) -> PairLogProbs:
        return self.batch.pairs()

    def parts(self, count: int) -> list[Step]:
        """The step in equal micro-batches, as TRL takes them."""
        size = len(self.examples) // count
        starts = range(0, len(self.examples), size)
        return [replace(self, examples=self.examples[i : i + size]) for i in starts]

    def weighted(self) -> Step:
        """The step of a file with the column `weight`, tokens of the chosen answer."""
        lengths = [len(one.answers[0].ids) for one in self.examples]
        return self.of(
            *(
                replace(one, columns={"weight": float(n)})
                for one, n in zip(self.examples, lengths, strict=True)
            )
        )

    def rotated(self, count: int) -> Step:
        """Under each prompt also the answer of the row before: TRL's mismatched answers of KTO.

        In a circle within each of `count` micro-batches, whatever the prompts are.
        """
        found: list[Example] = []
        for part in self.parts(count):
            before = [part.examples[-1], *part.examples[:-1]]
            for one, other in zip(part.examples, before, strict=True):
                answer = replace(other.answers[0], label=None, role=Role.MISMATCHED)
                found.append(replace(one, answers=(*one.answers, answer)))
        return self.of(*found)

    def against_itself(self) -> Step:
        """The step of a policy whose reference is itself, as passed."""
        return replace(self, reference=self.policy)

    def of(self, *examples: Example) -> Step:
        """Other examples under the same models."""
        return replace(self, examples=list(examples))

    def value(self, method: Method | Objective) -> Tensor:
        """The objective of the whole step, as `collimate.train` computes it."""
        objective = Objective.of(method)
        rows = self.examples
        paired = any(answer.role is Role.MISMATCHED for answer in rows[0].answers)
        if needs_of(objective).mismatched and not paired:
            rows = with_mismatched(rows)
        signals = signals_of(objective)
        values = outputs(LogProbModel(self.policy, shared=True), rows, signals)
        named = {signal.name: column for signal, column in zip(signals, values, strict=True)}
        batch = step_batch(rows, values[0], self.of(*rows).held, named)
        return objective_value(objective, batch, initial_states(objective))


def tokens_of(model: nn.Module, some: Sequence[Example]) -> Tensor:
    """Log-probs of all answer tokens, by the engine."""
    engine = LogProbModel(model, shared=True)
    return engine(pack(engine, some))[0]


def gradient(value: Tensor, model: nn.Module) -> dict[str, Tensor]:
    """Of the parameters that are compared, flat; zeros where the value does not depend on one.

    By `backward`: the head adds its gradient in place.
    """
    model.zero_grad(set_to_none=True)
    value.backward()
    named = dict(model.named_parameters())
    found = {name: named[name].grad for name in PARAMETERS}
    model.zero_grad(set_to_none=True)
    return {
        name: torch.zeros(named[name].numel()) if g is None else g.flatten()
        for name, g in found.items()
    }


def write_inputs(folder: Path, cases: Sequence[Mapping[str, Any]]) -> Path:
    """The models, and the file that TRL's side reads."""
    for name, model in networks().items():
        model.save_pretrained(folder / name)
        word_tokenizer().save_pretrained(folder / name)
    path = folder / "inputs.json"
    models = {name: str(folder / name) for name in networks()}
    path.write_text(
        json.dumps({"models": models, "rows": rows(), "parameters": PARAMETERS, "cases": cases})
    )
    return path


def run_trl(folder: Path, cases: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What TRL makes of the cases, in a process and an environment of its own."""
    script = Path(__file__).with_name("trl_side.py")
    path = folder / "outputs.json"
    command = [trl_python(), "-I", str(script), str(write_inputs(folder, cases)), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(path.read_text())
