"""DPO against TRL on the same model, tokenizer and pairs: speed, memory, agreement.

Every figure comes from a fresh process; the sides alternate within each repetition, and each ratio
is taken within a repetition, then the median over repetitions, with the range. TRL_PYTHON names the
interpreter of an environment with TRL. README.md beside this file explains the fields.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).resolve().parent
BATCH = 4
PAIRS = {"small": 32, "body": 16, "bigvocab": 8}
PRECOMPUTED = '{"precompute_ref_log_probs": true}'
PACKAGES = ("torch", "transformers", "accelerate", "datasets")


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="benchmarks/dpo_vs_trl.py", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--shape", choices=sorted(PAIRS), default="body")
    parser.add_argument("--pairs", type=int, help=f"preference pairs (default: {PAIRS})")
    parser.add_argument("--repeats", type=int, default=5, help="repetitions (default: 5)")
    parser.add_argument("--threads", type=int, default=2, help="of each side (default: 2)")
    parser.add_argument("--json", action="store_true", help="print one JSON line")
    chosen = parser.parse_args(argv)
    chosen.pairs = chosen.pairs or PAIRS[chosen.shape]
    if min(chosen.pairs, chosen.repeats, chosen.threads) < 1:
        parser.error("--pairs, --repeats and --threads must be at least 1")
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


def child(python: str, threads: int, *command: str) -> dict[str, Any]:
    """The JSON line that a fresh process prints last."""
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    environment |= {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    done = subprocess.run([python, *command], capture_output=True, text=True, env=environment)
    if done.returncode:
        what = " ".join([Path(command[0]).name, *command[1:]])
        raise SystemExit(f"{what} failed with exit code {done.returncode}:\n{done.stderr[-4000:]}")
    figures: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    print(f"  {figures.get('side', 'check')}: {figures}", file=sys.stderr)
    return figures


def compare(options: argparse.Namespace) -> dict[str, Any]:
    """Run both sides and put their figures together."""
    python, n = trl_python(), str(options.pairs)
    versions = {"collimate": ours_versions(), "trl": trl_versions(python)}
    load = os.getloadavg()[0]
    ours, theirs = str(HERE / "our_side.py"), str(HERE / "trl_side" / "trl_dpo.py")
    here = (sys.executable, options.threads, ours)
    there = (python, options.threads, theirs, options.shape, n, str(BATCH))
    settings = (options.shape, n, str(BATCH), str(options.threads))
    sides: dict[str, list[dict[str, Any]]] = {
        name: [] for name in ("cold", "warm", "trl", "trl_pre")
    }
    for repeat in range(options.repeats):
        print(f"repetition {repeat + 1} of {options.repeats}", file=sys.stderr)
        with tempfile.TemporaryDirectory() as cache:
            sides["cold"].append(child(*here, "train", *settings, cache))
            sides["trl"].append(child(*there))
            sides["warm"].append(child(*here, "train", *settings, cache))
            sides["trl_pre"].append(child(*there, PRECOMPUTED))
    agreement = child(*here, "check", *settings)
    return (
        figures_of(options, sides)
        | agreement
        | {
            "versions": versions,
            "machine": machine(load),
            "commit": commit(),
            "seed": 0,
            "batch_size": BATCH,
            "positions": positions(options.shape, options.pairs),
            "command": f"benchmarks/dpo_vs_trl.py --shape {options.shape} --pairs {n} "
            f"--repeats {options.repeats} --threads {options.threads} --json",
        }
    )


def figures_of(
    options: argparse.Namespace, sides: dict[str, list[dict[str, Any]]]
) -> dict[str, Any]:
    """Ratios and both sides' figures: medians with ranges."""
    cold, warm, trl, trl_pre = (sides[name] for name in ("cold", "warm", "trl", "trl_pre"))
    steps, whole = "pairs_per_s", "pairs_per_s_with_setup"
    ratios = {
        "ratio": quotients(cold, whole, trl, whole),
        "ratio_without_setup": quotients(cold, steps, trl, steps),
        "ratio_to_precomputed": quotients(cold, whole, trl_pre, whole),
        "ratio_warm": quotients(warm, "pairs_per_s_cached_reference", trl_pre, steps),
        "memory_ratio": quotients(cold, "peak_gb", trl, "peak_gb"),
        "matmul_share": [w["matmul_share_train"] for w in warm],
        "matmul_share_cold": [c["matmul_share_cold"] for c in cold],
    }
    result: dict[str, Any] = {"benchmark": "dpo_vs_trl", "shape": options.shape}
    result |= {"pairs": options.pairs, "repeats": options.repeats, "threads": options.threads}
    for name, values in ratios.items():
        result |= {name: median(values), f"{name}_range": [min(values), max(values)]}
    numbers = (steps, whole, "peak_gb", "loss")
    own = (*numbers, "pairs_per_s_cached_reference", "matmul_gflops")
    return result | {
        "collimate": {"cold": spread(cold, own), "warm": spread(warm, own)},
        "trl": {"default": spread(trl, numbers), "precomputed": spread(trl_pre, numbers)},
    }


