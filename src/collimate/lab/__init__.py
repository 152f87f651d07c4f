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
from collimate.lab.lists import ScoredLists as ScoredLists
from collimate.lab.lists import answer_law as answer_law
from collimate.lab.lists import every_list as every_list
from collimate.lab.pairs import LabelledPairs as LabelledPairs
from collimate.lab.pairs import drawn_pairs as drawn_pairs
from collimate.lab.pairs import every_pair as every_pair
from collimate.lab.pairs import gold_law as gold_law
from collimate.lab.per_token import tilt_per_token as tilt_per_token
from collimate.lab.population import population as population
from collimate.lab.thumbs import LabelledAnswers as LabelledAnswers
from collimate.lab.thumbs import every_thumb as every_thumb
from collimate.lab.world import SampledPairs as SampledPairs
from collimate.lab.world import World as World
from collimate.lab.world import total_variation as total_variation

__all__ = [
    "Fit",
    "Frontier",
    "LabelledAnswers",
    "LabelledPairs",
    "SampledPairs",
    "ScoredLists",
    "World",
    "answer_law",
    "balance",
    "contrast",
    "descend",
    "differential_information",
    "drawn_pairs",
    "every_list",
    "every_pair",
    "every_thumb",
    "fit",
    "gold_law",
    "population",
    "rejected_law",
    "tilt_per_token",
    "total_variation",
]
