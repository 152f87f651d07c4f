"""Enumerable worlds: every expectation is a sum, so theory's optima are exact."""

from collimate.lab.fit import Fit as Fit
from collimate.lab.fit import fit as fit
from collimate.lab.frontier import Frontier as Frontier
from collimate.lab.world import SampledPairs as SampledPairs
from collimate.lab.world import World as World
from collimate.lab.world import total_variation as total_variation

__all__ = ["Fit", "Frontier", "SampledPairs", "World", "fit", "total_variation"]
