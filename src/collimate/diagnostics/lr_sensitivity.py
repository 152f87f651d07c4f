"""Learning-rate sensitivity: what a wrong learning rate costs on average."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from collimate._checks import BadConfig, BadData, positive


def lr_sensitivity(
    final_loss: Mapping[float, float],
    initial_loss: float,
    *,
    low: float | None = None,
    high: float | None = None,
) -> float:
    """E[min(L(eta), L_init) - L*], log eta uniform on [log low, log high], L* the sweep's least loss.

    final_loss: of each learning rate of a sweep (nats); NaN or infinite for a run that diverged,
    which counts as L_init. The mean is by trapezoids in log eta. low, high: within the sweep, its
    ends if left out; sensitivities compare only over the same range. 0: any rate is as good. It
    grows with L_init, and says nothing of L* itself: report both.

    Errors: BadData for fewer than two rates or an initial loss that is not finite; BadConfig for a
    rate that is not above 0, or a range that is not within the sweep. Source: wortsman:24.

    >>> lr_sensitivity({1e-4: 2.0, 1e-3: 1.0, 1e-2: float("nan")}, initial_loss=3.0)  # 1, 0, 2
    0.75
    """
    if len(final_loss) < 2:
        raise BadData(f"a sweep needs at least two learning rates, got {len(final_loss)}")
    rates = np.array(sorted(positive("eta", float(eta)) for eta in final_loss))
    if not math.isfinite(initial_loss):
        raise BadData(f"the initial loss must be finite, got {initial_loss}")
    loss = np.array([final_loss[eta] for eta in rates.tolist()])
    capped = np.where(np.isfinite(loss), np.minimum(loss, initial_loss), initial_loss)
    first, last = (rates[0] if low is None else low), (rates[-1] if high is None else high)
    if not rates[0] <= first < last <= rates[-1]:
        raise BadConfig(
            f"low < high must lie within the sweep, {rates[0]:g} to {rates[-1]:g}, got "
            f"{first:g} to {last:g}"
        )
    inner = rates[(rates > first) & (rates < last)]
    at = np.log(np.concatenate([[first], inner, [last]]))
    excess = np.interp(at, np.log(rates), capped) - capped.min()
    area = ((excess[1:] + excess[:-1]) / 2 * np.diff(at)).sum()
    return float(area / (at[-1] - at[0]))
