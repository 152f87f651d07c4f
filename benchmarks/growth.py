r"""How a step's time grows with tokens, vocabulary, answers per prompt and processes.

    .venv/bin/python benchmarks/growth.py --repeats 5 --json

One gradient step of an 8 M Llama-shaped model over examples of random tokens. For each quantity x
every size is measured once per repetition, in turn, and a line a + b·x is fitted to the medians by
least squares: `residual` is its largest distance from a median, as a share of that median, and `ok`
whether it is below a tenth. The exit code is 1 where one is not. `processes`: the same step in one
process and in two (torchrun, gloo), which share the same cores between them, so that no speed-up is
expected on one machine: what they show is the price of the exchange.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from runs import Figures, at_least_one, child, interleaved, middle, parser_of, provenance

EXAMPLES = (6, 12, 18, 24, 36)
VOCABULARIES = (8000, 16000, 32000, 64000, 128000)
ANSWERS = (2, 4, 6, 8, 12)
PROMPT, ANSWER = 96, 32
PROCESSES = (1, 2)
BOUND = 0.1  # of the residual
BUDGET = 1024


def engine(vocabulary: int) -> Any:
    """8 layers of 256 beside a head of the given size."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from collimate.engine.model import LogProbModel

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


def examples(count: int, answers: int, vocabulary: int) -> list[Any]:
    """Prompts of `PROMPT` tokens with answers of `ANSWER` each."""
    from collimate._types import Answer, Example

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


class Likelihood:
    """Every answer's log-prob, however many a prompt has."""

    name = "likelihood"

    def __init__(self) -> None:
        from collimate.axes import Needs

        self.needs = Needs(view="batch", reference=False)

    def __call__(self, view: Any) -> Any:
        """-log p of each token."""
        return -view.log_prob

    def init(self) -> dict[str, float]:
        """No state."""
        return {}

    def terms(self, view: Any, state: Any) -> dict[str, Any]:
        """One term."""
        from collimate.axes import Term

        return {"nll": Term(1.0, -view.log_prob, view.token_weight)}

    def update(self, view: Any, state: Any) -> Any:
        """No state."""
        return state

    def measure(self, view: Any, state: Any) -> dict[str, Any]:
        """Nothing."""
        return {}


def seconds_of(
    model: Any, method: Any, some: Sequence[Any], processes: Any = None
) -> Callable[[], float]:
    """A call that takes one gradient step and returns its time; one step is taken beforehand."""
    from collimate.compose import Objective
    from collimate.engine.objective import initial_states
    from collimate.engine.processes import ALONE
    from collimate.engine.step import gradient_step

    objective, everyone = Objective.of(method), processes or ALONE
    held = [tuple(np.full(len(a.ids), -5.0) for a in e.answers) for e in some]
    parameters = list(model.parameters())

    def run() -> float:
        model.clear_gradients()
        everyone.barrier()
        start = time.perf_counter()
        gradient_step(
            model,
            objective,
            some,
            held,
            initial_states(objective),
            budget=BUDGET,
            autocast=contextlib.nullcontext,
            processes=everyone,
        )
        everyone.sum_gradients(parameters)
        return time.perf_counter() - start

    run()
    return run


def lines(repeats: int) -> dict[str, Figures]:
    """Times of every size of every quantity, in turn within each repetition, and their lines."""
    from collimate import methods

    dpo, small = methods.dpo(0.1), engine(VOCABULARIES[0])
    tokens = PROMPT + 2 * ANSWER
    runs: dict[str, dict[int, Callable[[], float]]] = {
        "tokens": {n * tokens: seconds_of(small, dpo, examples(n, 2, 8000)) for n in EXAMPLES},
        "vocabulary": {v: seconds_of(engine(v), dpo, examples(6, 2, v)) for v in VOCABULARIES},
        "answers": {n: seconds_of(small, Likelihood(), examples(8, n, 8000)) for n in ANSWERS},
    }
    found: dict[str, dict[int, list[float]]] = {
        name: {x: [] for x in sizes} for name, sizes in runs.items()
    }
    for _ in range(repeats):
        for name, sizes in runs.items():
            for x, run in sizes.items():
                found[name][x].append(run())
    return {name: fitted(times) for name, times in found.items()}


