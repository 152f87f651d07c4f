"""Presets whose units depend on each other, or that read more than log-probs: a step is a step.

Against plain autograd through the model's own logits, and 1×8 against 8×1, both to 1e-12.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from collimate import methods
from collimate._types import Answer, Example, Role
from collimate.compose import Objective
from collimate.data import with_mismatched
from collimate.engine.model import LogProbModel
from collimate.engine.objective import objective_value
from collimate.engine.packing import step_batch
from collimate.engine.step import gradient_step
from tests.engine.tiny import difference, gradients, model_of, pairs
from tests.equivalence.test_steps import ONE_BY_ONE, WHOLE, reference_of

METHODS: dict[str, Any] = {
    name: getattr(methods, name)()
    for name in (
        *("aot", "aot_unpaired", "beta_dpo", "mpo", "kto", "bco", "apo_zero_unpaired"),
        *("wpo", "tdpo", "tdpo1", "plackett_luce", "d2o", "direct_advantage_po", "tpo", "tpo_l"),
    )
}
STATES = {"beta_dpo": {"steps": 2.0, "mean": -3.0, "deviation": 2.0}}


def examples_for(method: Any) -> list[Example]:
    """Eight examples with labels and scores, and what else the method needs."""

    def judged(example: Example, i: int) -> Example:
        answers = [
            replace(answer, label=label, score=score)
            for answer, label, score in zip(example.answers, (1, -1), (0.5, -0.3 * i), strict=True)
        ]
        if method.needs.gold:
            answers.append(Answer(ids=example.answers[0].ids[::-1].copy(), role=Role.GOLD))
        return replace(example, answers=tuple(answers))

    found = [judged(example, i + 1) for i, example in enumerate(pairs(8))]
    return list(with_mismatched(found)) if method.needs.mismatched else found


def by_plain_autograd(
    model: Any,
    other: Any,
    objective: Objective,
    examples: Sequence[Example],
    reference: Any,
    state: Any,
) -> tuple[float, dict[str, Tensor]]:
    columns: dict[str, list[Tensor]] = {name: [] for name in ("log_prob", "collision", "kl")}
    for one in examples:
        for answer in one.answers:
            row = torch.from_numpy(np.concatenate((one.prompt, answer.ids))).long()
            said = slice(len(one.prompt) - 1, -1)
            log_p, log_q = (
                m(input_ids=row[None], use_cache=False).logits[0, said].log_softmax(-1)
                for m in (model, other)
            )
            columns["log_prob"].append(log_p.gather(1, row[len(one.prompt) :, None])[:, 0])
            columns["collision"].append((log_p.exp() ** 2).sum(-1).log())
            columns["kl"].append((log_q.exp() * (log_q - log_p)).sum(-1))
    log_prob, collision, kl = (torch.cat(column) for column in columns.values())
    flat = torch.from_numpy(np.concatenate([row for rows in reference for row in rows]))
    signals = {"log_collision": collision, "forward_kl_to_reference": kl}
    loss = objective_value(objective, step_batch(examples, log_prob, flat, signals), [state])
    loss.backward()
    return loss.item(), gradients(model)


@pytest.mark.parametrize("name", METHODS)
def test_a_step_is_that_of_plain_autograd_whatever_its_micro_batches(name: str) -> None:
    method = METHODS[name]
    objective, examples = Objective.of(method), examples_for(method)
    model = model_of("gpt2", factor=3.0, dtype=torch.float64)
    other = model_of("gpt2", factor=3.0, dtype=torch.float64, seed=1).requires_grad_(False)
    reference = reference_of(other, examples)
    state = STATES.get(name, method.init())
    loss, expected = by_plain_autograd(model, other, objective, examples, reference, state)
    for budget, shared in ((ONE_BY_ONE, True), (WHOLE, True), (60, False)):
        outcome = gradient_step(
            LogProbModel(model, shared=shared),
            objective,
            examples,
            reference,
            [state],
            budget=budget,
            autocast=nullcontext,
            frozen=LogProbModel(other, shared=True),
        )
        assert outcome.loss.item() == pytest.approx(loss, rel=1e-12, abs=1e-12)
        assert difference(gradients(model), expected) <= 1e-12


@pytest.mark.parametrize("name", ["kto", "bco", "aot", "mpo", "beta_dpo"])
def test_naive_accumulation_would_be_wrong(name: str) -> None:
    """The mean of single pairs' gradients is not the step's; of MPO's only a fifth is coupled."""
    method = METHODS[name]
    objective, examples = Objective.of(method), examples_for(method)
    model = model_of("gpt2", factor=3.0, dtype=torch.float64)
    reference = reference_of(model_of("gpt2", factor=3.0, dtype=torch.float64, seed=1), examples)

    def gradient(chosen: Sequence[int]) -> dict[str, Tensor]:
        gradient_step(
            LogProbModel(model, shared=True),
            objective,
            [examples[i] for i in chosen],
            [reference[i] for i in chosen],
            [STATES.get(name, method.init())],
            budget=WHOLE,
            autocast=nullcontext,
        )
        return gradients(model)

    whole, parts = gradient(range(8)), [gradient([i]) for i in range(8)]
    naive = {key: torch.stack([part[key] for part in parts]).mean(0) for key in whole}
    assert difference(naive, whole) > (0.001 if name == "mpo" else 0.01)
