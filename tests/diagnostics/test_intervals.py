"""The interval behind every accuracy: it covers, and it redraws prompts, not rows."""

import math

import numpy as np
import pytest

from collimate._checks import BadData
from collimate.diagnostics import bootstrap_mean


def width(values, groups):
    low, high = bootstrap_mean(values, groups)
    return high - low


def test_it_misses_the_true_accuracy_one_time_in_forty_on_either_side():
    """Over 2000 models of known accuracies; the bars are three binomial standard errors."""
    rows, models, generator = 60, 2000, np.random.default_rng(0)
    intervals = np.array(  # by the number of correct rows, the only thing that differs
        [
            bootstrap_mean((np.arange(rows) < k).astype(float), range(rows), draws=1000, seed=k)
            for k in range(rows + 1)
        ]
    )
    truth = generator.uniform(0.3, 0.7, models)
    low, high = intervals[generator.binomial(rows, truth)].T
    above, below = (low > truth).sum(), (high < truth).sum()
    for missed, share in ((above, 0.025), (below, 0.025), (above + below, 0.05)):
        assert abs(missed - models * share) < 3 * math.sqrt(models * share * (1 - share))


def test_a_higher_level_is_wider():
    values = np.random.default_rng(1).normal(size=50)
    low, high = zip(*(bootstrap_mean(values, range(50), level=x) for x in (0.5, 0.95)), strict=True)
    assert low[1] < low[0] < values.mean() < high[0] < high[1]


@pytest.mark.parametrize("copies", [4, 9])
def test_copies_of_a_row_under_one_prompt_tell_nothing_new(copies):
    """Rows taken as independent would make the interval narrower by the root of their number."""
    values = np.random.default_rng(2).normal(size=200)
    prompts, repeated = np.arange(200).repeat(copies).tolist(), values.repeat(copies)
    by_prompt = bootstrap_mean(repeated, prompts)
    assert by_prompt == pytest.approx(bootstrap_mean(values, range(200)), rel=1e-12)
    by_row = width(repeated, range(len(repeated)))
    assert (by_prompt[1] - by_prompt[0]) / by_row == pytest.approx(math.sqrt(copies), rel=0.08)


def test_the_rows_of_a_prompt_belong_together_wherever_they_stand():
    values = np.random.default_rng(3).normal(size=30)
    together = bootstrap_mean(np.concatenate([values, values + 1]), [*range(30), *range(30)])
    assert together == pytest.approx(bootstrap_mean(values + 0.5, range(30)), rel=1e-12)


def test_a_prompt_weighs_as_much_as_it_has_rows():
    """Two prompts are redrawn as aa, ab, ba, bb: means 0, 3/4, 3/4, 1, of which 3/4 is the median."""
    median = bootstrap_mean(np.array([0.0, 1.0, 1.0, 1.0]), ["a", "b", "b", "b"], level=0.0)
    assert median == (0.75, 0.75)


def test_one_prompt_has_no_spread():
    assert bootstrap_mean(np.array([0.0, 1.0, 0.5]), ["a"] * 3) == (0.5, 0.5)


def test_the_seed_alone_decides():
    values = np.random.default_rng(4).normal(size=40)
    first, again, other = (bootstrap_mean(values, range(40), seed=seed) for seed in (7, 7, 8))
    assert first == again
    assert first != other


@pytest.mark.parametrize(
    ("values", "groups", "said"),
    [
        ([], [], "got 0 values and 0 groups"),
        ([1.0, 0.0], ["a"], "got 2 values and 1 groups"),
        ([], ["a"], "got 0 values and 1 groups"),
    ],
)
def test_what_has_no_mean_is_refused(values, groups, said):
    with pytest.raises(BadData, match=said):
        bootstrap_mean(np.array(values, dtype=float), groups)
