"""brassard:24: a model judge lowers agreement once it is noisier, and helps panels of two only.

Simulated: five raters see a latent quality with noise and round it to five grades; the judge is one
more rater whose noise is a multiple of theirs. Gold is the vote of the raters outside the panel.
"""

from __future__ import annotations

import numpy as np
import pytest

from collimate.diagnostics import bootstrap_mean
from collimate.diagnostics.raters import added_rater, krippendorff_alpha, rater_replacement

SEEDS, ITEMS, RATERS = 20, 200, 6


def simulated(seed, factor):
    """(ratings [rater, item], judge [item]) in grades 1 to 5."""
    generator = np.random.default_rng(seed)
    quality = generator.normal(3, 1, ITEMS)
    noise = 0.58 * np.array([1.0] * RATERS + [factor])
    seen = quality + noise[:, None] * generator.normal(size=(RATERS + 1, ITEMS))
    grades = np.clip(np.rint(seen), 1, 5)
    return grades[:-1], grades[-1]


def benefits(panel, ties, factor=1.0):
    found = [
        added_rater(*simulated(seed, factor), panel, ties=ties, seed=seed).benefit
        for seed in range(SEEDS)
    ]
    return np.array(found), bootstrap_mean(np.array(found), range(SEEDS))


def test_replacing_a_human_lowers_alpha_once_the_judge_is_noisier():
    """Measured: see the assertion's order; a judge as noisy as a human changes nothing."""
    losses = {
        factor: np.array(
            [rater_replacement(*simulated(seed, factor)).loss for seed in range(SEEDS)]
        )
        for factor in (1.0, 1.5, 2.0)
    }
    low, high = bootstrap_mean(losses[1.0], range(SEEDS))
    assert low < 0 < high
    assert bootstrap_mean(losses[1.5], range(SEEDS))[0] > 0.02
    assert bootstrap_mean(losses[2.0] - losses[1.5], range(SEEDS))[0] > 0.02
    alone = np.mean([krippendorff_alpha(simulated(seed, 1.0)[0]) for seed in range(SEEDS)])
    assert alone == pytest.approx(0.71, abs=0.02)
