r"""The head alone: DPO from hidden states to gradients, ours against Liger's and plain autograd.

    LIGER_PYTHON=.venv-liger/bin/python .venv/bin/python benchmarks/head.py --vocabulary 32000

Each side computes the same from the same numbers: log-probs of policy and reference at every answer
position, the DPO loss, gradients of the policy's hidden states and of its head. Answers are of one
length, so that no side pads. Liger runs without compilation (`compiled=False`), as it must on a CPU;
LIGER_PYTHON names an environment with torch and liger-kernel, and is left out where it is not set.
Fresh processes, sides interleaved; prints one JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

SIDES = ("collimate", "plain", "liger")
BETA = 0.1


def inputs(given: argparse.Namespace) -> tuple[Any, Any, Any, Any, Any]:
    """Hidden states of policy and reference [answer, token, width], targets, both heads' weights."""
    import torch

    torch.manual_seed(0)
    shape = (2 * given.pairs, given.tokens, given.width)  # chosen answers first, then rejected
    weight = torch.randn(given.vocabulary, given.width) * given.width**-0.5
    target = torch.randint(given.vocabulary, shape[:2])
    return torch.randn(shape), torch.randn(shape), target, weight, weight.clone()


def collimate(given: argparse.Namespace) -> Callable[[], dict[str, Any]]:
    """Our chunked head, as the engine calls it."""
    import torch

    from collimate.engine.head import Readout, head_signals
    from collimate.signals import log_prob

    hidden, other, target, weight, frozen = inputs(given)
    flat = target.flatten()

    def run() -> dict[str, Any]:
        states, head = hidden.clone().requires_grad_(), torch.nn.Parameter(weight)
        (moved,) = head_signals(states.flatten(0, 1), flat, Readout(head), (log_prob,))
        with torch.no_grad():
            (held,) = head_signals(other.flatten(0, 1), flat, Readout(frozen), (log_prob,))
        loss = dpo((moved - held).view(target.shape).sum(1))
        loss.backward()
        return {"loss": loss, "hidden": states.grad, "weight": head.grad}

    return run


def plain(given: argparse.Namespace) -> Callable[[], dict[str, Any]]:
    """All logits at once, by autograd."""
    import torch

    hidden, other, target, weight, frozen = inputs(given)

    def sums(states: Any, head: Any) -> Any:
        chosen = (states @ head.T).log_softmax(-1).gather(2, target[..., None])
        return chosen.squeeze(2).sum(1)

    def run() -> dict[str, Any]:
        states, head = hidden.clone().requires_grad_(), torch.nn.Parameter(weight)
        with torch.no_grad():
            held = sums(other, frozen)
        loss = dpo(sums(states, head) - held)
        loss.backward()
        return {"loss": loss, "hidden": states.grad, "weight": head.grad}

    return run


def liger(given: argparse.Namespace) -> Callable[[], dict[str, Any]]:
    """Liger's fused linear DPO loss."""
    import torch
    from liger_kernel.chunked_loss import LigerFusedLinearDPOLoss

    hidden, other, target, weight, frozen = inputs(given)
    fused = LigerFusedLinearDPOLoss(
        beta=BETA, compiled=False, compute_nll_loss=False, average_log_prob=False
    )

    def run() -> dict[str, Any]:
        states, head = hidden.clone().requires_grad_(), torch.nn.Parameter(weight)
        loss, *_ = fused(head, states, target, ref_input=other, ref_weight=frozen)
        loss.backward()
        return {"loss": loss, "hidden": states.grad, "weight": head.grad}

    return run


def dpo(ratios: Any) -> Any:
    """The published loss on whole-answer log-ratios."""
    from torch.nn.functional import logsigmoid

    chosen, rejected = ratios.chunk(2)
    return -logsigmoid(BETA * (chosen - rejected)).mean()


def measure(side: str, given: argparse.Namespace) -> dict[str, Any]:
    """Seconds of the better of three, the peak of memory over what the inputs take, a checksum."""
    run = {"collimate": collimate, "plain": plain, "liger": liger}[side](given)
    before = status("VmRSS:")
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    found, seconds = run(), []
    peak = status("VmHWM:") - before
    for _ in range(3):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return {
        "seconds": min(seconds),
        "extra_gb": peak / 1e6,
        "loss": found["loss"].item(),
        "hidden": found["hidden"].norm().item(),
        "weight": found["weight"].norm().item(),
    }


def status(field: str) -> int:
    """A line of /proc/self/status, in KiB."""
    text = Path("/proc/self/status").read_text(encoding="ascii")
    return int(text.partition(field)[2].split()[0])


def main() -> None:
    """Interleave the sides in fresh processes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    for name, default in (("pairs", 4), ("tokens", 80), ("width", 512), ("vocabulary", 32000)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--side", choices=SIDES)
    given = parser.parse_args()
    if given.side:
        print(json.dumps(measure(given.side, given)))
        return
    pythons = {"collimate": sys.executable, "plain": sys.executable}
    if os.environ.get("LIGER_PYTHON"):
        pythons["liger"] = os.environ["LIGER_PYTHON"]
    arguments = [f"--{n}={getattr(given, n)}" for n in ("pairs", "tokens", "width", "vocabulary")]
    found: dict[str, list[dict[str, Any]]] = {side: [] for side in pythons}
    for _ in range(given.repeats):
        for side, python in pythons.items():
            command = [python, __file__, *arguments, "--side", side]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found[side].append(json.loads(done.stdout.splitlines()[-1]))
            print(f"{side}: {found[side][-1]}", file=sys.stderr)
    figures = {
        side: {
            name: {"median": median(values), "range": [min(values), max(values)]}
            for name in runs[0]
            for values in [[one[name] for one in runs]]
        }
        for side, runs in found.items()
    }
    command = " ".join(["benchmarks/head.py", *arguments, f"--repeats={given.repeats}"])
    print(json.dumps({"benchmark": "head", "command": command, **figures}))


if __name__ == "__main__":
    main()
