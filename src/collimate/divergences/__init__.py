"""The divergence axis: what ties the policy p to the reference q."""

from collimate.divergences.alpha import alpha as alpha
from collimate.divergences.f_divergence import FDivergence as FDivergence
from collimate.divergences.jensen_shannon import jensen_shannon as jensen_shannon
from collimate.divergences.kullback_leibler import forward_kl as forward_kl
from collimate.divergences.kullback_leibler import reverse_kl as reverse_kl

__all__ = ["FDivergence", "alpha", "forward_kl", "jensen_shannon", "reverse_kl"]
