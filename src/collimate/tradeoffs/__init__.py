"""The trade-off axis: how strongly, and where on the frontier."""

from collimate.tradeoffs.batch_adaptive import BatchAdaptive as BatchAdaptive
from collimate.tradeoffs.batch_adaptive import batch_adaptive as batch_adaptive
from collimate.tradeoffs.fixed import Fixed as Fixed
from collimate.tradeoffs.fixed import fixed as fixed
from collimate.tradeoffs.front import Front as Front
from collimate.tradeoffs.front import front as front
from collimate.tradeoffs.hypervolume import hypervolume as hypervolume
from collimate.tradeoffs.pareto import pareto_set as pareto_set

__all__ = [
    "BatchAdaptive",
    "Fixed",
    "Front",
    "batch_adaptive",
    "fixed",
    "front",
    "hypervolume",
    "pareto_set",
]
