"""Views made by hand in float32, as a training loop of one's own has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from collimate import methods
from tests.methods.answers import lists, thumbs
from tests.methods.test_published_equations import pairs

VIEWS = {"pairs": pairs, "thumbs": thumbs, "lists": lists}


def cast(part: Any, dtype: torch.dtype) -> Any:
    """A view with all of its numbers in `dtype`."""
    if isinstance(part, torch.Tensor):
        return part.to(dtype) if part.is_floating_point() else part
    if isinstance(part, Mapping):
        return {name: cast(value, dtype) for name, value in part.items()}
    if is_dataclass(part) and not isinstance(part, type):
        return replace(part, **{f.name: cast(getattr(part, f.name), dtype) for f in fields(part)})
    return part


def differentiable(view: Any) -> tuple[Any, list[torch.Tensor]]:
    """The view with the policy's log-probs as leaves: of answers, and of tokens where it has them."""
    names = ("policy", "policy_chosen", "policy_rejected")
    leaves = {n: getattr(view, n).clone().requires_grad_() for n in names if hasattr(view, n)}
    view = replace(view, **leaves)
    if getattr(view, "tokens", None) is None or isinstance(view.tokens, torch.Tensor):
        return view, list(leaves.values())
    log_prob = view.tokens.log_prob.clone().requires_grad_()
    tokens = replace(view.tokens, log_prob=log_prob)
    return replace(view, tokens=tokens), [*leaves.values(), log_prob]


@pytest.mark.parametrize("name", sorted(methods.__all__))
def test_a_loss_and_its_gradient_are_those_of_float64(name: str) -> None:
    """On the same numbers: those of float32, which float64 holds too."""
    method = getattr(methods, name)()
    narrow = cast(VIEWS[method.needs.view](), torch.float32)
    found: list[tuple[torch.Tensor, torch.Tensor]] = []
    for dtype in (torch.float32, torch.float64):
        view, leaves = differentiable(cast(narrow, dtype))
        loss = method(view)
        slopes = torch.autograd.grad(loss.sum(), leaves, allow_unused=True)
        assert loss.dtype in (dtype, torch.float64)  # sums over tokens are float64
        assert loss.isfinite().all()
        read = [slope.double() for slope in slopes if slope is not None]
        found.append((loss.detach().double(), torch.cat(read)))
    (loss, slope), (exact, steep) = found
    assert_close(loss, exact, rtol=1e-5, atol=1e-5)
    assert steep.abs().max() > 0
    assert (slope - steep).abs().max() <= 1e-5 * steep.abs().max()
