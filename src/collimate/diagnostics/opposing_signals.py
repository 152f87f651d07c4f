"""Pairs whose losses a step moves most, in opposite directions."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

from collimate._checks import BadConfig, BadData
from collimate.diagnostics._shapes import require_finite, require_shape, require_some


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OpposingSignals:
    """Change of each pair's loss between two moments, and the pairs it moved most.

    change: after - before (nats). risen, fallen: indices of the pairs whose loss rose, or fell, the
    most, the largest change first; fewer than asked for where fewer moved that way.

    >>> import torch
    >>> none = torch.zeros(2)
    >>> indices = torch.tensor([0])
    >>> OpposingSignals(change=none, risen=indices, fallen=indices).risen
    tensor([0])
    """

    change: Float[Tensor, " pair"]
    risen: Int[Tensor, " risen"]
    fallen: Int[Tensor, " fallen"]


def opposing_signals(
    loss_before: Float[Tensor, " pair"], loss_after: Float[Tensor, " pair"], *, top: int = 10
) -> OpposingSignals:
    """Δ_i = l_i(after) - l_i(before), and the `top` pairs of largest rise and of largest fall.

    The two moments are those around one step, or a few: outliers with opposing signals take turns.
    Whether groups do is `antiphase` of their mean losses over many steps. That two extremes exist
    shows nothing by itself: half of any noise rises.

    Errors: BadData for no pairs, shapes that differ or losses that are not finite; BadConfig unless
    top >= 1. Source: rosenfeld:24.

    >>> import torch
    >>> found = opposing_signals(torch.zeros(4), torch.tensor([0.5, -2.0, 3.0, 0.0]), top=2)
    >>> found.risen, found.fallen
    (tensor([2, 0]), tensor([1]))
    """
    if isinstance(top, bool) or top < 1:
        raise BadConfig(f"top must be a whole number of at least 1, got {top!r}")
    require_some("loss_before", loss_before, "pair")
    require_shape("loss_after", loss_after, loss_before.shape, "pair")
    require_finite("loss_before", loss_before)
    require_finite("loss_after", loss_after)
    change = (loss_after - loss_before).detach()
    order = change.argsort(descending=True, stable=True)
    rising, falling = int((change > 0).sum()), int((change < 0).sum())
    return OpposingSignals(
        change=change,
        risen=order[: min(top, rising)],
        fallen=order.flip(0)[: min(top, falling)],
    )


def antiphase(
    first: Float[Tensor, " moment"], second: Float[Tensor, " moment"]
) -> Float[Tensor, ""]:
    """Correlation of the changes of two groups' mean losses from moment to moment, in [-1, 1].

    -1: what helps one group hurts the other. Two groups that are merely learnt fall together, above
    0. Float64; NaN where a group's loss never changes its pace.

    Errors: BadData for shapes that differ, fewer than three moments, or losses that are not finite.
    Source: rosenfeld:24.

    >>> import torch
    >>> antiphase(torch.tensor([1.0, 2.0, 0.0, 3.0]), torch.tensor([5.0, 3.0, 7.0, 1.0]))
    tensor(-1., dtype=torch.float64)
    """
    require_shape("second", second, first.shape, "moment")
    require_finite("first", first)
    require_finite("second", second)
    if len(first) < 3:
        raise BadData(f"two changes to correlate need three moments, got {len(first)}")
    a, b = first.detach().double().diff(), second.detach().double().diff()
    a, b = a - a.mean(), b - b.mean()
    return ((a @ b) / ((a @ a).sqrt() * (b @ b).sqrt())).clamp(-1, 1)
