"""Our side of DPO, with or without a LoRA adapter, one fresh process per call; prints one JSON line.

    our_side.py train STEP SHAPE PAIRS BATCH THREADS CACHE   # cold if CACHE is empty, else warm
    our_side.py check STEP SHAPE PAIRS BATCH THREADS         # against a plain transformers forward

STEP: dpo or lora. Model, tokenizer and pairs are those of `trl_side`, as on the other side.
"""

from __future__ import annotations

import contextlib
import copy
import importlib
import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent / "trl_side"))

import numpy as np
import torch
import torch.nn.functional as F
from common import SHAPES, model, pairs, tokenizer
from runs import status
from shaped import LORA
from torch import Tensor, nn

BETA = 0.1
END = 1  # the end-of-sequence id of common.py's tokenizer
LEARNING_RATE = 1e-5
NOISE = 0.05  # of each weight: a policy that differs from its reference
CHECKED = 4  # pairs whose log-probs are compared

Ids = tuple[list[int], ...]
"""Of a prompt, and of each of its answers."""


def align(
    folder: str,
    rows: Sequence[Mapping[str, str]],
    tok: Any,
    batch: int,
    cache: str,
    lora_rank: int | None,
) -> Any:
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
            lora_rank=lora_rank,
            lora_alpha=LORA["lora_alpha"] if lora_rank else None,
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


def train(step: str, shape: str, n: int, batch: int, cache: str) -> dict[str, Any]:
    """Pairs per second, peak memory by phase, and the share of the machine's matrix products."""
    vocabulary = SHAPES[shape]["vocab_size"]
    tok, rows = tokenizer(vocabulary), pairs(n, vocabulary)
    with tempfile.TemporaryDirectory() as folder:
        model(shape).save_pretrained(folder)
        tok.save_pretrained(folder)
        importlib.import_module("collimate.jobs.train")  # before the clock starts, as TRL is
        peak = {"before": peak_gb()}
        start = time.perf_counter()
        run = align(folder, rows, tok, batch, cache, LORA["r"] if step == "lora" else None)
        total = time.perf_counter() - start
    peak |= {name: size / 1024e6 for name, size in run.record["peak_memory"].items()}
    reference, training = run.seconds["reference"], run.seconds["train"]
    forward = forward_flops(shape, encode(tok, rows))
    # Under LoRA the backward pass needs no gradients of weights, a third of the whole.
    share = work_shares(forward, reference, training, 2 if step == "lora" else 3)
    return {
        "side": "collimate",
        "step": step,
        "shape": shape,
        "trainable": run.record["model"]["trainable"],
        "pairs_per_s": n / (reference + training),
        "pairs_per_s_cached_reference": n / training,
        # To the last step, as there: the other side writes nothing.
        "pairs_per_s_with_setup": n / (total - run.seconds["save"]),
        "seconds": {**run.seconds, "total": total},
        "peak_gb": max(peak.values()),
        "peak_gb_by_phase": peak,
        **share,
    }


def work_shares(forward: float, reference: float, training: float, passes: int) -> dict[str, Any]:
    """Useful work per second over the best rate of this process; passes: forwards in a step."""
    limit = matmul_flops()
    return {
        "matmul_gflops": limit / 1e9,
        "matmul_share_train": passes * forward / training / limit,
        "matmul_share_cold": (passes + 1) * forward / (reference + training) / limit,
        "useful_forward_gflop": forward / 1e9,
    }


def check(step: str, shape: str, n: int, batch: int) -> dict[str, Any]:
    """Largest differences from a plain transformers forward, at a policy moved off its reference.

    `*_rounding` is the plain float32 computation's own distance from float64.
    """
    import collimate

    vocabulary = SHAPES[shape]["vocab_size"]
    tok, rows = tokenizer(vocabulary), pairs(n, vocabulary)
    reference = model(shape).eval()
    policy = with_adapter(reference) if step == "lora" else perturbed(reference)
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
    return {
        "log_prob_difference": log_prob,
        "log_prob_rounding": log_prob_rounding,
        **gradient_check(policy, reference, collimate.methods.dpo(BETA), ids[:batch], dpo_loss),
        "pairs_checked": min(n, CHECKED),
    }


def dpo_loss(ratios: Tensor, i: int) -> Tensor:
    """The published loss of a pair's log-ratios."""
    return -F.logsigmoid(BETA * (ratios[0] - ratios[1]))


def gradient_check(
    policy: nn.Module,
    reference: nn.Module,
    method: Any,
    step: Sequence[Ids],
    loss: Callable[[Tensor, int], Tensor],
) -> dict[str, Any]:
    """Our gradient of a step against that of `loss` on whole logits, and its rounding.

    loss: log-ratios of an example's answers and its number -> its loss.
    """
    expected = plain_gradient(policy, reference, step, loss)
    found = engine_gradient(policy, reference, method, step)
    exact = (copy.deepcopy(net).double() for net in (policy, reference))
    return {
        "gradient_difference": relative(found, expected),
        "gradient_rounding": relative(expected, plain_gradient(*exact, step, loss)),
    }


