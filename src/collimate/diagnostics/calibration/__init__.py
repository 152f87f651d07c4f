"""Whether stated probabilities come true: errors, scores, and what mends them."""

from collimate.diagnostics.calibration.brier import BrierDecomposition as BrierDecomposition
from collimate.diagnostics.calibration.brier import brier_decomposition as brier_decomposition
from collimate.diagnostics.calibration.expected import (
    calibrated_calibration_error as calibrated_calibration_error,
)
from collimate.diagnostics.calibration.expected import (
    calibration_error_interval as calibration_error_interval,
)
from collimate.diagnostics.calibration.expected import (
    expected_calibration_error as expected_calibration_error,
)
from collimate.diagnostics.calibration.overlap import overlap_confidence as overlap_confidence
from collimate.diagnostics.calibration.overlap import overlap_divergence as overlap_divergence
from collimate.diagnostics.calibration.overlap import (
    uniform_overlap_divergence as uniform_overlap_divergence,
)
from collimate.diagnostics.calibration.preference import PreferenceForecasts as PreferenceForecasts
from collimate.diagnostics.calibration.preference import (
    preference_forecasts as preference_forecasts,
)
from collimate.diagnostics.calibration.reliability import Reliability as Reliability
from collimate.diagnostics.calibration.reliability import reliability as reliability
from collimate.diagnostics.calibration.sample_temperature import (
    SampleTemperature as SampleTemperature,
)
from collimate.diagnostics.calibration.sample_temperature import (
    fit_sample_temperature as fit_sample_temperature,
)
from collimate.diagnostics.calibration.sample_temperature import view_features as view_features
from collimate.diagnostics.calibration.scores import brier_score as brier_score
from collimate.diagnostics.calibration.scores import (
    negative_log_likelihood as negative_log_likelihood,
)
from collimate.diagnostics.calibration.scores import ranking_of_correct as ranking_of_correct
from collimate.diagnostics.calibration.temperature import Temperature as Temperature
from collimate.diagnostics.calibration.temperature import fit_temperature as fit_temperature

__all__ = [
    "BrierDecomposition",
    "PreferenceForecasts",
    "Reliability",
    "SampleTemperature",
    "Temperature",
    "brier_decomposition",
    "brier_score",
    "calibrated_calibration_error",
    "calibration_error_interval",
    "expected_calibration_error",
    "fit_sample_temperature",
    "fit_temperature",
    "negative_log_likelihood",
    "overlap_confidence",
    "overlap_divergence",
    "preference_forecasts",
    "ranking_of_correct",
    "reliability",
    "uniform_overlap_divergence",
    "view_features",
]
