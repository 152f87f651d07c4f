"""Trust-region DPO: the reference follows the policy."""

from __future__ import annotations

from dataclasses import replace

from collimate._checks import BadConfig, within_closed
from collimate.axes import ReferenceUpdate
from collimate.compose import Method
from collimate.methods.preference.dpo import dpo


def tr_dpo(beta: float = 0.1, alpha: float = 0.6, tau: int = 512) -> Method:
    """DPO whose reference becomes alpha·p + (1 - alpha)·q, weight by weight, every tau steps.

    -log sigmoid(beta·(u_w - u_l)) per pair, u = log policy - log reference (nats) at that step. alpha = 1
    is the paper's hard update; skipped steps do not count among the tau. Keeps a second model in memory,
    and computes its log-probs in each step: no cache can hold them.

    Errors: BadConfig unless beta is above 0, alpha in (0, 1] and tau a whole number above 0. Source:
    gorbatovski:25.

    >>> tr_dpo().needs.reference_update.every
    512
    """
    if within_closed("alpha", alpha, 0.0, 1.0) == 0:
        raise BadConfig("alpha must be above 0: the reference would not move; use dpo")
    if isinstance(tau, bool) or not isinstance(tau, int) or tau < 1:
        raise BadConfig(f"tau must be a whole number of steps above 0, got {tau!r}")
    return replace(
        dpo(beta),
        name="tr_dpo",
        reference_update=ReferenceUpdate(alpha=alpha, every=tau),
        source="gorbatovski:25",
        optimum=None,
    )