def fitted(times: Mapping[int, Sequence[float]]) -> Figures:
    """a + b·x through the medians, and the largest residual as a share of its median."""
    known = [middle(own) for own in times.values()]
    xs, ys = list(times), [one["median"] for one in known]
    b, a = (float(x) for x in np.polyfit(xs, ys, 1))
    residual = max(abs(a + b * x - y) / y for x, y in zip(xs, ys, strict=True))
    return {
        "x": xs,
        "seconds": ys,
        "ranges": [one["range"] for one in known],
        "a": a,
        "b": b,
        "residual": residual,
        "ok": bool(residual < BOUND),
    }


def worker(threads: int) -> Figures:
    """One of several processes, by torchrun: the time of a step of the most examples."""
    import torch
    import torch.distributed as dist

    from collimate import methods
    from collimate.engine.processes import Processes

    torch.set_num_threads(threads)
    dist.init_process_group("gloo")
    own = Processes(rank=dist.get_rank(), count=dist.get_world_size(), device=torch.device("cpu"))
    some = examples(EXAMPLES[-1], 2, 8000)
    run = seconds_of(engine(8000), methods.dpo(0.1), some, own)
    times = sorted(run() for _ in range(3))
    own.barrier()  # whoever leaves first would take the other's connection along
    dist.destroy_process_group()
    return {"side": f"{own.count} processes", "seconds": times[1], "rank": own.rank}


def with_processes(count: int, threads: int) -> Figures:
    """The figures of the first of so many processes, which share the threads."""
    each = max(1, threads // count)
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count))
    return child(sys.executable, each, *launcher, __file__, "--worker", "--threads", str(each))


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = parser_of("growth", __doc__)
    parser.add_argument("--worker", action="store_true", help="be one of torchrun's processes")
    parser.add_argument("--lines", action="store_true", help="measure the lines in this process")
    given = parser.parse_args(argv)
    at_least_one(parser, given, "repeats", "threads")
    return given


def measure(given: argparse.Namespace) -> Figures:
    """The lines in one fresh process, then the processes, interleaved."""
    load = os.getloadavg()[0]
    own = ("--lines", "--repeats", str(given.repeats), "--threads", str(given.threads))
    found = child(sys.executable, given.threads, __file__, *own)
    runs = interleaved(
        {str(count): partial(with_processes, count, given.threads) for count in PROCESSES},
        given.repeats,
    )
    known = {count: middle([run["seconds"] for run in own]) for count, own in runs.items()}
    return {
        "benchmark": "growth",
        "repeats": given.repeats,
        "threads": given.threads,
        "lines": found["lines"],
        "ok": all(line["ok"] for line in found["lines"].values()),
        "processes": {
            "seconds": known,
            "threads_each": {str(n): max(1, given.threads // n) for n in PROCESSES},
            "examples": EXAMPLES[-1],
        },
        **provenance(load),
        "command": f"benchmarks/growth.py --repeats {given.repeats} --threads {given.threads} "
        "--json",
    }


def main() -> int:
    """Measure and print; 1 if a line does not fit."""
    given = arguments()
    if given.worker:
        figures = worker(given.threads)
        if figures["rank"] == 0:
            print(json.dumps(figures))
        return 0
    if given.lines:
        import torch

        torch.set_num_threads(given.threads)
        print(json.dumps({"side": "lines", "lines": lines(given.repeats)}))
        return 0
    result = measure(given)
    if given.json:
        print(json.dumps(result))
    else:
        for name, line in result["lines"].items():
            print(
                f"{name:12} {line['a']:.4f} + {line['b']:.3g}·x   residual {line['residual']:.3f}"
            )
    return 0 if result["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
