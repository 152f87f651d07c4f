"""Where sigmoids of wanted and unwanted answers' log-ratios, less their mean, balance."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from collimate._root import rising_inverse, root


def shifted_balance(
    log_q: Float[Tensor, "context response"],
    won: Float[Tensor, "context response"],
    lost: Float[Tensor, "context response"],
    beta: float,
) -> Float[Tensor, "context response"] | None:
    """Log p of one context with won·sigmoid(-beta·v) - lost·sigmoid(beta·v) = κ·p, v = u - d.

    d is the mean of u where that of v is 0; v falls with κ >= 0, so one κ fits. A κ below 0 puts every v
    above log(won/lost)/beta: none fits where the mean of that, (KL(won‖lost) - KL(lost‖won))/(2·beta), is
    not negative. None where it is, and for several contexts, which share d.
    """
    share = (won + lost) / 2

    def ratios(kappa: Float[Tensor, "context 1"]) -> Float[Tensor, "context response"]:
        log_kappa_q = kappa.log() + log_q
        return rising_inverse(
            lambda v: (
                (log_kappa_q + v).exp()
                - won * torch.sigmoid(-beta * v)
                + lost * torch.sigmoid(beta * v)
            ),
            torch.zeros_like(log_q),
        )

    def below(kappa: Float[Tensor, "context 1"]) -> Float[Tensor, "context 1"]:
        v = torch.where(share > 0, ratios(kappa), 0.0)
        return -(share * v).sum(-1, keepdim=True)

    zero = torch.zeros_like(log_q[:, :1])
    if len(log_q) > 1 or (below(zero) > 0).any():
        return None
    return torch.log_softmax(log_q + ratios(root(below, zero, 1e-14)), dim=-1)
