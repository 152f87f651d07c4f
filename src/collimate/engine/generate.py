"""Answers of a model: greedy ones to look at, and ones drawn from it to measure it by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedTokenizerBase

from collimate._checks import TrainingFailed
from collimate._types import Answer, Example
from collimate.engine.load import end_ids
from collimate.engine.model import causal_model, context_of
from collimate.engine.runtime import seeded


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


def drawn_answers(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    example: Example,
    *,
    count: int,
    seed: int,
    max_tokens: int = 64,
) -> Example:
    """The example with `count` answers drawn from the model in place of its own, ends included.

    From the softmax itself, whatever the generation config says of temperature, top-k and the like,
    so that means over them are expectations under the model. What has no end after `max_tokens`
    (fewer where the context ends) is cut: a draw from the law of an answer's first tokens.
    """
    causal: Any = causal_model(model)
    context = context_of(causal)
    ids = torch.from_numpy(example.prompt).long()[None].to(causal.device)
    ends = sorted(end_ids(causal, tokenizer))
    asked = GenerationConfig(
        max_new_tokens=max_tokens if context is None else min(max_tokens, context - ids.shape[1]),
        do_sample=True,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        num_return_sequences=count,
        pad_token_id=0 if tokenizer.pad_token_id is None else tokenizer.pad_token_id,
        eos_token_id=ends or None,
    )
    own, causal.generation_config = causal.generation_config, asked  # it would fill in the rest
    try:
        with torch.inference_mode(), seeded(seed):
            out = causal.generate(input_ids=ids, attention_mask=torch.ones_like(ids))
    except RuntimeError as error:
        if "probability tensor contains" not in str(error):
            raise
        raise TrainingFailed(
            "no answer can be drawn from a model whose probabilities are not finite numbers: it has "
            "diverged; train it again with a smaller learning rate"
        ) from error
    finally:
        causal.generation_config = own
    drawn = out[:, ids.shape[1] :].cpu()
    ended = torch.isin(drawn, torch.tensor(ends, dtype=torch.long)).long()
    lengths = (ended.cumsum(1) - ended == 0).sum(1).tolist()  # up to the first end, itself included
    answers = tuple(Answer(ids=row[:n].numpy()) for row, n in zip(drawn, lengths, strict=True))
    return replace(example, answers=answers, columns={})
