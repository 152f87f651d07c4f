"""Optimisers and schedules."""

from collimate.optim.adamw import adamw as adamw
from collimate.optim.schedule import SCHEDULES as SCHEDULES
from collimate.optim.schedule import default_learning_rate as default_learning_rate
from collimate.optim.schedule import learning_rate as learning_rate

__all__ = ["SCHEDULES", "adamw", "default_learning_rate", "learning_rate"]
