"""shi:24 on a tiny GRU: margins that keep rising, a win rate that does not, and what an alarm says."""

import copy
from itertools import pairwise

import pytest
import torch

from collimate import methods
from collimate.diagnostics import over_optimisation, top_k_indicators
from tests.studies.tiny_gru import PROMPT, VOCAB, pair_view, pretrained, text

TOKENS, EVERY = 6, 8


def gold_reward(seed):
    """A reward of tokens and of neighbouring tokens."""
    generator = torch.Generator().manual_seed(seed + 7)
    single = torch.randn(VOCAB, generator=generator, dtype=torch.float64)
    double = torch.randn(VOCAB, VOCAB, generator=generator, dtype=torch.float64)
    return lambda a: single[a].mean(-1) + double[a[:, :-1], a[:, 1:]].mean(-1)


def run(method, seed, steps):
    """Win rate against the reference, margin, top-5 mass and normalised entropy, every 8 steps."""
    model = pretrained(seed)
    reference = copy.deepcopy(model)
    generator, reward = torch.Generator().manual_seed(seed), gold_reward(seed)
    prompt = text(seed + 50, 64, PROMPT)
    a, b = (reference.sample(prompt, TOKENS, generator) for _ in range(2))
    wins = torch.rand(64, generator=generator) < torch.sigmoid(3 * (reward(a) - reward(b)))
    chosen, rejected = torch.where(wins[:, None], a, b), torch.where(wins[:, None], b, a)
    start = pair_view(reference, prompt, chosen, rejected, None)
    base = torch.stack([start.policy_chosen, start.policy_rejected]).detach()
    held_out = text(seed + 90, 400, PROMPT)
    rival = reward(reference.sample(held_out, TOKENS, generator))
    optimizer, table = torch.optim.Adam(model.parameters(), 0.01), []
    for step in range(steps + 1):
        view = pair_view(model, prompt, chosen, rejected, base)
        if step % EVERY == 0:
            answer = model.sample(held_out, TOKENS, torch.Generator().manual_seed(1))
            with torch.no_grad():
                top = top_k_indicators(model.head(model.hidden(held_out, answer)), 5)
            win = torch.sign(reward(answer) - rival).add(1).div(2).mean().item()
            chosen_ratio, rejected_ratio = view.log_ratios()
            margin = (chosen_ratio - rejected_ratio).mean().item()
            table.append(
                [win, margin, top.mass.mean().item(), top.normalised_entropy.mean().item()]
            )
        optimizer.zero_grad()
        method(view).mean().backward()
        optimizer.step()
    return [list(column) for column in zip(*table, strict=True)]


@pytest.mark.slow
def test_the_alarm_comes_with_the_plateau_and_not_before_it():
    """Asserted of 3 seeds; measured on 5, 80 steps each, evaluated on 400 prompts every 8.

    DPO at 0.01: the margin rises throughout; the win rate peaks at evaluation 4, 4, 4, 7, 9 and ends
    0.00, 0.05, 0.02, 0.02, 0.03 below, which is about its error of 0.02: a plateau more than a fall.
    The alarm (entropy 30 % below its peak, twice) comes at 5, 6, 5, never, never: after the peak,
    and it misses two. None on DPO at 0.003 or on IPO, 10 runs that keep improving or stay. The top-5
    mass rose in all 15: the published fall of it does not show in so small a vocabulary.
    """
    for seed in range(3):
        win, margin, mass, entropy = run(methods.dpo(0.1), seed, 56)
        assert all(a < b for a, b in pairwise(margin))
        assert max(win) > win[0] + 0.15
        assert win[-1] < max(win) + 0.001
        found = over_optimisation(entropy, mass)
        assert found.by_mass is None
        assert found.by_entropy is not None
        assert found.by_entropy > 3
        _, _, mass, entropy = run(methods.ipo(0.1), seed, 24)
        assert over_optimisation(entropy, mass).first is None
