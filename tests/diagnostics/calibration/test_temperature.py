"""The fitted temperature, its first-order condition, and the closed form of its limits."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from collimate._checks import BadConfig, BadData
from collimate.diagnostics.calibration import (
    fit_temperature,
    negative_log_likelihood,
    overlap_confidence,
    overlap_divergence,
    uniform_overlap_divergence,
)

SEEDS = st.integers(0, 2**31 - 1)


def data(seed, rows=50, classes=4, scale=3.0):
    """Labels drawn from softmax(z): the true temperature is 1."""
    generator = torch.Generator().manual_seed(seed)
    z = scale * torch.randn(rows, classes, dtype=torch.float64, generator=generator)
    return z, torch.multinomial(z.softmax(-1), 1, generator=generator).squeeze(-1)


@given(seed=SEEDS)
def test_at_the_optimum_the_mean_logit_is_that_of_the_labels(seed):
    z, label = data(seed)
    found = fit_temperature(z, label)
    assert 0 < found.value < math.inf
    expected = ((z / found.value).softmax(-1) * z).sum(-1).mean()
    assert float(expected) == pytest.approx(
        float(z.gather(1, label[:, None]).mean()), abs=1e-10 * float(z.abs().max())
    )
    assert abs(found.slope) < 1e-9
    assert found.nll == pytest.approx(float(negative_log_likelihood(z / found.value, label).mean()))


@given(seed=SEEDS, factor=st.floats(0.01, 100))
def test_no_temperature_of_a_fine_grid_is_better_and_the_scale_is_found(seed, factor):
    z, label = data(seed)
    found = fit_temperature(factor * z, label)
    grid = torch.logspace(-2, 2, 201, dtype=torch.float64)
    log_p = (z / grid[:, None, None]).log_softmax(-1)
    nll = -log_p.gather(-1, label[:, None].expand(201, -1, 1)).squeeze(-1).mean(-1)
    assert nll.min() >= found.nll - 1e-12
    assert found.value == pytest.approx(factor * fit_temperature(z, label).value, rel=1e-8)


@given(seed=SEEDS)
def test_a_constant_added_to_a_rows_logits_changes_nothing(seed):
    z, label = data(seed)
    shifted = z + torch.linspace(-100, 100, len(z), dtype=torch.float64)[:, None]
    assert fit_temperature(shifted, label).value == pytest.approx(
        fit_temperature(z, label).value, rel=1e-9
    )


def test_on_much_data_the_true_temperature_comes_out():
    z, label = data(0, rows=40_000)
    assert fit_temperature(2.5 * z, label).value == pytest.approx(2.5, rel=0.03)


def test_a_classifier_that_is_always_right_has_temperature_zero():
    z = torch.tensor([[3.0, 1.0], [0.0, 0.5]])
    assert fit_temperature(z, torch.tensor([0, 1])).value == 0
    tie = fit_temperature(torch.tensor([[1.0, 1.0, 0.0]]), torch.tensor([0]))
    assert (tie.value, tie.nll) == (0, pytest.approx(math.log(2)))


@pytest.mark.parametrize("label", [[1, 1], [0, 1]], ids=["always wrong", "half"])
def test_a_classifier_worse_than_an_even_draw_has_infinite_temperature(label):
    found = fit_temperature(torch.tensor([[2.0, 0.0], [2.0, 0.0]]), torch.tensor(label))
    assert (found.value, found.nll) == (math.inf, pytest.approx(math.log(2)))
    assert found.slope >= 0


def test_even_logits_leave_the_temperature_alone():
    assert fit_temperature(torch.zeros(2, 3), torch.tensor([0, 1])).value == 1


def test_huge_logits_are_no_trouble():
    z = torch.tensor([[1000.0, 0.0]] * 3 + [[-1000.0, 0.0]])
    found = fit_temperature(z, torch.zeros(4, dtype=torch.long))
    assert 1000 / found.value == pytest.approx(math.log(3), rel=1e-6)


@pytest.mark.parametrize(
    ("logits", "label"),
    [([[math.inf, 0.0]], [0]), ([[math.nan, 0.0]], [0]), ([[0.0, 1.0]], [2]), ([[0.0, 1.0]], [-1])],
    ids=["inf", "nan", "no class", "negative"],
)
def test_what_has_no_temperature_is_refused(logits, label):
    with pytest.raises(BadData, match="finite logits"):
        fit_temperature(torch.tensor(logits), torch.tensor(label))


def naive_overlap_divergence(o, k, c):
    """The mean of Σ truth·log(truth/forecast) over a sure and an overlapping input."""
    forecast = [c] + [(1 - c) / (k - 1)] * (k - 1)
    sure = math.log(1 / forecast[0])
    either = sum(0.5 * math.log(0.5 / forecast[i]) for i in (0, 1))
    return (1 - o) * sure + o * either


@given(o=st.floats(1e-9, 1), k=st.integers(2, 100_000), c=st.floats(0.001, 0.999))
def test_the_closed_form_is_the_expected_divergence(o, k, c):
    assert overlap_divergence(o, k, c) == pytest.approx(
        naive_overlap_divergence(o, k, c), rel=1e-9, abs=1e-12
    )
    best = overlap_divergence(o, k, overlap_confidence(o))
    assert best <= overlap_divergence(o, k, c) + 1e-12


def test_even_forecasts_are_its_special_case():
    for k in (2, 10, 1000):
        assert overlap_divergence(0.3, k, 1 / k) == pytest.approx(
            uniform_overlap_divergence(0.3, k), rel=1e-12
        )


@pytest.mark.parametrize(
    ("k", "best", "even"),
    [(10, 0.544, 2.095), (100, 0.904, 4.397), (1000, 1.251, 6.700), (100_000, 1.942, 11.305)],
)
def test_it_grows_with_the_logarithm_of_the_classes(k, best, even):
    assert overlap_divergence(0.3, k, overlap_confidence(0.3)) == pytest.approx(best, abs=1e-3)
    assert uniform_overlap_divergence(0.3, k) == pytest.approx(even, abs=1e-3)


def test_its_ratio_to_even_forecasts_tends_to_half_the_overlap():
    ratio = [
        overlap_divergence(0.3, k, 0.85) / uniform_overlap_divergence(0.3, k)
        for k in (10**6, 10**100, 10**300)
    ]
    assert ratio[0] > ratio[1] > ratio[2] > 0.15
    assert ratio[2] == pytest.approx(0.15, abs=1e-3)


def test_temperature_scaling_of_an_interpolating_model_finds_that_confidence():
    """Held-out labels of the overlapping half are coins; the model is sure of one of the two."""
    generator = torch.Generator().manual_seed(0)
    rows, k, o = 40_000, 10, 0.4
    logits = torch.zeros(rows, k, dtype=torch.float64)
    logits[:, 0] = 7.0
    overlapping = torch.rand(rows, generator=generator) < o
    label = (overlapping & (torch.rand(rows, generator=generator) < 0.5)).long()
    t = fit_temperature(logits, label).value
    confidence = float((logits[0] / t).softmax(-1)[0])
    assert confidence == pytest.approx(overlap_confidence(o), abs=0.01)


def test_certainty_is_right_without_overlap_and_infinitely_wrong_with_any():
    assert overlap_divergence(0.0, 10, 1.0) == 0
    assert overlap_divergence(0.1, 10, 1.0) == math.inf


@pytest.mark.parametrize(
    ("arguments", "said"),
    [((1.2, 10, 0.5), "overlap"), ((0.2, 1, 0.5), "classes"), ((0.2, 10, 0.0), "confidence")],
    ids=["overlap", "classes", "confidence"],
)
def test_what_is_out_of_range_is_refused(arguments, said):
    with pytest.raises(BadConfig, match=said):
        overlap_divergence(*arguments)
