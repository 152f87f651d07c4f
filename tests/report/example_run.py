"""A made-up run folder for tests: figures are invented, shapes are those of docs/run-folder.md."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ATTACK = (
    "</script><script>window.pwned=1</script><!--<img src=x onerror=window.pwned=1>"
    "<a href='javascript:window.pwned=1'><b>bold</b></a>{{ 7*7 }}%{x}\"\u2028"
)


def make_run(
    folder: Path,
    *,
    steps: int = 400,
    metrics: Sequence[Mapping[str, Any]] | None = None,
    without: Sequence[str] = (),
    **changes: Any,
) -> Path:
    """Write run.json and metrics.jsonl into `folder` and return it.

    changes: top-level fields of run.json to replace. without: fields to leave out. metrics: lines
    instead of the invented ones; an empty list writes an empty file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    record = {**run_fields(folder.name, steps), **changes}
    for name in without:
        del record[name]
    (folder / "run.json").write_text(json.dumps(record), encoding="utf-8")
    lines = metric_lines(steps) if metrics is None else metrics
    (folder / "metrics.jsonl").write_text(
        "".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8"
    )
    return folder


def make_attacked_run(folder: Path) -> Path:
    """A run in which every text that a user, a model or a data file can set is `ATTACK`."""
    fields = {**run_fields(folder.name, 5), "frontier": frontier()}
    kept = {"schema_version", "kind", "status", "steps"}
    poison = {key: value if key in kept else _poisoned(value) for key, value in fields.items()}
    poison["data"]["train"]["skipped"] = {ATTACK: 3}
    for name, value in (("config", ATTACK), ("versions", ATTACK), ("machine", ATTACK)):
        poison[name][ATTACK] = value
    for name in ("sizes", "phases", "peak_memory"):
        poison[name][ATTACK] = 3
    return make_run(folder, **poison)


