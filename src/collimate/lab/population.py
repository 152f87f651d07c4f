"""A world's units of whatever kind a method reads."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from collimate._checks import BadComposition
from collimate._types import PairLogProbs, ThumbLogProbs
from collimate.axes import Method
from collimate.lab._reduce import shares
from collimate.lab.lists import ScoredLists, every_list
from collimate.lab.pairs import LabelledPairs, every_pair
from collimate.lab.thumbs import LabelledAnswers, every_thumb
from collimate.lab.world import World

Units = LabelledPairs | LabelledAnswers | ScoredLists


def population(world: World, method: Method) -> Units:
    """Every unit of the method's view, its probability in the column `weight`.

    Errors: BadComposition for a method of single tokens or of the whole batch, and for one that couples
    units other than by means in which a unit's weight counts.

    >>> from collimate.methods import kto
    >>> world = World(torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[1.0, 0.0]]))
    >>> len(population(world, kto()).under(world.reference_log_probs))
    4
    """
    needs = method.needs
    if needs.couples == "batch":
        _require_weights(method)
    if needs.noise:
        raise BadComposition(
            f"method '{method.name}' reads noise that is drawn in each step: fit it at its mean, with "
            "replace(margin, constant=gamma, target_of=None, needs=replace(margin.needs, noise=False))"
        )
    match needs.view:
        case "pairs":
            return every_pair(world, gold=needs.gold, signals=needs.signals)
        case "thumbs":
            return every_thumb(world)
        case "lists":
            return every_list(world)
        case _:
            raise BadComposition(
                f"the lab enumerates pairs, labelled answers and lists, and method '{method.name}' reads "
                f"a view of {needs.view}; fit a method of one of the three"
            )


_UNITS = 8  # made-up ones; a sort of fewer may hide


def _require_weights(method: Method) -> None:
    """Measured on made-up units: one of weight 2 must count as two."""
    rows = torch.arange(_UNITS)
    once, twice = torch.ones(_UNITS + 1).double(), torch.ones(_UNITS).double()
    twice[0] = 2.0
    whole, cut = _made_up(method, rows, twice), _made_up(method, torch.cat([rows[:1], rows]), once)
    way_out = (
        "those of the population have unequal weights: use lab.descend, with "
        "pairs=world.sample_pairs(...)"
    )
    try:
        losses = [shares(method.terms(view, method.init())).sum() for view in (whole, cut)]
    except BadComposition as error:  # it takes no weights at all
        raise BadComposition(f"method '{method.name}': {error}; {way_out}") from error
    if not torch.isclose(*losses, rtol=1e-9):
        raise BadComposition(
            f"method '{method.name}' couples the {method.needs.view} of a batch, and one of weight 2 is "
            f"not two of them to it; {way_out}"
        )


def _made_up(
    method: Method, rows: Int[Tensor, " unit"], weight: Float[Tensor, " unit"]
) -> PairLogProbs | ThumbLogProbs:
    numbers = torch.randn(4, _UNITS, generator=torch.Generator().manual_seed(0)).double()
    first, second, third, fourth = -numbers.exp()[:, rows]
    columns = {"weight": weight, "margin": numbers[0, rows]}
    if method.needs.view == "thumbs":
        return ThumbLogProbs(
            policy=first,
            reference=second,
            label=1.0 - 2.0 * (rows % 2).double(),
            mismatched_policy=numbers[2],
            mismatched_reference=numbers[3],
            columns=columns,
        )
    return PairLogProbs(
        policy_chosen=first,
        policy_rejected=second,
        reference_chosen=third,
        reference_rejected=fourth,
        chosen_tokens=torch.ones(len(rows)).double(),
        rejected_tokens=torch.ones(len(rows)).double(),
        columns=columns,
    )
