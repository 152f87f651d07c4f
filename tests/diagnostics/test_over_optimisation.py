"""Mass and entropy of the top k against sums over sorted lists; when an alarm is raised."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from collimate._checks import BadConfig, BadData
from collimate.diagnostics import fallen, over_optimisation, top_k_indicators


def naive(p, k):
    top = sorted(p, reverse=True)[:k]
    mass = math.fsum(top)
    entropy = -math.fsum(x * math.log(x) for x in top if x > 0)
    renormalised = -math.fsum(x / mass * math.log(x / mass) for x in top if x > 0)
    return mass, entropy, renormalised


@given(seed=st.integers(0, 2**31 - 1), k=st.integers(1, 12), heat=st.floats(0.1, 20))
def test_sums_over_the_sorted_probabilities(seed, k, heat):
    generator = torch.Generator().manual_seed(seed)
    logits = heat * torch.randn(2, 3, 12, dtype=torch.float64, generator=generator)
    found = top_k_indicators(logits, k)
    p = logits.softmax(-1)
    for i in range(2):
        for j in range(3):
            mass, entropy, renormalised = naive(p[i, j].tolist(), k)
            assert found.mass[i, j].item() == pytest.approx(mass, rel=1e-12)
            assert found.entropy[i, j].item() == pytest.approx(entropy, abs=1e-12)
            assert found.normalised_entropy[i, j].item() == pytest.approx(renormalised, abs=1e-12)
    torch.testing.assert_close(
        found.entropy, found.mass * found.normalised_entropy - found.mass * found.mass.log()
    )
    assert (found.normalised_entropy <= math.log(k) + 1e-12).all()


def test_log_probs_are_logits_and_a_shift_changes_nothing():
    logits = torch.randn(4, 9, dtype=torch.float64)
    for other in (logits.log_softmax(-1), logits + 100):
        torch.testing.assert_close(
            top_k_indicators(other, 3).entropy, top_k_indicators(logits, 3).entropy
        )


def test_tokens_that_cannot_come():
    found = top_k_indicators(torch.tensor([0.0, 0.0, -math.inf, -math.inf]), 3)
    assert found.mass.item() == 1
    assert found.entropy.item() == pytest.approx(math.log(2))


def test_the_ends_of_k_and_of_sharpness():
    p = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    whole = top_k_indicators(p.log(), 3)
    assert whole.mass.item() == pytest.approx(1)
    assert whole.entropy.item() == pytest.approx(whole.normalised_entropy.item())
    first = top_k_indicators(p.log(), 1)
    assert (first.mass.item(), first.normalised_entropy.item()) == (pytest.approx(0.5), 0)


def test_sharpening_first_raises_the_entropy_of_the_top_ten_and_never_the_normalised_one():
    """The direction of the two under T = 2, 1, .5, .25, for any logits of a large vocabulary."""
    rose = 0
    for seed in range(20):
        logits = 2 * torch.randn(1000, generator=torch.Generator().manual_seed(seed)).double()
        found = [top_k_indicators(logits / t, 10) for t in (2.0, 1.0, 0.5, 0.25)]
        normalised = [x.normalised_entropy.item() for x in found]
        assert normalised == sorted(normalised, reverse=True)
        rose += found[1].entropy.item() > found[0].entropy.item()
    assert rose == 20


def test_an_alarm_needs_patience_and_a_fall_from_the_peak():
    assert fallen([1.0, 0.79], 0.2) == 1
    assert fallen([1.0, 0.79, 1.0, 0.79, 0.79], 0.2, patience=2) == 4
    assert fallen([1.0, 0.81, 0.81], 0.2) is None
    assert fallen([0.5, 1.0, 0.79], 0.2) == 2  # of the peak, not of the start
    assert fallen([], 0.2) is None
    assert fallen([1.0, 0.5, 0.5, 0.5], 0.2, patience=2) == 2  # the first time


@given(
    series=st.lists(st.floats(0, 1e3), max_size=30),
    share=st.floats(0, 0.99),
    patience=st.integers(1, 4),
    scale=st.floats(0.5, 2),
)
def test_the_alarm_is_the_first_index_that_satisfies_its_definition(series, share, patience, scale):
    def holds(i):
        window = range(i - patience + 1, i + 1)
        return window[0] >= 1 and all(series[j] < (1 - share) * max(series[:j]) for j in window)

    expected = next((i for i in range(len(series)) if holds(i)), None)
    assert fallen(series, share, patience=patience) == expected
    power = 2.0 ** round(math.log2(scale))  # exact in floating point
    assert fallen([power * x for x in series], share, patience=patience) == expected
    if expected is not None:  # what comes later cannot take an alarm back, or move it
        assert fallen(series[: expected + 1], share, patience=patience) == expected


def test_two_alarms_and_the_first_of_them():
    falling, flat = [1.0, 0.5, 0.5, 0.5], [0.9] * 4
    assert over_optimisation(falling, flat).first == 2
    assert over_optimisation(flat, falling).by_mass == 2
    assert over_optimisation(flat, flat).first is None
    both = over_optimisation([1.0, 1.0, 0.1, 0.1], falling)
    assert (both.by_entropy, both.by_mass, both.first) == (3, 2, 2)


@pytest.mark.parametrize("k", [0, 4, True])
def test_k_beyond_the_vocabulary(k):
    with pytest.raises(BadConfig, match="k must be in 1 to 3"):
        top_k_indicators(torch.zeros(3), k)


def test_logits_that_are_none():
    with pytest.raises(BadData, match="a token that is possible"):
        top_k_indicators(torch.full((2, 3), -math.inf), 1)
    with pytest.raises(BadData, match="must be numbers"):
        top_k_indicators(torch.tensor([0.0, math.nan]), 1)


def test_series_that_cannot_be():
    with pytest.raises(BadData, match="finite and at least 0, got nan at 1"):
        fallen([1.0, math.nan], 0.2)
    with pytest.raises(BadData, match=r"got -1\.0 at 0"):
        fallen([-1.0], 0.2)
    with pytest.raises(BadConfig, match="share must be in"):
        fallen([1.0], 1.0)
    with pytest.raises(BadConfig, match="patience must be"):
        fallen([1.0], 0.2, patience=0)
    with pytest.raises(BadData, match="of the same moments, got 1 and 2"):
        over_optimisation([1.0], [1.0, 1.0])
