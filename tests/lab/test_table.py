"""docs/lab.md is what docs/lab_table.py computes, and its claims hold."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from collimate import methods
from collimate.divergences import reverse_kl
from collimate.lab import descend, fit

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def table():
    spec = importlib.util.spec_from_file_location("lab_table", ROOT / "docs" / "lab_table.py")
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "docs"))
        spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def page(table):
    return table.PAGE.read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_page_is_what_the_script_computes():
    script = [sys.executable, str(ROOT / "docs" / "lab_table.py"), "--check"]
    done = subprocess.run(script, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["cpo", "dpo", "ipo", "sppo_hard"])
def test_some_rows_are_what_the_script_computes(name, table, page):
    rows = [table.reached_row(name)]
    if name in table.KNOWN:
        rows.append(table.exact_row(name))
    line = table.lines(rows[0], rows[1:])
    assert not [row for row in line.splitlines() if "---" not in row and row not in page]


def test_every_preset_is_in_both_parts(table, page):
    placed = set(table.KNOWN) | set(table.NONE)
    assert placed == set(table.PLACED)
    assert placed | set(table.ELSEWHERE) == set(methods.__all__)
    assert not placed & set(table.ELSEWHERE)
    assert not set(table.KNOWN) & set(table.NONE)
    page = page.partition("## Answers that end")[0]
    for name in table.PLACED:
        assert page.count(f"\n| {table.call(name)} |") == 1 + (name in table.KNOWN)
        assert page.count(f"\n| `{name}` |") == (name in table.NONE)


def test_numbers_are_compared_with_a_tolerance_and_words_are_not(table):
    page = "| `dpo(beta=0.5)` | 0.24 | \N{MINUS SIGN}0.59 |\nwords\n"
    assert table.differing(page, page.replace("0.24", "0.25")) == []
    assert len(table.differing(page, page.replace("0.24", "0.28"))) == 1
    assert len(table.differing(page, page.replace("\N{MINUS SIGN}", ""))) == 1
    assert len(table.differing(page, page.replace("beta=0.5", "beta=0.6"))) == 1
    assert table.differing(page, page + "more\n") == ["more"]


def test_dpo_lowers_the_chosen_answers_at_its_optimum(table):
    reward, frontier, _, moved, chosen, rejected, *_ = table.reached("dpo")
    assert reward == pytest.approx(frontier, abs=1e-6)
    assert moved > 0.3
    assert rejected < chosen < -0.5  # measured -0.59


def test_exo_ends_close_to_the_frontier_and_not_on_it(table):
    reward, frontier, *_ = table.reached("exo_pair")
    assert 0.003 < frontier - reward < 0.05  # measured 0.010


def test_apo_zero_stays_far_below_the_frontier(table):
    reward, frontier, _, _, chosen, *_ = table.reached("apo_zero")
    assert frontier - reward > 0.2  # measured 0.25
    assert chosen < -20


@pytest.mark.parametrize("name", ["alpha_po", "asft", "orpo", "simpo"])
def test_losses_without_a_reference_shorten_answers(name, table):
    world = table.world()
    before = (world.reference_log_probs.exp() * world.lengths()).sum(-1).mean().item()
    reward, frontier, *_, tokens, _ = table.reached(name)
    assert tokens < before - 0.8  # measured 2.1 and less, of 2.95
    assert frontier - reward > 0.15  # measured 0.19 and more


def test_discopop_first_moves_the_wrong_way(table):
    world, method = table.world(), table.preset("discopop")
    z = torch.zeros((), dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(method.loss(z), z)
    assert slope.item() == pytest.approx(0.784, abs=1e-3)
    end = descend(world, method, steps=150)
    before = world.expected_reward(world.reference_log_probs)
    assert world.expected_reward(end) < before - 0.05  # measured -0.07
    better = fit(world, table.preset("dpo")).log_probs
    assert world.expected_reward(better) > before + 0.9
    assert world.divergence(end, reverse_kl) > 0.02


def test_nca_holds_the_chosen_answers(table):
    chosen, rejected = table.reached("nca_pair")[4:6]
    assert chosen == pytest.approx(0.0, abs=0.02)
    assert rejected < -0.1


def test_ln_dpo_reaches_more_quality_at_fewer_tokens_and_dpo_never_stops(table):
    """Of a policy of three logits, one of which ends the answer."""
    lengths = table.lab_lengths
    world = lengths.stop_process()
    good, tokens = lengths.shaped(world, methods.ln_dpo(5.0))
    at_rest, more = lengths.shaped(world, methods.dpo(2.0))
    assert good > at_rest + 0.1  # measured 0.70 and 0.57
    assert tokens < more - 2  # measured 15.6 and 19.6
    assert lengths.shaped(world, methods.dpo(0.5))[1] > lengths.ENDLESS
    assert lengths.shaped(world, methods.r_dpo(2.0, lengths.LENGTH))[1] == pytest.approx(
        10, abs=0.5
    )
