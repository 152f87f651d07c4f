"""Greedy answers to a few prompts, before and after training: what a person looks at first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from collimate._types import Example, Role
from collimate.data import best_score, is_wanted
from collimate.engine.generate import greedy_samples
from collimate.jobs._console import Console
from collimate.jobs.prepare import Prepared


def samples_before(prepared: Prepared, count: int, console: Console) -> list[dict[str, Any]]:
    """One record per prompt, its "after" still empty; none where weights are sharded."""
    if prepared.processes.sharded:  # each token of each answer would put all weights together
        console.say("no samples before and after: the weights are sharded")
        return []
    examples = _prompts(prepared, count if prepared.processes.is_main else 0)
    decode = prepared.tokenizer.decode
    return [
        {
            "prompt": decode(example.prompt, skip_special_tokens=True),
            "before": text,
            "after": None,
            "chosen": _wanted(example, decode),
        }
        for example, text in zip(examples, _greedy(prepared, examples), strict=True)
    ]


def _wanted(example: Example, decode: Callable[..., Any]) -> str | None:
    """The first answer that the data call wanted, or score best; None where there is none."""
    best = best_score(example)
    found = (a.ids for a in example.answers if a.role is Role.ANSWER and is_wanted(a, best))
    ids = next(found, None)
    return None if ids is None else decode(ids, skip_special_tokens=True)


def add_samples_after(samples: list[dict[str, Any]], prepared: Prepared) -> None:
    """Answer the same prompts again; of a run that goes on, as many as it began with."""
    if prepared.processes.sharded or not prepared.processes.is_main:
        return
    texts = _greedy(prepared, _prompts(prepared, len(samples)))
    for sample, text in zip(samples, texts, strict=True):
        sample["after"] = text


def _prompts(prepared: Prepared, count: int) -> list[Example]:
    source = prepared.evaluation or prepared.train
    distinct = {example.prompt.tobytes(): example for example in source.examples}
    return list(distinct.values())[:count]


def _greedy(prepared: Prepared, examples: list[Example]) -> list[str]:
    training = prepared.model.training
    prepared.model.eval()
    texts = greedy_samples(prepared.model, prepared.tokenizer, examples)
    prepared.model.train(training)
    return texts
