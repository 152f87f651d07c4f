"""One of several processes: computes what `test_processes.py` compares with a single process.

    python -m tests.equivalence.worker KIND OUT     # RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT set

KIND: replicated or sharded. The first process writes OUT (safetensors).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from safetensors.torch import save_file
from torch import Tensor
from torch.distributed.tensor import DTensor

from collimate import methods
from collimate._types import Example
from collimate.compose import Objective
from collimate.engine.evaluate import Rows, log_probs
from collimate.engine.loop import clip_gradients
from collimate.engine.model import LogProbModel
from collimate.engine.objective import initial_states
from collimate.engine.processes import Processes, whole
from collimate.engine.sharding import shard
from collimate.engine.step import gradient_step
from tests.engine.tiny import model_of, pairs
from tests.equivalence.test_steps import Coupled, TokenLevel

BUDGET = 40
OBJECTIVES = {
    "dpo": Objective.of(methods.dpo(0.3)),
    "coupled": Objective.of(Coupled()),
    "token_level": Objective.of(TokenLevel()),
}
MODELS = {
    "llama": {},
    "llama_tied": {},
    "gpt2": {},
    "gemma2": {},  # its head has a soft-cap: gradients by autograd inside the chunk
}
COUNTS = (7, 3, 1)
"""Examples of a step; one leaves a process without any."""


def reference_of(examples: list[Example]) -> Rows:
    """Made-up reference log-probs."""
    draw = np.random.default_rng(3)
    return [tuple(-draw.exponential(2.0, len(a.ids)) for a in e.answers) for e in examples]


def results(processes: Processes, *, recompute: bool = False) -> Iterator[tuple[str, Tensor]]:
    """Losses, gradients, their norm, and log-probs, by case."""
    for name in MODELS:
        model = model_of(name, factor=3.0, dtype=torch.float64)
        engine = LogProbModel(model, shared=True, recompute=recompute)
        if processes.sharded:
            shard(engine, processes)
            parts = [p for p in engine.parameters() if isinstance(p, DTensor)]
            assert len(parts) == len(list(engine.parameters()))
            assert sum(p.to_local().numel() for p in parts) < sum(p.numel() for p in parts)
        parameters = list(engine.parameters())
        for case, objective in OBJECTIVES.items():
            for count in COUNTS:
                examples = pairs(count, longest=25)
                outcome = gradient_step(
                    engine,
                    objective,
                    examples,
                    reference_of(examples),
                    initial_states(objective),
                    budget=BUDGET,
                    autocast=nullcontext,
                    processes=processes,
                )
                processes.sum_gradients(parameters)
                place = f"{name} {case} {count}"
                yield f"{place} loss", outcome.loss
                yield f"{place} log_prob", outcome.batch.log_prob
                for at, parameter in engine.named_parameters():
                    if parameter.grad is not None:
                        yield f"{place} gradient {at}", whole(parameter.grad).clone()
                norm = clip_gradients(parameters, 1e-3)
                yield f"{place} norm", torch.tensor(norm, dtype=torch.float64)
                engine.zero_grad(set_to_none=True)
        examples = pairs(5, seed=2, longest=25)
        rows = log_probs(engine, examples, budget=BUDGET, autocast=nullcontext, processes=processes)
        flat = np.concatenate([row for answers in rows for row in answers])
        yield f"{name} scored", torch.from_numpy(flat)


def main() -> None:
    """Join the others, compute, write."""
    kind, out = sys.argv[1:]
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    processes = Processes(
        rank=dist.get_rank(),
        count=dist.get_world_size(),
        device=torch.device("cpu"),
        sharded=kind == "sharded",
    )
    found = dict(results(processes, recompute=processes.sharded))
    if processes.is_main:
        save_file({name: tensor.contiguous() for name, tensor in found.items()}, Path(out))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
