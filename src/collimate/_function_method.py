"""Methods made of one function of pairs: see `Method.of`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from collimate._checks import BadComposition
from collimate._types import ListLogProbs, PairLogProbs
from collimate.axes import Needs, State, Term


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionMethod:
    """A method made of one function of pairs; see `Method.of`."""

    name: str
    function: Callable[[PairLogProbs], Tensor]
    needs: Needs
    source: str = ""

    def __call__(self, view: PairLogProbs, /) -> Float[Tensor, " pair"]:
        """The function's value. BadComposition unless it has one entry per pair."""
        values = self.function(view)
        if not isinstance(values, Tensor) or values.shape != view.policy_chosen.shape:
            got = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
            raise BadComposition(
                f"method '{self.name}' must return one value per pair, shape "
                f"{tuple(view.policy_chosen.shape)}, got {got}: leave the mean to the engine, "
                "which takes it over the whole step"
            )
        return values

    def init(self) -> State:
        """No state."""
        return {}

    def terms(self, view: PairLogProbs, state: State, /) -> Mapping[str, Term]:
        """One term, `loss`, weighted by the data's column `weight` (1 without it)."""
        values = self(view)
        return {"loss": Term(1.0, values, weight_of(view, values))}

    def update(self, view: PairLogProbs, state: State, /) -> State:
        """No state."""
        return state

    def measure(self, view: PairLogProbs, state: State, /) -> Mapping[str, Float[Tensor, " pair"]]:
        """Nothing beyond the loss."""
        return {}


def weight_of(view: Any, values: Tensor) -> Float[Tensor, " unit"]:
    """The data's column `weight`, 1 for each unit without it; an answer of a list has its list's."""
    weight: Tensor | None = view.columns.get("weight")
    if weight is None:
        return torch.ones_like(values, requires_grad=False)
    if isinstance(view, ListLogProbs) and len(values) == len(view.group):
        weight = weight[view.group]
    return weight.to(values.dtype)


_TRIALS, _TRIAL_PAIRS = 8, 8  # a sort of few pairs, or a clamped mean, may hide in a single trial


def couples_pairs(function: Callable[[PairLogProbs], Tensor]) -> bool:
    """Whether the value of a pair changes with its neighbours, measured on made-up pairs."""
    generator = torch.Generator().manual_seed(0)
    return any(_couples_in(function, generator) for _ in range(_TRIALS))


def _couples_in(function: Callable[[PairLogProbs], Tensor], generator: torch.Generator) -> bool:
    def draw(low: float, high: float) -> Tensor:
        unit = torch.rand(_TRIAL_PAIRS, dtype=torch.float64, generator=generator)
        return low + (high - low) * unit

    fields: dict[str, Any] = {
        "policy_chosen": draw(-20.0, 0.0),
        "policy_rejected": draw(-20.0, 0.0),
        "reference_chosen": draw(-20.0, 0.0),
        "reference_rejected": draw(-20.0, 0.0),
        "chosen_tokens": draw(1.0, 9.0).round(),
        "rejected_tokens": draw(1.0, 9.0).round(),
    }
    try:
        together = function(PairLogProbs(**fields))
        alone = [
            function(PairLogProbs(**{k: v[i : i + 1] for k, v in fields.items()}))
            for i in range(_TRIAL_PAIRS)
        ]
    except (KeyError, AttributeError, TypeError):
        return True  # it reads columns or tokens that made-up pairs lack: the safe answer
    if not isinstance(together, Tensor) or together.shape != (_TRIAL_PAIRS,):
        return False  # refused with its shape when it is called
    return not torch.allclose(together, torch.cat(alone), rtol=1e-9, atol=1e-12)
