"""The distribution axis: which samples, drawn from whom."""

from collimate.distributions.offline import Offline as Offline
from collimate.distributions.offline import offline_pairs as offline_pairs

__all__ = ["Offline", "offline_pairs"]
