"""Read-only measurements: of log-probs, forecasts, thresholds, raters and trends."""

from collimate.diagnostics import calibration as calibration
from collimate.diagnostics import lifelong as lifelong
from collimate.diagnostics import probes as probes
from collimate.diagnostics import raters as raters
from collimate.diagnostics import thresholds as thresholds
from collimate.diagnostics.best_of_n import BestOfNCurve as BestOfNCurve
from collimate.diagnostics.best_of_n import best_of_n as best_of_n
from collimate.diagnostics.best_of_n import best_of_n_curve as best_of_n_curve
from collimate.diagnostics.best_of_n import best_of_n_kl_bound as best_of_n_kl_bound
from collimate.diagnostics.ches import ches_from_sums as ches_from_sums
from collimate.diagnostics.ches import ches_score as ches_score
from collimate.diagnostics.ches import ches_score_length_normalised as ches_score_length_normalised
from collimate.diagnostics.ches import hidden_sums as hidden_sums
from collimate.diagnostics.correlation import Correlation as Correlation
from collimate.diagnostics.correlation import correlation as correlation
from collimate.diagnostics.density_ratio import density_ratio as density_ratio
from collimate.diagnostics.displacement import Displacement as Displacement
from collimate.diagnostics.displacement import MassMoved as MassMoved
from collimate.diagnostics.displacement import displacement as displacement
from collimate.diagnostics.displacement import where_the_mass_went as where_the_mass_went
from collimate.diagnostics.entanglement import Entanglement as Entanglement
from collimate.diagnostics.entanglement import entanglement as entanglement
from collimate.diagnostics.exact_gradients import GradientProducts as GradientProducts
from collimate.diagnostics.exact_gradients import exact_gradients as exact_gradients
from collimate.diagnostics.head_gradients import head_gradients as head_gradients
from collimate.diagnostics.intervals import bootstrap_mean as bootstrap_mean
from collimate.diagnostics.length_bias import LengthBin as LengthBin
from collimate.diagnostics.length_bias import accuracy_by_length as accuracy_by_length
from collimate.diagnostics.length_bias import length_bias as length_bias
from collimate.diagnostics.log_ratios import effective_sample_size as effective_sample_size
from collimate.diagnostics.log_ratios import mean_log_ratio as mean_log_ratio
from collimate.diagnostics.loss_slopes import LossSlopes as LossSlopes
from collimate.diagnostics.loss_slopes import loss_slopes as loss_slopes
from collimate.diagnostics.lr_sensitivity import lr_sensitivity as lr_sensitivity
from collimate.diagnostics.opposing_signals import OpposingSignals as OpposingSignals
from collimate.diagnostics.opposing_signals import antiphase as antiphase
from collimate.diagnostics.opposing_signals import opposing_signals as opposing_signals
from collimate.diagnostics.over_optimisation import OverOptimisation as OverOptimisation
from collimate.diagnostics.over_optimisation import TopK as TopK
from collimate.diagnostics.over_optimisation import fallen as fallen
from collimate.diagnostics.over_optimisation import over_optimisation as over_optimisation
from collimate.diagnostics.over_optimisation import top_k_indicators as top_k_indicators
from collimate.diagnostics.plasticity import active_fraction as active_fraction
from collimate.diagnostics.plasticity import dormant_fraction as dormant_fraction
from collimate.diagnostics.preferences import compared_lists as compared_lists
from collimate.diagnostics.preferences import list_statistics as list_statistics
from collimate.diagnostics.preferences import pair_statistics as pair_statistics
from collimate.diagnostics.preferences import statistics as statistics
from collimate.diagnostics.preferences import thumb_statistics as thumb_statistics
from collimate.diagnostics.proxy_bounds import ProxyError as ProxyError
from collimate.diagnostics.proxy_bounds import ProxyGain as ProxyGain
from collimate.diagnostics.proxy_bounds import proxy_error as proxy_error
from collimate.diagnostics.proxy_bounds import proxy_gain as proxy_gain
from collimate.diagnostics.proxy_quantiles import ProxyBin as ProxyBin
from collimate.diagnostics.proxy_quantiles import proxy_by_quantile as proxy_by_quantile
from collimate.diagnostics.ranking import flip_difficulty as flip_difficulty
from collimate.diagnostics.ranking import flip_loss as flip_loss
from collimate.diagnostics.ranking import ideal_gap as ideal_gap
from collimate.diagnostics.ranking import idealised_accuracy as idealised_accuracy
from collimate.diagnostics.ranking import ranking_accuracy as ranking_accuracy
from collimate.diagnostics.sharpness import Sharpness as Sharpness
from collimate.diagnostics.sharpness import sharpness as sharpness
from collimate.diagnostics.three_d import ThreeD as ThreeD
from collimate.diagnostics.three_d import log_slope_ratio as log_slope_ratio
from collimate.diagnostics.three_d import three_d_properties as three_d_properties

__all__ = [
    "BestOfNCurve",
    "Correlation",
    "Displacement",
    "Entanglement",
    "GradientProducts",
    "LengthBin",
    "LossSlopes",
    "MassMoved",
    "OpposingSignals",
    "OverOptimisation",
    "ProxyBin",
    "ProxyError",
    "ProxyGain",
    "Sharpness",
    "ThreeD",
    "TopK",
    "accuracy_by_length",
    "active_fraction",
    "antiphase",
    "best_of_n",
    "best_of_n_curve",
    "best_of_n_kl_bound",
    "bootstrap_mean",
    "calibration",
    "ches_from_sums",
    "ches_score",
    "ches_score_length_normalised",
    "compared_lists",
    "correlation",
    "density_ratio",
    "displacement",
    "dormant_fraction",
    "effective_sample_size",
    "entanglement",
    "exact_gradients",
    "fallen",
    "flip_difficulty",
    "flip_loss",
    "head_gradients",
    "hidden_sums",
    "ideal_gap",
    "idealised_accuracy",
    "length_bias",
    "lifelong",
    "list_statistics",
    "log_slope_ratio",
    "loss_slopes",
    "lr_sensitivity",
    "mean_log_ratio",
    "opposing_signals",
    "over_optimisation",
    "pair_statistics",
    "probes",
    "proxy_by_quantile",
    "proxy_error",
    "proxy_gain",
    "ranking_accuracy",
    "raters",
    "sharpness",
    "statistics",
    "three_d_properties",
    "thresholds",
    "thumb_statistics",
    "top_k_indicators",
    "where_the_mass_went",
]
