"""Tiny runs: a word tokenizer, made-up pairs, a random Llama, and `train` with all that set."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerFast

import collimate
from tests.engine.tiny import model_of

WORDS = [f"w{i}" for i in range(60)]
PAIRS = 48


def word_tokenizer() -> PreTrainedTokenizerFast:
    """One token per word; ids below the tiny models' vocabulary."""
    vocabulary = {word: i for i, word in enumerate(["<pad>", "<s>", "</s>", "<unk>", *WORDS])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="</s>", unk_token="<unk>", pad_token="<pad>"
    )


def text_pairs(count: int = PAIRS, *, seed: int = 0) -> list[dict[str, str]]:
    """Pairs of uneven lengths; every third prompt stands in several rows."""
    draw = random.Random(seed)

    def words(low: int, high: int) -> str:
        return " ".join(draw.choices(WORDS, k=draw.randint(low, high)))

    rows: list[dict[str, str]] = []
    while len(rows) < count:
        prompt = rows[-1]["prompt"] if rows and len(rows) % 3 == 0 else words(3, 14)
        row = {"prompt": prompt, "chosen": words(1, 10), "rejected": words(1, 10)}
        if row["chosen"] != row["rejected"]:
            rows.append(row)
    return rows


STEPS = 12
SETTINGS: dict[str, Any] = {
    "max_steps": STEPS,
    "evaluation": text_pairs(6, seed=1),
    "evaluate_every": 5,
    "checkpoint_every": 3,
    "samples": 1,
}
"""Of a run that is disturbed: evaluations and checkpoints on the way."""


def policy(name: str = "llama", *, seed: int = 0, **changes: Any) -> PreTrainedModel:
    """A model whose answers are far from uniform, and not those of any folder."""
    model = model_of(name, factor=3.0, seed=seed, **changes)
    model.generation_config.eos_token_id = 2
    model.generation_config.pad_token_id = 0
    return model


def saved(folder: Path, **named: Any) -> Path:
    """The policy and its tokenizer as a folder."""
    policy(**named).save_pretrained(folder)
    word_tokenizer().save_pretrained(folder)
    return folder


def train(out: Path, *, model: Any = None, data: Any = None, **given: Any) -> collimate.Run:
    """`collimate.train` with small settings; the cache lies beside the run unless given."""
    settings: dict[str, Any] = {
        "tokenizer": word_tokenizer(),
        "batch_size": 8,
        "max_steps": 4,
        "learning_rate": 1e-3,
        "samples": 0,
        "device": "cpu",
        "cache": out.parent / "cache",
        "tokens_per_micro_batch": 96,
        "progress": False,
        "report": False,
    }
    settings.update(given)
    return collimate.train(
        policy() if model is None else model,
        text_pairs() if data is None else data,
        out=out,
        **settings,
    )


def metrics_of(run: collimate.Run | Path) -> list[dict[str, Any]]:
    """metrics.jsonl without the seconds, which alone may differ."""
    folder = run if isinstance(run, Path) else run.folder
    text = (folder / "metrics.jsonl").read_text(encoding="utf-8")
    lines = [json.loads(line) for line in text.splitlines()]
    for line in lines:
        line.pop("seconds", None)
    return lines


def record_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "run.json").read_text(encoding="utf-8"))


def stop_before(folder: Path, *steps: int) -> None:
    """Make a finished run one that was stopped before these checkpoints were written."""
    for step in steps:
        shutil.rmtree(folder / "checkpoints" / f"step-{step:08d}")
    record = {**record_of(folder), "status": "stopped"}
    (folder / "run.json").write_text(json.dumps(record), encoding="utf-8")


def weights_of(folder: Path) -> str:
    """sha256 of the saved weights: of megabytes that differ pytest would write a diff for minutes."""
    (path,) = (folder / "model").glob("*.safetensors")
    return hashlib.sha256(path.read_bytes()).hexdigest()


def require_equal(folder: Path, undisturbed: Path) -> None:
    """The same bits: weights, metrics, measurements, newest checkpoint; times alone may differ."""
    assert weights_of(folder) == weights_of(undisturbed)
    assert metrics_of(folder) == metrics_of(undisturbed)
    record, expected = record_of(folder), record_of(undisturbed)
    for name in ("status", "error", "steps", "skipped_steps", "evaluation", "samples", "identity"):
        assert record[name] == expected[name], name
    assert record["reference"]["hash"] == expected["reference"]["hash"]
    first = "first_step_max_log_ratio"
    assert record["reference"][first] == expected["reference"][first]
    assert contents(folder / "pairs") == contents(undisturbed / "pairs")
    newest = sorted((folder / "checkpoints").iterdir())[-1]
    found, wanted = contents(newest), contents(undisturbed / "checkpoints" / newest.name)
    for name in ("model.safetensors", "optimizer.safetensors", "random.safetensors"):
        assert found[name] == wanted[name], name


def contents(folder: Path) -> dict[str, str]:
    """sha256 of every file in the folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def tensors_of(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def sums(model: nn.Module, rows: Sequence[Mapping[str, str]]) -> tuple[np.ndarray, np.ndarray]:
    """Whole-answer log-probs [row] of chosen and rejected, by the model's own logits, in float64."""
    tokens = word_tokenizer()
    found: list[list[float]] = []
    for row in rows:
        prompt = tokens(row["prompt"], add_special_tokens=False)["input_ids"]
        found.append([])
        for side in ("chosen", "rejected"):
            answer = [*tokens(row[side], add_special_tokens=False)["input_ids"], 2]
            ids = torch.tensor([[*prompt, *answer]])
            with torch.no_grad():
                logits = model(input_ids=ids, use_cache=False).logits[0].double()
            log_p = logits[len(prompt) - 1 : -1].log_softmax(-1)
            found[-1].append(log_p.gather(1, torch.tensor(answer)[:, None]).sum().item())
    both = np.array(found)
    return both[:, 0], both[:, 1]
