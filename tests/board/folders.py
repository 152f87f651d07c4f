"""Run folders with pairs for the board's tests: made up, by the layout of docs/run-folder.md."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

COLUMNS = (
    *("row", "step", "loss", "margin", "log_ratio_chosen", "log_ratio_rejected"),
    *("log_prob_chosen", "log_prob_rejected", "ches", "ches_length_normalised"),
    *("start_log_prob_chosen", "start_log_prob_rejected"),
    *("prompt_tokens", "chosen_tokens", "rejected_tokens"),
)
QUESTIONS = (
    "How do I keep basil alive indoors?",
    "Why is the sky blue — and not violet?",
    "Was kostet ein Brötchen in München?",
    "Tell me a joke about gradients.",
    "Write a sentence with the word “naïve”.",
)
ANSWERS = (
    " Give it six hours of light a day, and water it when the soil is dry.",
    " Light is scattered by the air, short waves most of all; our eyes see less violet. 🌈",
    " Meist dreißig bis fünfzig Cent, je nach Bäckerei.",
    " Why did the gradient cross the plain? To get to the other minimum.",
    " I am not sure what you mean.",
    " No.",
)

Texts = tuple[str, str, str]


@cache
def tokenizer() -> Tokenizer:
    """Byte-level, learnt from the texts here; every other text is spelt in bytes."""
    found = Tokenizer(models.BPE())
    found.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    found.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=600, initial_alphabet=alphabet, show_progress=False)
    found.train_from_iterator([*QUESTIONS, *ANSWERS] * 3, trainer)
    return found


def made_up(count: int, seed: int = 0) -> list[Texts]:
    """Prompt, chosen and rejected of so many pairs."""
    draw = random.Random(seed)
    return [
        (f"Human: {draw.choice(QUESTIONS)}\n\nAssistant:", *draw.sample(ANSWERS, 2))
        for _ in range(count)
    ]


def make_pairs(
    run: Path,
    texts: Sequence[Texts],
    *,
    seed: int = 0,
    begun: float = 1.0,
    suspects: Sequence[int] = (),
    columns: Sequence[str] = COLUMNS,
    **index: Any,
) -> Path:
    """Write `pairs/`, `tokenizer/` and suspect_rows.jsonl into a run folder and return it.

    begun: share of the pairs that a step has taken. suspects: their rows. index: more of index.json.
    """
    draw = np.random.default_rng(seed)
    encoded = [[tokenizer().encode(text).ids for text in pair] for pair in texts]
    count = len(texts)
    lengths = np.array([[len(ids) for ids in pair] for pair in encoded]).reshape(count, 3)
    tokens = int(lengths[:, 1:].sum())
    log_ratios = draw.normal(-0.1, 0.5, tokens).astype(np.float32)
    known = draw.random(count) < begun
    of_pair = np.repeat(np.arange(count), lengths[:, 1:].sum(axis=1))
    log_ratios[~known[of_pair]] = np.nan
    ends = np.cumsum(lengths[:, 1:].ravel())
    sums = np.diff(np.concatenate([[0], np.nan_to_num(log_ratios).cumsum()[ends - 1]]))
    chosen, rejected = sums.reshape(count, 2).T
    margin = chosen - rejected
    values = {
        "row": np.arange(count) * 2.0,  # every second row was skipped
        "step": draw.integers(1, 100, count).astype(float),
        "loss": np.log1p(np.exp(-0.1 * margin)),
        "margin": margin,
        "log_ratio_chosen": chosen,
        "log_ratio_rejected": rejected,
        "log_prob_chosen": chosen - 50,
        "log_prob_rejected": rejected - 50,
        "start_log_prob_chosen": np.full(count, -50.0),
        "start_log_prob_rejected": np.full(count, -50.0),
        "ches": draw.normal(20, 30, count),
        "ches_length_normalised": draw.normal(0, 0.1, count),
    }
    for name in set(values) - {"row"}:
        values[name] = np.where(known, values[name], np.nan)
    values |= dict(
        zip(("prompt_tokens", "chosen_tokens", "rejected_tokens"), lengths.T, strict=True)
    )
    folder = run / "pairs"
    folder.mkdir(parents=True, exist_ok=True)
    unknown = np.full(count, np.nan)
    table = np.stack([values.get(name, unknown) for name in columns], axis=1)
    np.save(folder / "table.npy", table.astype(np.float64))
    np.save(folder / "log_ratios.npy", log_ratios)
    flat = [identity for pair in encoded for ids in pair for identity in ids]
    np.save(folder / "ids.npy", np.array(flat, dtype=np.uint32))
    fields = {"schema_version": 1, "pairs": count, "columns": list(columns), **index}
    (folder / "index.json").write_text(json.dumps(fields))
    (run / "tokenizer").mkdir(exist_ok=True)
    tokenizer().save(str(run / "tokenizer" / "tokenizer.json"))
    if suspects:
        lines = [
            {
                "row": row,
                "ches": 91.5,
                "chosen_change": -7.2,
                "reason": f"row {row}: its answers are alike",
            }
            for row in suspects
        ]
        (run / "suspect_rows.jsonl").write_text("".join(f"{json.dumps(x)}\n" for x in lines))
    return run
