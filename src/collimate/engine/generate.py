"""Short greedy samples, to look at before and after."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
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
    """The greedy continuation of each example's prompt, one at a time, so that none changes another."""
    causal = causal_model(model)
    context = context_of(causal)
    texts: list[str] = []
    for example in examples:
        prompt = (
            example.prompt if context is None else example.prompt[-max(1, context - max_tokens) :]
        )
        ids = torch.from_numpy(np.ascontiguousarray(prompt)).long()[None].to(causal.device)
        with torch.inference_mode():
            out = model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=max_tokens,
                do_sample=False,
                pad_token_id=0 if tokenizer.pad_token_id is None else tokenizer.pad_token_id,
                eos_token_id=sorted(end_ids(causal, tokenizer)) or None,
            )
        texts.append(str(tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True)))
    return texts
