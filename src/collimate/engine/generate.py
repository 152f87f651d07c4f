"""Short greedy samples, to look at before and after."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from collimate._types import Example
from collimate.engine.load import end_ids
from collimate.engine.model import causal_model, context_of


def greedy_samples(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[Example],
    *,
    max_tokens: int = 64,
) -> list[str]:
    """The greedy continuation of each example's prompt, one at a time, so that none changes another.

    At most `max_tokens`, and no more than the model's context has room for.
    """
    causal = causal_model(model)
    context = context_of(causal)
    texts: list[str] = []
    for example in examples:
        ids = torch.from_numpy(example.prompt).long()[None].to(causal.device)
        room = max_tokens if context is None else min(max_tokens, context - ids.shape[1])
        with torch.inference_mode():
            out = model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=room,
                do_sample=False,
                pad_token_id=0 if tokenizer.pad_token_id is None else tokenizer.pad_token_id,
                eos_token_id=sorted(end_ids(causal, tokenizer)) or None,
            )
        texts.append(str(tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True)))
    return texts
