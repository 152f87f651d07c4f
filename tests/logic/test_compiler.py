"""Compiled losses against hand-coded ones, brute force, and their own laws."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from collimate import losses, methods
from collimate._checks import BadComposition, BadConfig
from collimate._types import PairLogProbs
from collimate.compose import Method
from collimate.logic import NAMED, Structure, compile, of_tables, statement, structures
from collimate.margins.log_odds import LINEAR_ABOVE
from tests.equivalence.runs import metrics_of, text_pairs, train
from tests.pairs import swapped

FINITE = [s for s in structures() if all(s.tables)]
DEFINITE = 1 - math.exp(LINEAR_ABOVE)  # the smallest chance of being wrong that is told from none


def probabilities(view: PairLogProbs) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    logs = (view.policy_chosen, view.policy_rejected, *view.reference())
    return tuple(log.exp() for log in logs)  # type: ignore[return-value]


def sigmoid(z: Tensor) -> Tensor:
    return 1 / (1 + torch.exp(-z))


def h_of(structure: Structure, view: PairLogProbs, **given: object) -> Tensor:
    method = compile(structure, **given)  # type: ignore[arg-type]
    return method.margin(view, divergence=method.divergence)


# The probabilities of the chosen answer a and the rejected one r, by the policy and the reference.
BY_HAND: dict[str, Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]] = {
    "dpo": lambda a, r, a_q, r_q: (a / a_q) / (r / r_q),
    "cpo": lambda a, r, a_q, r_q: a / r,
    "orpo": lambda a, r, a_q, r_q: (a / (1 - a)) / (r / (1 - r)),
    "unlikelihood": lambda a, r, a_q, r_q: a * (1 - r) / (1 - a * (1 - r)),
    "cross-entropy": lambda a, r, a_q, r_q: a / (1 - a),
    "rejected unlikelihood": lambda a, r, a_q, r_q: (1 - r) / r,
    "unCPO": lambda a, r, a_q, r_q: (1 - r + a * r) / (r * (1 - a)),
    "cCPO": lambda a, r, a_q, r_q: a / (r * (1 - a)),
}


@pytest.mark.parametrize("beta", [0.1, 1.0, 2.0])
@pytest.mark.parametrize("name", NAMED)
def test_a_compiled_loss_is_the_one_coded_by_hand(name, beta, pairs) -> None:
    view = pairs(deepest=-12.0)
    expected = -torch.log(sigmoid(beta * torch.log(BY_HAND[name](*probabilities(view)))))
    assert_close(compile(NAMED[name], beta=beta)(view), expected, rtol=1e-10, atol=1e-10)


def test_a_statement_alone_is_minus_the_log_of_its_count(pairs) -> None:
    view = pairs(deepest=-12.0)
    a, r, *_ = probabilities(view)
    assert_close(compile(NAMED["cross-entropy"])(view), -torch.log(a), rtol=1e-10, atol=1e-10)
    expected = -torch.log(a) - torch.log(1 - r)  # cross-entropy and unlikelihood, added
    assert_close(compile(NAMED["unlikelihood"])(view), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("preset", "compiled"),
    [
        (methods.dpo(0.3), compile(NAMED["dpo"], beta=0.3)),
        (methods.ipo(0.3), compile(NAMED["dpo"], beta=0.3, loss=losses.squared(0.3), target=0.5)),
        (methods.hinge_norm(0.3), compile(NAMED["dpo"], beta=0.3, loss=losses.hinge)),
        (methods.ln_dpo(2.0), compile(NAMED["dpo"], beta=2.0, weights="tokens")),
        (methods.simpo(2.0, 1.5), compile(NAMED["cpo"], beta=2.0, target=1.5, weights="tokens")),
    ],
    ids=lambda method: method.name,
)
def test_a_preset_of_one_term_is_its_statement_compiled(preset, compiled, pairs) -> None:
    view = pairs(deepest=-1000.0)
    assert_close(compiled(view), preset(view), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("preset", "terms"),
    [
        (
            methods.orpo(0.2),
            {
                "loss": compile(NAMED["cross-entropy"], weights="tokens"),
                "odds_ratio": compile(NAMED["orpo"], weights="tokens"),
            },
        ),
        (
            methods.cpo(0.2),
            {"loss": compile(NAMED["cpo"], beta=0.2), "nll": compile(NAMED["cross-entropy"])},
        ),
        (
            methods.slic_hf(),
            {
                "loss": compile(NAMED["cpo"], loss=losses.hinge),
                "nll": compile(NAMED["cross-entropy"]),
            },
        ),
    ],
    ids=["orpo", "cpo", "slic_hf"],
)
def test_a_preset_of_several_terms_is_several_statements(preset, terms, pairs) -> None:
    view = pairs(deepest=-1000.0)
    found = {name: term.values for name, term in preset.terms(view, preset.init()).items()}
    assert set(found) == set(terms)
    for name, method in terms.items():
        assert_close(method(view), found[name], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("beta", [0.5, 2.0, 10.0])
def test_simpo_is_dpo_against_a_reference_of_constant_log_odds(beta, pairs) -> None:
    view, gamma = pairs(), 1.3
    rejected = torch.full_like(view.policy_rejected, -7.0)
    made_up = replace(
        view,
        reference_chosen=(rejected + gamma / beta) * view.chosen_tokens,
        reference_rejected=rejected * view.rejected_tokens,
    )
    compiled = compile(NAMED["dpo"], beta=beta, weights="tokens")
    assert_close(compiled(made_up), methods.simpo(beta, gamma)(view), rtol=1e-10, atol=1e-10)


def by_brute_force(structure: Structure, p: tuple[Tensor, ...]) -> Tensor:
    worlds = [[x if v >> i & 1 else 1 - x for i, x in enumerate(p)] for v in range(16)]
    weights = torch.stack([torch.stack(world).prod(0) for world in worlds])
    top, bottom = (
        weights[[v for v in range(16) if table >> v & 1]].sum(0) for table in structure.tables
    )
    return torch.log(top) - torch.log(bottom)


def test_every_structure_over_two_propositions_is_its_weighted_count(pairs) -> None:
    view = pairs(40, deepest=-5.0)
    p = probabilities(view)
    for structure in FINITE:
        expected = by_brute_force(structure, p)
        assert_close(h_of(structure, view), expected, rtol=1e-10, atol=1e-10)


def test_structures_over_four_propositions_are_their_weighted_counts(pairs) -> None:
    view = pairs(40, deepest=-5.0)
    p = probabilities(view)
    generator = torch.Generator().manual_seed(0)
    for top, bottom in torch.randint(1, 1 << 16, (50, 2), generator=generator).tolist():
        structure = of_tables(top, bottom)
        assert_close(h_of(structure, view), by_brute_force(structure, p), rtol=1e-10, atol=1e-10)


def test_per_token_a_proposition_has_the_geometric_mean(pairs) -> None:
    view = pairs(40, deepest=-5.0)
    tokens = (view.chosen_tokens, view.rejected_tokens) * 2
    p = tuple(x ** (1 / n.double()) for x, n in zip(probabilities(view), tokens, strict=True))
    for structure in (NAMED["orpo"], NAMED["dpo"], statement("W | L_q", "W_q | L")):
        expected = by_brute_force(structure, p)
        assert_close(h_of(structure, view, weights="tokens"), expected, rtol=1e-10, atol=1e-10)


def extremes(dtype: torch.dtype) -> PairLogProbs:
    """Every combination of four log-probs from certain to hopeless."""
    values = torch.tensor([0.0, -1e-12, -1e-6, -1e-3, -0.7, -30.0, -1000.0], dtype=dtype)
    grid = torch.cartesian_prod(*[values] * 4).unbind(-1)
    return PairLogProbs(
        policy_chosen=grid[0].clone().requires_grad_(),
        policy_rejected=grid[1].clone().requires_grad_(),
        reference_chosen=grid[2],
        reference_rejected=grid[3],
        chosen_tokens=torch.ones_like(grid[0]),
        rejected_tokens=torch.ones_like(grid[0]),
    )


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_losses_and_gradients_are_finite_from_certain_to_hopeless(dtype) -> None:
    view = extremes(dtype)
    policy = (view.policy_chosen, view.policy_rejected)
    others = (statement("W -> W_q", "W | L_q"), statement("~W ^ ~L ^ W_q ^ L_q"))
    for structure in (*FINITE, *NAMED.values(), *others):
        loss = compile(structure)(view)
        assert loss.isfinite().all(), structure
        if not loss.requires_grad:  # T and B are one, or speak of the reference alone
            assert structure.tables[0] == structure.tables[1]
            continue
        gradients = torch.autograd.grad(loss.sum(), policy, allow_unused=True)
        assert all(g.isfinite().all() for g in gradients if g is not None), structure


def test_a_certain_answer_is_where_the_log_odds_go_on_by_their_tangent() -> None:
    x = torch.tensor([-3 * DEFINITE, -DEFINITE, -0.5 * DEFINITE, 0.0], dtype=torch.float64)
    view = PairLogProbs(
        policy_chosen=x,
        policy_rejected=torch.full_like(x, -2.0),
        chosen_tokens=torch.ones_like(x),
        rejected_tokens=torch.ones_like(x),
    )
    orpo = methods.orpo().also[0].margin
    expected = orpo(view, divergence=methods.orpo().divergence)
    assert_close(h_of(NAMED["orpo"], view), expected, rtol=1e-12, atol=1e-12)
    assert expected.isfinite().all()
    assert (expected.diff() > 0).all()


@pytest.mark.parametrize("name", [n for n, s in NAMED.items() if compile(s).margin.compares])
def test_what_compares_changes_sign_when_the_answers_change_places(name, pairs) -> None:
    view = pairs()
    assert_close(h_of(NAMED[name], swapped(view)), -h_of(NAMED[name], view))


def test_whether_a_statement_compares_and_whether_it_has_a_reference_is_seen() -> None:
    compares = {name for name, s in NAMED.items() if compile(s).margin.compares}
    assert compares == {"dpo", "cpo", "orpo"}
    assert {name for name, s in NAMED.items() if compile(s).needs.reference} == {"dpo"}
    assert not compile(statement("W & (W_q | ~W_q)")).needs.reference  # said, and without effect
    assert compile(statement("W", "L_q")).needs.reference is True


@pytest.mark.parametrize(
    ("p", "p_c", "p_a", "side"),
    [
        ("true", "W", "false", "bottom"),
        ("W & ~W", "true", "false", "top"),
        ("W", "false", "L", "top"),
    ],
)
def test_a_statement_that_cannot_be_wrong_or_right_has_no_loss(p, p_c, p_a, side) -> None:
    with pytest.raises(BadComposition, match=f"no valuation satisfies the {side}"):
        compile(statement(p, p_c, p_a))


def test_bad_arguments_are_refused_with_what_was_expected(pairs) -> None:
    with pytest.raises(BadConfig, match="beta must be finite and above 0"):
        compile(NAMED["cpo"], beta=0.0)
    with pytest.raises(BadConfig, match="weights must be one of answers, tokens, got 'token'"):
        compile(NAMED["cpo"], weights="token")
    bare = PairLogProbs(policy_chosen=torch.zeros(2), policy_rejected=torch.zeros(2))
    with pytest.raises(BadComposition, match="compares the policy with a reference"):
        compile(NAMED["dpo"])(bare)
    with pytest.raises(BadComposition, match="reads lengths"):
        compile(NAMED["cpo"], weights="tokens")(bare)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["unCPO", "dpo"])
def test_a_statement_trains_like_any_method(name: str, tmp_path: Path) -> None:
    method: Method = compile(NAMED[name], beta=0.5, weights="tokens")
    rows = text_pairs(24)
    run = train(tmp_path / "run", data=rows, evaluation=rows[:8], method=method, max_steps=6)
    assert len(metrics_of(run)) == 6
    assert (run.record["reference"] is None) == (name == "unCPO")
    before, after = (run.record["evaluation"][when]["loss"] for when in ("before", "after"))
    assert after < before
