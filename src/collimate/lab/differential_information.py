"""What preferences must say to turn a reference into a target: differential information."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from collimate._checks import BadConfig, positive
from collimate.lab.world import World


def differential_information(
    log_p: Float[Tensor, "context response"], log_q: Float[Tensor, "context response"]
) -> Float[Tensor, "context response"]:
    """Log of p(y)/q(y), normalised over the responses: where p knows what q does not (nats).

    Source: won:25 theorem 3.2.

    >>> p, q = torch.tensor([[0.75, 0.25]]), torch.tensor([[0.5, 0.5]])
    >>> differential_information(p.log(), q.log()).exp()
    tensor([[0.7500, 0.2500]])
    """
    return torch.log_softmax(log_p - log_q, dim=-1)


def rejected_law(
    log_target: Float[Tensor, "context response"],
    log_q: Float[Tensor, "context response"],
    beta: float,
) -> Float[Tensor, "context response"]:
    """Log of the law l(y) ∝ q(y)·(q(y)/p*(y))^beta of rejected answers that teach DPO p* (nats).

    With chosen answers from q and rejected ones from l, the label of a pair is Bradley-Terry in
    beta·log(p*/q), so that p* minimises DPO's population loss at beta.

    Errors: BadConfig unless beta is finite and above 0, or where p* is 0: l would be infinite there.
    Source: won:25 theorem 3.3, solved for l.

    >>> q = torch.tensor([[0.5, 0.5]]).double().log()
    >>> target = torch.tensor([[0.75, 0.25]]).double().log()
    >>> rejected_law(target, q, 1.0).exp()
    tensor([[0.2500, 0.7500]], dtype=torch.float64)
    """
    if not torch.isfinite(log_target).all():
        context, response = (~torch.isfinite(log_target)).nonzero()[0].tolist()
        raise BadConfig(
            f"the target's log-prob [{context}, {response}] is "
            f"{log_target[context, response].item()}: rejected answers teach only targets that leave "
            "every response a chance; mix the target with the reference"
        )
    return torch.log_softmax(log_q + positive("beta", beta) * (log_q - log_target), dim=-1)


def contrast(
    log_q: Float[Tensor, "context response"],
    log_chosen: Float[Tensor, "context response"],
    log_rejected: Float[Tensor, "context response"],
) -> World:
    """The world whose chosen answers have one law and rejected ones another, drawn independently.

    Of two answers, which one was chosen follows Bradley-Terry with the reward log chosen - log
    rejected (Bayes), so that DPO's population optimum is q·(chosen/rejected)^(1/beta)/Z.

    Errors: BadConfig for laws that are not positive, or do not sum to 1.

    >>> q = torch.tensor([[0.5, 0.5]]).log()
    >>> contrast(q, q, torch.tensor([[0.25, 0.75]]).log()).labels()[0]
    tensor([[0.1250, 0.3750],
            [0.1250, 0.3750]], dtype=torch.float64)
    """
    joint = log_chosen.double().exp()[:, :, None] * log_rejected.double().exp()[:, None, :]
    return World(log_q, log_chosen.double() - log_rejected.double(), pair_law=joint)
