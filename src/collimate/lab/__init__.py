"""Enumerable worlds: every expectation is a sum, so theory's optima are exact."""

from collimate.lab.balance import balance as balance
from collimate.lab.descend import descend as descend
from collimate.lab.differential_information import contrast as contrast
from collimate.lab.differential_information import (
    differential_information as differential_information,
)
from collimate.lab.differential_information import rejected_law as rejected_law
from collimate.lab.fit import Fit as Fit
from collimate.lab.fit import fit as fit
from collimate.lab.frontier import Frontier as Frontier
from collimate.lab.pairs import LabelledPairs as LabelledPairs
from collimate.lab.pairs import drawn_pairs as drawn_pairs
from collimate.lab.pairs import every_pair as every_pair
from collimate.lab.per_token import tilt_per_token as tilt_per_token
from collimate.lab.world import SampledPairs as SampledPairs
from collimate.lab.world import World as World
from collimate.lab.world import total_variation as total_variation

__all__ = [
    "Fit",
    "Frontier",
    "LabelledPairs",
    "SampledPairs",
    "World",
    "balance",
    "contrast",
    "descend",
    "differential_information",
    "drawn_pairs",
    "every_pair",
    "fit",
    "rejected_law",
    "tilt_per_token",
    "total_variation",
]
