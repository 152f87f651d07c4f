"""Probes of what a model has learnt: direction of facts, trend with size."""

from collimate.diagnostics.probes.reversal import DirectionalGap as DirectionalGap
from collimate.diagnostics.probes.reversal import directional_gap as directional_gap
from collimate.diagnostics.probes.reversal import matched_gap as matched_gap
from collimate.diagnostics.probes.reversal import matched_share as matched_share
from collimate.diagnostics.probes.scaling_trend import ScalingTrend as ScalingTrend
from collimate.diagnostics.probes.scaling_trend import scaling_trend as scaling_trend

__all__ = [
    "DirectionalGap",
    "ScalingTrend",
    "directional_gap",
    "matched_gap",
    "matched_share",
    "scaling_trend",
]
