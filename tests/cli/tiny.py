"""A tiny model folder, made-up pairs, and a finished run, all made by the test session."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

CHATML = (
    "{% for m in messages %}{{ '<|' + m.role + '|>' + m.content + '<eos>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
FORGETFUL = (  # writes an earlier answer otherwise once later turns are there
    "{% for m in messages %}{{ m.role + ': ' }}"
    "{{ m.content if m.role == 'user' or loop.last else '(earlier)' }}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
)
CONTEXT = 160


def save_tiny(folder: Path, *, chat_template: str | None = None, seed: int = 0) -> Path:
    """A random Llama of two layers with a tokenizer of bytes, as a plain transformers folder."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"<eos>": 0, **{letter: i for i, letter in enumerate(alphabet, start=1)}}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>")
    tokenizer.chat_template = chat_template
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=CONTEXT,
        bos_token_id=None,
        eos_token_id=0,
        pad_token_id=0,
    )
    torch.manual_seed(seed)
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def pairs(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Distinct made-up pairs."""
    rng = random.Random(seed)
    things = [f"{a} {b}" for a in ("red", "old", "wet") for b in ("mill", "boat", "kite", "owl")]
    found = {}
    while len(found) < count:
        number = rng.randint(10, 99)
        row = {
            "prompt": f"Where is {rng.choice(things)} {number}?",
            "chosen": f" At {rng.choice(things)}.",
            "rejected": rng.choice((" No.", " I cannot say.", " Ask.")),
        }
        found[json.dumps(row)] = row
    return list(found.values())


def write_rows(path: Path, rows: Iterable[Any]) -> Path:
    """Rows as JSON lines; bytes are written as they are."""
    lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path
