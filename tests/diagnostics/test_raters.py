"""Agreement, votes, and a model among the raters, against naive loops and published values."""

import csv
import gzip
import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collimate._checks import BadConfig, BadData
from collimate.diagnostics.raters import (
    added_rater,
    krippendorff_alpha,
    majority,
    rater_replacement,
    spearman,
)

NAN = math.nan
METRICS = ["nominal", "ordinal", "interval"]
# krippendorff:11, section "nominal data, any number of observers, missing data"
PUBLISHED = np.array(
    [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, NAN, NAN, NAN],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NAN, 3],
        [NAN, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NAN],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NAN],
    ]
)


@pytest.mark.parametrize(
    ("metric", "alpha"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)]
)
def test_the_published_example(metric, alpha):
    assert krippendorff_alpha(PUBLISHED, metric=metric) == pytest.approx(alpha, abs=5e-4)


def naive_alpha(ratings, metric):
    """The definition by loops over couples of ratings, without a coincidence matrix."""
    items = [[x for x in column if not math.isnan(x)] for column in ratings.T.tolist()]
    items = [column for column in items if len(column) > 1]
    everything = [x for column in items for x in column]

    def squared(c, k):
        if metric == "nominal":
            return float(c != k)
        if metric == "interval":
            return (c - k) ** 2
        low, high = min(c, k), max(c, k)
        if low == high:
            return 0.0
        between = sum(low <= x <= high for x in everything)
        return (between - (everything.count(low) + everything.count(high)) / 2) ** 2

    n = len(everything)
    observed = sum(
        squared(a, b) / (len(column) - 1)
        for column in items
        for a, b in itertools.permutations(column, 2)
    )
    expected = sum(squared(a, b) for a, b in itertools.permutations(everything, 2)) / (n - 1)
    return 1 - observed / expected


@st.composite
def tables(draw):
    raters, items = draw(st.integers(2, 5)), draw(st.integers(2, 8))
    seed, missing = draw(st.integers(0, 2**31 - 1)), draw(st.sampled_from([0.0, 0.3]))
    generator = np.random.default_rng(seed)
    found = generator.integers(0, 4, (raters, items)).astype(float)
    found[generator.random(found.shape) < missing] = NAN
    found[:2, :2] = [[0, 1], [2, 3]]  # two items with two ratings that differ
    return found


@pytest.mark.parametrize("metric", METRICS)
@given(ratings=tables())
def test_alpha_is_the_definition(metric, ratings):
    assert krippendorff_alpha(ratings, metric=metric) == pytest.approx(
        naive_alpha(ratings, metric), abs=1e-10
    )


@given(ratings=tables())
def test_alpha_does_not_mind_names_scales_and_order(ratings):
    def alpha(table, metric):
        return pytest.approx(krippendorff_alpha(table, metric=metric), abs=1e-10)

    for metric in METRICS:
        assert alpha(ratings[::-1], metric) == krippendorff_alpha(ratings, metric=metric)
    assert alpha(3 * ratings - 7, "interval") == krippendorff_alpha(ratings, metric="interval")
    assert alpha(np.exp(ratings), "ordinal") == krippendorff_alpha(ratings, metric="ordinal")
    renamed = np.where(ratings == 0, 9.0, ratings)
    assert alpha(renamed, "nominal") == krippendorff_alpha(ratings, metric="nominal")


def test_raters_by_lot_agree_by_chance():
    ratings = np.random.default_rng(0).integers(0, 5, (4, 5000)).astype(float)
    for metric in METRICS:
        assert krippendorff_alpha(ratings, metric=metric) == pytest.approx(0, abs=0.02)


def test_what_has_no_agreement_is_refused():
    with pytest.raises(BadData, match="with two ratings"):
        krippendorff_alpha(np.array([[1.0, NAN], [NAN, 1.0]]))
    with pytest.raises(BadData, match="all ratings are alike"):
        krippendorff_alpha(np.ones((2, 3)))
    with pytest.raises(BadData, match="finite numbers"):
        krippendorff_alpha(np.array([[math.inf, 1.0], [1.0, 2.0]]))


@given(rows=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=15))
def test_spearman_is_the_correlation_of_mean_ranks(rows):
    a, b = np.array(rows, dtype=float).T
    ranks = [[np.mean([i for i, y in enumerate(sorted(v)) if y == x]) for x in v] for v in (a, b)]
    if len(set(a)) == 1 or len(set(b)) == 1:
        with pytest.raises(BadData, match="values that differ"):
            spearman(a, b)
    else:
        assert spearman(a, b) == pytest.approx(np.corrcoef(*ranks)[0, 1], abs=1e-12)


@given(ratings=tables())
def test_the_average_majority_is_the_mean_of_the_modes(ratings):
    complete = np.where(np.isnan(ratings), 1.0, ratings)
    complete[-1, 0] = NAN
    found = majority(complete)
    drawn = np.stack([majority(complete, ties="random", seed=seed) for seed in range(30)])
    for item, column in enumerate(complete.T):
        given_ = [x for x in column.tolist() if not math.isnan(x)]
        count = {x: given_.count(x) for x in given_}
        modes = {x for x in count if count[x] == max(count.values())}
        assert found[item] == pytest.approx(sum(modes) / len(modes))
        assert set(drawn[:, item]) == modes or len(modes) > 2  # of two, 30 lots miss none: 2^-29


