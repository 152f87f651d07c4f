r"""What the diagnostics that are on by default add to a DPO step.

    .venv/bin/python benchmarks/diagnostics.py --shape small --pairs 32 --repeats 10 --json

On: CHES, each pair's figures and per-token log-ratios, written to `pairs/` in every step, and the
alarms. Off: `recorded_pairs=0`. Model and pairs are those of the comparison with TRL, the reference is
cached, every step is logged. A block is one run with and one without, in turns of either order, in one
process; of each the whole training phase counts. `added` is the mean over blocks of the ratio of the two
times less 1, with its 95 % bootstrap interval.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from statistics import fmean

sys.path.insert(0, str(Path(__file__).parent / "trl_side"))

import numpy as np
import torch
from common import SHAPES, model, pairs, tokenizer
from runs import at_least_one, middle, parser_of, provenance

import collimate
from collimate.diagnostics import bootstrap_mean

BATCH = 4


def measure(shape: str, count: int, blocks: int) -> dict[str, list[float]]:
    """Seconds of the training phase of each block's two runs."""
    vocabulary = SHAPES[shape]["vocab_size"]
    net, tok, rows = model(shape), tokenizer(vocabulary), pairs(count, vocabulary)
    start = {name: value.clone() for name, value in net.state_dict().items()}
    found: dict[str, list[float]] = {"on": [], "off": []}
    with tempfile.TemporaryDirectory() as out:

        def run(side: str, block: int) -> float:
            net.load_state_dict(start)
            done = collimate.train(
                net,
                rows,
                out=f"{out}/{side}{block}",
                tokenizer=tok,
                batch_size=BATCH,
                learning_rate=1e-5,
                device="cpu",
                cache=f"{out}/cache",
                recorded_pairs=count if side == "on" else 0,
                samples=0,
                checkpoint_every=count,
                progress=False,
                report=False,
            )
            return done.seconds["train"]

        run("on", -1)  # fills the cache, and faults in what is touched for the first time
        for block in range(blocks):
            for side in ("on", "off") if block % 2 else ("off", "on"):
                found[side].append(run(side, block))
            print(
                f"block {block + 1}: {found['on'][-1]:.2f} / {found['off'][-1]:.2f}",
                file=sys.stderr,
            )
    return found


def main() -> None:
    """Measure, and print what was found."""
    load = os.getloadavg()[0]
    parser = parser_of("diagnostics", __doc__)
    parser.set_defaults(repeats=10)
    parser.add_argument("--shape", choices=sorted(SHAPES), default="small")
    parser.add_argument("--pairs", type=int, default=32, help="pairs of each run (default: 32)")
    given: argparse.Namespace = parser.parse_args()
    at_least_one(parser, given, "repeats", "pairs", "threads")
    torch.set_num_threads(given.threads)
    found = measure(given.shape, given.pairs, given.repeats)
    added = np.array(found["on"]) / np.array(found["off"]) - 1
    low, high = bootstrap_mean(added, range(len(added)))
    result = {
        "benchmark": "diagnostics",
        "command": " ".join([f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]]),
        "shape": given.shape,
        "pairs": given.pairs,
        "blocks": given.repeats,
        "added": fmean(added),
        "added_interval": [low, high],
        "seconds": {side: middle(times) for side, times in found.items()},
        **provenance(load),
    }
    if given.json:
        print(json.dumps(result))
    else:
        print(f"added to a step: {fmean(added):+.2%} [{low:+.2%}, {high:+.2%}]")


if __name__ == "__main__":
    main()
