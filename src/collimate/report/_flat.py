"""A loss that stands still: noticed, and explained from what was logged beside it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

FLAT_LINES = 10
"""So many logged steps without a change are no accident."""

STILL = 1e-5  # relative; rounding alone moves a loss that stands still by up to 1e-6
SHARE = 0.1  # of the peak: a warm-up begins, and a schedule ends, with steps that move nothing


def flat_loss(
    loss: Array, gradient_norm: Array, learning_rate: Array, *, peak: float
) -> str | None:
    """Why the loss of the last `FLAT_LINES` lines stands still, as a sentence; None if it moves.

    All [logged step]. Lines whose learning rate is below a tenth of `peak` do not count, nor do
    those of skipped steps.

    >>> ones = np.ones(10)
    >>> flat_loss(0.7 * ones, 0.3 * ones, 1e-12 * ones, peak=1e-12)[:61]
    'The loss stayed at 0.7 over the last 10 logged steps although'
    >>> flat_loss(np.linspace(0.7, 0.6, 10), 0.3 * ones, ones, peak=1.0) is None
    True
    """
    counted = np.isfinite(loss) & np.isfinite(gradient_norm) & (learning_rate >= SHARE * peak)
    loss, norm, rate = (x[counted][-FLAT_LINES:] for x in (loss, gradient_norm, learning_rate))
    if len(loss) < FLAT_LINES or np.ptp(loss) > STILL * np.abs(loss).max():
        return None
    zero = not loss.any()
    value = "was exactly 0" if zero else f"stayed at {loss[-1]:.6g}"
    said = f"The loss {value} over the last {FLAT_LINES} logged steps"
    if not norm.any():
        met = "every pair meets its margin already (hinge losses), " if zero else ""
        return (
            f"{said} and its gradient is 0, so nothing is learnt: {met}all weights are 0, "
            "or the method's value does not depend on the policy (a detached tensor)."
        )
    if zero:
        return (
            f"{said} although its gradient is not 0 (norm {norm[-1]:.2g}): the method's value is not "
            "what its gradient belongs to, or positive and negative values cancel."
        )
    return (
        f"{said} although its gradient is not 0 (norm {norm[-1]:.2g}): steps at a learning rate of "
        f"{rate[-1]:.2g} are lost in the rounding of the weights; raise it, and keep the weights in "
        "float32 (precision bf16 does). If every step takes the same pairs, the run has converged."
    )
