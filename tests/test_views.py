"""The four views of a batch, by hand: two prompts, token weights, an answer of another role."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from collimate import losses, margins, tradeoffs
from collimate._checks import BadComposition
from collimate._types import Answer, Batch, Example, ListLogProbs, Role, ThumbLogProbs
from collimate.axes import Needs
from collimate.compose import Method
from collimate.distributions import offline_pairs
from collimate.divergences import reverse_kl
from collimate.engine.packing import step_batch
from collimate.margins.margin import Margin

NAN = float("nan")


def answer(*ids: int, **fields: object) -> Answer:
    return Answer(ids=np.array(ids), **fields)  # type: ignore[arg-type]


@pytest.fixture
def batch() -> Batch:
    """Answers of 2, 1, 3 and 1 tokens; the third is under another row's prompt."""
    examples = [
        Example(
            prompt=np.array([5, 6]),
            answers=(
                answer(1, 2, label=1, score=0.5, token_weight=np.array([0.0, 2.0], np.float32)),
                answer(3, label=-1, score=0.25),
                answer(1, 2, 3, role=Role.MISMATCHED),
            ),
            row=0,
            columns={"margin": 0.5},
        ),
        Example(prompt=np.array([7]), answers=(answer(4, label=1, score=1.0),), row=1),
    ]
    log_prob = torch.tensor([-1.0, -2.0, -3.0, -4.0, -5.0, -6.0, -7.0])
    return step_batch(examples, log_prob, reference=log_prob / 2)


def test_tokens(batch: Batch) -> None:
    view = batch.tokens()
    assert view.sequence.tolist() == [0, 0, 1, 2, 2, 2, 3]
    assert view.example.tolist() == [0, 0, 0, 1]
    assert view.sums(view.log_prob).tolist() == [-4.0, -3.0, -15.0, -7.0]
    torch.testing.assert_close(view.columns["margin"], torch.tensor([0.5, NAN]), equal_nan=True)


def test_thumbs_keep_every_labelled_answer_and_the_mismatched_apart(batch: Batch) -> None:
    view = batch.thumbs()
    assert view.policy.tolist() == [-4.0, -3.0, -7.0]
    assert view.log_ratios().tolist() == [-2.0, -1.5, -3.5]
    assert view.label.tolist() == [1.0, -1.0, 1.0]
    assert view.tokens is not None
    assert view.tokens.tolist() == [1.0, 1.0, 1.0]  # those that weigh nothing do not count
    assert view.mismatched_log_ratios().tolist() == [-7.5]
    assert view.columns["margin"].tolist()[:2] == [0.5, 0.5]
    alone = replace(view, reference=None, mismatched_policy=None)
    for missing, name in ((alone.log_ratios, "reference"), (alone.mismatched_log_ratios, "mism")):
        with pytest.raises(BadComposition, match=f"the view has no {name}"):
            missing()


def test_pairs_beside_gold_and_mismatched_answers() -> None:
    def example(row: int) -> Example:
        answers = (
            answer(1, 2),
            answer(1, 2, 3, role=Role.MISMATCHED),
            answer(3),
            answer(4, 5, role=Role.GOLD),
        )
        return Example(prompt=np.array([row]), answers=answers, row=row)

    log_prob = -torch.arange(1.0, 17.0)
    view = step_batch([example(0), example(1)], log_prob, log_prob / 2).pairs()
    assert view.policy_chosen.tolist() == [-3.0, -19.0]
    assert view.policy_rejected.tolist() == [-6.0, -14.0]
    assert view.gold is not None
    assert view.gold_tokens is not None
    assert view.gold.tolist() == [-15.0, -31.0]
    assert view.gold_tokens.tolist() == [2.0, 2.0]
    assert view.tokens is not None
    assert view.tokens.sequence.tolist() == [0, 0, 1, 2, 2, 3]
    assert view.tokens.sums(view.tokens.log_prob).tolist() == [-3.0, -6.0, -19.0, -14.0]
    assert view.tokens.example.tolist() == [0, 0, 1, 1]


def test_thumbs_need_labels(batch: Batch) -> None:
    without = replace(batch, label=torch.tensor([1.0, NAN, NAN, 1.0]))
    with pytest.raises(BadComposition, match="needs a label"):
        without.thumbs()


def test_lists_hold_the_answers_of_each_prompt_alone(batch: Batch) -> None:
    view = batch.lists()
    assert view.policy.tolist() == [-4.0, -3.0, -7.0]
    assert view.score.tolist() == [0.5, 0.25, 1.0]
    assert view.group.tolist() == [0, 0, 1]
    assert view.tokens.tolist() == [1.0, 1.0, 1.0]


def test_lists_need_scores(batch: Batch) -> None:
    with pytest.raises(BadComposition, match="needs a score"):
        replace(batch, score=torch.tensor([0.5, NAN, NAN, 1.0])).lists()


def test_pairs_need_two_answers_each(batch: Batch) -> None:
    with pytest.raises(BadComposition, match="exactly two answers"):
        batch.pairs()


def test_a_target_may_come_from_the_data() -> None:
    """z = beta·h - target, with the row's own margin as target."""
    gap = margins.log_ratio_gap
    own = Margin(
        name="own",
        value=lambda view, divergence: gap(view, divergence=divergence),
        needs=Needs(),
        closed_form=True,
        source="",
        target_of=lambda view: view.columns["margin"],
    )
    method = Method(
        name="m", distribution=offline_pairs(), divergence=reverse_kl, margin=own,
        loss=losses.hinge, tradeoff=tradeoffs.fixed(0.5), source="",
    )  # fmt: skip
    examples = [
        Example(
            prompt=np.array([1]), answers=(answer(1), answer(2)), row=0, columns={"margin": 0.25}
        )
    ]
    view = step_batch(examples, torch.tensor([-1.0, -3.0]), torch.tensor([-2.0, -2.0])).pairs()
    assert method.measure(view, {})["reward_gap"].tolist() == [1.0]  # 0.5·((-1+2) - (-3+2))
    expected = losses.hinge(torch.tensor([0.75], dtype=torch.float64))
    torch.testing.assert_close(method(view), expected)


def test_labels_are_plus_or_minus_one_and_lists_have_no_gap() -> None:
    """A label of 0 would weigh nothing, and train nothing."""
    policy = -torch.ones(2)
    for label in (torch.tensor([1.0, 0.0]), torch.tensor([1.0, NAN])):
        with pytest.raises(BadComposition, match=r"must be \+1 \(wanted\) or -1"):
            ThumbLogProbs(policy=policy, label=label)
    with pytest.raises(BadComposition, match="from 0 without a gap"):
        ListLogProbs(policy=policy, score=policy, group=torch.tensor([0, 2]))
