r"""Which learning rate and how many passes a run should start from: a sweep on held-out pairs.

    python benchmarks/defaults.py --base runs/hh/base --train runs/hh/train.jsonl \
        --evaluation runs/hh/held_out.jsonl --out runs/defaults --rates 3e-5 1e-4 3e-4 --batch 32

Runs `collimate.train` with DPO once for each rate, number of epochs and seed, all on one cache of
reference log-probs, and prints a JSON line for each: held-out loss (nats; log 2 before training),
implicit-reward accuracy with its interval, mean log-ratios. The files are those that
`examples/hh_rlhf/run.py` leaves. docs/decisions/0004-defaults.md says what it gave.
"""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path

import collimate
from collimate import methods

MEASURED = (
    "loss",
    "reward_accuracy",
    "reward_accuracy_interval",
    "log_ratio_chosen",
    "log_ratio_rejected",
)


def main() -> None:
    """One line per run."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("base", "train", "evaluation", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--rates", type=float, nargs="+", required=True)
    parser.add_argument("--epochs", type=float, nargs="+", default=[1.0])
    parser.add_argument("--batch", type=int, nargs="+", default=[32])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--lora-rank", type=int)
    parser.add_argument("--beta", type=float, default=0.1)
    given = parser.parse_args()
    sweep = itertools.product(given.rates, given.epochs, given.batch, given.seeds)
    for number, (rate, epochs, batch, seed) in enumerate(sweep):
        run = collimate.train(
            given.base,
            given.train,
            evaluation=given.evaluation,
            method=methods.dpo(given.beta),
            out=given.out / f"{number:03d}",
            cache=given.out / "cache",
            learning_rate=rate,
            epochs=epochs,
            batch_size=batch,
            seed=seed,
            lora_rank=given.lora_rank,
            max_prompt=512,
            max_answer=512,
            truncate_answers=True,
            samples=0,
            report=False,
            progress=False,
        )
        after = run.record["evaluation"]["after"]
        line = {
            "base": str(given.base),
            "lora_rank": given.lora_rank,
            "learning_rate": rate,
            "epochs": epochs,
            "batch_size": batch,
            "seed": seed,
            "steps": run.record["steps"],
            **{name: after[name] for name in MEASURED},
            "seconds": round(run.seconds["train"], 1),
        }
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
