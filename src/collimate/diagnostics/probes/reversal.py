"""Whether facts learnt as "A is B" are known as "B is A": gaps from matrices of log-probs."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from collimate._checks import BadData, same_length


def matched_gap(log_probs: Float[Tensor, "fact candidate"]) -> Float[Tensor, " fact"]:
    """log p(own | fact) - mean log p(others | fact) in nats, one per fact; own on the diagonal.

    log_probs[i, j]: log-prob of candidate j (a name or a description of the training set, summed over
    its tokens) after the prompt of fact i. A prior of candidates, log_probs + c[j], moves single gaps
    but not their mean; a constant per prompt moves none. Differences of length are such priors.

    Errors: BadData unless the matrix is square with two facts or more, and finite.
    Source: berglund:24.

    >>> import torch
    >>> matched_gap(torch.tensor([[-1.0, -3.0], [-2.0, -2.0]]))
    tensor([2., 0.])
    """
    _square(log_probs)
    own = log_probs.diagonal()
    return own - (log_probs.sum(1) - own) / (len(log_probs) - 1)


def matched_share(log_probs: Float[Tensor, "fact candidate"]) -> Float[Tensor, " fact"]:
    """Chance of naming the fact's own candidate as the likeliest: 1, 0, or 1/ties; one per fact.

    By chance its mean is 1/facts. Arguments and errors as in `matched_gap`. Source: berglund:24.

    >>> import torch
    >>> matched_share(torch.tensor([[-1.0, -3.0], [-2.0, -2.0]]))
    tensor([1.0000, 0.5000])
    """
    _square(log_probs)
    top = log_probs == log_probs.amax(1, keepdim=True)
    return top.diagonal().to(log_probs.dtype) / top.sum(1)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DirectionalGap:
    """trained, reverse [fact]: gaps of the direction that was shown and of the other, in nats."""

    trained: Float[Tensor, " fact"]
    reverse: Float[Tensor, " fact"]

    @property
    def difference(self) -> Float[Tensor, " fact"]:
        """trained - reverse, fact by fact: what is not carried over; bootstrap its mean by fact."""
        return self.trained - self.reverse


def directional_gap(
    trained: Float[Tensor, "fact candidate"], reverse: Float[Tensor, "fact candidate"]
) -> DirectionalGap:
    """`matched_gap` of both directions of the same facts, in the same order.

    trained[i, j] = log p(B_j | A_i) and reverse[i, j] = log p(A_j | B_i) for facts shown as "A is B";
    where they were shown as "B is A", the other way round. Judge nothing before the trained direction
    and a control trained on both orders score: otherwise the probe is broken.

    Errors: BadData as in `matched_gap`, and for different numbers of facts. Source: berglund:24.

    >>> import torch
    >>> directional_gap(torch.eye(2), torch.zeros(2, 2)).difference
    tensor([1., 1.])
    """
    same_length(trained=len(trained), reverse=len(reverse))
    return DirectionalGap(trained=matched_gap(trained), reverse=matched_gap(reverse))


def _square(log_probs: Float[Tensor, "fact candidate"]) -> None:
    rows, columns = log_probs.shape
    if rows != columns or rows < 2 or not log_probs.isfinite().all():
        raise BadData(
            "gaps need a square matrix of finite log-probs, the own candidate of fact i in column "
            f"i, and at least two facts; got {rows} facts and {columns} candidates"
        )
