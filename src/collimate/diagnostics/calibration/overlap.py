"""What one temperature cannot mend: classes that overlap on some of the inputs."""

from __future__ import annotations

import math

from collimate._checks import BadConfig, within_closed


def overlap_divergence(overlap: float, classes: int, confidence: float) -> float:
    """E KL(truth‖forecast) in nats of an interpolating classifier whose confidence is made constant.

    On a share 1 - overlap of inputs the class is certain; on the rest it is one of two, evenly. A
    model that interpolates is sure of one class everywhere, rightly where the class is certain. Any
    temperature gives that class a constant c = confidence and each other one (1 - c)/(k - 1), hence
    (1 - o)(-log c) + o·(-log 2 - ½log c - ½log((1 - c)/(k - 1))).

    The even rest is what grows with log k. A net that gives the other true class a larger logit than
    the rest keeps that under any temperature, and stays below.

    overlap: o in [0, 1]. classes: k >= 2. confidence: c in (0, 1]; +inf at c = 1 unless o = 0.

    Errors: BadConfig outside these ranges. Source: chidambaram:24; the closed form is derived.

    >>> round(overlap_divergence(0.3, 10, overlap_confidence(0.3)), 2)
    0.54
    """
    o, k, c = within_closed("overlap", overlap, 0.0, 1.0), _classes(classes), confidence
    if not 0 < c <= 1:
        raise BadConfig(f"confidence must be in (0, 1], got {c!r}")
    sure = -(1 - o / 2) * math.log(c)
    if o == 0:
        return sure
    return (
        math.inf if c == 1 else sure + o * (-math.log(2) - (math.log1p(-c) - math.log(k - 1)) / 2)
    )


def overlap_confidence(overlap: float) -> float:
    """c = 1 - overlap/2: the constant confidence that minimises `overlap_divergence`, for every k.

    Temperature scaling on much data finds it: it is the model's accuracy, so that its top-label
    calibration error is 0 while `overlap_divergence` grows like (overlap/2)·log k: the mass left for
    the other true class is spread over k - 1.

    Errors: BadConfig outside [0, 1]. Source: chidambaram:24; derived.

    >>> overlap_confidence(0.5)
    0.75
    """
    return 1 - within_closed("overlap", overlap, 0.0, 1.0) / 2


def uniform_overlap_divergence(overlap: float, classes: int) -> float:
    """log k - overlap·log 2: E KL(truth‖even forecast) on the same data, in nats.

    The ratio of the best `overlap_divergence` to it tends to overlap/2 as k grows, not to 1.

    Errors: BadConfig as in `overlap_divergence`. Source: chidambaram:24; derived.

    >>> round(uniform_overlap_divergence(0.3, 10), 2)
    2.09
    """
    return math.log(_classes(classes)) - within_closed("overlap", overlap, 0.0, 1.0) * math.log(2)


def _classes(classes: int) -> int:
    if classes < 2:
        raise BadConfig(f"classes must be at least 2, got {classes}")
    return classes
