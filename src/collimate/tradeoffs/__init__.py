"""The trade-off axis: how strongly, and where on the frontier."""

from collimate.tradeoffs.fixed import Fixed as Fixed
from collimate.tradeoffs.fixed import fixed as fixed

__all__ = ["Fixed", "fixed"]
