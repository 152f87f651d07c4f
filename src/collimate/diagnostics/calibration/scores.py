"""Scores of single forecasts over classes, and how well confidence ranks the right ones."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from collimate._checks import BadData, same_length


def negative_log_likelihood(
    logits: Float[Tensor, "row class"], label: Int[Tensor, " row"]
) -> Float[Tensor, " row"]:
    """-log softmax(logits)[label] in nats: a proper score, one per row (log-probs are logits too).

    >>> negative_log_likelihood(torch.zeros(1, 2), torch.tensor([0])).exp()
    tensor([2.])
    """
    return -logits.log_softmax(-1).gather(-1, label[:, None]).squeeze(-1)


def brier_score(
    logits: Float[Tensor, "row class"], label: Int[Tensor, " row"]
) -> Float[Tensor, " row"]:
    """Σ_class (softmax(logits) - 1[class = label])², in [0, 2]: a proper score, one per row.

    With two classes it is twice the score of `brier_decomposition`. Source: brier:50.

    >>> brier_score(torch.zeros(1, 2), torch.tensor([0]))
    tensor([0.5000])
    """
    return (
        (logits.softmax(-1) - torch.nn.functional.one_hot(label, logits.shape[-1])).square().sum(-1)
    )


def ranking_of_correct(confidence: Float[Tensor, " row"], correct: Bool[Tensor, " row"]) -> float:
    """P(confidence of a right answer > that of a wrong one), ties half: the AUROC, in [0, 1].

    A constant confidence has ½, whatever its calibration error. Errors: BadData unless some answers
    are right and some wrong, or for NaN.

    >>> ranking_of_correct(torch.tensor([0.9, 0.6, 0.6]), torch.tensor([True, True, False]))
    0.75
    """
    same_length(confidence=len(confidence), correct=len(correct))
    right, wrong = confidence[correct].double(), confidence[~correct].double()
    if not (len(right) and len(wrong)) or confidence.isnan().any():
        raise BadData("ranking needs right and wrong answers, each with a confidence")
    ordered = wrong.sort().values
    below = torch.searchsorted(ordered, right) + torch.searchsorted(ordered, right, right=True)
    return float(below.double().mean() / (2 * len(wrong)))
