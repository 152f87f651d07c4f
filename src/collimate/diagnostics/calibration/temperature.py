"""The one temperature that makes a classifier's labels likeliest."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from collimate._checks import BadData, same_length
from collimate._root import root
from collimate.diagnostics.calibration.scores import negative_log_likelihood

_SOUGHT = 1e-12  # of the slope, in units of the largest distance between two logits of a row


@dataclass(frozen=True, slots=True, kw_only=True)
class Temperature:
    """A fitted temperature and its first-order condition.

    value: T in [0, inf]. nll: mean -log softmax(z/T)[label] in nats. slope: d nll/d(1/T), 0 at an
    inner optimum; at T = inf it is at least 0 (the labels prefer an even or reversed forecast), at
    T = 0 it has risen to 0 from below (the labels' logits are the largest of every row).
    """

    value: float
    nll: float
    slope: float


def fit_temperature(logits: Float[Tensor, "row class"], label: Int[Tensor, " row"]) -> Temperature:
    """argmin_T of mean -log softmax(z/T)[label], T in [0, inf], in float64.

    In a = 1/T the NLL is convex with slope mean(E_softmax(a·z)[z] - z_label), so the optimum is the
    root of a rising function: the mean logit under the forecast equals the mean logit of the labels.
    The bounds: T = 0 if each label's logit is its row's largest, T = inf if labels have no larger
    logits than an even draw (negative 1/T, which would reverse the ranking, is not offered), and T =
    1 if all logits of each row are equal, where nothing depends on it. One temperature cannot tell
    sure regions from overlapping ones: `overlap_divergence`.

    For pairs: logits [gap, 0] and label 0 fit the scale of a reward.

    Errors: BadData unless logits are finite, labels are classes, and there is a row. Source: guo:17.

    >>> gaps = torch.tensor([2.0, 2.0, 2.0, -2.0])  # right 3 times of 4: sigmoid(2/T) = 3/4
    >>> logits = torch.stack([gaps, torch.zeros(4)], dim=1)
    >>> round(2 / fit_temperature(logits, torch.zeros(4, dtype=torch.long)).value, 6)  # log 3
    1.098612
    """
    rows = same_length(logits=len(logits), label=len(label))
    if not logits.isfinite().all() or not ((label >= 0) & (label < logits.shape[1])).all():
        raise BadData("a temperature needs finite logits, and for every row the index of a class")
    z = logits.detach().double()
    z = z - z.gather(1, label[:, None])  # of the label 0: nothing else depends on a row's constant
    scale = float((z.amax(1) - z.amin(1)).max())
    if scale == 0:
        return Temperature(value=1.0, nll=math.log(logits.shape[1]), slope=0.0)
    z = z / scale

    def slope(a: Tensor) -> Tensor:
        return ((a * z).softmax(-1) * z).sum() / rows

    zero = torch.zeros((), dtype=torch.float64)
    if float(slope(zero)) >= 0:
        return Temperature(
            value=math.inf, nll=math.log(logits.shape[1]), slope=scale * float(slope(zero))
        )
    if float(z.max()) <= 0:
        tied = (z == 0).sum(1).double().log().mean()
        return Temperature(value=0.0, nll=float(tied), slope=0.0)
    a = root(slope, zero, _SOUGHT)
    nll = float(negative_log_likelihood(a * z, label).mean())
    return Temperature(value=scale / float(a), nll=nll, slope=scale * float(slope(a)))
