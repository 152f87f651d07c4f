"""Read-only measurements: of log-probs, forecasts, thresholds, raters and trends."""

from collimate.diagnostics import calibration as calibration
from collimate.diagnostics import probes as probes
from collimate.diagnostics import raters as raters
from collimate.diagnostics import thresholds as thresholds
from collimate.diagnostics.density_ratio import density_ratio as density_ratio
from collimate.diagnostics.intervals import bootstrap_mean as bootstrap_mean
from collimate.diagnostics.preferences import compared_lists as compared_lists
from collimate.diagnostics.preferences import list_statistics as list_statistics
from collimate.diagnostics.preferences import pair_statistics as pair_statistics
from collimate.diagnostics.preferences import statistics as statistics
from collimate.diagnostics.preferences import thumb_statistics as thumb_statistics

__all__ = [
    "bootstrap_mean",
    "calibration",
    "compared_lists",
    "density_ratio",
    "list_statistics",
    "pair_statistics",
    "probes",
    "raters",
    "statistics",
    "thresholds",
    "thumb_statistics",
]
