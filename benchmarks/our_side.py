"""Our side of the DPO comparison, one fresh process per call; prints one JSON line.

    our_side.py train SHAPE PAIRS BATCH THREADS CACHE   # cold if CACHE is empty, else warm
    our_side.py check SHAPE PAIRS BATCH THREADS         # against a plain transformers forward

Model, tokenizer and pairs are those of `trl_side/common.py`, as on the other side.
"""

from __future__ import annotations

import contextlib
import copy
import importlib
import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent / "trl_side"))

import numpy as np
import torch
import torch.nn.functional as F
from common import SHAPES, model, pairs, tokenizer
from torch import Tensor, nn

BETA = 0.1
END = 1  # the end-of-sequence id of common.py's tokenizer
LEARNING_RATE = 1e-5
NOISE = 0.05  # of each weight: a policy that differs from its reference
CHECKED = 4  # pairs whose log-probs are compared

Ids = tuple[list[int], list[int], list[int]]


def align(folder: str, rows: Sequence[Mapping[str, str]], tok: Any, batch: int, cache: str) -> Any:
    """The public call under test, with the settings of TRL's side."""
    import collimate

    with tempfile.TemporaryDirectory() as out:
        return collimate.train(
            folder,
            rows,
            method=collimate.methods.dpo(BETA),
            out=f"{out}/run",
            tokenizer=tok,
            batch_size=batch,
            epochs=1,
            learning_rate=LEARNING_RATE,
            warmup=0,
            schedule="linear",
            precision="fp32",
            device="cpu",
            seed=0,
            cache=cache,
            progress=False,
            samples=0,
            checkpoint_every=len(rows),  # as there: none within the run, one log line
            log_every=1000,
            report=False,
        )


def train(shape: str, n: int, batch: int, cache: str) -> dict[str, Any]:
    """Pairs per second, peak memory by phase, and the share of the machine's matrix products."""
    vocabulary = SHAPES[shape]["vocab_size"]
    tok, rows = tokenizer(vocabulary), pairs(n, vocabulary)
    with tempfile.TemporaryDirectory() as folder:
        model(shape).save_pretrained(folder)
        tok.save_pretrained(folder)
        importlib.import_module("collimate.jobs.train")  # before the clock starts, as TRL is
        peak = {"before": peak_gb()}
        start = time.perf_counter()
        run = align(folder, rows, tok, batch, cache)
        total = time.perf_counter() - start
    peak |= {name: size / 1024e6 for name, size in run.record["peak_memory"].items()}
    reference, training = run.seconds["reference"], run.seconds["train"]
    forward = forward_flops(shape, encode(tok, rows))
    limit = matmul_flops()
    return {
        "side": "collimate",
        "shape": shape,
        "pairs_per_s": n / (reference + training),
        "pairs_per_s_cached_reference": n / training,
        # To the last step, as there: the other side writes nothing.
        "pairs_per_s_with_setup": n / (total - run.seconds["save"]),
        "seconds": {**run.seconds, "total": total},
        "peak_gb": max(peak.values()),
        "peak_gb_by_phase": peak,
        "matmul_gflops": limit / 1e9,
        "matmul_share_train": 3 * forward / training / limit,
        "matmul_share_cold": 4 * forward / (reference + training) / limit,
        "useful_forward_gflop": forward / 1e9,
    }


def check(shape: str, n: int, batch: int) -> dict[str, Any]:
    """Largest differences from a plain transformers forward, at a policy moved off its reference.

    `*_rounding` is the plain float32 computation's own distance from float64.
    """
    import collimate

    vocabulary = SHAPES[shape]["vocab_size"]
    tok, rows = tokenizer(vocabulary), pairs(n, vocabulary)
    reference = model(shape).eval()
    policy = perturbed(reference)
    scored = collimate.score(policy, rows[:CHECKED], tokenizer=tok)
    ids = encode(tok, rows)
    exact = copy.deepcopy(policy).double()
    log_prob, log_prob_rounding = 0.0, 0.0
    for row, (prompt, *answers) in zip(scored, ids[:CHECKED], strict=True):
        for ours, answer in zip((row.chosen, row.rejected), answers, strict=True):
            with torch.no_grad():
                plain = plain_log_probs(policy, prompt, answer)
                truth = plain_log_probs(exact, prompt, answer)
            log_prob = max(log_prob, largest(torch.as_tensor(np.asarray(ours)) - plain))
            log_prob_rounding = max(log_prob_rounding, largest(plain - truth))
    step = ids[:batch]
    expected = plain_gradient(policy, reference, step)
    gradient = relative(engine_gradient(policy, reference, step), expected)
    truth = plain_gradient(exact, copy.deepcopy(reference).double(), step)
    return {
        "log_prob_difference": log_prob,
        "log_prob_rounding": log_prob_rounding,
        "gradient_difference": gradient,
        "gradient_rounding": relative(expected, truth),
        "pairs_checked": min(n, CHECKED),
    }


