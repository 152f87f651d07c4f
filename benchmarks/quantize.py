r"""What QLoRA and 8-bit moments save: the peak memory of a run's phases, and its steps' seconds.

    python benchmarks/quantize.py --layers 24

A Qwen2-shaped model of random weights (width 896, vocabulary 32000) is saved to a temporary folder;
each run, in a process of its own, takes DPO steps of one pair of 2 x 128 tokens over it. One JSON
line per run.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, Qwen2Config

import collimate
from collimate.engine.tiny import word_tokenizer

VOCABULARY = 32000
RUNS = {
    "LoRA": {"lora_rank": 8},
    "QLoRA": {"lora_rank": 8, "quantize": "nf4"},
    "full": {},
    "full, 8-bit moments": {"optimizer": "adamw_8bit"},
}


def save(folder: Path, layers: int) -> None:
    """The model alone; its tokenizer is made anew for each run."""
    config = Qwen2Config(
        vocab_size=VOCABULARY,
        hidden_size=896,
        num_hidden_layers=layers,
        num_attention_heads=14,
        num_key_value_heads=2,
        intermediate_size=4864,
        tie_word_embeddings=True,
        eos_token_id=1,
        pad_token_id=0,
    )
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(folder)


def measure(name: str, folder: Path, steps: int) -> dict[str, object]:
    """One run; the first step, which also faults in its memory, is left out of the seconds."""
    draw = random.Random(0)

    def words() -> str:
        return " ".join(f"w{draw.randrange(1000)}" for _ in range(128))

    tokenizer = word_tokenizer([f"w{i}" for i in range(1000)])
    rows = [{"prompt": words(), "chosen": words(), "rejected": words()} for _ in range(steps)]
    out = folder / "run"
    run = collimate.train(
        folder / "model", rows, tokenizer=tokenizer, out=out, cache=folder / "cache",
        batch_size=1, max_steps=steps, samples=0, device="cpu", progress=False, report=False,
        checkpoint_every=steps, **RUNS[name],
    )  # fmt: skip
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    seconds = sorted(line["seconds"] for line in lines[1:])
    return {
        "run": name,
        "parameters": run.record["model"]["parameters"],
        "peak_gb": {k: round(v / 2**30, 2) for k, v in run.record["peak_memory"].items()},
        "sizes_gb": {k: round(v / 2**30, 2) for k, v in run.record["sizes"].items()},
        "load_seconds": round(run.record["phases"]["load"], 1),
        "step_seconds": seconds[len(seconds) // 2],
    }


def main() -> None:
    """Save the model, and start one process per run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--runs", nargs="+", choices=RUNS, default=["LoRA", "QLoRA"])
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.inside is not None:
        print(json.dumps(measure(given.runs[0], given.inside, given.steps)))
        return
    with tempfile.TemporaryDirectory() as folder:
        save(Path(folder) / "model", given.layers)
        for name in given.runs:
            with tempfile.TemporaryDirectory(dir=folder) as inside:
                (Path(inside) / "model").symlink_to(Path(folder) / "model")
                again = [sys.executable, __file__, "--inside", inside, "--runs", name]
                subprocess.run([*again, "--steps", str(given.steps)], check=True)


if __name__ == "__main__":
    main()
