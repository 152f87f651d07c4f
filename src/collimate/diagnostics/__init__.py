"""Read-only measurements of log-probs."""

from collimate.diagnostics.density_ratio import density_ratio as density_ratio
from collimate.diagnostics.intervals import bootstrap_mean as bootstrap_mean
from collimate.diagnostics.preferences import compared_lists as compared_lists
from collimate.diagnostics.preferences import list_statistics as list_statistics
from collimate.diagnostics.preferences import pair_statistics as pair_statistics
from collimate.diagnostics.preferences import statistics as statistics
from collimate.diagnostics.preferences import thumb_statistics as thumb_statistics

__all__ = [
    "bootstrap_mean",
    "compared_lists",
    "density_ratio",
    "list_statistics",
    "pair_statistics",
    "statistics",
    "thumb_statistics",
]
