"""Answers of a model: greedy ones to look at, and ones drawn from it to measure it by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from collimate._types import Answer, Example
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


def drawn_answers(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    example: Example,
    *,
    count: int,
    generator: torch.Generator,
    max_tokens: int = 64,
) -> Example:
    """The example with `count` answers drawn from the model in place of its own, ends included.

    From the softmax itself, whatever the generation config says of temperature and top-k, so that
    means over them are expectations under the model. What has no end after `max_tokens` (fewer
    where the context ends) is cut: a draw from the law of an answer's first tokens.
    """
    causal = causal_model(model)
    context = context_of(causal)
    prompt = torch.from_numpy(example.prompt).long()
    room = max_tokens if context is None else min(max_tokens, context - len(prompt))
    ends = torch.tensor(sorted(end_ids(causal, tokenizer)), dtype=torch.long)
    fed = prompt.expand(count, -1).to(causal.device)
    past, columns = None, list[torch.Tensor]()
    ended = torch.zeros(count, dtype=torch.bool)
    with torch.inference_mode():
        while len(columns) < room and not ended.all():
            out = causal(input_ids=fed, past_key_values=past, use_cache=True)
            law = out.logits[:, -1].double().softmax(-1).cpu()
            drawn = torch.multinomial(law, 1, generator=generator)
            columns.append(drawn)
            ended |= torch.isin(drawn[:, 0], ends)
            fed, past = drawn.to(causal.device), out.past_key_values
    ids = torch.cat(columns, dim=1)
    beyond = torch.isin(ids, ends).cumsum(1) - torch.isin(ids, ends).long()  # ends before it
    lengths = (beyond == 0).sum(1).tolist()
    answers = [Answer(ids=row[:length].numpy()) for row, length in zip(ids, lengths, strict=True)]
    return replace(example, answers=tuple(answers), columns={})
