"""The loss axis: what a missed margin costs."""

from collimate.losses.hinge import hinge as hinge
from collimate.losses.logistic import logistic as logistic
from collimate.losses.logistic import smoothed_logistic as smoothed_logistic
from collimate.losses.loss import Loss as Loss
from collimate.losses.squared import squared as squared

__all__ = ["Loss", "hinge", "logistic", "smoothed_logistic", "squared"]
