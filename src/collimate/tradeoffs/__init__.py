"""The trade-off axis: how strongly, and where on the frontier."""

from collimate.tradeoffs.batch_adaptive import BatchAdaptive as BatchAdaptive
from collimate.tradeoffs.batch_adaptive import batch_adaptive as batch_adaptive
from collimate.tradeoffs.fixed import Fixed as Fixed
from collimate.tradeoffs.fixed import fixed as fixed

__all__ = ["BatchAdaptive", "Fixed", "batch_adaptive", "fixed"]
