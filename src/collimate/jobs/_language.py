"""The demo's language: 16 prompts, 1728 answers of three words, a known reward."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from jaxtyping import Float, Int
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

TOPICS = ("rain", "bread", "stars", "music")
TONES = ("kindly", "briefly", "boldly", "drily")
WORDS = tuple("soft warm clear slow bright plain deep quick old sweet sharp calm".split())
PROMPTS = tuple(f"{topic} {tone}" for topic, tone in product(TOPICS, TONES))
ANSWERS = tuple(" ".join(words) for words in product(WORDS, repeat=3))
_SPECIAL = ("<pad>", "<end>")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Language:
    """Who says what, and what it is worth.

    law: log-probability of each answer under the corpus that the model is pretrained on. reward: known
    and exact, standard deviation 1 under the law.
    """

    law: Float[Tensor, "prompt answer"]
    reward: Float[Tensor, "prompt answer"]


def make_language(seed: int) -> Language:
    """A Markov chain of words whose start depends on the prompt, and rewards of words and word pairs."""
    g = torch.Generator().manual_seed(seed)
    n = len(WORDS)
    start = torch.randn(len(PROMPTS), n, generator=g, dtype=torch.float64).log_softmax(-1)
    follow = torch.randn(n, n, generator=g, dtype=torch.float64).log_softmax(-1)
    first, second, third = (torch.tensor(column) for column in zip(*product(range(n), repeat=3), strict=True))
    law = start[:, first] + follow[first, second] + follow[second, third]
    worth = torch.randn(len(PROMPTS), n, generator=g, dtype=torch.float64)
    pair = torch.randn(n, n, generator=g, dtype=torch.float64)
    raw = worth[:, first] + worth[:, second] + worth[:, third] + pair[first, third]
    mean = (law.exp() * raw).sum(-1, keepdim=True)
    deviation = (law.exp() * (raw - mean) ** 2).sum(-1, keepdim=True).sqrt()
    return Language(law=law, reward=(raw - mean) / deviation)


def make_tokenizer() -> PreTrainedTokenizerFast:
    """One word, one token."""
    words = (*_SPECIAL, *TOPICS, *TONES, *WORDS)
    model = models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<pad>")
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<end>")


def make_model(seed: int, vocabulary: int) -> LlamaForCausalLM:
    """A transformer of about 0.1 M parameters with random weights."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=256,
        max_position_embeddings=16,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=1,
        tie_word_embeddings=False,
    )
    return LlamaForCausalLM(config)


def corpus(
    language: Language, tokenizer: PreTrainedTokenizerFast, size: int, seed: int
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
    texts = [f"{PROMPTS[p]} {ANSWERS[a]} <end>" for p, a in zip(prompts, answers, strict=True)]
    return torch.tensor(tokenizer(texts, add_special_tokens=False)["input_ids"])


def pretrain(
    model: LlamaForCausalLM, lines: Int[Tensor, "line token"], *, steps: int, batch: int, seed: int
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
