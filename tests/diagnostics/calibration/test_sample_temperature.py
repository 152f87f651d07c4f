"""The temperature of each sample: what the three goals ask of a wrong answer, and the fit."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from collimate._checks import BadConfig, BadData
from collimate.diagnostics.calibration import fit_sample_temperature, view_features


def slopes(p, label):
    """d loss/d(1/T) at T = 1 of cross-entropy and correctness, by autograd; above 0: T shall rise."""
    a = torch.ones((), dtype=torch.float64, requires_grad=True)
    z = torch.tensor(p, dtype=torch.float64).log()
    log_p = (a * z).log_softmax(-1)
    entropy = -log_p[label]
    correctness = (float(z.argmax() == label) - log_p.max().exp()).square()
    return [
        float(torch.autograd.grad(loss, a, retain_graph=True)[0]) for loss in (entropy, correctness)
    ]


@given(seed=st.integers(0, 2**31 - 1), classes=st.integers(2, 12))
def test_cross_entropy_lowers_the_temperature_where_the_label_is_likelier_than_the_entropy(
    seed, classes
):
    generator = torch.Generator().manual_seed(seed)
    p = torch.randn(classes, dtype=torch.float64, generator=generator).softmax(-1)
    for label in range(classes):
        slope, correctness = slopes(p.tolist(), label)
        surplus = float(p[label].log() - (p * p.log()).sum())
        assert slope == pytest.approx(-surplus, abs=1e-12)
        assert correctness < 0 if p.argmax() == label else correctness > 0


@pytest.mark.parametrize(
    ("p", "falls"),
    [
        ([0.6, 0.4], False),
        ([0.5, 0.4, 0.1], True),
        ([0.45, 0.4] + [0.15 / 8] * 8, True),
    ],
    ids=["two classes", "three", "ten"],
)
def test_a_narrow_mistake_with_more_than_two_classes_makes_cross_entropy_surer(p, falls):
    cross_entropy, correctness = slopes(p, 1)
    assert (cross_entropy < 0) == falls
    assert correctness > 0


def test_the_features_are_the_largest_scores_of_each_view():
    z = torch.randn(5, 3, 10, generator=torch.Generator().manual_seed(0))
    found = view_features(z)
    for row in range(3):
        naive = [s for view in range(5) for s in sorted(z[view, row].softmax(0).tolist())[:-5:-1]]
        assert found[row].tolist() == pytest.approx(naive, abs=1e-6)


def test_classes_that_are_missing_score_zero():
    assert view_features(torch.zeros(2, 1, 2)).tolist() == [[0.5, 0.5, 0, 0, 0.5, 0.5, 0, 0]]


def two_kinds(seed, rows=600):
    """Logits are sure everywhere; on the second kind, which a feature tells, they are right half."""
    generator = torch.Generator().manual_seed(seed)
    kind = (torch.arange(rows) % 2).double()
    z = torch.zeros(rows, 3, dtype=torch.float64)
    z[:, 0] = 3.0
    wrong = (kind == 1) & (torch.rand(rows, generator=generator) < 0.5)
    label = torch.where(wrong, 1 + torch.randint(2, (rows,), generator=generator), 0)
    return kind[:, None], z, label


def confidence(net, features, z):
    return (z / net(features)[:, None]).softmax(-1).amax(-1)


@pytest.mark.parametrize("goal", ["correctness", "cross_entropy", "squared"])
def test_every_goal_learns_which_kind_is_right_half_of_the_time(goal):
    net = fit_sample_temperature(*two_kinds(0), goal=goal)
    features, z, _ = two_kinds(1)
    found = confidence(net, features, z)
    assert found[::2].min() > 0.95
    assert found[1::2].mean() == pytest.approx(0.5, abs=0.06)
    assert (z / net(features)[:, None]).argmax(-1).equal(z.argmax(-1))


def test_the_seed_alone_decides_and_the_arguments_stay_as_they_are():
    features, z, label = two_kinds(0)
    before = [x.clone() for x in (features, z, label)]
    nets = [fit_sample_temperature(features, z, label, steps=20, seed=s) for s in (0, 0, 1)]
    temperatures = [net(features) for net in nets]
    assert temperatures[0].equal(temperatures[1])
    assert not temperatures[0].equal(temperatures[2])
    assert all(a.equal(b) for a, b in zip(before, (features, z, label), strict=True))
    assert not nets[0].inner.requires_grad


def test_it_fits_inside_no_grad():
    features, z, label = two_kinds(0)
    with torch.no_grad():
        net = fit_sample_temperature(features, z, label, steps=5)
    assert not net(features).equal(torch.ones(len(z), dtype=torch.float64))


def test_what_cannot_be_fitted_is_refused():
    features, z, label = two_kinds(0)
    with pytest.raises(BadData, match="must be finite"):
        fit_sample_temperature(features / 0, z, label)
    with pytest.raises(BadConfig, match="units and steps"):
        fit_sample_temperature(features, z, label, units=0)
    with pytest.raises(BadConfig, match="top must be"):
        view_features(z[None], top=0)
