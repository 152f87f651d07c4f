"""The loss axis: what a missed margin costs."""

from collimate.losses.bernoulli_kl import bernoulli_kl as bernoulli_kl
from collimate.losses.debiased import debiased_logistic as debiased_logistic
from collimate.losses.discopop import discopop_loss as discopop_loss
from collimate.losses.exponential import exponential as exponential
from collimate.losses.hinge import hinge as hinge
from collimate.losses.logistic import logistic as logistic
from collimate.losses.logistic import smoothed_logistic as smoothed_logistic
from collimate.losses.loss import Loss as Loss
from collimate.losses.negated_sigmoid import negated_sigmoid as negated_sigmoid
from collimate.losses.negation import negation as negation
from collimate.losses.plackett_luce import plackett_luce as plackett_luce
from collimate.losses.savage import savage as savage
from collimate.losses.sigmoid import sigmoid as sigmoid
from collimate.losses.squared import squared as squared
from collimate.losses.truncated_quadratic import truncated_quadratic as truncated_quadratic

__all__ = [
    "Loss",
    "bernoulli_kl",
    "debiased_logistic",
    "discopop_loss",
    "exponential",
    "hinge",
    "logistic",
    "negated_sigmoid",
    "negation",
    "plackett_luce",
    "savage",
    "sigmoid",
    "smoothed_logistic",
    "squared",
    "truncated_quadratic",
]
