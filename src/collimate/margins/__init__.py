"""The margin axis: what quantity h must exceed what target."""

from collimate.margins._pairs import column as column
from collimate.margins._pairs import lengths as lengths
from collimate.margins.anchored import anchored_log_ratio_gap as anchored_log_ratio_gap
from collimate.margins.gold import gold_log_prob as gold_log_prob
from collimate.margins.length_normalised import (
    length_normalised_log_ratio_gap as length_normalised_log_ratio_gap,
)
from collimate.margins.lists import mean_over_worst_log_ratio_gap as mean_over_worst_log_ratio_gap
from collimate.margins.lists import ranked_log_ratios as ranked_log_ratios
from collimate.margins.lists import scored_log_ratio as scored_log_ratio
from collimate.margins.log_coverage import log_coverage as log_coverage
from collimate.margins.log_odds import chosen_log_odds as chosen_log_odds
from collimate.margins.log_odds import log_odds_gap as log_odds_gap
from collimate.margins.log_odds import rejected_log_odds as rejected_log_odds
from collimate.margins.log_prob_gap import bent_log_prob_gap as bent_log_prob_gap
from collimate.margins.log_prob_gap import log_prob_gap as log_prob_gap
from collimate.margins.log_prob_gap import mean_log_prob_gap as mean_log_prob_gap
from collimate.margins.log_ratio_gap import log_ratio_gap as log_ratio_gap
from collimate.margins.margin import Margin as Margin
from collimate.margins.masked import TokenMask as TokenMask
from collimate.margins.masked import absent_mask as absent_mask
from collimate.margins.masked import masked_log_ratio_gap as masked_log_ratio_gap
from collimate.margins.penalised import penalised_log_ratio_gap as penalised_log_ratio_gap
from collimate.margins.sequential_kl import sequential_kl_gap as sequential_kl_gap
from collimate.margins.single_answers import chosen_log_prob as chosen_log_prob
from collimate.margins.single_answers import chosen_log_ratio as chosen_log_ratio
from collimate.margins.single_answers import chosen_mean_log_prob as chosen_mean_log_prob
from collimate.margins.single_answers import chosen_shifted_log_ratio as chosen_shifted_log_ratio
from collimate.margins.single_answers import rejected_log_ratio as rejected_log_ratio
from collimate.margins.single_answers import (
    rejected_shifted_log_ratio as rejected_shifted_log_ratio,
)
from collimate.margins.sorted import sorted_gap as sorted_gap
from collimate.margins.sorted import sorted_log_ratio_gap as sorted_log_ratio_gap
from collimate.margins.targets import elastic as elastic
from collimate.margins.targets import length_target as length_target
from collimate.margins.targets import log_score_target as log_score_target
from collimate.margins.targets import score_target as score_target
from collimate.margins.thumbs import labelled_log_ratio as labelled_log_ratio
from collimate.margins.thumbs import reference_point_log_ratio as reference_point_log_ratio
from collimate.margins.thumbs import shifted_log_ratio as shifted_log_ratio
from collimate.margins.token_sums import discounted_log_prob_gap as discounted_log_prob_gap
from collimate.margins.token_sums import (
    length_desensitised_log_ratio_gap as length_desensitised_log_ratio_gap,
)
from collimate.margins.token_sums import signal_sums as signal_sums

__all__ = [
    "Margin",
    "TokenMask",
    "absent_mask",
    "anchored_log_ratio_gap",
    "bent_log_prob_gap",
    "chosen_log_odds",
    "chosen_log_prob",
    "chosen_log_ratio",
    "chosen_mean_log_prob",
    "chosen_shifted_log_ratio",
    "column",
    "discounted_log_prob_gap",
    "elastic",
    "gold_log_prob",
    "labelled_log_ratio",
    "length_desensitised_log_ratio_gap",
    "length_normalised_log_ratio_gap",
    "length_target",
    "lengths",
    "log_coverage",
    "log_odds_gap",
    "log_prob_gap",
    "log_ratio_gap",
    "log_score_target",
    "masked_log_ratio_gap",
    "mean_log_prob_gap",
    "mean_over_worst_log_ratio_gap",
    "penalised_log_ratio_gap",
    "ranked_log_ratios",
    "reference_point_log_ratio",
    "rejected_log_odds",
    "rejected_log_ratio",
    "rejected_shifted_log_ratio",
    "score_target",
    "scored_log_ratio",
    "sequential_kl_gap",
    "shifted_log_ratio",
    "signal_sums",
    "sorted_gap",
    "sorted_log_ratio_gap",
]
