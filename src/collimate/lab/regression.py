"""Scores of responses whose gaps fit given ones in least squares, over the pairs that are drawn."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from collimate._checks import BadConfig


def least_squares_scores(
    pair_law: Float[Tensor, "context response response"],
    gaps: Float[Tensor, "context response response"],
) -> Float[Tensor, "context response"]:
    """v that minimises Σ law(y, y')·(v(y) - v(y') - gap(y, y'))², gaps antisymmetric; v sums to zero.

    The normal equations are one weighted graph Laplacian per context, the graph being the pairs that
    are drawn.

    Errors: BadConfig if the drawn pairs leave a response unconnected to another.
    """
    drawn = pair_law + pair_law.mT
    drawn = drawn - torch.diag_embed(drawn.diagonal(dim1=-2, dim2=-1))
    _require_connected(drawn)
    degree = drawn.sum(-1)
    # The Laplacian maps constants to zero; a rank-one term of like size fixes Σ v = 0.
    anchor = degree.mean(-1)[:, None, None] / drawn.shape[-1]
    return torch.linalg.solve(torch.diag_embed(degree) - drawn + anchor, (drawn * gaps).sum(-1))


def _require_connected(drawn: Float[Tensor, "context response response"]) -> None:
    responses = drawn.shape[-1]
    reached = torch.zeros(drawn.shape[:2], dtype=drawn.dtype)
    reached[:, 0] = 1
    edges = (drawn > 0).to(drawn.dtype)
    for _ in range(responses):
        wider = ((reached + (edges @ reached[..., None]).squeeze(-1)) > 0).to(drawn.dtype)
        if torch.equal(wider, reached):
            break
        reached = wider
    count = reached.sum(-1)
    if (count < responses).any():
        context = int(count.argmin())
        raise BadConfig(
            f"pair_law: in context {context} the drawn pairs connect response 0 with only "
            f"{int(count[context]) - 1} of the other {responses - 1}, so the loss does not "
            "determine the policy; give positive probability to pairs that connect all responses"
        )
