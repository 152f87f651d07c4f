"""Read-only measurements of log-probs."""

from collimate.diagnostics.intervals import bootstrap_mean as bootstrap_mean
from collimate.diagnostics.preferences import pair_statistics as pair_statistics

__all__ = ["bootstrap_mean", "pair_statistics"]
