"""Tiny models, made-up examples and the plain computation that the engine is held to."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

from collimate._types import Answer, Example

VOCABULARY = 97
WINDOW = 10
_SHAPE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_GROUPED = {**_SHAPE, "num_key_value_heads": 2}
_TWO_KINDS = ["sliding_attention", "full_attention"]
_GPT2 = {
    "vocab_size": VOCABULARY,
    "n_embd": 32,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": 512,
    "bos_token_id": 1,
    "eos_token_id": 2,
}

ARCHITECTURES: dict[str, Callable[[], PreTrainedConfig]] = {
    "llama": lambda: transformers.LlamaConfig(**_GROUPED),
    "llama_tied": lambda: transformers.LlamaConfig(**_GROUPED, tie_word_embeddings=True),
    "qwen2": lambda: transformers.Qwen2Config(**_GROUPED),
    "qwen2_window": lambda: transformers.Qwen2Config(
        **_GROUPED, use_sliding_window=True, sliding_window=WINDOW, layer_types=_TWO_KINDS
    ),
    "qwen3": lambda: transformers.Qwen3Config(**_GROUPED, head_dim=16),
    "mistral": lambda: transformers.MistralConfig(**_GROUPED, sliding_window=None),
    "mistral_window": lambda: transformers.MistralConfig(**_GROUPED, sliding_window=WINDOW),
    "gemma2": lambda: transformers.Gemma2Config(
        **_GROUPED,
        head_dim=16,
        sliding_window=WINDOW,
        attn_logit_softcapping=2.0,  # low enough to bend, as 50 does at full size
        final_logit_softcapping=3.0,
    ),
    "gemma3": lambda: transformers.Gemma3TextConfig(
        **_GROUPED, head_dim=16, sliding_window=WINDOW, layer_types=_TWO_KINDS
    ),
    "gpt_neox": lambda: transformers.GPTNeoXConfig(**_SHAPE),
    "gpt2": lambda: transformers.GPT2Config(**_GPT2),
    "phi3": lambda: transformers.Phi3Config(**_GROUPED),
    "cohere": lambda: transformers.CohereConfig(**_GROUPED, logit_scale=2.0),
    "granite": lambda: transformers.GraniteConfig(
        **_GROUPED, logits_scaling=0.5, embedding_multiplier=2.0, residual_multiplier=0.7
    ),
    "olmo2": lambda: transformers.Olmo2Config(**_GROUPED),
    "starcoder2": lambda: transformers.Starcoder2Config(**_GROUPED, sliding_window=WINDOW),
    "cohere2": lambda: transformers.Cohere2Config(
        **_GROUPED, sliding_window=WINDOW, layer_types=_TWO_KINDS, logit_scale=2.0
    ),
    # Not to be shared: linear position biases, recurrences, attention sinks, own attention code.
    "bloom": lambda: transformers.BloomConfig(
        vocab_size=VOCABULARY, hidden_size=32, n_layer=2, n_head=4
    ),
    "mamba": lambda: transformers.MambaConfig(
        vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=2, state_size=8
    ),
    "gpt_oss": lambda: transformers.GptOssConfig(
        **_GROUPED,
        head_dim=16,
        sliding_window=WINDOW,
        num_local_experts=2,
        num_experts_per_tok=1,
        layer_types=_TWO_KINDS,
    ),
    "gpt_neo": lambda: transformers.GPTNeoConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        num_layers=2,
        num_heads=4,
        attention_types=[[["global", "local"], 1]],
        window_size=WINDOW,
        max_position_embeddings=512,
    ),
}


def model_of(
    name: str,
    *,
    factor: float = 1.0,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
    **changes: Any,
) -> PreTrainedModel:
    """A random model in eval mode, its matrices multiplied by `factor`: beyond 1 it has opinions."""
    config = ARCHITECTURES[name]()
    for field, value in changes.items():
        setattr(config, field, value)
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).to(dtype).eval()
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.data.mul_(factor)
    return model


def example(
    generator: np.random.Generator, prompt: int, *answers: int, row: int = 0, **columns: float
) -> Example:
    """An example of random tokens with the given lengths."""

    def ids(n: int) -> np.ndarray:
        return generator.integers(3, VOCABULARY, n)

    return Example(
        prompt=ids(prompt),
        answers=tuple(Answer(ids=ids(n)) for n in answers),
        row=row,
        columns=columns,
    )


def pairs(
    count: int, *, seed: int = 0, longest: int = 20, **columns: Sequence[float]
) -> list[Example]:
    """Made-up preference pairs of uneven lengths."""
    generator = np.random.default_rng(seed)
    return [
        example(
            generator,
            *generator.integers(2, longest, 3).tolist(),
            row=i,
            **{name: values[i] for name, values in columns.items()},
        )
        for i in range(count)
    ]


def plain_log_probs(model: nn.Module, examples: Sequence[Example], *, grad: bool = False) -> Tensor:
    """Log-probs of all answer tokens by the model's own logits, one answer at a time, no padding."""
    parts: list[Tensor] = []
    with nullcontext() if grad else torch.no_grad():
        for one in examples:
            for answer in one.answers:
                row = torch.from_numpy(np.concatenate((one.prompt, answer.ids))).long()
                logits = model(input_ids=row[None], use_cache=False).logits[0]
                logits = logits[len(one.prompt) - 1 : -1]
                parts.append(logits.log_softmax(-1).gather(1, row[len(one.prompt) :, None])[:, 0])
    return torch.cat(parts)


def gradients(model: nn.Module) -> dict[str, Tensor]:
    """The gradients that are there, by parameter name; then forgets them."""
    found = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad(set_to_none=True)
    return found


def difference(got: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    """Largest difference of a gradient entry, relative to the largest entry of all.

    A parameter without a gradient on one side counts as zeros there.
    """
    largest = max(x.abs().max().item() for x in expected.values())
    names = got.keys() | expected.keys()
    worst = 0.0
    for name in names:
        a, b = got.get(name), expected.get(name)
        gap = a - b if a is not None and b is not None else (b if a is None else a)
        assert gap is not None
        worst = max(worst, gap.abs().max().item())
    return worst / largest


def cached_from_hub(folder: Path, hub: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model's folder as the hub's local cache would hold it under owner/name; its new place."""
    cached = hub / "models--owner--name"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text("abc")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(hub))
    return Path(shutil.copytree(folder, cached / "snapshots" / "abc"))
