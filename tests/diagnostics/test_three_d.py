"""Trajectories against loops; the law of the gradients' ratio against autograd."""

import math
from inspect import unwrap

import pytest
import torch

from collimate import methods
from collimate._checks import BadConfig, BadData
from collimate._types import PairLogProbs
from collimate.diagnostics import log_slope_ratio, loss_slopes, three_d_properties


def test_trajectories_are_means_of_changes_since_the_start():
    generator = torch.Generator().manual_seed(0)
    chosen, rejected = torch.randn(2, 4, 3, dtype=torch.float64, generator=generator)
    unseen = torch.randn(4, 7, dtype=torch.float64, generator=generator)
    found = three_d_properties(chosen, rejected, unseen, drop_nats=0.5)
    for t in range(4):
        for name, table in (("chosen", chosen), ("rejected", rejected), ("unseen", unseen)):
            rows = [table[t, i].item() - table[0, i].item() for i in range(table.shape[1])]
            assert getattr(found, name)[t].item() == pytest.approx(math.fsum(rows) / len(rows))
        assert found.drop[t].item() == (found.rejected[t].item() < -0.5)
        assert found.degradation[t].item() == (found.chosen[t].item() < 0)
        assert found.dispersion[t].item() == (found.unseen[t].item() > 0)
    torch.testing.assert_close(found.log_slope_ratio, (rejected - chosen).mean(-1))


def test_at_the_start_nothing_has_happened():
    found = three_d_properties(*(-torch.rand(3, 2, 5)))
    assert not torch.stack([found.drop, found.degradation, found.dispersion])[:, 0].any()


def test_a_constant_added_to_a_kind_changes_its_trajectory_nowhere():
    start = torch.randn(3, 5, 4, dtype=torch.float64)
    one, other = three_d_properties(*start), three_d_properties(*(start - 10))
    torch.testing.assert_close(one.rejected, other.rejected)


@pytest.mark.parametrize(
    "method", [methods.dpo(0.3), methods.ipo(0.2), methods.cpo(0.4)], ids=lambda m: m.name
)
def test_the_ratio_law_holds_with_the_slopes_of_any_method(method):
    """|∂L/∂p_w|/|∂L/∂p_l| by autograd over probabilities; 1e-6 is the bar, float64 gives 1e-12."""
    generator = torch.Generator().manual_seed(0)
    p = torch.rand(2, 50, dtype=torch.float64, generator=generator).mul(0.4).requires_grad_()
    reference = torch.rand(2, 50, dtype=torch.float64, generator=generator).log()

    def view(log_p):
        return PairLogProbs(
            policy_chosen=log_p[0],
            policy_rejected=log_p[1],
            reference_chosen=reference[0],
            reference_rejected=reference[1],
        )

    (slope,) = torch.autograd.grad(method(view(p.log())).sum(), p)
    log_p = p.detach().log()
    d = loss_slopes(method, view(log_p))
    law = log_slope_ratio(log_p[0], log_p[1]) + (d.d_w / d.d_l).abs().log()
    torch.testing.assert_close((slope[0] / slope[1]).abs().log(), law, rtol=1e-9, atol=1e-9)


GOOD = torch.zeros(2, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((GOOD, GOOD[:1], GOOD), r"rejected must have shape \[2, 3\]"),
        ((GOOD, GOOD, GOOD[:1]), r"unseen must have shape \[2, 3\]"),
        ((GOOD[:0], GOOD[:0], GOOD[:0]), "chosen is empty"),
        ((GOOD, GOOD - math.inf, GOOD), r"rejected must be finite, got -inf at \[0, 0\]"),
    ],
    ids=["rejected", "unseen", "none", "infinite"],
)
def test_series_that_cannot_be(arguments, message):
    with pytest.raises(BadData, match=message):
        unwrap(three_d_properties)(*arguments)


def test_a_drop_of_nothing_is_no_drop():
    with pytest.raises(BadConfig, match="drop_nats must be finite and above 0"):
        three_d_properties(GOOD, GOOD, GOOD, drop_nats=0.0)
