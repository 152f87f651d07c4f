"""liu:24d: calibrating for correctness, against cross-entropy, squared error and one temperature.

A net overfits noisy clouds of ten classes; calibrators learn from five noisy views of held-out rows and
are measured on rows like them and on rows with more noise. A small calibration error alone says little
(a constant confidence has it too), hence also the Brier score of confidence and its ranking of right
answers.
"""

from __future__ import annotations

import pytest
import torch

from collimate.diagnostics import bootstrap_mean
from collimate.diagnostics.calibration import (
    expected_calibration_error,
    fit_sample_temperature,
    fit_temperature,
    ranking_of_correct,
    view_features,
)

CLASSES, FEATURES, WIDTH, VIEWS = 10, 20, 64, 5
TRAIN, HELD, SEEDS = 400, 4000, 5
SPREAD, SHIFTED, JITTER = 1.4, 2.2, 0.5
GOALS = ("correctness", "cross_entropy", "squared")


def rows(seed, count, spread, centres):
    generator = torch.Generator().manual_seed(seed)
    label = torch.randint(CLASSES, (count,), generator=generator)
    noise = torch.randn(count, FEATURES, dtype=torch.float64, generator=generator)
    return centres[label] + spread * noise, label


def classifier(seed, x, label):
    generator = torch.Generator().manual_seed(seed)
    inner = torch.randn(FEATURES, WIDTH, dtype=torch.float64, generator=generator) / FEATURES**0.5
    outer = torch.randn(WIDTH, CLASSES, dtype=torch.float64, generator=generator) / WIDTH**0.5
    weights = [inner.requires_grad_(), outer.requires_grad_()]
    optimizer = torch.optim.Adam(weights, lr=0.01)
    for _ in range(150):
        loss = torch.nn.functional.cross_entropy(torch.tanh(x @ inner) @ outer, label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return lambda inputs: (torch.tanh(inputs @ inner) @ outer).detach()


def seen(net, x, seed):
    """Logits, and features of the input itself and four jittered copies."""
    generator = torch.Generator().manual_seed(seed)
    jitter = torch.randn(VIEWS, *x.shape, dtype=torch.float64, generator=generator)
    jitter[0] = 0
    return net(x), view_features(net(x + JITTER * jitter))


def measured(seed):
    """name -> {(data, metric): value} of each calibrator."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(CLASSES, FEATURES, dtype=torch.float64, generator=generator)
    net = classifier(seed, *rows(seed + 100, TRAIN, SPREAD, centres))
    x, label = rows(seed + 200, HELD, SPREAD, centres)
    logits, features = seen(net, x, seed)
    one = fit_temperature(logits, label).value
    temperatures = {
        "none": lambda f: torch.ones(len(f)),
        "one": lambda f: torch.full((len(f),), one),
    }
    for goal in GOALS:
        temperatures[goal] = fit_sample_temperature(features, logits, label, goal=goal, seed=seed)
    found = {name: {} for name in temperatures}
    for where, spread in (("like", SPREAD), ("shifted", SHIFTED)):
        x, label = rows(seed + 300, HELD, spread, centres)
        logits, features = seen(net, x, seed + 1)
        for name, temperature in temperatures.items():
            p = (logits / temperature(features)[:, None]).softmax(-1).max(-1)
            right = p.indices == label
            found[name][where, "error"] = expected_calibration_error(p.values, right)
            found[name][where, "brier"] = float((p.values - right.double()).square().mean())
            found[name][where, "ranking"] = ranking_of_correct(p.values, right)
    return found


@pytest.fixture(scope="module")
def runs():
    return [measured(seed) for seed in range(SEEDS)]


def interval(runs, key, a, b):
    """Of metric(a) - metric(b) over seeds."""
    return bootstrap_mean(
        torch.tensor([run[a][key] - run[b][key] for run in runs]).numpy(), range(SEEDS)
    )


@pytest.mark.slow
@pytest.mark.parametrize("where", ["like", "shifted"])
def test_every_calibrator_mends_an_overfit_net(runs, where):
    """Measured Brier scores of confidence: 0.12 and 0.29 as it is, 0.11 and 0.24 calibrated."""
    for name in ("one", *GOALS):
        for metric in ("error", "brier"):
            assert interval(runs, (where, metric), name, "none")[1] < 0, (name, metric)


@pytest.mark.slow
@pytest.mark.parametrize("where", ["like", "shifted"])
def test_correctness_keeps_up_and_is_not_better(runs, where):
    """The paper's gain is not seen: one temperature has the lower Brier score, if by little.

    Squared error, whose loss holds the correctness loss of the top class, is not told apart.
    """
    for other, bar in (("one", 0.007), ("cross_entropy", 0.007), ("squared", 0.003)):
        low, high = interval(runs, (where, "brier"), "correctness", other)
        assert high > 0, other
        assert low > -0.003, other
        assert high < bar, other
    low, high = interval(runs, (where, "ranking"), "correctness", "one")
    assert low > -0.01
    assert high < 0.005
