r"""How a step's time grows: with tokens, vocabulary and answers per prompt; a line through each.

    python benchmarks/growth.py --repeats 5

One gradient step of an 8 M Llama-shaped model over examples of random tokens, the best of several;
for each quantity x a least-squares fit of seconds = a + b·x, its largest residual over the largest
time, and the seconds measured. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from collimate import methods
from collimate._types import Answer, Example
from collimate.compose import Objective
from collimate.engine.model import LogProbModel
from collimate.engine.objective import initial_states
from collimate.engine.step import gradient_step

TOKENS = (1024, 2048, 3072, 4096, 6144)
VOCABULARIES = (8000, 16000, 32000, 64000, 128000)
ANSWERS = (2, 4, 6, 8, 12)
PROMPT, ANSWER = 96, 32


def engine(vocabulary: int) -> LogProbModel:
    """8 layers of 256 beside a head of the given size."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=256,
        num_hidden_layers=8,
        num_attention_heads=4,
        intermediate_size=1024,
        tie_word_embeddings=True,
    )
    return LogProbModel(LlamaForCausalLM(config).eval(), shared=True)


def examples(count: int, answers: int, vocabulary: int) -> list[Example]:
    """Prompts of `PROMPT` tokens with answers of `ANSWER` each."""
    draw = np.random.default_rng(0)

    def ids(n: int) -> np.ndarray:
        return draw.integers(0, vocabulary, n)

    return [
        Example(
            prompt=ids(PROMPT),
            answers=tuple(Answer(ids=ids(ANSWER)) for _ in range(answers)),
            row=i,
        )
        for i in range(count)
    ]


def likelihood() -> Objective:
    """Every answer's log-prob, however many a prompt has."""
    from collimate.axes import Needs, Term

    class Likelihood:
        name, needs = "likelihood", Needs(view="batch", reference=False)

        def __call__(self, view: Any) -> Any:
            return -view.log_prob

        def init(self) -> dict[str, float]:
            return {}

        def terms(self, view: Any, state: Any) -> dict[str, Term]:
            return {"nll": Term(1.0, -view.log_prob, view.token_weight)}

        def update(self, view: Any, state: Any) -> Any:
            return state

        def measure(self, view: Any, state: Any) -> dict[str, Any]:
            return {}

    return Objective.of(Likelihood())


def seconds(
    model: LogProbModel, objective: Objective, some: Sequence[Example], repeats: int
) -> float:
    """The best time of a gradient step."""
    best = float("inf")
    held = [tuple(np.full(len(a.ids), -5.0) for a in e.answers) for e in some]
    for _ in range(repeats + 1):
        model.clear_gradients()
        start = time.perf_counter()
        gradient_step(
            model,
            objective,
            some,
            held,
            initial_states(objective),
            budget=1024,
            autocast=contextlib.nullcontext,
        )
        best = min(best, time.perf_counter() - start)
    return best


def fitted(xs: Sequence[int], ys: Sequence[float]) -> dict[str, Any]:
    """a + b·x by least squares, and the largest residual over the largest time."""
    b, a = np.polyfit(xs, ys, 1)
    residual = max(abs(a + b * x - y) for x, y in zip(xs, ys, strict=True)) / max(ys)
    return {"x": list(xs), "seconds": list(ys), "a": a, "b": b, "residual": residual}


def main() -> None:
    """Measure the three lines."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    dpo, nll, small = Objective.of(methods.dpo(0.1)), likelihood(), engine(8000)
    pair = PROMPT + 2 * ANSWER
    lines = {
        "tokens": fitted(
            TOKENS,
            [seconds(small, dpo, examples(n // pair, 2, 8000), given.repeats) for n in TOKENS],
        ),
        "vocabulary": fitted(
            VOCABULARIES,
            [seconds(engine(v), dpo, examples(8, 2, v), given.repeats) for v in VOCABULARIES],
        ),
        "answers per prompt": fitted(
            ANSWERS, [seconds(small, nll, examples(8, n, 8000), given.repeats) for n in ANSWERS]
        ),
    }
    command = f"benchmarks/growth.py --repeats {given.repeats} --threads {given.threads}"
    print(json.dumps({"benchmark": "growth", "command": command, **lines}))


if __name__ == "__main__":
    main()
