"""Expectations from samples, each with its standard error."""

from collimate.estimators.entropy import entropy as entropy
from collimate.estimators.estimate import Estimate as Estimate
from collimate.estimators.kullback_leibler import kl_k1 as kl_k1
from collimate.estimators.kullback_leibler import kl_k2 as kl_k2
from collimate.estimators.kullback_leibler import kl_k3 as kl_k3

__all__ = ["Estimate", "entropy", "kl_k1", "kl_k2", "kl_k3"]
