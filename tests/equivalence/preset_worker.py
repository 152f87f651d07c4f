"""One of several processes: steps and runs of presets that read more than pairs of log-probs.

    python -m tests.equivalence.preset_worker OUT     # RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT set

OUT: an empty folder. The first process writes steps.safetensors and the run folders into it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import torch
import torch.distributed as dist
from safetensors.torch import save_file
from torch import Tensor

from collimate import methods
from collimate._checks import BadConfig
from collimate.compose import Objective
from collimate.engine.evaluate import log_probs
from collimate.engine.model import LogProbModel
from collimate.engine.processes import Processes, whole
from collimate.engine.sharding import shard
from collimate.engine.step import gradient_step
from tests.engine.tiny import model_of
from tests.equivalence.runs import train
from tests.equivalence.test_preset_steps import examples_for
from tests.equivalence.test_presets import ROWS

METHODS = {
    "kto": methods.kto(0.3),
    "plackett_luce": methods.plackett_luce(0.3),
    "tdpo": methods.tdpo(0.3),
    "tr_dpo": methods.tr_dpo(0.3, alpha=0.6, tau=2),
    "wpo": methods.wpo(0.3),
}
COUNTS = (8, 1)
"""Examples of a step; one leaves a process without any."""
ADAPTER, LEARNS = "tdpo_lora", "sparse_po"
RUNS = (*METHODS, ADAPTER, LEARNS)


def steps(processes: Processes) -> Iterator[tuple[str, Tensor]]:
    """Loss and gradients of a step by method and number of examples; the reference is a model."""
    for name, method in METHODS.items():
        model = model_of("gpt2", factor=3.0, dtype=torch.float64)
        frozen = model_of("gpt2", factor=3.0, dtype=torch.float64, seed=1).requires_grad_(False)
        engine, other = (LogProbModel(m, shared=True) for m in (model, frozen))
        if processes.sharded:
            shard(engine, processes)
        objective = Objective.of(method)
        for count in COUNTS:
            examples = examples_for(method)[:count]
            reference = log_probs(
                other, examples, budget=60, autocast=nullcontext, processes=processes
            )
            outcome = gradient_step(
                engine,
                objective,
                examples,
                reference,
                [method.init()],
                budget=60,
                autocast=nullcontext,
                frozen=other,
                processes=processes,
            )
            processes.sum_gradients(engine.parameters())
            yield f"{name} {count} loss", outcome.loss
            for at, parameter in engine.named_parameters():
                if parameter.grad is not None:
                    yield f"{name} {count} gradient {at}", whole(parameter.grad).clone()
            engine.zero_grad(set_to_none=True)


def run(out: Path, name: str, parallel: str) -> None:
    """`collimate.train` with held-out data: three steps, so that a moving reference moves."""
    of_runs = {**METHODS, ADAPTER: METHODS["tdpo"], LEARNS: methods.sparse_po(0.3)}
    method = of_runs[name]
    rows = ROWS[method.needs.view]
    train(
        out / f"{name} {parallel}",
        data=rows,
        evaluation=rows[:6],
        method=method,
        max_steps=3,
        cache=out / f"{name} {parallel} cache",
        parallel=parallel,
        lora_rank=2 if name == ADAPTER else None,
    )


def main() -> None:
    """Join the others, compute, write."""
    out = Path(sys.argv[1])
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    replicated = Processes(
        rank=dist.get_rank(), count=dist.get_world_size(), device=torch.device("cpu")
    )
    found: dict[str, Tensor] = {}
    for parallel in ("ddp", "fsdp2"):
        processes = replace(replicated, sharded=parallel == "fsdp2")
        found |= {f"{parallel} {k}": v.contiguous() for k, v in steps(processes)}
        for name in RUNS:
            try:
                run(out, name, parallel)
            except BadConfig as error:
                if processes.is_main:
                    (out / f"{name} {parallel}.refused").write_text(str(error), encoding="utf-8")
    if dist.get_rank() == 0:
        save_file(found, out / "steps.safetensors")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
