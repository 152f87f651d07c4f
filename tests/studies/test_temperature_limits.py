"""chidambaram:24: temperature scaling fails as classes overlap; Mixup in training does not.

Half of the classes' inputs can be told apart, the other half not (up to `overlap`): of each pair of
classes, a share of the inputs shows only the pair. A net interpolates noisy training labels there.
Measured against the known conditional: E KL(truth‖forecast), for a constant confidence equal to the
accuracy has a top-label calibration error of 0.
"""

from __future__ import annotations

import pytest
import torch

from collimate.diagnostics import bootstrap_mean
from collimate.diagnostics.calibration import (
    expected_calibration_error,
    fit_temperature,
    overlap_confidence,
    overlap_divergence,
)

TRAIN, HELD, NOISE, WIDTH, SEEDS = 300, 2000, 40, 64, 5


def data(seed, rows, classes, overlap):
    """(inputs, labels, truth): cues of class or pair beside noise that tells every row apart."""
    generator = torch.Generator().manual_seed(seed)
    label = torch.randint(classes, (rows,), generator=generator)
    unclear = torch.rand(rows, generator=generator) < overlap
    cue = torch.nn.functional.one_hot(torch.where(unclear, classes + label // 2, label))
    cue = torch.nn.functional.pad(cue, (0, classes + classes // 2 - cue.shape[1])).double()
    noise = torch.randn(rows, NOISE, dtype=torch.float64, generator=generator)
    sure = torch.nn.functional.one_hot(label, classes).double()
    other = torch.nn.functional.one_hot(label ^ 1, classes).double()
    truth = torch.where(unclear[:, None], (sure + other) / 2, sure)
    return torch.cat([3 * cue, noise], 1), label, truth


def trained(seed, x, label, classes, mixup, steps=200):
    """A tanh net trained to interpolate; with Mixup on convex mixes of two rows and their labels."""
    generator = torch.Generator().manual_seed(seed)

    def weights(rows, columns):
        w = torch.randn(rows, columns, dtype=torch.float64, generator=generator) / rows**0.5
        return w.requires_grad_()

    inner, outer = weights(x.shape[1], WIDTH), weights(WIDTH, classes)
    onehot = torch.nn.functional.one_hot(label, classes).double()
    optimizer = torch.optim.Adam([inner, outer], lr=0.01)
    for _ in range(steps):
        mixed, target = x, onehot
        if mixup:
            share = torch.rand(len(x), 1, dtype=torch.float64, generator=generator)
            with_ = torch.randperm(len(x), generator=generator)
            mixed, target = (share * v + (1 - share) * v[with_] for v in (x, onehot))
        loss = -(target * (torch.tanh(mixed @ inner) @ outer).log_softmax(-1)).sum(-1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return lambda inputs: (torch.tanh(inputs @ inner) @ outer).detach()


def divergence(truth, logits):
    """Mean KL(truth‖softmax(logits)) in nats."""
    return float(
        (torch.special.xlogy(truth, truth) - truth * logits.log_softmax(-1)).sum(-1).mean()
    )


def measured(classes, overlap, seed):
    """Divergences of the plain net, with temperature, Mixup, both; accuracies; calibration error."""
    x, label, _ = data(seed, TRAIN * classes // 10, classes, overlap)
    held, held_label, _ = data(seed + 1000, HELD, classes, overlap)
    test, test_label, truth = data(seed + 2000, HELD, classes, overlap)
    found = {}
    for name in ("plain", "mixup"):
        net = trained(seed, x, label, classes, mixup=name == "mixup")
        t = fit_temperature(net(held), held_label).value
        logits = net(test)
        scaled = (logits / t).softmax(-1).max(-1)
        found[name] = divergence(truth, logits)
        found[name + " scaled"] = divergence(truth, logits / t)
        found[name + " accuracy"] = float((scaled.indices == test_label).double().mean())
        found[name + " error"] = expected_calibration_error(
            scaled.values, scaled.indices == test_label
        )
        found[name + " fitted"] = float((net(x).argmax(-1) == label).double().mean())
    return found


@pytest.fixture(scope="module")
def runs():
    cases = [(10, 0.1), (10, 0.5), (40, 0.5)]
    return {case: [measured(*case, seed) for seed in range(SEEDS)] for case in cases}


def mean(runs, case, name):
    return sum(run[name] for run in runs[case]) / SEEDS


def low(runs, case, better, worse):
    """Lower end of the interval of worse - better over seeds."""
    gaps = torch.tensor([run[worse] - run[better] for run in runs[case]])
    return bootstrap_mean(gaps.numpy(), range(SEEDS))[0]


def nearest(seed, classes, overlap):
    """(logits, labels, truth): sure of the class of the nearest training row by its cue."""
    x, label, _ = data(seed, TRAIN * classes // 10, classes, overlap)
    test, test_label, truth = data(seed + 2000, HELD, classes, overlap)
    neighbour = (
        test[:, :-NOISE] @ x[:, :-NOISE].T + 0.01 * test[:, -NOISE:] @ x[:, -NOISE:].T
    ).argmax(1)
    return 9.0 * torch.nn.functional.one_hot(label[neighbour], classes).double(), test_label, truth


@pytest.mark.parametrize("overlap", [0.1, 0.5])
def test_an_interpolating_classifier_with_an_even_rest_obeys_the_closed_form(overlap):
    """Growth with overlap and with log k; the top-label error is small all the same."""
    found = {}
    for classes in (10, 40, 160):
        logits, label, truth = nearest(0, classes, overlap)
        scaled = logits / fit_temperature(logits, label).value
        found[classes] = divergence(truth, scaled)
        theory = overlap_divergence(overlap, classes, overlap_confidence(overlap))
        assert found[classes] == pytest.approx(theory, rel=0.12)
        top = scaled.softmax(-1).max(-1)
        assert expected_calibration_error(top.values, top.indices == label) < 0.01
    growth = found[160] - found[10]
    assert growth == pytest.approx(overlap / 2 * torch.tensor(16.0).log().item(), rel=0.2)


@pytest.mark.slow
def test_of_a_net_temperature_scaling_grows_with_overlap_and_mixup_stays_lower(runs):
    for case in runs:
        assert mean(runs, case, "plain fitted") > 0.999
        assert low(runs, case, "plain scaled", "plain") > 0
        assert low(runs, case, "mixup scaled", "plain scaled") > 0.02
        assert low(runs, case, "mixup", "plain scaled") > 0.02
        assert low(runs, case, "plain accuracy", "mixup accuracy") > -0.01
    few, many = (mean(runs, (10, o), "plain scaled") for o in (0.1, 0.5))
    assert many > 2 * few


@pytest.mark.slow
def test_of_a_net_it_does_not_grow_with_the_classes(runs):
    """Its rest is not even: the other class of the pair keeps a larger logit, which scaling keeps."""
    few, many = (mean(runs, (k, 0.5), "plain scaled") for k in (10, 40))
    assert many < few + 0.05
    assert many < 0.7 * overlap_divergence(0.5, 40, overlap_confidence(0.5))
