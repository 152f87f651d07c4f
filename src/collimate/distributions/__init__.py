"""The distribution axis: which samples, drawn from whom."""

from collimate.distributions.offline import Offline as Offline
from collimate.distributions.offline import offline_lists as offline_lists
from collimate.distributions.offline import offline_pairs as offline_pairs
from collimate.distributions.offline import offline_thumbs as offline_thumbs
from collimate.distributions.offline import offline_triples as offline_triples

__all__ = ["Offline", "offline_lists", "offline_pairs", "offline_thumbs", "offline_triples"]
