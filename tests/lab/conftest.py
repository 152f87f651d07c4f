"""Random worlds for the lab's tests: each fixture is a function of a seed."""

import pytest
import torch

from collimate.lab import World


def _generator(seed):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def random_world():
    """Reference and rewards from normal numbers, rewards with standard deviation `spread`."""

    def make(seed=0, *, contexts=3, responses=12, spread=1.0, **options):
        shape = (2, contexts, responses)
        numbers = torch.randn(shape, dtype=torch.float64, generator=_generator(seed))
        return World(numbers[0].log_softmax(-1), spread * numbers[1], **options)

    return make


@pytest.fixture
def random_preference():
    """A general, intransitive preference matrix."""

    def make(seed=0, *, contexts=3, responses=12):
        shape = (contexts, responses, responses)
        upper = torch.rand(shape, dtype=torch.float64, generator=_generator(seed)).triu(1)
        below = (1 - upper).mT.tril(-1)
        return upper + below + 0.5 * torch.eye(responses, dtype=torch.float64)

    return make


@pytest.fixture
def random_law():
    """A probability for each ordered pair, a response with itself included."""

    def make(seed=0, *, contexts=3, responses=12):
        shape = (contexts, responses, responses)
        law = torch.rand(shape, dtype=torch.float64, generator=_generator(seed))
        return law / law.sum((-2, -1), keepdim=True)

    return make


@pytest.fixture
def random_draws():
    """mu [context, response], from which both answers of a pair are drawn independently."""

    def make(seed=0, *, contexts=3, responses=12):
        shape = (contexts, responses)
        logits = 3 * torch.rand(shape, dtype=torch.float64, generator=_generator(seed))
        return logits.softmax(-1)

    return make
