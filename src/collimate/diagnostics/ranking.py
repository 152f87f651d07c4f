"""Whether a policy ranks the answers of pairs, and what the best of policies would."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from collimate._checks import BadData, positive
from collimate._types import PairLogProbs
from collimate.diagnostics._won import won
from collimate.diagnostics.preferences import pair_statistics


def ranking_accuracy(view: PairLogProbs) -> Mapping[str, Float[Tensor, " pair"]]:
    """Of each pair, whether the chosen answer ranks higher: 1, ½ at a tie, 0; by several measures.

    likelihood_accuracy: by log-prob. length_normalised_accuracy: by log-prob per token, where the
    view has tokens. reward_accuracy: by log-ratio, where it has a reference: what a DPO-like loss
    raises, and no ranking of answers by the policy.

    Errors: BadData for an answer without tokens. Source: chen:24b.

    >>> view = PairLogProbs(policy_chosen=torch.tensor([-6.0]), policy_rejected=torch.tensor([-4.0]),
    ...     chosen_tokens=torch.tensor([6]), rejected_tokens=torch.tensor([2]))
    >>> ranking_accuracy(view)
    {'likelihood_accuracy': tensor([0.]), 'length_normalised_accuracy': tensor([1.])}
    """
    measured = pair_statistics(view)
    found = {"likelihood_accuracy": measured["likelihood_accuracy"].detach()}
    if view.chosen_tokens is not None and view.rejected_tokens is not None:
        if not ((view.chosen_tokens > 0).all() and (view.rejected_tokens > 0).all()):
            raise BadData("an answer without tokens has no log-prob per token: leave its pair out")
        per_token = won(
            view.policy_chosen / view.chosen_tokens, view.policy_rejected / view.rejected_tokens
        )
        found["length_normalised_accuracy"] = per_token.detach()
    if "reward_accuracy" in measured:
        found["reward_accuracy"] = measured["reward_accuracy"].detach()
    return found


def ideal_gap(
    reference_chosen: Float[Tensor, " pair"],
    reference_rejected: Float[Tensor, " pair"],
    beta: float,
    agreement: float | Float[Tensor, " pair"],
) -> Float[Tensor, " pair"]:
    """log pi*(y_w)/pi*(y_l) = log q(y_w)/q(y_l) + log(a/(1 - a))/beta (nats), in float64.

    pi* is the optimum of the KL-regularised reward that explains the labels, DPO's target.
    agreement: a, the share of raters who prefer y_w, in [0, 1]; at 1 the gap is +inf, at 0 -inf.

    Errors: BadConfig unless beta > 0; BadData for a share outside [0, 1]. Source: chen:24b.

    >>> ideal_gap(torch.tensor([-9.0]), torch.tensor([-1.0]), 0.1, 0.75)  # -8 + 10·log 3
    tensor([2.9861], dtype=torch.float64)
    """
    share = torch.as_tensor(agreement, dtype=torch.float64)
    if not ((share >= 0) & (share <= 1)).all():
        raise BadData(f"the share preferring the chosen answer must be in [0, 1], got {agreement}")
    gap = reference_chosen.double() - reference_rejected.double()
    return gap + torch.logit(share) / positive("beta", beta)


def idealised_accuracy(
    reference_chosen: Float[Tensor, " pair"],
    reference_rejected: Float[Tensor, " pair"],
    beta: float,
    agreement: float | Float[Tensor, " pair"],
) -> Float[Tensor, " pair"]:
    """Of each pair, whether DPO's target ranks the chosen answer higher: 1, ½ at a tie, 0.

    Its mean bounds nothing: it is what exact optimisation would reach. At a = 1 it is 1 whatever the
    reference; it falls with beta and with the reference's preference for y_l. Say which a was
    assumed. Arguments and errors of `ideal_gap`. Source: chen:24b.

    >>> idealised_accuracy(torch.tensor([-9.0]), torch.tensor([-1.0]), 0.5, 0.75)
    tensor([0.], dtype=torch.float64)
    """
    gap = ideal_gap(reference_chosen, reference_rejected, beta, agreement)
    return won(gap, torch.zeros_like(gap))


def flip_difficulty(
    reference_chosen: Float[Tensor, " pair"], reference_rejected: Float[Tensor, " pair"]
) -> Float[Tensor, " pair"]:
    """c = log q(y_l)/q(y_w) (nats): how far log-ratios must part before the policy ranks the pair.

    Above 0 where the reference has it the wrong way round. Source: chen:24b.

    >>> flip_difficulty(torch.tensor([-9.0]), torch.tensor([-1.0]))
    tensor([8.])
    """
    return reference_rejected - reference_chosen


def flip_loss(
    reference_chosen: Float[Tensor, " pair"],
    reference_rejected: Float[Tensor, " pair"],
    beta: float,
) -> Float[Tensor, " pair"]:
    """-log sigmoid(beta·c), c = `flip_difficulty`: the DPO loss at which a pair's order turns.

    log p(y_w) - log p(y_l) = h - c, h the gap of log-ratios: the policy ranks the pair right iff
    h >= c, iff its DPO loss is at most this. Float64.

    Errors: BadConfig unless beta > 0. Source: chen:24b.

    >>> flip_loss(torch.tensor([-9.0]), torch.tensor([-1.0]), 0.1)
    tensor([0.3711], dtype=torch.float64)
    """
    difficulty = flip_difficulty(reference_chosen.double(), reference_rejected.double())
    return functional.softplus(-positive("beta", beta) * difficulty)
