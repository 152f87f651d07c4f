"""Log-ratio gaps less the gap of KL divergences along the answers."""

from __future__ import annotations

from functools import partial

from jaxtyping import Float
from torch import Tensor

from collimate._checks import at_least_zero
from collimate._types import PairLogProbs
from collimate.axes import Divergence, Needs, Signal
from collimate.margins.margin import Margin
from collimate.margins.token_sums import signal_sums


def _gap(
    view: PairLogProbs, divergence: Divergence, *, along: Signal, weight: float, stopped: bool
) -> Float[Tensor, " pair"]:
    chosen, rejected = view.log_ratios()
    kl_chosen, kl_rejected = signal_sums(view, along)
    if stopped:
        kl_chosen = kl_chosen.detach()
    return chosen - rejected - weight * (kl_rejected - kl_chosen)


def sequential_kl_gap(along: Signal, weight: float = 1.0, *, stopped: bool = False) -> Margin:
    """h = u_w - u_l - weight·(K_l - K_w), K the sum of the signal `along` over the answer's tokens.

    For TDPO along KL(q‖p) at each token, over the vocabulary (nats). stopped: no gradient through K_w.

    Errors: BadConfig unless weight is finite and at least 0; BadComposition without the signal.
    Source: zeng:24.

    >>> from collimate.divergences import forward_kl
    >>> from collimate.signals import divergence_to_reference
    >>> sequential_kl_gap(divergence_to_reference(forward_kl), 0.5).name
    'sequential_kl_gap(forward_kl_to_reference, 0.5)'
    """
    at_least_zero("weight", weight)
    held = ", stopped" if stopped else ""
    return Margin(
        name=f"sequential_kl_gap({along.name}, {weight:g}{held})",
        value=partial(_gap, along=along, weight=weight, stopped=stopped),
        needs=Needs(view="pairs", reference=True, signals=(along,)),
        formula=f"u_w - u_l - {weight}·(sum_l(d_i) - sum_w(d_i))",
        source="zeng:24",
    )
