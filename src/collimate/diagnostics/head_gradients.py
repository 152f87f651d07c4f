"""The part of two gradients' products that comes from the unembedding alone, without a backward pass."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from collimate._checks import BadData
from collimate.diagnostics._shapes import require_shape
from collimate.diagnostics.exact_gradients import GradientProducts

_VOCAB_CHUNK = 8192


def head_gradients(
    hidden: Float[Tensor, "token width"],
    logits: Float[Tensor, "token vocab"],
    ids: Int[Tensor, " token"],
    *,
    rejected: Bool[Tensor, " token"],
) -> GradientProducts:
    """`exact_gradients` over the unembedding W (logits = h·Wᵀ) of one pair, from forward values.

    The gradient of an answer's log-prob is Σ_k (e_{y_k} - p_k)·h_kᵀ, [vocab, width]. It is never
    made: <g_a, g_b> = Σ_{k in a, m in b} <e_{y_k} - p_k, e_{y_m} - p_m>·<h_k, h_m>, two tables
    [token, token]. Of the whole model's products it is one summand, exact for a frozen body.

    hidden, logits: at the positions that predict the answers' tokens, both answers one after the
    other. ids: the tokens they should predict. rejected: whose they are. Float64, the vocabulary in
    chunks: time token²·(vocab + width). Of a tied unembedding, the output's share only.

    Errors: BadData for shapes that differ, ids outside the vocabulary, or an answer without tokens.
    Source: yuan:25.

    >>> logits = torch.zeros(2, 2)  # p = ½, ½: e - p = (½, -½) and (-½, ½)
    >>> which = torch.tensor([False, True])
    >>> found = head_gradients(torch.ones(2, 3), logits, torch.tensor([0, 1]), rejected=which)
    >>> found.norm_w_squared.item(), found.inner.item()
    (1.5, -1.5)
    """
    tokens, vocab = logits.shape
    require_shape("hidden", hidden, (tokens, hidden.shape[-1]), "token and width")
    require_shape("ids", ids, (tokens,), "token")
    require_shape("rejected", rejected, (tokens,), "token")
    if rejected.all() or not rejected.any():
        raise BadData("both answers need tokens: `rejected` must be true of some and not of others")
    if int(ids.min()) < 0 or int(ids.max()) >= vocab:
        raise BadData(f"ids must be in 0 to {vocab - 1}, got {int(ids.min())} to {int(ids.max())}")
    h = hidden.detach().double()
    table = _error_gram(logits.detach(), ids) * (h @ h.T)
    of_chosen, of_rejected = table[~rejected], table[rejected]
    return GradientProducts(
        norm_w_squared=of_chosen[:, ~rejected].sum(),
        norm_l_squared=of_rejected[:, rejected].sum(),
        inner=of_chosen[:, rejected].sum(),
    )


def _error_gram(
    logits: Float[Tensor, "token vocab"], ids: Int[Tensor, " token"]
) -> Float[Tensor, "token other"]:
    """<e_k - p_k, e_m - p_m> of all tokens k, m."""
    tokens = torch.arange(len(ids), device=ids.device)
    log_z = logits.double().logsumexp(-1, keepdim=True)
    gram = torch.zeros(len(ids), len(ids), dtype=torch.float64, device=logits.device)
    for start in range(0, logits.shape[1], _VOCAB_CHUNK):
        error = -torch.exp(logits[:, start : start + _VOCAB_CHUNK].double() - log_z)
        here = (ids >= start) & (ids < start + error.shape[1])
        error[tokens[here], ids[here] - start] += 1
        gram += error @ error.T
    return gram
