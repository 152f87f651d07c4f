r"""Where the gain comes from: one DPO step after another, each with one saving more.

    python benchmarks/gain.py --shape body --pairs 8 --repeats 5

whole logits      padded rows, every position against the vocabulary, reference in every step
head              only answer tokens meet the vocabulary, in chunks
packed            a prompt computed once for both answers, rows packed without padding
cache             reference log-probs read, not computed
recompute         the same with activation checkpointing: memory for time

Every figure is the median over fresh steps in one process per variant, the variants interleaved;
prints one JSON line. `positions` tells prefix and padding apart. Model and pairs are those of the
comparison with TRL.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE / "trl_side")]
VARIANTS = ("whole logits", "head", "packed", "cache", "recompute")
BATCH = 4
BETA = 0.1


def step_of(variant: str, shape: str, n: int) -> Callable[[], None]:
    """One pass over the pairs in steps of `BATCH`, with AdamW."""
    import numpy as np
    import torch
    from common import SHAPES, model, pairs, tokenizer
    from our_side import encode

    from collimate import methods
    from collimate._types import Answer, Example
    from collimate.compose import Objective
    from collimate.engine.evaluate import Rows, log_probs
    from collimate.engine.model import LogProbModel
    from collimate.engine.objective import initial_states
    from collimate.engine.packing import pack_plain
    from collimate.engine.step import gradient_step
    from collimate.optim import adamw

    vocabulary = SHAPES[shape]["vocab_size"]
    policy = model(shape).eval()
    ids = encode(tokenizer(vocabulary), pairs(n, vocabulary))
    examples = [
        Example(
            prompt=np.array(prompt),
            answers=tuple(Answer(ids=np.array(answer)) for answer in answers),
            row=row,
        )
        for row, (prompt, *answers) in enumerate(ids)
    ]
    objective = Objective.of(methods.dpo(BETA))
    optimizer = adamw(policy, learning_rate=1e-5)
    shared = variant not in ("whole logits", "head")
    engine = LogProbModel(policy, shared=shared, recompute=variant == "recompute")
    # Padded rows are one rectangle per step, as a padded batch is.
    named: dict[str, Any] = {
        "budget": 1024 if shared else 10**9,
        "autocast": contextlib.nullcontext,
    }
    states = initial_states(objective)

    def reference_of(some: Sequence[Example]) -> Rows:
        return log_probs(engine, some, **named)

    cached = dict(enumerate(reference_of(examples))) if variant in ("cache", "recompute") else {}

    def plain(some: Sequence[Example]) -> Any:
        packed = pack_plain(some)
        assert packed.filled is not None
        logits = policy(input_ids=packed.ids, attention_mask=packed.filled.long()).logits
        chosen = logits.flatten(0, 1).log_softmax(-1)[packed.select]
        values = chosen.gather(1, packed.target[:, None]).squeeze(1)
        return values.split([len(a.ids) for e in some for a in e.answers])

    def by_hand(some: Sequence[Example]) -> None:
        with torch.no_grad():
            held = [row.sum() for row in plain(some)]
        moved = [row.sum() for row in plain(some)]
        ratios = [a - b for a, b in zip(moved, held, strict=True)]
        gaps = torch.stack([a - b for a, b in zip(ratios[::2], ratios[1::2], strict=True)])
        (-torch.nn.functional.logsigmoid(BETA * gaps).mean()).backward()

    def run() -> None:
        for start in range(0, n, BATCH):
            some = examples[start : start + BATCH]
            if variant == "whole logits":
                by_hand(some)
            else:
                rows = [cached[e.row] for e in some] if cached else reference_of(some)
                gradient_step(engine, objective, some, rows, states, **named)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    return run


def measure(variant: str, shape: str, n: int) -> dict[str, Any]:
    """Seconds of a pass, the first left out, and the peak of memory."""
    from our_side import peak_gb

    run = step_of(variant, shape, n)
    run()
    start = time.perf_counter()
    run()
    return {"seconds": time.perf_counter() - start, "peak_gb": peak_gb()}


def main() -> None:
    """Interleave the variants in fresh processes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--shape", default="body")
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--variant", choices=VARIANTS)
    given = parser.parse_args()
    if given.variant:
        print(json.dumps(measure(given.variant, given.shape, given.pairs)))
        return
    found: dict[str, list[dict[str, Any]]] = {variant: [] for variant in VARIANTS}
    for _ in range(given.repeats):
        for variant in VARIANTS:
            command = [sys.executable, __file__, "--shape", given.shape, "--variant", variant]
            done = subprocess.run(
                [*command, "--pairs", str(given.pairs)], capture_output=True, text=True, check=True
            )
            found[variant].append(json.loads(done.stdout.splitlines()[-1]))
            print(f"{variant}: {found[variant][-1]}", file=sys.stderr)
    from dpo_vs_trl import positions

    figures: dict[str, Any] = {
        variant: {
            name: {"median": median(values), "range": [min(values), max(values)]}
            for name in ("seconds", "peak_gb")
            for values in [[one[name] for one in runs]]
        }
        for variant, runs in found.items()
    }
    command = (
        f"benchmarks/gain.py --shape {given.shape} --pairs {given.pairs} --repeats {given.repeats}"
    )
    print(
        json.dumps(
            {
                "benchmark": "gain",
                "command": command,
                "positions": positions(given.shape, given.pairs),
                **figures,
            }
        )
    )


if __name__ == "__main__":
    main()