def engine_gradient(policy: nn.Module, reference: nn.Module, step: Sequence[Ids]) -> list[Tensor]:
    """The gradient that `collimate.train` takes a step along, before clipping."""
    from collimate import methods
    from collimate._types import Answer, Example
    from collimate.compose import Objective
    from collimate.engine.evaluate import log_probs
    from collimate.engine.model import LogProbModel
    from collimate.engine.objective import initial_states
    from collimate.engine.step import gradient_step

    examples = [
        Example(
            prompt=np.array(prompt),
            answers=(Answer(ids=np.array(chosen)), Answer(ids=np.array(rejected))),
            row=row,
        )
        for row, (prompt, chosen, rejected) in enumerate(step)
    ]
    objective = Objective.of(methods.dpo(BETA))
    arguments: dict[str, Any] = {"budget": 2048, "autocast": contextlib.nullcontext}
    rows = log_probs(LogProbModel(reference, shared=True), examples, **arguments)
    states = initial_states(objective)
    gradient_step(LogProbModel(policy, shared=True), objective, examples, rows, states, **arguments)
    return taken(policy)


def plain_gradient(policy: nn.Module, reference: nn.Module, step: Sequence[Ids]) -> list[Tensor]:
    """The published loss on whole logits, by autograd, one pair at a time."""
    for prompt, chosen, rejected in step:
        with torch.no_grad():
            held = [plain_log_probs(reference, prompt, a).sum() for a in (chosen, rejected)]
        moved = [plain_log_probs(policy, prompt, a).sum() for a in (chosen, rejected)]
        gap = (moved[0] - held[0]) - (moved[1] - held[1])
        (-F.logsigmoid(BETA * gap) / len(step)).backward()
    return taken(policy)


def plain_log_probs(net: Any, prompt: list[int], answer: list[int]) -> Tensor:
    """Per-token log-probs of an answer from the model's own logits, alone in its batch."""
    row = torch.tensor([prompt + answer])
    logits = net(input_ids=row, use_cache=False).logits[0, len(prompt) - 1 : -1]
    return logits.log_softmax(-1).gather(1, torch.tensor(answer)[:, None]).squeeze(1)


def taken(net: nn.Module) -> list[Tensor]:
    """The parameters' gradients, which are then cleared."""
    found = [p.grad.clone() for p in net.parameters() if p.grad is not None]
    net.zero_grad(set_to_none=True)
    return found


def relative(found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """Largest difference over the largest expected entry."""
    scale = max(largest(e) for e in expected)
    return max(largest(f - e) for f, e in zip(found, expected, strict=True)) / scale


def largest(x: Tensor) -> float:
    """The largest absolute entry."""
    return x.abs().max().item()


def perturbed(net: nn.Module) -> nn.Module:
    """A copy whose every weight is multiplied by 1 + NOISE·N(0, 1)."""
    generator = torch.Generator().manual_seed(1)
    moved = copy.deepcopy(net)
    with torch.no_grad():
        for parameter in moved.parameters():
            parameter.mul_(1 + NOISE * torch.randn(parameter.shape, generator=generator))
    return moved


def encode(tok: Any, rows: Sequence[Mapping[str, str]]) -> list[Ids]:
    """Token ids of prompt, chosen and rejected, the end-of-sequence token appended to answers."""
    return [
        (
            tok(row["prompt"])["input_ids"],
            [*tok(row["chosen"])["input_ids"], END],
            [*tok(row["rejected"])["input_ids"], END],
        )
        for row in rows
    ]


def forward_flops(shape: str, ids: Sequence[Ids]) -> float:
    """Useful work of one forward pass over the pairs: multiplications and additions.

    Each prompt once, nothing padded or recomputed, no position after the last one that predicts,
    only visible attention, only answer positions against the vocabulary.
    """
    c = SHAPES[shape]
    dim, heads, kv = c["hidden_size"], c["num_attention_heads"], c["num_key_value_heads"]
    head_dim = dim // heads
    weights = 2 * dim * dim + 2 * dim * kv * head_dim + 3 * dim * c["intermediate_size"]
    total = 0.0
    for prompt, *answers in ids:
        p, predicted = len(prompt), [len(answer) for answer in answers]
        fed = [n - 1 for n in predicted]
        seen = p * (p + 1) / 2 + sum(n * p + n * (n + 1) / 2 for n in fed)
        layer = 2 * weights * (p + sum(fed)) + 4 * dim * seen
        total += c["num_hidden_layers"] * layer + 2 * dim * c["vocab_size"] * sum(predicted)
    return total


def matmul_flops() -> float:
    """The best float32 torch.mm of square matrices from 512 to 4096, per second."""
    best = 0.0
    for size in (512, 1024, 2048, 4096):
        a, b = torch.randn(size, size), torch.randn(size, size)
        torch.mm(a, b)
        for _ in range(max(3, 4096 // size)):
            start = time.perf_counter()
            torch.mm(a, b)
            best = max(best, 2 * size**3 / (time.perf_counter() - start))
    return best


def peak_gb() -> float:
    """Peak resident memory since the start, in 10^6 KiB as on TRL's side."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1e6
    raise RuntimeError("no VmHWM in /proc/self/status; the memory figures need Linux")


def main() -> None:
    """Run what the command line asks for."""
    what, shape, n, batch, threads, *rest = sys.argv[1:]
    torch.set_num_threads(int(threads))
    if what == "train":
        figures = train(shape, int(n), int(batch), rest[0])
    else:
        figures = check(shape, int(n), int(batch))
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
