r"""Where the gain comes from: one DPO step after another, each with one saving more.

    .venv/bin/python benchmarks/gain.py --shape body --pairs 8 --repeats 5 --json

whole logits      padded rows, every position against the vocabulary, reference in every step
head              only answer tokens meet the vocabulary, in chunks
no padding        rows packed end to end in micro-batches; each answer still with a prompt of its own
prefix            a prompt computed once for both answers
cache             reference log-probs read, not computed
recompute         the same with activation checkpointing: memory for time

Every figure is the median over fresh processes, the variants interleaved; each process takes one
pass over the pairs unmeasured and one measured, in steps of 4 with AdamW. `gain_of` is the time
without a saving over the time with it, within a repetition. The reference is the policy itself in
another pass without gradient: the same work as a copy's. Model and pairs are those of the
comparison with TRL. The norm of each variant's first gradient must agree to 1e-4, or the script
fails.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any

from dpo_vs_trl import BATCH, positions
from runs import (
    HERE,
    Figures,
    at_least_one,
    child,
    interleaved,
    parser_of,
    provenance,
    quotients,
    ratios_of,
    spread,
)

sys.path.insert(0, str(HERE / "trl_side"))
VARIANTS = ("whole logits", "head", "no padding", "prefix", "cache", "recompute")
ENGINE = ("head", "prefix", "cache", "recompute")
AGREE = 1e-4
BETA = 0.1
BUDGET = 1024


def steps_of(variant: str, shape: str, n: int) -> Callable[[int], float]:
    """A pass over so many pairs in steps of `BATCH`, with AdamW.

    It returns the norm of the gradient where it is a single step, else 0: a norm takes time.
    """
    import torch
    from common import SHAPES, model, pairs, tokenizer
    from our_side import encode, examples_of

    from collimate import methods
    from collimate.compose import Objective
    from collimate.engine.evaluate import Rows, log_probs
    from collimate.engine.model import LogProbModel
    from collimate.engine.objective import initial_states
    from collimate.engine.packing import pack_plain, pack_shared
    from collimate.engine.plan import micro_batches
    from collimate.engine.step import gradient_step
    from collimate.optim import adamw

    vocabulary = SHAPES[shape]["vocab_size"]
    policy = model(shape).eval()
    examples = examples_of(encode(tokenizer(vocabulary), pairs(n, vocabulary)))
    objective = Objective.of(methods.dpo(BETA))
    states = initial_states(objective)
    optimizer = adamw(policy, learning_rate=1e-5)
    engine = LogProbModel(policy, shared=variant != "head", recompute=variant == "recompute")
    named: dict[str, Any] = {
        # Padded rows are one rectangle per step, as a padded batch is.
        "budget": 10**9 if variant == "head" else BUDGET,
        "autocast": contextlib.nullcontext,
    }

    def reference_of(some: Sequence[Any]) -> Rows:
        return log_probs(engine, some, **named)

    cached = dict(enumerate(reference_of(examples))) if variant in ("cache", "recompute") else {}

    def with_engine(some: Sequence[Any]) -> None:
        rows = [cached[e.row] for e in some] if cached else reference_of(some)
        gradient_step(engine, objective, some, rows, states, **named)

    def whole_logits(some: Sequence[Any]) -> Any:
        packed = pack_plain(some)
        assert packed.filled is not None
        logits = policy(input_ids=packed.ids, attention_mask=packed.filled.long()).logits
        chosen = logits.flatten(0, 1).log_softmax(-1)[packed.select]
        return chosen.gather(1, packed.target[:, None]).squeeze(1)

    def apart(some: Sequence[Any]) -> Any:
        single = [replace(e, answers=(answer,)) for e in some for answer in e.answers]
        (values,) = engine(pack_shared(single))
        return values

    def by_hand(some: Sequence[Any]) -> None:
        forward = apart if variant == "no padding" else whole_logits
        # The micro-batches of `prefix`, so that the next saving is the prompt alone.
        batches = micro_batches(some, BUDGET, shared=True) if variant == "no padding" else None
        for batch in batches or [range(len(some))]:
            own = [some[i] for i in batch]
            lengths = [len(answer.ids) for e in own for answer in e.answers]
            with torch.no_grad():
                held = torch.stack([row.sum() for row in forward(own).split(lengths)])
            moved = torch.stack([row.sum() for row in forward(own).split(lengths)])
            chosen, rejected = (moved - held).view(-1, 2).T
            loss = -torch.nn.functional.logsigmoid(BETA * (chosen - rejected)).sum() / len(some)
            loss.backward()

    def run(count: int) -> float:
        norm = torch.zeros(())
        for start in range(0, count, BATCH):
            engine.clear_gradients()
            (with_engine if variant in ENGINE else by_hand)(examples[start : start + BATCH])
            if count <= BATCH:  # the first step, which is not measured
                norm = torch.nn.utils.get_total_norm([p.grad for p in policy.parameters()])
            optimizer.step()
        return norm.item()

    return run


def measure(variant: str, shape: str, n: int, threads: int) -> Figures:
    """Seconds of a pass after a first step, and the peak of memory."""
    import torch
    from our_side import peak_gb

    torch.set_num_threads(threads)
    run = steps_of(variant, shape, n)
    norm = run(min(n, BATCH))
    run(n)
    start = time.perf_counter()
    run(n)
    seconds = time.perf_counter() - start
    return {"side": variant, "seconds": seconds, "peak_gb": peak_gb(), "gradient_norm": norm}


def gains(found: dict[str, list[Figures]]) -> dict[str, list[float]]:
    """How many times faster each saving makes the step before it, and all of them the first."""
    steps = {f"gain_of_{b}": (a, b) for a, b in pairwise(VARIANTS)}
    steps["gain_of_all"] = (VARIANTS[0], "cache")
    return {
        name.replace(" ", "_"): quotients(found[a], "seconds", found[b], "seconds")
        for name, (a, b) in steps.items()
    }


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = parser_of("gain", __doc__)
    # The head cuts the micro-batches of a large vocabulary, so that savings cannot be told apart.
    parser.add_argument("--shape", choices=("body", "small"), default="body")
    parser.add_argument("--pairs", type=int, default=8, help="default: 8")
    parser.add_argument("--variant", choices=VARIANTS, help="measure one in this process")
    given = parser.parse_args(argv)
    at_least_one(parser, given, "pairs", "repeats", "threads")
    return given


def compare(given: argparse.Namespace) -> Figures:
    """Interleave the variants in fresh processes."""
    load = os.getloadavg()[0]
    shared = ("--shape", given.shape, "--pairs", str(given.pairs), "--threads", str(given.threads))
    one = partial(child, sys.executable, given.threads, __file__, *shared, "--variant")
    found = interleaved({variant: partial(one, variant) for variant in VARIANTS}, given.repeats)
    norms = [run["gradient_norm"] for runs in found.values() for run in runs]
    apart = (max(norms) - min(norms)) / max(norms)
    if apart > AGREE:
        raise SystemExit(f"the variants' gradients differ by {apart:.1e} of their norm: {norms}")
    return {
        "benchmark": "gain",
        **{name: getattr(given, name) for name in ("shape", "pairs", "repeats", "threads")},
        **ratios_of(gains(found)),
        "variants": {name: spread(runs, ("seconds", "peak_gb")) for name, runs in found.items()},
        "gradient_norm_difference": apart,
        "positions": positions(given.shape, given.pairs),
        **provenance(load),
        "command": f"benchmarks/gain.py --shape {given.shape} --pairs {given.pairs} "
        f"--repeats {given.repeats} --threads {given.threads} --json",
    }


def main() -> None:
    """Compare and print."""
    given = arguments()
    if given.variant:
        print(json.dumps(measure(given.variant, given.shape, given.pairs, given.threads)))
        return
    result = compare(given)
    if given.json:
        print(json.dumps(result))
        return
    for name, figures in result["variants"].items():
        print(
            f"{name:14} {figures['seconds']['median']:8.3f} s {figures['peak_gb']['median']:6.2f}"
        )


if __name__ == "__main__":
    main()
