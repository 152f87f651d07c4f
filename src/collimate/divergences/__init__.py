"""The divergence axis: what ties the policy p to the reference q."""

from collimate.divergences.alpha import alpha as alpha
from collimate.divergences.cauchy_schwarz import cauchy_schwarz as cauchy_schwarz
from collimate.divergences.chi_squared import neyman_chi_squared as neyman_chi_squared
from collimate.divergences.chi_squared import pearson_chi_squared as pearson_chi_squared
from collimate.divergences.divergence import PlainDivergence as PlainDivergence
from collimate.divergences.f_divergence import FDivergence as FDivergence
from collimate.divergences.generalized_jensen_shannon import (
    generalized_jensen_shannon as generalized_jensen_shannon,
)
from collimate.divergences.jeffreys import jeffreys as jeffreys
from collimate.divergences.jensen_shannon import jensen_shannon as jensen_shannon
from collimate.divergences.kullback_leibler import forward_kl as forward_kl
from collimate.divergences.kullback_leibler import reverse_kl as reverse_kl
from collimate.divergences.le_cam import le_cam as le_cam
from collimate.divergences.mixed_chi_squared import chi_squared_kl as chi_squared_kl
from collimate.divergences.none import none as none
from collimate.divergences.renyi import renyi as renyi
from collimate.divergences.skewed_jensen_shannon import skewed_forward_kl as skewed_forward_kl
from collimate.divergences.skewed_jensen_shannon import (
    skewed_jensen_shannon as skewed_jensen_shannon,
)
from collimate.divergences.skewed_jensen_shannon import skewed_reverse_kl as skewed_reverse_kl
from collimate.divergences.squared_hellinger import squared_hellinger as squared_hellinger
from collimate.divergences.total_variation import total_variation as total_variation

__all__ = [
    "FDivergence",
    "PlainDivergence",
    "alpha",
    "cauchy_schwarz",
    "chi_squared_kl",
    "forward_kl",
    "generalized_jensen_shannon",
    "jeffreys",
    "jensen_shannon",
    "le_cam",
    "neyman_chi_squared",
    "none",
    "pearson_chi_squared",
    "renyi",
    "reverse_kl",
    "skewed_forward_kl",
    "skewed_jensen_shannon",
    "skewed_reverse_kl",
    "squared_hellinger",
    "total_variation",
]