def test_random_ties_are_fair_and_seeded():
    ratings = np.array([[0.0] * 10_000, [1.0] * 10_000])
    drawn = majority(ratings, ties="random", seed=3)
    assert drawn.mean() == pytest.approx(0.5, abs=0.02)
    assert (drawn == majority(ratings, ties="random", seed=3)).all()
    assert (drawn != majority(ratings, ties="random", seed=4)).any()


def test_an_item_nobody_rated_has_no_majority():
    with pytest.raises(BadData, match="at least one rating"):
        majority(np.array([[NAN, 1.0]]))


def test_a_judge_who_copies_a_rater_leaves_alpha_where_that_rater_stood():
    replaced = rater_replacement(PUBLISHED, np.where(np.isnan(PUBLISHED[3]), 0.0, PUBLISHED[3]))
    assert replaced.replaced[3] == pytest.approx(replaced.alpha, abs=1e-12)


def test_each_replacement_is_alpha_of_the_changed_table():
    judge = np.arange(12.0)
    found = rater_replacement(PUBLISHED, judge, metric="ordinal")
    for rater in range(4):
        changed = PUBLISHED.copy()
        for item in range(12):
            if not math.isnan(changed[rater, item]):
                changed[rater, item] = judge[item]
        assert found.replaced[rater] == pytest.approx(naive_alpha(changed, "ordinal"))
    assert found.loss == pytest.approx(found.alpha - found.replaced.mean())


def test_every_panel_is_compared_with_the_raters_outside_it():
    generator = np.random.default_rng(0)
    ratings = generator.integers(0, 5, (4, 30)).astype(float)
    judge = generator.integers(0, 5, 30).astype(float)
    found = added_rater(ratings, judge, 2)
    panels = list(itertools.combinations(range(4), 2))
    assert len(found.alone) == len(panels) == 6
    for i, panel in enumerate(panels):
        outside = [r for r in range(4) if r not in panel]
        gold = majority(ratings[outside])
        assert found.alone[i] == pytest.approx(spearman(majority(ratings[list(panel)]), gold))
        joined = majority(np.stack([*ratings[list(panel)], judge]))
        assert found.joined[i] == pytest.approx(spearman(joined, gold))
    assert found.benefit == pytest.approx((found.joined - found.alone).mean())


def test_panels_need_everyone_and_someone_outside():
    ratings = np.array([[1.0, 2.0], [1.0, 3.0]])
    with pytest.raises(BadConfig, match="panel must be 1 to 1 of 2"):
        added_rater(ratings, ratings[0], 2)
    with pytest.raises(BadData, match="everybody rated"):
        added_rater(ratings, np.array([1.0, NAN]), 1)


def test_real_votes_on_pairs_agree_well(shared_data):
    """PandaLM: 3 annotators of 999 pairs, all alike on 879 (its README)."""
    with gzip.open(shared_data("pandalm_3annotators/annotations.jsonl.gz"), "rt") as lines:
        ratings = np.array([json.loads(line)["labels"] for line in lines], dtype=float).T
    assert (ratings == ratings[0]).all(0).sum() == 879
    alpha = krippendorff_alpha(ratings, metric="nominal")
    assert alpha == pytest.approx(naive_nominal_of_complete(ratings), abs=1e-10)
    assert alpha == pytest.approx(0.86, abs=0.02)


def naive_nominal_of_complete(ratings):
    """Fleiss-like: 1 - (1 - shared couples)/(1 - expected), with krippendorff's small-sample n - 1."""
    raters, items = ratings.shape
    couples = [
        np.mean(ratings[a] == ratings[b]) for a, b in itertools.combinations(range(raters), 2)
    ]
    n = raters * items
    counts = np.array([(ratings == value).sum() for value in np.unique(ratings)])
    expected = (counts * (counts - 1)).sum() / (n * (n - 1))
    return 1 - (1 - np.mean(couples)) / (1 - expected)


def test_real_translation_scores_agree_half_way(shared_data):
    """WMT23 MQM: 8 raters of whom 3 rated each of 3770 translations; heavy-tailed error counts."""
    cells = {}
    with gzip.open(shared_data("mqm_zhen_8raters/ratings.csv.gz"), "rt") as lines:
        for row in csv.DictReader(lines):
            cells[row["rater"], (row["seg"], row["system"])] = float(row["mqm"])
    raters, items = (sorted({key[i] for key in cells}) for i in (0, 1))
    place = {item: i for i, item in enumerate(items)}
    ratings = np.full((len(raters), len(items)), NAN)
    for (rater, item), score in cells.items():
        ratings[raters.index(rater), place[item]] = score
    assert ratings.shape == (8, 3770)
    assert (~np.isnan(ratings)).sum() == 11310
    alpha = {metric: krippendorff_alpha(ratings, metric=metric) for metric in METRICS}
    some = ratings[:, :60]
    for metric in METRICS:
        assert krippendorff_alpha(some, metric=metric) == pytest.approx(naive_alpha(some, metric))
    assert alpha == pytest.approx({"nominal": 0.085, "ordinal": 0.444, "interval": 0.456}, abs=1e-3)
