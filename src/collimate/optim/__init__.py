"""Optimisers and schedules."""

from collections.abc import Callable, Mapping

from torch.optim import Optimizer

from collimate.optim.adamw import adamw as adamw
from collimate.optim.adamw_8bit import adamw_8bit as adamw_8bit
from collimate.optim.adamw_8bit import require_adamw_8bit as require_adamw_8bit
from collimate.optim.adamw_8bit import state_bytes as state_bytes
from collimate.optim.schedule import SCHEDULES as SCHEDULES
from collimate.optim.schedule import default_learning_rate as default_learning_rate
from collimate.optim.schedule import learning_rate as learning_rate

OPTIMIZERS: Mapping[str, Callable[..., Optimizer]] = {"adamw": adamw, "adamw_8bit": adamw_8bit}
"""By the name of the setting."""

__all__ = [
    "OPTIMIZERS",
    "SCHEDULES",
    "adamw",
    "adamw_8bit",
    "default_learning_rate",
    "learning_rate",
    "require_adamw_8bit",
    "state_bytes",
]
