"""How losses relate: derived by hand, held on random draws, and not claimed where it fails."""

from __future__ import annotations

from collections import Counter
from itertools import product

import pytest
import torch
from torch import Tensor

from collimate import losses, methods
from collimate._checks import BadConfig
from collimate._types import PairLogProbs
from collimate.logic import (
    NAMED,
    Structure,
    W,
    compile,
    decompile,
    relation,
    statement,
    structures,
)

ALL = list(structures())
FINITE = [s for s in ALL if all(s.tables)]
REVERSED = {"entails": "entailed", "entailed": "entails"}


def draws(seed: int = 0, count: int = 400) -> PairLogProbs:
    """Probabilities all over the square, its edges included."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, count, dtype=torch.float64, generator=generator) * 4
    policy = torch.nn.functional.logsigmoid(logits)
    return PairLogProbs(policy_chosen=policy[0], policy_rejected=policy[1])


def h_of(structure: Structure, view: PairLogProbs) -> Tensor:
    method = compile(structure)
    return method.margin(view, divergence=method.divergence)


def implies(a: Structure, b: Structure) -> bool:
    return not a.p.table & ~b.p.table


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ("orpo", "cpo", "incomparable"),
        ("orpo", "unCPO", "entails"),
        ("cpo", "unCPO", "entails"),
        ("orpo", "cCPO", "entails"),
        ("cpo", "cCPO", "entails"),
        ("cCPO", "unCPO", "entails"),
        ("unlikelihood", "orpo", "entails"),
        ("unlikelihood", "cpo", "entails"),
        ("unlikelihood", "cross-entropy", "entails"),
        ("cross-entropy", "cCPO", "entails"),
        ("cross-entropy", "cpo", "incomparable"),
        ("cross-entropy", "orpo", "incomparable"),
        ("rejected unlikelihood", "unCPO", "entails"),
        ("rejected unlikelihood", "cCPO", "incomparable"),
        ("dpo", "cpo", "incomparable"),
        ("dpo", "unCPO", "incomparable"),
    ],
)
def test_named_statements_relate_as_derived_by_hand(a: str, b: str, expected: str) -> None:
    assert relation(NAMED[a], NAMED[b]) == expected
    assert relation(NAMED[b], NAMED[a]) == REVERSED.get(expected, expected)


def test_the_relations_of_presets_follow_from_their_derived_statements() -> None:
    simpo, cpo, orpo, dpo = (
        decompile(getattr(methods, name)()) for name in ("simpo", "cpo", "orpo", "dpo")
    )
    assert relation(simpo, cpo) == "equivalent"
    assert relation(orpo, cpo) == relation(dpo, cpo) == relation(dpo, orpo) == "incomparable"
    assert relation(simpo, NAMED["unCPO"]) == relation(orpo, NAMED["unCPO"]) == "entails"
    assert relation(decompile(methods.ipo()), dpo) == "equivalent"


def test_orpo_and_cpo_cross() -> None:
    view = draws()
    difference = h_of(NAMED["orpo"], view) - h_of(NAMED["cpo"], view)
    assert (difference > 1e-3).any()
    assert (difference < -1e-3).any()


def test_what_is_claimed_holds_on_every_draw_and_what_is_counted_is_what_there_is() -> None:
    view = draws()
    h = torch.stack([h_of(structure, view) for structure in FINITE])
    below = torch.stack([(row <= h + 1e-9).all(1) for row in h])  # nowhere larger
    claimed: Counter[str] = Counter()
    unclaimed = 0
    for i, j in product(range(len(FINITE)), repeat=2):
        found = relation(FINITE[i], FINITE[j])
        claimed[found] += 1
        assert found != "entails" or below[i, j]
        assert found != "entailed" or below[j, i]
        assert (found == "equivalent") == bool(below[i, j] & below[j, i])
        (t, b), (u, c) = FINITE[i].tables, FINITE[j].tables
        assert (found == "entails") == (t & u == t and b & c == c and (t, b) != (u, c))
        unclaimed += found == "incomparable" and bool(below[i, j])
    assert claimed == {"equivalent": 507, "entails": 4000, "entailed": 4000, "incomparable": 42118}
    assert unclaimed == 4444  # ordered, but not by entailment
    assert claimed["entails"] + len(FINITE) == 65**2  # both inclusions: 65 ways for T, 65 for B


@pytest.mark.parametrize("loss", [losses.logistic, losses.hinge], ids=lambda loss: loss.name)
def test_the_loss_of_what_entails_is_nowhere_smaller(loss) -> None:
    view = draws(1)
    values = {s: compile(s, beta=0.5, loss=loss)(view) for s in FINITE}
    for a, b in product(FINITE[::3], FINITE[::3]):
        if relation(a, b) == "entails":
            assert (values[a] >= values[b] - 1e-9).all()


def test_of_squared_losses_nothing_follows() -> None:
    view, loss = draws(), losses.squared(0.5)
    a, b = (compile(NAMED[n], beta=0.5, loss=loss, target=0.5)(view) for n in ("orpo", "unCPO"))
    assert relation(NAMED["orpo"], NAMED["unCPO"]) == "entails"
    assert (a < b - 1).any()
    assert (a > b + 1).any()


def test_a_stronger_p_is_not_enough_where_p_c_or_p_a_differ() -> None:
    strong, weak = statement("W", "W | L"), NAMED["cpo"]
    assert implies(strong, weak)
    assert not implies(weak, strong)
    assert relation(strong, weak) == "entailed"  # the other way round
    view = draws()
    assert (compile(strong)(view) < compile(weak)(view) - 1e-3).any()
    same_p, other = NAMED["orpo"], NAMED["cpo"]
    assert implies(same_p, other)
    assert implies(other, same_p)
    assert relation(same_p, other) == "incomparable"


def test_with_the_same_p_c_and_no_p_a_a_stronger_p_is_enough() -> None:
    alone = [s for s in FINITE if str(s.p_a) == "false"]
    assert len(alone) == 50  # T and B disjoint, neither empty: 3^4 - 2·2^4 + 1
    for a, b in product(alone, alone):
        if a.p_c == b.p_c and implies(a, b):
            assert relation(a, b) in ("entails", "equivalent")


def test_a_factor_that_cancels_leaves_an_equivalent_statement() -> None:
    joined = statement("W", "L")  # W & L over ~W & L
    assert joined != NAMED["cross-entropy"]
    assert relation(joined, NAMED["cross-entropy"]) == "equivalent"
    assert relation(statement("W & L_q", "W_q & L_q"), statement("W", "W_q")) == "equivalent"
    with_reference = statement("W & W_q", "W & W_q | L & W_q", "W & L & W_q")
    assert relation(with_reference, NAMED["cpo"]) == "equivalent"


def test_a_statement_without_a_finite_loss_is_equivalent_to_itself_only() -> None:
    never, always = statement("false"), statement("true")
    assert relation(never, statement("W & ~W")) == "equivalent"
    assert relation(never, always) == "entails"
    assert relation(never, statement("false", "W")) == "entails"
    assert relation(statement("W", "false"), NAMED["cpo"]) == "incomparable"


@pytest.mark.parametrize(("names", "count"), [((), 4), (("W",), 16), (("L", "L_q"), 256)])
def test_there_are_4_to_the_2_to_the_n_structures(names: tuple[str, ...], count: int) -> None:
    found = list(structures(names))
    assert len(found) == len(set(found)) == count == 4 ** (2 ** len(names))


def test_the_triples_of_formulas_mean_these_structures_and_no_others() -> None:
    formulas = {s.p.table: s.p for s in ALL} | {s.p_c.table: s.p_c for s in ALL}
    assert len(formulas) == 16
    triples = [Structure(*parts) for parts in product(formulas.values(), repeat=3)]
    assert len(triples) == 4096
    assert set(triples) == set(ALL)


def test_structures_are_equal_by_meaning() -> None:
    assert NAMED["orpo"] == statement("W", "W ^ L") == statement("~L", "W & ~L | ~W & L")
    assert NAMED["orpo"] != NAMED["cpo"]
    assert NAMED["orpo"] != "orpo"
    assert len({NAMED["orpo"], statement("W", "W ^ L")}) == 1
    assert statement("W", "W") != Structure(W)


def test_a_text_that_does_not_parse_is_refused() -> None:
    with pytest.raises(BadConfig, match="goes wrong at character"):
        statement("L -> W", "W | | L")
