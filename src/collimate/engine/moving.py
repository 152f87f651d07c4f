"""A reference that follows the policy, weight by weight."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from collimate.axes import ReferenceUpdate
from collimate.compose import Objective
from collimate.engine.model import LogProbModel
from collimate.engine.objective import reference_update_of


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Moving:
    """A reference that moves with the policy: the model, and how it follows."""

    reference: LogProbModel
    update: ReferenceUpdate

    def after(self, step: int, policy: LogProbModel) -> None:
        """Move it where it is due after so many steps that were taken: skipped ones do not count."""
        if step % self.update.every == 0:
            move_reference(self.reference.model, policy.model, self.update)


def moving_of(objective: Objective, frozen: LogProbModel | None) -> Moving | None:
    """The reference, where it is there as a model and the objective moves it.

    Errors: BadComposition where the objective moves it in two ways.
    """
    update = reference_update_of(objective)
    return None if update is None or frozen is None else Moving(reference=frozen, update=update)


def move_reference(reference: nn.Module, policy: nn.Module, update: ReferenceUpdate) -> None:
    """q <- alpha·p + (1 - alpha)·q for every weight; the two have the same parameters. No gradient."""
    weights = dict(policy.named_parameters())
    with torch.no_grad():
        for name, weight in reference.named_parameters():
            weight.lerp_(weights[name], update.alpha)
