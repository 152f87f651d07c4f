"""The margin axis: what quantity h must exceed what target."""

from collimate.margins.log_ratio_gap import log_ratio_gap as log_ratio_gap
from collimate.margins.margin import Margin as Margin

__all__ = ["Margin", "log_ratio_gap"]
