"""CHES: how alike the hidden states of chosen and rejected answers are, before any training."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from collimate._checks import BadData
from collimate.diagnostics._shapes import require_shape


def ches_score(
    hidden_chosen: Float[Tensor, "pair chosen_position width"],
    hidden_rejected: Float[Tensor, "pair rejected_position width"],
    *,
    chosen_mask: Bool[Tensor, "pair chosen_position"],
    rejected_mask: Bool[Tensor, "pair rejected_position"],
) -> Float[Tensor, " pair"]:
    """<Σ_k h+_k, Σ_k h-_k> - ‖Σ_k h+_k‖² of each pair; the higher, the likelier displacement.

    hidden_*: the last hidden states, before the unembedding, of prompt with answer. *_mask: the
    positions that predict a token of the answer: the last one of the prompt is in, that of the
    answer's final token is not. What stands at other positions is never read into the sums, so
    that padding on either side, of any content, changes nothing. Sums in float64; unit: hidden²,
    comparable within one model only.

    Errors: BadData for shapes that differ and for an answer without predicting positions.
    Source: razin:25.

    >>> hidden = torch.tensor([[[9.0, 9.0], [1.0, 0.0], [0.0, 2.0], [9.0, 9.0]]])
    >>> mask = torch.tensor([[False, True, True, False]])
    >>> ches_score(hidden, 2 * hidden, chosen_mask=mask, rejected_mask=mask)  # 2·5 - 5
    tensor([5.], dtype=torch.float64)
    """
    chosen, rejected = _both(hidden_chosen, hidden_rejected, chosen_mask, rejected_mask)
    return ches_from_sums(chosen, rejected)


def ches_score_length_normalised(
    hidden_chosen: Float[Tensor, "pair chosen_position width"],
    hidden_rejected: Float[Tensor, "pair rejected_position width"],
    *,
    chosen_mask: Bool[Tensor, "pair chosen_position"],
    rejected_mask: Bool[Tensor, "pair rejected_position"],
) -> Float[Tensor, " pair"]:
    """`ches_score` of the means over the predicting positions instead of the sums.

    Without it long answers have the lowest scores: the second term grows as the length squared.
    Arguments and errors as there. Source: razin:25.

    >>> hidden, mask = torch.tensor([[[1.0], [3.0]]]), torch.tensor([[True, True]])
    >>> ches_score_length_normalised(hidden, 2 * hidden, chosen_mask=mask, rejected_mask=mask)
    tensor([4.], dtype=torch.float64)
    """
    chosen, rejected = _both(hidden_chosen, hidden_rejected, chosen_mask, rejected_mask)
    return ches_from_sums(
        chosen / chosen_mask.sum(1, keepdim=True), rejected / rejected_mask.sum(1, keepdim=True)
    )


def ches_from_sums(
    sum_chosen: Float[Tensor, "pair width"], sum_rejected: Float[Tensor, "pair width"]
) -> Float[Tensor, " pair"]:
    """<s+, s-> - ‖s+‖² = <s+, s- - s+> of each pair's sums (or means) of hidden states, in float64.

    Errors: BadData for shapes that differ. Source: razin:25.

    >>> ches_from_sums(torch.tensor([[1.0, 1.0]]), torch.tensor([[2.0, 0.0]]))
    tensor([0.], dtype=torch.float64)
    """
    require_shape("sum_rejected", sum_rejected, sum_chosen.shape, "number of sum_chosen")
    chosen = sum_chosen.double()
    return (chosen * (sum_rejected.double() - chosen)).sum(-1)


def hidden_sums(
    hidden: Float[Tensor, "position width"], sequence: Int[Tensor, " position"], sequences: int
) -> Float[Tensor, "sequence width"]:
    """Σ h over the positions of each sequence, in float64: ragged states, as an engine has them.

    sequence: owner of each predicting position, 0 to sequences - 1; leave other positions out.

    Errors: BadData for an owner out of range, or a sequence without positions.

    >>> hidden_sums(torch.tensor([[1.0], [2.0], [4.0]]), torch.tensor([0, 1, 1]), 2)
    tensor([[1.],
            [6.]], dtype=torch.float64)
    """
    require_shape("sequence", sequence, hidden.shape[:1], "position")
    if len(sequence) and not (int(sequence.min()) >= 0 and int(sequence.max()) < sequences):
        raise BadData(f"sequence must be in 0 to {sequences - 1}, got {sequence.tolist()}")
    empty = (torch.bincount(sequence, minlength=sequences) == 0).nonzero()
    if len(empty):
        raise BadData(f"sequence {int(empty[0])} has no predicting position: leave it out")
    sums = torch.zeros(sequences, hidden.shape[1], dtype=torch.float64, device=hidden.device)
    return sums.index_add_(0, sequence, hidden.detach().double())


def _both(
    hidden_chosen: Tensor, hidden_rejected: Tensor, chosen_mask: Tensor, rejected_mask: Tensor
) -> tuple[Float[Tensor, "pair width"], Float[Tensor, "pair width"]]:
    if hidden_chosen.dim() != 3 or hidden_rejected.dim() != 3:
        raise BadData(
            "hidden states must have shape [pair, position, width], got "
            f"{list(hidden_chosen.shape)} and {list(hidden_rejected.shape)}"
        )
    pairs, _, width = hidden_chosen.shape
    shape = (pairs, hidden_rejected.shape[1], width)
    require_shape("hidden_rejected", hidden_rejected, shape, "number of hidden_chosen")
    return (
        _masked_sum("chosen_mask", hidden_chosen, chosen_mask),
        _masked_sum("rejected_mask", hidden_rejected, rejected_mask),
    )


def _masked_sum(name: str, hidden: Tensor, mask: Tensor) -> Float[Tensor, "pair width"]:
    require_shape(name, mask, hidden.shape[:2], "position")
    empty = (~mask.any(1)).nonzero()
    if len(empty):
        raise BadData(
            f"{name} of pair {int(empty[0])} marks no position: the last token of the prompt always "
            "predicts one; leave empty answers out"
        )
    kept = hidden.detach().where(mask[..., None], torch.zeros_like(hidden))  # 0·NaN would be NaN
    return kept.sum(1, dtype=torch.float64)
