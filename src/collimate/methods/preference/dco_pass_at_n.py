"""Fine-tuning for the best of n answers."""

from __future__ import annotations

from dataclasses import replace

from collimate import losses, margins
from collimate.compose import Method
from collimate.methods.preference._reference_free import reference_free


def dco_pass_at_n(n: int = 16) -> Method:
    """-log(1 - (1 - p(y_w))^n): minus the log of pass@n, of the chosen answer as a whole.

    n = 1 is supervised fine-tuning. The gradient is its, times a factor in (0, 1] that vanishes for
    answers of which n draws hold one anyway: confidence is limited. The rejected answer is not read.

    Errors: BadConfig unless n is a whole number of at least 1. Source: chen:25.

    >>> dco_pass_at_n(4).margin.name
    'log_coverage(4)'
    """
    method = reference_free("dco_pass_at_n", margins.log_coverage(n), beta=1.0, source="chen:25")
    return replace(method, loss=losses.negation)