def _poisoned(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _poisoned(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_poisoned(item) for item in value]
    return ATTACK if isinstance(value, str) else value


def evaluation(
    share: float, reward: float, chosen: float, rejected: float, rows: int = 1000
) -> dict[str, Any]:
    """An EVAL object whose log-ratios are `chosen` and `rejected` nats since the start."""
    half = 0.03
    return {
        "rows": rows,
        "loss": math.log(2) - 0.03 * (chosen - rejected),
        "reward_accuracy": reward,
        "reward_accuracy_interval": [reward - half, reward + half],
        "likelihood_accuracy": share,
        "likelihood_accuracy_interval": [share - half, share + half],
        "log_ratio_chosen": chosen,
        "log_ratio_rejected": rejected,
        "log_prob_chosen": -141.2 + chosen,
        "log_prob_rejected": -139.8 + rejected,
        "calibration_error": 0.08,
        "calibration_error_interval": [0.05, 0.12],
    }


def data_facts(file: str, rows: int, skipped: Mapping[str, int]) -> dict[str, Any]:
    """A DATA object."""
    return {
        "file": file,
        "hash": "sha256:6f1d0c7be2a94b0d",
        "rows": rows,
        "used": rows - sum(skipped.values()),
        "skipped": dict(skipped),
        "format": "preference, implicit prompt, conversations",
        "prompt_tokens": {"median": 118.0, "max": 512},
        "chosen_tokens": {"median": 61.0, "max": 498},
        "rejected_tokens": {"median": 55.0, "max": 512},
        "prompts_truncated": 37,
        "answers_truncated": 0,
        "duplicates": 12,
        "contradictions": 5,
        "ties": 2,
        "chosen_longer": 0.552,
        "joint_tokenisation_differs": 3,
        "notes": ["12 rows have the prompt and both answers of an earlier row; they were kept."],
    }


def run_fields(name: str, steps: int) -> dict[str, Any]:
    """run.json of a finished DPO run of `steps` steps."""
    return {
        "schema_version": 1,
        "kind": "train",
        "name": name,
        "status": "finished",
        "error": None,
        "created": "2026-01-31T12:04:00Z",
        "seconds": 512.4,
        "phases": {"load": 1.9, "tokenise": 4.2, "check": 2.4, "reference": 31.0, "train": 441.2},
        "peak_memory": {"load": 601_000_000, "train": 1_203_000_000},
        "steps": steps,
        "seed": 0,
        "config": {
            "model": "models/llama-8m",
            "data": "data/hh_rlhf/harmless_train.jsonl.gz",
            "evaluation": "data/hh_rlhf/harmless_test.jsonl.gz",
            "method": "dpo",
            "beta": 0.1,
            "learning_rate": 5e-5,
            "epochs": 1,
            "batch_size": 16,
            "max_prompt": 512,
            "truncate_answers": False,
            "precision": "fp32",
            "lora": None,
        },
        "versions": {
            "collimate": "0.1.0",
            "torch": "2.13.0",
            "transformers": "5.3.0",
            "python": "3.11.2",
        },
        "machine": {"device": "cpu", "threads": 2, "memory_gb": 23.5},
        "method": {
            "name": "dpo",
            "distribution": "offline_pairs",
            "divergence": "reverse_kl",
            "margin": "log_ratio_gap",
            "loss": "logistic",
            "tradeoff": "fixed(0.1)",
            "composite": False,
            "parameters": {},
            "source": "rafailov:23 eq. 7",
            "sources": ["rafailov:23"],
            "formulas": ["-log(s(0.1·(u_w - u_l)))"],
        },
        "model": {
            "path": "models/llama-8m",
            "architecture": "LlamaForCausalLM",
            "parameters": 8_392_704,
            "trainable": 8_392_704,
            "quantization": None,
            "layout": "shared",
            "layout_reason": "rows with one prompt agree with the plain computation",
            "check": {
                "log_prob": 2.4e-6,
                "gradient": 1.1e-6,
                "tolerance": 1e-4,
                "gradient_tolerance": 1e-3,
            },
            "hash": "sha256:aa41b27de00913fc",
        },
        "sizes": {
            "weights": 33_570_816,
            "gradients": 33_570_816,
            "optimizer": 67_141_632,
            "activations": 412_316_860,
        },
        "data": {
            "train": data_facts(
                "data/hh_rlhf/harmless_train.jsonl.gz",
                6412,
                {"answers are equal": 9, "empty answer": 3},
            ),
            "evaluation": data_facts("data/hh_rlhf/harmless_test.jsonl.gz", 1000, {}),
        },
        "reference": {
            "hash": "sha256:aa41b27de00913fc",
            "computed": 1480,
            "from_cache": 11320,
            "is_policy": True,
            "first_step_max_log_ratio": 9.5e-7,
        },
        "evaluation": {
            "before": evaluation(0.52, 0.5, 0.0, 0.0),
            "after": evaluation(0.57, 0.63, -3.1, -7.8),
        },
        "samples": [
            {
                "prompt": "Human: How do I keep basil alive indoors?\n\nAssistant:",
                "before": " You can try to keep it in the kitchen and then you can get it in the\n"
                " kitchen and then keep it",
                "after": " Basil likes light and warmth:\n\n  1. put it on a south window,\n"
                "  2. water it when the soil is dry,\n  3. cut it above a pair of leaves.",
                "chosen": " Give it six hours of light a day and water it when the soil is dry.",
            },
            {
                "prompt": "Human: Tell me a joke.\n\nAssistant:",
                "before": "",
                "after": " Why did the gradient cross the plain? To get to the other minimum.",
                "chosen": None,
            },
        ],
        "frontier": None,
    }


def metric_lines(steps: int, every: int = 100) -> list[dict[str, Any]]:
    """Noisy training lines that end near the evaluation, and an evaluation every `every` steps."""
    noise = random.Random(0)
    lines: list[dict[str, Any]] = []
    for step in range(1, steps + 1):
        done = step / steps
        chosen, rejected = -3.1 * done**1.4, -7.8 * done
        lines.append(
            {
                "step": step,
                "epoch": round(done, 4),
                "loss": math.log(2) - 0.1 * done + noise.gauss(0, 0.03),
                "reward_accuracy": min(max(0.5 + 0.15 * done + noise.gauss(0, 0.1), 0), 1),
                "likelihood_accuracy": min(max(0.52 + 0.06 * done + noise.gauss(0, 0.1), 0), 1),
                "log_prob_chosen": -141.2 + chosen + noise.gauss(0, 9),
                "log_prob_rejected": -139.8 + rejected + noise.gauss(0, 9),
                "log_ratio_chosen": chosen + noise.gauss(0, 0.8) * done,
                "log_ratio_rejected": rejected + noise.gauss(0, 1.1) * done,
                "reward_gap": 0.1 * (chosen - rejected),
                "linear_continuation": 0,
                "gradient_norm": 2.1 + math.exp(noise.gauss(0, 0.4)),
                "learning_rate": 5e-5
                * min(step / (0.1 * steps), 1)
                * 0.5
                * (1 + math.cos(math.pi * done)),
                "pairs": 16,
                "tokens": 16 * 240 + noise.randrange(400),
                "seconds": 1.2 + noise.random() * 0.2,
            }
        )
        if step % every == 0 and step < steps:
            lines.append(
                {
                    "step": step,
                    "evaluation": evaluation(
                        0.52 + 0.05 * done, 0.5 + 0.13 * done, chosen, rejected
                    ),
                }
            )
    return lines


def frontier() -> dict[str, Any]:
    """A FRONTIER object with two exact curves and three methods."""
    kl = [i / 20 for i in range(41)]
    return {
        "world": "Sums of two digits, 12 contexts with 40 answers each; the reward is "
        "the share of right digits.",
        "curves": [
            {
                "name": "exact frontier, reverse KL",
                "kl": kl,
                "reward": [1 - math.exp(-1.5 * x) for x in kl],
            },
            {
                "name": "exact frontier, forward KL",
                "kl": kl,
                "reward": [1 - math.exp(-1.2 * x) for x in kl],
            },
        ],
        "points": [
            {
                "name": name,
                "kl": x,
                "reward": y,
                "share_of_gain": s,
                "outside": o,
                "tv": t,
                "tabular_tv": b,
            }
            for name, x, y, s, o, t, b in (
                ("dpo", 0.61, 0.561, 0.936, 0.0031, 0.0412, 2.1e-6),
                ("f_dpo, Jensen-Shannon", 0.52, 0.492, 0.911, 0.0044, 0.0537, 4.4e-6),
                ("f_dpo, forward KL", 0.47, 0.381, 0.882, 0.0079, 0.0719, None),
            )
        ],
    }


OLD = ("phases", "peak_memory", "sizes", "samples", "frontier", "machine", "reference")
OLD_FIELDS = {
    "method": ("composite", "parameters", "sources", "formulas"),
    "model": ("quantization", "check"),
}
OLD_DATA = ("contradictions", "ties", "joint_tokenisation_differs", "chosen_longer")


def make_old_run(folder: Path) -> Path:
    """A run as the first version of the schema wrote it: fewer fields, all of them meaning the same."""
    fields = run_fields("old", 60)
    for part, names in OLD_FIELDS.items():
        for name in names:
            del fields[part][name]
    for facts in fields["data"].values():
        for name in OLD_DATA:
            del facts[name]
    kept = {name: fields[name] for name in (*OLD_FIELDS, "data")}
    return make_run(folder, steps=60, without=OLD, **kept)
