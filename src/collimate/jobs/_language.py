"""The demo's language: 16 prompts, 1728 answers of three words, a known reward."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from collimate.engine.load import Tokenizer
from collimate.engine.tiny import END

TOPICS = ("rain", "bread", "stars", "music")
TONES = ("kindly", "briefly", "boldly", "drily")
WORDS = (
    *("soft", "warm", "clear", "slow", "bright", "plain"),
    *("deep", "quick", "old", "sweet", "sharp", "calm"),
)
PROMPTS = tuple(f"{topic} {tone}" for topic, tone in product(TOPICS, TONES))
ANSWERS = tuple(" ".join(words) for words in product(WORDS, repeat=3))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Language:
    """Who says what, and what it is worth.

    law: log-probability of each answer under the corpus that the model is pretrained on. reward:
    known and exact, standard deviation 1 under the law.
    """

    law: Float[Tensor, "prompt answer"]
    reward: Float[Tensor, "prompt answer"]


def make_language(seed: int) -> Language:
    """A Markov chain of words whose start depends on the prompt, and rewards of words and word pairs."""
    g = torch.Generator().manual_seed(seed)
    n = len(WORDS)
    start = torch.randn(len(PROMPTS), n, generator=g, dtype=torch.float64).log_softmax(-1)
    follow = torch.randn(n, n, generator=g, dtype=torch.float64).log_softmax(-1)
    first, second, third = torch.tensor(list(product(range(n), repeat=3))).unbind(1)
    law = start[:, first] + follow[first, second] + follow[second, third]
    liked = torch.randn(n, generator=g, dtype=torch.float64)  # by everybody
    fitting = torch.randn(len(TONES), n, generator=g, dtype=torch.float64)  # by tone
    pair = torch.randn(n, n, generator=g, dtype=torch.float64)
    worth = (liked + 0.5 * fitting).repeat(len(TOPICS), 1)
    raw = worth[:, first] + worth[:, second] + worth[:, third] + 0.5 * pair[first, third]
    mean = (law.exp() * raw).sum(-1, keepdim=True)
    deviation = (law.exp() * (raw - mean) ** 2).sum(-1, keepdim=True).sqrt()
    return Language(law=law, reward=(raw - mean) / deviation)


def corpus(
    language: Language, tokenizer: Tokenizer, size: int, seed: int
) -> Int[Tensor, "line token"]:
    """Lines `prompt answer <end>` drawn from the law, as token ids."""
    generator = np.random.default_rng(seed)
    prompts = generator.integers(0, len(PROMPTS), size)
    cumulative = language.law.exp().cumsum(-1).numpy()
    drawn = generator.random(size)
    answers = [
        min(int(np.searchsorted(cumulative[p], x)), len(ANSWERS) - 1)
        for p, x in zip(prompts, drawn, strict=True)
    ]
    texts = [f"{PROMPTS[p]} {ANSWERS[a]} {END}" for p, a in zip(prompts, answers, strict=True)]
    return torch.tensor(tokenizer(texts, add_special_tokens=False)["input_ids"])


def pretrain(
    model: nn.Module, lines: Int[Tensor, "line token"], *, steps: int, batch: int, seed: int
) -> float:
    """Maximum likelihood on the answers of the corpus; returns the last loss in nats per token."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.0, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-2, total_steps=steps)
    loss = torch.zeros(())
    for _ in range(steps):
        chosen = lines[torch.randint(len(lines), (batch,), generator=generator)]
        logits = model(input_ids=chosen[:, :-1], use_cache=False).logits[:, 1:]
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), chosen[:, 2:].flatten())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
    return loss.item()
