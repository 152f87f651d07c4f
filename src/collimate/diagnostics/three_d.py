"""The 3D-properties of DPO: drastic drop, degradation, dispersion."""

from __future__ import annotations

import math
from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor

from collimate._checks import positive
from collimate.diagnostics._shapes import require_finite, require_shape, require_some


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ThreeD:
    """Mean change of log-probs since the first moment (nats), and what it amounts to.

    chosen, rejected, unseen: trajectories of those three kinds of answers. log_slope_ratio: mean of
    `log_slope_ratio`. drop: the rejected answers have fallen by more than `drop_nats`.
    degradation: the chosen answers are less likely than at first. dispersion: unseen ones likelier.

    >>> import torch
    >>> line = torch.tensor([0.0, -1.0], dtype=torch.float64)
    >>> found = ThreeD(chosen=line, rejected=9 * line, unseen=-line, log_slope_ratio=line, drop_nats=4.6)
    >>> found.drop, found.degradation, found.dispersion
    (tensor([False,  True]), tensor([False,  True]), tensor([False,  True]))
    """

    chosen: Float[Tensor, " moment"]
    rejected: Float[Tensor, " moment"]
    unseen: Float[Tensor, " moment"]
    log_slope_ratio: Float[Tensor, " moment"]
    drop_nats: float

    @property
    def drop(self) -> Bool[Tensor, " moment"]:
        """Whether the rejected answers have fallen drastically."""
        return self.rejected < -self.drop_nats

    @property
    def degradation(self) -> Bool[Tensor, " moment"]:
        """Whether the chosen answers have fallen below their start."""
        return self.chosen < 0

    @property
    def dispersion(self) -> Bool[Tensor, " moment"]:
        """Whether unseen answers have risen above their start."""
        return self.unseen > 0


def three_d_properties(
    chosen: Float[Tensor, "moment pair"],
    rejected: Float[Tensor, "moment pair"],
    unseen: Float[Tensor, "moment answer"],
    *,
    drop_nats: float = math.log(100),
) -> ThreeD:
    """Trajectories of log-probs (nats) over the moments of a run, and the three indicators.

    chosen, rejected: of the same pairs at each moment, the first being the start. unseen: of answers
    that no pair holds, or one column, the log of their whole mass. drop_nats: fall of the mean
    log-prob that counts as drastic; the default is a hundredfold. An indicator is of a mean: with
    few pairs, look at the pairs (`displacement`) too.

    Errors: BadData for shapes that differ, an empty series, or a log-prob that is not finite;
    BadConfig unless drop_nats is above 0. Source: yan:25.

    >>> import torch
    >>> chosen, rejected = torch.tensor([[-1.0], [-3.0]]), torch.tensor([[-2.0], [-9.0]])
    >>> found = three_d_properties(chosen, rejected, unseen=torch.tensor([[-4.0], [-0.5]]))
    >>> [x[-1].item() for x in (found.drop, found.degradation, found.dispersion)]
    [True, True, True]
    """
    positive("drop_nats", drop_nats)
    require_some("chosen", chosen, "moment and pair")
    require_some("unseen", unseen, "moment and answer")
    require_shape("rejected", rejected, chosen.shape, "moment and pair")
    require_shape("unseen", unseen, (len(chosen), *unseen.shape[1:]), "moment and answer")
    for name, value in (("chosen", chosen), ("rejected", rejected), ("unseen", unseen)):
        require_finite(name, value)
    wanted, unwanted, other = (x.detach().double() for x in (chosen, rejected, unseen))
    return ThreeD(
        chosen=(wanted - wanted[0]).mean(-1),
        rejected=(unwanted - unwanted[0]).mean(-1),
        unseen=(other - other[0]).mean(-1),
        log_slope_ratio=log_slope_ratio(wanted, unwanted).mean(-1),
        drop_nats=drop_nats,
    )


def log_slope_ratio(
    log_prob_chosen: Float[Tensor, "*pair"], log_prob_rejected: Float[Tensor, "*pair"]
) -> Float[Tensor, "*pair"]:
    """log(|∂L/∂p_w|/|∂L/∂p_l|) = log p_l - log p_w (nats), for any loss of log p_w - log p_l.

    The two probabilities are read as free variables. Below 0, the loss moves the rejected answer's
    probability the more, and the further it falls the more so. As p_l → 0 under DPO, |∂L/∂p_l| goes
    as p_l^(beta - 1): it diverges for beta < 1 only. With slopes of their own (`loss_slopes`), add
    log(d_w/d_l).

    Source: yan:25.

    >>> import torch
    >>> log_slope_ratio(torch.tensor([0.5]).log(), torch.tensor([0.05]).log()).exp()
    tensor([0.1000])
    """
    return log_prob_rejected - log_prob_chosen