def examples_of(
    ids: Sequence[Ids], label_of: Callable[[int], Sequence[int]] = lambda i: (1, -1)
) -> Any:
    """The engine's records; label_of: number of an example -> its answers' labels."""
    from collimate._types import Answer, Example

    return [
        Example(
            prompt=np.array(prompt),
            answers=tuple(
                Answer(ids=np.array(answer), label=label)
                for answer, label in zip(answers, label_of(row), strict=True)
            ),
            row=row,
        )
        for row, (prompt, *answers) in enumerate(ids)
    ]


def engine_gradient(
    policy: nn.Module, reference: nn.Module, method: Any, step: Sequence[Ids]
) -> list[Tensor]:
    """The gradient that `collimate.train` takes a step along, before clipping."""
    from collimate.compose import Objective
    from collimate.engine.evaluate import log_probs
    from collimate.engine.model import LogProbModel
    from collimate.engine.objective import initial_states
    from collimate.engine.step import gradient_step

    examples = examples_of(step) if len(step[0]) == 3 else examples_of(step, thumb)
    objective = Objective.of(method)
    arguments: dict[str, Any] = {"budget": 2048, "autocast": contextlib.nullcontext}
    rows = log_probs(LogProbModel(reference, shared=True), examples, **arguments)
    states = initial_states(objective)
    gradient_step(LogProbModel(policy, shared=True), objective, examples, rows, states, **arguments)
    return taken(policy)


def thumb(i: int) -> tuple[int]:
    """The label of the answer i, as `shaped.thumbs` gives it."""
    return (-1 if i % 2 else 1,)


def plain_gradient(
    policy: nn.Module,
    reference: nn.Module,
    step: Sequence[Ids],
    loss: Callable[[Tensor, int], Tensor],
) -> list[Tensor]:
    """The loss on whole logits, by autograd, one example at a time."""
    for i, (prompt, *answers) in enumerate(step):
        with torch.no_grad():
            held = [plain_log_probs(reference, prompt, a).sum() for a in answers]
        moved = [plain_log_probs(policy, prompt, a).sum() for a in answers]
        (loss(torch.stack(moved) - torch.stack(held), i) / len(step)).backward()
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


def with_adapter(net: nn.Module) -> nn.Module:
    """A copy under the adapter that is trained, its weights moved by NOISE·N(0, 1)."""
    from collimate.engine.load import add_lora

    generator = torch.Generator().manual_seed(1)
    adapted = add_lora(copy.deepcopy(net), rank=LORA["r"], alpha=LORA["lora_alpha"])
    with torch.no_grad():
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.add_(NOISE * torch.randn(parameter.shape, generator=generator))
    return adapted.eval()


def encode(
    tok: Any, rows: Sequence[Mapping[str, Any]], answers: Sequence[str] = ("chosen", "rejected")
) -> list[Ids]:
    """Token ids of prompt and answers, the end-of-sequence token appended to answers."""
    return [
        (
            tok(row["prompt"])["input_ids"],
            *([*tok(row[answer])["input_ids"], END] for answer in answers),
        )
        for row in rows
    ]


def forward_flops(shape: str, ids: Sequence[Ids], *, scalar: bool = False) -> float:
    """Useful work of one forward pass over the examples: multiplications and additions.

    Each prompt once, nothing padded or recomputed, no position after the last one that is read,
    only visible attention, only answer positions against the vocabulary; scalar: no vocabulary, and
    the last token is read.
    """
    c = SHAPES[shape]
    dim, heads, kv = c["hidden_size"], c["num_attention_heads"], c["num_key_value_heads"]
    head_dim = dim // heads
    weights = 2 * dim * dim + 2 * dim * kv * head_dim + 3 * dim * c["intermediate_size"]
    total = 0.0
    for prompt, *answers in ids:
        p, predicted = len(prompt), [len(answer) for answer in answers]
        fed = predicted if scalar else [n - 1 for n in predicted]
        seen = p * (p + 1) / 2 + sum(n * p + n * (n + 1) / 2 for n in fed)
        layer = 2 * weights * (p + sum(fed)) + 4 * dim * seen
        head = 0 if scalar else 2 * dim * c["vocab_size"] * sum(predicted)
        total += c["num_hidden_layers"] * layer + head
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
    return status("VmHWM") / 1e6


def main() -> None:
    """Run what the command line asks for."""
    what, step, shape, n, batch, threads, *rest = sys.argv[1:]
    torch.set_num_threads(int(threads))
    if what == "train":
        figures = train(step, shape, int(n), int(batch), rest[0])
    else:
        figures = check(step, shape, int(n), int(batch))
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
