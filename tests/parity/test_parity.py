"""TRL's step against ours on the same models and rows: losses and gradients, or the stated difference."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from collimate import CollimateError
from collimate.compose import Objective
from tests.parity.case import AWAY, FAILS, NOT_FINITE, Case
from tests.parity.cases import ABSENT, CASES, NOT_OF_THE_LOSS, VERSION
from tests.parity.formulas import Formula, made, of
from tests.parity.sides import ROWS, Step, examples, gradient, networks, rows, run_trl

pytestmark = pytest.mark.parity

LOSS = 1e-5
"""How near the losses are, relative to themselves."""
GRADIENT = 2e-5
"""And the gradients, to their largest entry. TRL sums log-probs in float32, which puts its own gradient
up to 1.4e-5 from float64's where f' is steep; ours is within 2e-6."""
APART = 1e-3
"""What a difference that the table lists amounts to, at least, in loss or gradient."""

Outcome = tuple[float, dict[str, Tensor]]


@pytest.fixture(scope="session")
def trl(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """TRL's side of every case, in one process."""
    return run_trl(tmp_path_factory.mktemp("trl"), [case.to_json() for case in CASES])


@pytest.fixture(scope="session")
def step_of() -> Callable[[Case], Step]:
    """The rows of a case's trainer under its models."""
    models, read = networks(), rows()

    def find(case: Case) -> Step:
        return Step(
            examples=examples(read[case.trainer]),
            policy=models[case.policy],
            reference=models["reference"],
        )

    return find


def outcome(formula: Formula, step: Step) -> Outcome:
    """Loss and gradient, from a forward pass of their own."""
    value = formula(step.of(*step.examples))
    return value.item(), gradient(value, step.policy)


def ours_of(case: Case, step: Step) -> Outcome:
    if case.weighted:
        step = step.weighted()
    if case.mismatched == "theirs":
        step = step.rotated(case.micro_batches)
    if case.reference == "not given":
        step = step.against_itself()
    return outcome(of(case.ours), step)


def record_of(trl: dict[str, Any], case: Case) -> dict[str, Any]:
    return trl["cases"][CASES.index(case)]


def theirs_of(trl: dict[str, Any], case: Case) -> Outcome:
    record = record_of(trl, case)
    assert "error" not in record, record["error"]
    return record["loss"], {name: torch.tensor(g) for name, g in record["gradient"].items()}


def finite(one: Outcome) -> bool:
    return math.isfinite(one[0]) and all(bool(g.isfinite().all()) for g in one[1].values())


def gaps(one: Outcome, other: Outcome) -> tuple[float, float]:
    """Of the losses, relative; of the gradients, to the largest entry of the other."""
    if not (finite(one) and finite(other)):
        return math.inf, math.inf
    largest = max(g.abs().max().item() for g in other[1].values())
    worst = max((one[1][name] - g).abs().max().item() for name, g in other[1].items())
    relative = 0.0 if worst == 0 else worst / largest if largest else math.inf
    return abs(one[0] - other[0]) / abs(other[0]), relative


def agree(one: Outcome, other: Outcome) -> bool:
    loss, slope = gaps(one, other)
    return loss < LOSS and slope < GRADIENT


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_row_is_true(case: Case, trl: dict[str, Any], step_of: Callable[[Case], Step]) -> None:
    step = step_of(case)
    if case.kind == "refused":
        with pytest.raises(CollimateError):
            made(case.ours)
    if case.expected == FAILS:
        assert "Error" in record_of(trl, case)["error"]
    elif case.expected == NOT_FINITE:
        assert not finite(theirs_of(trl, case))
    elif case.expected != AWAY:
        formula = of(case.ours) if case.expected is None else case.expected
        assert callable(formula)
        expected = ours_of(case, step) if case.expected is None else outcome(formula, step)
        assert agree(theirs_of(trl, case), expected), gaps(theirs_of(trl, case), expected)
    if case.kind == "differs":
        ours = ours_of(case, step)
        assert finite(ours)
        assert case.expected == FAILS or max(gaps(ours, theirs_of(trl, case))) > APART


def test_beside_the_reverse_kl_ours_is_near_it_and_trls_is_not(
    trl: dict[str, Any], step_of: Callable[[Case], Step]
) -> None:
    (case,) = [case for case in CASES if case.expected == AWAY]
    step = step_of(case)
    limit = outcome(of("methods.dpo(0.3)"), step)
    assert agree(ours_of(case, step), limit)
    assert max(gaps(theirs_of(trl, case), limit)) > APART


