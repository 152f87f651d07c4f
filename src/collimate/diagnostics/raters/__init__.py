"""How far raters agree, and what a model does among them."""

from collimate.diagnostics.raters.added_rater import AddedRater as AddedRater
from collimate.diagnostics.raters.added_rater import added_rater as added_rater
from collimate.diagnostics.raters.krippendorff import krippendorff_alpha as krippendorff_alpha
from collimate.diagnostics.raters.majority import majority as majority
from collimate.diagnostics.raters.replacement import RaterReplacement as RaterReplacement
from collimate.diagnostics.raters.replacement import rater_replacement as rater_replacement
from collimate.diagnostics.raters.spearman import spearman as spearman

__all__ = [
    "AddedRater",
    "RaterReplacement",
    "added_rater",
    "krippendorff_alpha",
    "majority",
    "rater_replacement",
    "spearman",
]
