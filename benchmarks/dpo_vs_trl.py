"""DPO, and steps shaped like others, against TRL: speed, memory, agreement.

    TRL_PYTHON=.venv-trl/bin/python .venv/bin/python benchmarks/dpo_vs_trl.py --step dpo --json

--step kto, reward or lora measures one labelled answer per prompt, a Bradley-Terry reward model, or
DPO with a LoRA adapter. Same model, tokenizer, data, batch, optimiser, precision and threads on both
sides. Every figure comes from a fresh process; the sides alternate within each repetition, and each
ratio is taken within a repetition, then the median over repetitions, with the range. TRL_PYTHON
names the interpreter of an environment with TRL. README.md beside this file explains the fields.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from runs import (
    HERE,
    PACKAGES,
    Figures,
    at_least_one,
    child,
    interleaved,
    parser_of,
    provenance,
    quotients,
    ratios_of,
    spread,
    versions_of,
)

BATCH = 4
PAIRS = {"small": 32, "body": 16, "bigvocab": 8}
STEPS = ("dpo", "kto", "reward", "lora")
PRECOMPUTED = '{"precompute_ref_log_probs": true}'


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = parser_of("dpo_vs_trl", __doc__)
    parser.add_argument("--step", choices=STEPS, default="dpo", help="default: dpo")
    parser.add_argument("--shape", choices=sorted(PAIRS), default="body")
    parser.add_argument("--pairs", type=int, help=f"pairs, or answers for kto (default: {PAIRS})")
    chosen = parser.parse_args(argv)
    chosen.pairs = chosen.pairs or PAIRS[chosen.shape]
    at_least_one(parser, chosen, "pairs", "repeats", "threads")
    return chosen


def trl_python() -> str:
    """TRL's interpreter, or an exit that says what to do."""
    name = os.environ.get("TRL_PYTHON")
    if not name:
        raise SystemExit(
            "TRL_PYTHON is not set. It names the Python of an environment with TRL, for example:\n"
            "  python3 -m venv .venv-trl\n"
            "  .venv-trl/bin/pip install -r benchmarks/trl-requirements.txt\n"
            "  TRL_PYTHON=.venv-trl/bin/python ...    (`make bench` does all three)"
        )
    if not Path(name).is_file():
        raise SystemExit(f"TRL_PYTHON names {name}, which does not exist.")
    return name


def compare(options: argparse.Namespace) -> Figures:
    """Run both sides and put their figures together."""
    python, step, n = trl_python(), options.step, str(options.pairs)
    load = os.getloadavg()[0]
    theirs = versions_of(python, ("trl", *PACKAGES, *(("peft",) if step == "lora" else ())))
    shared = (options.shape, n, str(BATCH))
    script = ("trl_dpo.py",) if step == "dpo" else ("trl_shaped.py", step)
    there = partial(
        child, python, options.threads, str(HERE / "trl_side" / script[0]), *script[1:], *shared
    )
    ours = "our_side.py" if step in ("dpo", "lora") else "our_engine.py"
    here = partial(child, sys.executable, options.threads, str(HERE / ours))
    settings = (step, *shared, str(options.threads))
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder, "cache")

        def cold() -> Figures:
            shutil.rmtree(cache, ignore_errors=True)
            return here("train", *settings, str(cache))

        sides = {"cold": cold, "trl": there}
        if step in ("dpo", "lora"):  # through the public call a cached reference is another run
            sides["warm"] = partial(here, "train", *settings, str(cache))
        if step != "reward":
            sides["trl_pre"] = partial(there, PRECOMPUTED)
        found = interleaved(sides, options.repeats)
    agreement = here("check", *settings)
    if step == "lora":
        require_same_adapters(found)
    where = provenance(load)
    where["versions"]["trl"] = theirs
    named = "" if step == "dpo" else f"--step {step} "
    command = f"{named}--shape {options.shape} --pairs {n} --repeats {options.repeats}"
    return (
        figures_of(options, found)
        | agreement
        | where
        | {
            "seed": 0,
            "batch_size": BATCH,
            "positions": positions(options.shape, options.pairs, step),
            "command": f"benchmarks/dpo_vs_trl.py {command} --threads {options.threads} --json",
        }
    )


