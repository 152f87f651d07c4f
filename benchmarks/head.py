r"""The head alone: DPO from hidden states to gradients, ours against Liger's and plain autograd.

    LIGER_PYTHON=.venv-liger/bin/python .venv/bin/python benchmarks/head.py --vocabulary 32000 --json

Each side computes the same from the same numbers: log-probs of policy and reference at every answer
position, the DPO loss, gradients of the policy's hidden states and of its head. Answers are of one
length, so that no side pads. Liger runs without compilation (`compiled=False`), as it must on a CPU;
LIGER_PYTHON names an environment with torch and liger-kernel; without it that side is left out.
Fresh processes, sides interleaved. Losses, norms of the gradients and their products with a fixed
direction must agree to 1e-4, or the script fails.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from runs import (
    Figures,
    at_least_one,
    child,
    interleaved,
    parser_of,
    provenance,
    quotients,
    ratios_of,
    spread,
    status,
    versions_of,
)

AGREE = 1e-4  # relative: of losses, and of gradients to their norm
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


def measure(side: str, given: argparse.Namespace) -> Figures:
    """Seconds of the median of three, the peak of memory over what the inputs take, checksums."""
    import torch

    torch.set_num_threads(given.threads)
    run = {"collimate": collimate, "plain": plain, "liger": liger}[side](given)
    before = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # VmHWM begins anew
    found, seconds = run(), []
    peak = status("VmHWM") - before
    for _ in range(3):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    result = {
        "side": side,
        "seconds": sorted(seconds)[1],
        "extra_gb": peak / 1e6,
        "loss": found["loss"].item(),
    }
    for name in ("hidden", "weight"):
        gradient = found[name].double()
        draw = torch.Generator().manual_seed(1)
        direction = torch.randn(gradient.shape, generator=draw, dtype=torch.float64)
        result[f"{name}_norm"] = gradient.norm().item()
        result[f"{name}_product"] = (gradient * direction).sum().item()
    return result


def differences(found: Mapping[str, Sequence[Figures]]) -> dict[str, float]:
    """The sides' largest differences from plain autograd, relative: to the loss, to the norms."""
    plain = found["plain"][0]
    scale = {"loss": plain["loss"]}
    for name in ("hidden", "weight"):
        scale |= {f"{name}_{what}": plain[f"{name}_norm"] for what in ("norm", "product")}
    return {
        name: max(abs(one[name] - plain[name]) / size for runs in found.values() for one in runs)
        for name, size in scale.items()
    }


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = parser_of("head", __doc__)
    for name, default in (("pairs", 4), ("tokens", 80), ("width", 512), ("vocabulary", 32000)):
        parser.add_argument(f"--{name}", type=int, default=default, help=f"default: {default}")
    parser.add_argument("--side", choices=SIDES, help="measure one side in this process")
    given = parser.parse_args(argv)
    at_least_one(parser, given, "pairs", "tokens", "width", "vocabulary", "repeats", "threads")
    return given


def compare(given: argparse.Namespace) -> Figures:
    """Interleave the sides in fresh processes, hold them to the same numbers, take medians."""
    load = os.getloadavg()[0]
    pythons = {"collimate": sys.executable, "plain": sys.executable}
    where = provenance(load)
    if os.environ.get("LIGER_PYTHON"):
        pythons["liger"] = os.environ["LIGER_PYTHON"]
        where["versions"]["liger"] = versions_of(pythons["liger"], ("liger-kernel", "torch"))
    shape = [
        f"--{name}={getattr(given, name)}"
        for name in ("pairs", "tokens", "width", "vocabulary", "threads")
    ]
    sides = {
        side: partial(child, python, given.threads, __file__, *shape, "--side", side)
        for side, python in pythons.items()
    }
    found = interleaved(sides, given.repeats)
    apart = differences(found)
    if max(apart.values()) > AGREE:
        raise SystemExit(f"the sides do not compute the same (at most {AGREE} apart): {apart}")
    ours = found["collimate"]
    ratios = {}
    for side in pythons:
        if side != "collimate":
            ratios[f"speed_over_{side}"] = quotients(found[side], "seconds", ours, "seconds")
            ratios[f"memory_over_{side}"] = quotients(ours, "extra_gb", found[side], "extra_gb")
    names = ("pairs", "tokens", "width", "vocabulary", "repeats", "threads")
    return {
        "benchmark": "head",
        **{name: getattr(given, name) for name in names},
        **ratios_of(ratios),
        **{side: spread(runs, ("seconds", "extra_gb", "loss")) for side, runs in found.items()},
        "differences": apart,
        **where,
        "command": " ".join(["benchmarks/head.py", *shape, f"--repeats={given.repeats}", "--json"]),
    }


def main() -> None:
    """Compare and print."""
    given = arguments()
    if given.side:
        print(json.dumps(measure(given.side, given)))
        return
    result = compare(given)
    if given.json:
        print(json.dumps(result))
        return
    for side in (side for side in SIDES if side in result):
        figures = result[side]
        print(
            f"{side:10} {figures['seconds']['median']:8.3f} s {figures['extra_gb']['median']:8.3f}"
        )


if __name__ == "__main__":
    main()