def test_the_logged_margin_is_of_the_divergence_here_and_of_the_log_ratios_there(
    trl: dict[str, Any], step_of: Callable[[Case], Step]
) -> None:
    (case,) = [
        case
        for case in CASES
        if case.options.get("f_divergence_type") == "forward_kl"
        and case.options["loss_type"] == "sigmoid"
        and case.kind == "equal"
    ]
    step, method = step_of(case), made(case.ours)
    assert not isinstance(method, Objective)
    chosen, rejected = step.pairs.log_ratios()
    theirs = record_of(trl, case)["logged"]["rewards/margins"]
    assert theirs == pytest.approx(0.3 * (chosen - rejected).mean().item(), rel=1e-4)
    ours = method.measure(step.pairs, method.init())["reward_gap"].mean().item()
    assert abs(ours - theirs) > 0.05 * abs(theirs)


def test_ktos_reference_point_is_trls_and_held_at_0_in_a_micro_batch(
    trl: dict[str, Any], step_of: Callable[[Case], Step]
) -> None:
    whole, halves = (
        next(c for c in CASES if c.options.get("loss_type") == "kto" and c.micro_batches == count)
        for count in (1, 2)
    )
    points = {
        case: [
            part.rotated(1).batch.thumbs().mismatched_log_ratios().mean().item()
            for part in step_of(case).parts(case.micro_batches)
        ]
        for case in (whole, halves)
    }
    for case, found in points.items():
        held = sum(max(0.0, z) for z in found) / len(found)
        assert record_of(trl, case)["logged"]["kl"] == pytest.approx(held, rel=1e-4)
    assert points[whole][0] > 0.1
    assert points[halves][0] < 0 < points[halves][1]


def test_ktos_pairs_come_apart_there(trl: dict[str, Any]) -> None:
    assert trl["labels of pairs"] == [True] * ROWS + [False] * ROWS


def test_both_sides_train_on_the_same_tokens(trl: dict[str, Any]) -> None:
    for trainer, of_rows in rows().items():
        expected = [
            [[*one.prompt.tolist(), *answer.ids.tolist()] for answer in one.answers]
            for one in examples(of_rows)
        ]
        found = trl["tokens"][trainer]
        if "prompt_ids" in found:
            names = ("completion_ids", "chosen_ids", "rejected_ids", "reference_ids")
            columns = [found[name] for name in names if name in found]
            answers = zip(*columns, strict=True)
            rows_found = [
                [prompt + answer for answer in row]
                for prompt, row in zip(found["prompt_ids"], answers, strict=True)
            ]
        else:
            both = zip(found["chosen_input_ids"], found["rejected_input_ids"], strict=True)
            rows_found = [list(row) for row in both]
        assert rows_found == expected, trainer


def test_both_sides_see_the_same_answers_under_other_prompts(
    trl: dict[str, Any], step_of: Callable[[Case], Step]
) -> None:
    (case, *_) = [case for case in CASES if case.mismatched == "theirs"]
    step = step_of(case).rotated(1)
    expected = [one.answers[1].ids.tolist() for one in step.examples]
    assert trl["tokens"]["KTO"]["KL_completion_ids"] == expected


def test_every_option_of_trls_configs_is_in_the_table(trl: dict[str, Any]) -> None:
    assert trl["version"] == VERSION
    named = ABSENT.keys() | NOT_OF_THE_LOSS
    for trainer, options in trl["options"].items():
        tried = {name for case in CASES if case.trainer == trainer for name in case.options}
        assert not set(options) - tried - named, trainer
        assert not tried - set(options), trainer
    assert not named - {name for options in trl["options"].values() for name in options}


def test_every_loss_type_of_trl_is_in_the_table(trl: dict[str, Any]) -> None:
    for trainer, known in trl["loss_types"].items():
        tried = [case.options.get("loss_type") for case in CASES if case.trainer == trainer]
        flat = {x for one in tried if one for x in (one if isinstance(one, list) else [one])}
        assert flat == set(known), trainer
    divergences = {case.options.get("f_divergence_type", "reverse_kl") for case in CASES}
    assert divergences == set(trl["f_divergence_types"])