def require_same_adapters(sides: dict[str, list[Figures]]) -> None:
    """Errors: SystemExit unless both sides train equally many parameters."""
    ours, theirs = (sides[name][0]["trainable"] for name in ("cold", "trl"))
    if ours != theirs:
        raise SystemExit(f"the adapters differ: {ours} trainable parameters here, {theirs} there")


def figures_of(options: argparse.Namespace, sides: dict[str, list[Figures]]) -> Figures:
    """Ratios and both sides' figures: medians with ranges; what a step lacks is left out."""
    cold, trl = sides["cold"], sides["trl"]
    warm, trl_pre = sides.get("warm", cold), sides.get("trl_pre")
    steps, whole = "pairs_per_s", "pairs_per_s_with_setup"
    ratios = {
        "ratio": quotients(cold, whole, trl, whole),
        "ratio_without_setup": quotients(cold, steps, trl, steps),
    }
    if trl_pre is not None:
        ratios["ratio_to_precomputed"] = quotients(cold, whole, trl_pre, whole)
        ratios["ratio_warm"] = quotients(warm, "pairs_per_s_cached_reference", trl_pre, steps)
    ratios["memory_ratio"] = quotients(cold, "peak_gb", trl, "peak_gb")
    ratios["matmul_share"] = [w["matmul_share_train"] for w in warm]
    if trl_pre is not None:
        ratios["matmul_share_cold"] = [c["matmul_share_cold"] for c in cold]
    numbers = (steps, whole, "peak_gb", "loss", "trainable")
    own = (*numbers, "pairs_per_s_cached_reference", "matmul_gflops")
    result: Figures = {"benchmark": "dpo_vs_trl", "step": options.step, "shape": options.shape}
    result |= {"pairs": options.pairs, "repeats": options.repeats, "threads": options.threads}
    result |= ratios_of(ratios)
    result |= {"collimate": {"cold": spread(cold, own)}, "trl": {"default": spread(trl, numbers)}}
    if "warm" in sides:
        result["collimate"]["warm"] = spread(warm, own)
    if trl_pre is not None:
        result["trl"]["precomputed"] = spread(trl_pre, numbers)
    return result


def positions(shape: str, n: int, step: str = "dpo") -> dict[str, int]:
    """Token positions that a forward pass computes: where the prefix and the padding gains lie.

    shared: each prompt once. separate: once per answer. padded: rows of a batch as long as its
    longest, batches drawn at random. answers: the positions that meet the vocabulary in our head.
    """
    sys.path.insert(0, str(HERE / "trl_side"))
    from common import SHAPES, pairs
    from shaped import thumbs

    vocabulary = SHAPES[shape]["vocab_size"]
    made = thumbs(n, vocabulary) if step == "kto" else pairs(n, vocabulary)
    names = ("completion",) if step == "kto" else ("chosen", "rejected")
    rows = [
        (len(row["prompt"].split()), [len(row[name].split()) + 1 for name in names]) for row in made
    ]
    order = random.Random(0).sample(rows, len(rows))
    batches = [order[i : i + BATCH] for i in range(0, n, BATCH)]
    answers = sum(sum(own) for _, own in rows)
    return {
        "shared": sum(p for p, _ in rows) + answers,
        "separate": sum(p * len(own) for p, own in rows) + answers,
        "padded": sum(len(names) * len(b) * max(p + max(own) for p, own in b) for b in batches),
        "answers": 0 if step == "reward" else answers,
    }


def table(result: dict[str, Any]) -> str:
    """The figures for people."""
    lines = [f"{result['shape']}, {result['pairs']} pairs, {result['repeats']} repetitions"]
    for name in ("ratio", "ratio_warm", "ratio_to_precomputed", "memory_ratio", "matmul_share"):
        if name in result:
            low, high = result[f"{name}_range"]
            lines.append(f"{name:24}{result[name]:8.3f}   {low:.3f} to {high:.3f}")
    lines += [f"{name:24}{result[name]:8.1e}" for name in result if name.endswith("_difference")]
    return "\n".join(lines)


def main() -> None:
    """Compare and print."""
    options = arguments()
    result = compare(options)
    print(json.dumps(result) if options.json else table(result))


if __name__ == "__main__":
    main()