def quotients(a: list[dict[str, Any]], x: str, b: list[dict[str, Any]], y: str) -> list[float]:
    """a[x] / b[y] of each repetition."""
    return [one[x] / other[y] for one, other in zip(a, b, strict=True)]


def spread(runs: list[dict[str, Any]], names: Sequence[str]) -> dict[str, Any]:
    """Median and range of each figure that the runs have."""
    found = {name: [run[name] for run in runs] for name in names if name in runs[0]}
    return {n: {"median": median(v), "range": [min(v), max(v)]} for n, v in found.items()}


def positions(shape: str, n: int) -> dict[str, int]:
    """Token positions that a forward pass computes: where the prefix and the padding gains lie.

    shared: each prompt once. separate: once per answer. padded: rows of a batch as long as its
    longest, batches drawn at random. answers: the positions that meet the vocabulary in our head.
    """
    sys.path.insert(0, str(HERE / "trl_side"))
    from common import SHAPES, pairs

    rows = [
        tuple(len(row[k].split()) + (k != "prompt") for k in ("prompt", "chosen", "rejected"))
        for row in pairs(n, SHAPES[shape]["vocab_size"])
    ]
    order = random.Random(0).sample(rows, len(rows))
    batches = [order[i : i + BATCH] for i in range(0, n, BATCH)]
    return {
        "shared": sum(p + c + r for p, c, r in rows),
        "separate": sum(2 * p + c + r for p, c, r in rows),
        "padded": sum(2 * len(b) * max(p + max(c, r) for p, c, r in b) for b in batches),
        "answers": sum(c + r for _, c, r in rows),
    }


def ours_versions() -> dict[str, str]:
    """Versions of our side."""
    return {"python": sys.version.split()[0]} | {
        name: metadata.version(name) for name in ("collimate", *PACKAGES)
    }


def trl_versions(python: str) -> dict[str, str]:
    """Versions of TRL's side."""
    names = ("trl", *PACKAGES)
    code = (
        "import json, sys\nfrom importlib.metadata import version\n"
        f"found = {{name: version(name) for name in {names!r}}}\n"
        "print(json.dumps({'python': sys.version.split()[0]} | found))"
    )
    done = subprocess.run([python, "-c", code], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"TRL_PYTHON ({python}) has no complete TRL:\n{done.stderr[-2000:]}")
    found: dict[str, str] = json.loads(done.stdout)
    return found


def commit() -> str | None:
    """What was measured, where git knows it."""
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=HERE, capture_output=True, text=True
    )
    return done.stdout.strip() or None


def machine(load: float) -> dict[str, Any]:
    """The machine in general words; load: of the minute before the start."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {"cores": os.cpu_count(), "memory_gib": round(memory), "load_before": round(load, 2)}


def table(result: dict[str, Any]) -> str:
    """The figures for people."""
    lines = [f"{result['shape']}, {result['pairs']} pairs, {result['repeats']} repetitions"]
    for name in ("ratio", "ratio_warm", "ratio_to_precomputed", "memory_ratio", "matmul_share"):
        low, high = result[f"{name}_range"]
        lines.append(f"{name:24}{result[name]:8.3f}   {low:.3f} to {high:.3f}")
    for name in ("log_prob_difference", "gradient_difference"):
        lines.append(f"{name:24}{result[name]:8.1e}")
    return "\n".join(lines)


def main() -> None:
    """Compare and print."""
    options = arguments()
    result = compare(options)
    print(json.dumps(result) if options.json else table(result))


if __name__ == "__main__":
    main()
