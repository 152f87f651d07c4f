"""Transformers swept in a world that is known: no point lies above the exact frontier."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

import collimate
from collimate.divergences import reverse_kl
from collimate.engine.tiny import END, tiny_llama, word_tokenizer
from collimate.jobs._language import pretrain
from collimate.lab import World

ASKED, SAID = ("why now", "how now", "who now"), tuple(f"w{i}" for i in range(8))
TOKENS = word_tokenizer(("why", "how", "who", "now", *SAID))
ROUNDING = 1e-5  # float32 log-probs of a few tokens


def law_of(model: PreTrainedModel) -> torch.Tensor:
    """log p [prompt, answer], and last of anything else, by the model's own logits."""
    texts = [f"{prompt} {answer} {END}" for prompt in ASKED for answer in SAID]
    ids = torch.tensor(TOKENS(texts, add_special_tokens=False)["input_ids"])
    with torch.no_grad():
        logits = model(input_ids=ids, use_cache=False).logits[:, 1:-1].double()
    log_p = logits.log_softmax(-1).gather(2, ids[:, 2:, None]).sum((1, 2))
    inside = log_p.view(len(ASKED), len(SAID))
    return torch.cat((inside, torch.log(-torch.expm1(inside.logsumexp(-1, keepdim=True)))), dim=1)


def pretrained() -> PreTrainedModel:
    model = tiny_llama(0, vocabulary=len(TOKENS), context=8)
    draw = np.random.default_rng(0)
    texts = [f"{draw.choice(ASKED)} {draw.choice(SAID)} {END}" for _ in range(4000)]
    lines = torch.tensor(TOKENS(texts, add_special_tokens=False)["input_ids"])
    pretrain(model, lines, steps=100, batch=64, seed=0)
    return model.eval()


@pytest.mark.slow
def test_no_point_of_a_sweep_is_above_the_exact_frontier(tmp_path: Path) -> None:
    model = pretrained()
    reward = torch.randn(len(ASKED), len(SAID), generator=torch.Generator().manual_seed(3))
    lowest = reward.min(-1, keepdim=True).values
    reference = law_of(model)
    compared = reference.exp()
    compared[:, -1] = 0
    world = World(
        reference.log_softmax(-1),
        torch.cat((reward, lowest), dim=1),
        pair_law=compared / compared.sum(-1, keepdim=True),
    )
    drawn = world.sample_pairs(700, np.random.default_rng(0))
    pairs = [
        {"prompt": ASKED[c], "chosen": SAID[y], "rejected": SAID[n]}
        for c, y, n in zip(*drawn, strict=True)
        if y != n
    ]

    def placed(run: collimate.Run) -> dict[str, float]:
        policy = law_of(run.model).log_softmax(-1)
        return {"kl": world.divergence(policy, reverse_kl), "reward": world.expected_reward(policy)}

    frontier = world.frontier(reverse_kl)
    found = collimate.frontier(
        model, pairs, tokenizer=TOKENS, out=tmp_path / "s", evaluation=pairs[:50],
        beta=[1.0, 3.0], seeds=[0, 1], objectives=["kl:min", "reward:max"], measure=placed,
        exact=frontier, kl_samples=100, worst={"reward": lowest.mean().item(), "kl": 10.0},
        batch_size=64, epochs=2, learning_rate=2e-3, device="cpu", samples=0, progress=False,
    )  # fmt: skip
    start = world.expected_reward(world.reference_log_probs)
    for setting in found.record["settings"]:
        for run in setting["runs"]:
            kl, gained = run["values"]["kl"], run["values"]["reward"]
            assert gained <= frontier.reward_at(kl) + ROUNDING
            assert gained > start + 0.3 * (frontier.reward_at(kl) - start)
            # The whole law moves farther than the world's view of it, by what moves within the rest.
            sampled = json.loads((found.folder / run["folder"] / "measured.json").read_text())
            k1 = sampled["kl"]["k1"]
            assert -4 * k1["standard_error"] < k1["mean"] - kl < 4 * k1["standard_error"] + 0.05
    kls = {one["beta"]: one["mean"]["kl"] for one in found.record["settings"]}
    assert kls[1.0] > kls[3.0]
    page = (found.folder / "frontier.html").read_text(encoding="utf-8")
    figures = json.loads(re.findall(r'id="figures">(.*?)</script>', page, re.S)[0])
    assert figures["chart-kl-reward"]["data"][0]["name"] == "exact frontier"
