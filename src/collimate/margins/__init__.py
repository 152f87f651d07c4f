"""The margin axis: what quantity h must exceed what target."""

from collimate.margins._pairs import column as column
from collimate.margins._pairs import lengths as lengths
from collimate.margins.length_normalised import (
    length_normalised_log_ratio_gap as length_normalised_log_ratio_gap,
)
from collimate.margins.log_coverage import log_coverage as log_coverage
from collimate.margins.log_odds import chosen_log_odds as chosen_log_odds
from collimate.margins.log_odds import log_odds_gap as log_odds_gap
from collimate.margins.log_odds import rejected_log_odds as rejected_log_odds
from collimate.margins.log_prob_gap import bent_log_prob_gap as bent_log_prob_gap
from collimate.margins.log_prob_gap import log_prob_gap as log_prob_gap
from collimate.margins.log_prob_gap import mean_log_prob_gap as mean_log_prob_gap
from collimate.margins.log_ratio_gap import log_ratio_gap as log_ratio_gap
from collimate.margins.margin import Margin as Margin
from collimate.margins.penalised import penalised_log_ratio_gap as penalised_log_ratio_gap
from collimate.margins.single_answers import chosen_log_prob as chosen_log_prob
from collimate.margins.single_answers import chosen_log_ratio as chosen_log_ratio
from collimate.margins.single_answers import chosen_mean_log_prob as chosen_mean_log_prob
from collimate.margins.single_answers import rejected_log_ratio as rejected_log_ratio
from collimate.margins.sorted import sorted_gap as sorted_gap
from collimate.margins.sorted import sorted_log_ratio_gap as sorted_log_ratio_gap
from collimate.margins.targets import length_target as length_target
from collimate.margins.targets import log_score_target as log_score_target
from collimate.margins.token_sums import discounted_log_prob_gap as discounted_log_prob_gap
from collimate.margins.token_sums import (
    length_desensitised_log_ratio_gap as length_desensitised_log_ratio_gap,
)

__all__ = [
    "Margin",
    "bent_log_prob_gap",
    "chosen_log_odds",
    "chosen_log_prob",
    "chosen_log_ratio",
    "chosen_mean_log_prob",
    "column",
    "discounted_log_prob_gap",
    "length_desensitised_log_ratio_gap",
    "length_normalised_log_ratio_gap",
    "length_target",
    "lengths",
    "log_coverage",
    "log_odds_gap",
    "log_prob_gap",
    "log_ratio_gap",
    "log_score_target",
    "mean_log_prob_gap",
    "penalised_log_ratio_gap",
    "rejected_log_odds",
    "rejected_log_ratio",
    "sorted_gap",
    "sorted_log_ratio_gap",
]
