"""Memory: its peak by phase, what a token costs, and a model of half a billion parameters in 6 GB."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from collimate import methods
from collimate._checks import BadConfig
from collimate.compose import Method, Objective
from collimate.engine import budget, memory
from collimate.engine.budget import tokens_within
from collimate.engine.head import chunk_rows
from collimate.engine.memory import memory_in_use, peak_memory, reset_peak_memory
from collimate.engine.model import LogProbModel
from collimate.engine.plan import micro_batches
from collimate.engine.sizes import run_sizes
from collimate.engine.step import signals_of
from tests.engine.tiny import model_of, pairs
from tests.equivalence.runs import metrics_of, record_of, train

MEGABYTE = 2**20
GIGABYTE = 2**30
CPU = torch.device("cpu")
NOTHING = {"gradients": 0, "optimizer": 0}
needs_peak = pytest.mark.skipif(
    peak_memory(CPU) is None, reason="this system tells no peak of memory"
)


@needs_peak
def test_a_peak_is_seen_and_forgotten() -> None:
    reset_peak_memory(CPU)
    before = memory_in_use(CPU)
    block = np.ones(100 * MEGABYTE, dtype=np.uint8)
    del block
    seen = peak_memory(CPU)
    assert seen is not None
    assert seen - before > 90 * MEGABYTE
    reset_peak_memory(CPU)
    after = peak_memory(CPU)
    assert after is not None
    assert after < seen - 50 * MEGABYTE


def test_a_system_without_proc_tells_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(memory, "_STATUS", tmp_path / "status")
    monkeypatch.setattr(memory, "_CLEAR", tmp_path / "no" / "clear")
    reset_peak_memory(CPU)
    assert peak_memory(CPU) is None
    with pytest.raises(BadConfig, match="tokens_per_micro_batch"):
        tokens_within(
            1.0,
            LogProbModel(model_of("llama"), shared=True),
            pairs(2),
            NOTHING,
            autocast=nullcontext,
        )


def test_tokens_are_what_is_left_over_what_one_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """In use 1 GB, and 1 MB a token at the peak: of 3 GB, 2 less gradients and optimiser are left."""
    examples = pairs(40)  # of so many tokens that the estimate of a chunk of logits is less
    first = micro_batches(examples, 1024, shared=True)[0]
    total = sum(examples[i].tokens for i in first)
    monkeypatch.setattr(budget, "memory_in_use", lambda _: GIGABYTE)
    monkeypatch.setattr(budget, "peak_memory", lambda _: GIGABYTE + total * MEGABYTE)
    engine = LogProbModel(model_of("llama"), shared=True)

    def fitting(gigabytes: float, **sizes: int) -> int:
        return tokens_within(
            gigabytes, engine, examples, {**NOTHING, **sizes}, autocast=nullcontext
        )

    assert fitting(3.0) == int(0.9 * 2048)
    assert fitting(3.0, gradients=GIGABYTE // 2, optimizer=GIGABYTE) == int(0.9 * 512)
    longest = max(example.tokens for example in examples)
    with pytest.raises(BadConfig, match=f"longest example has {longest} tokens"):
        fitting(1.0 + 0.5 * longest / 1024)
    with pytest.raises(BadConfig, match="too small"):
        fitting(0.5)


def test_signals_beyond_log_probs_take_their_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """The head's passes are measured too, as of a full chunk, and the reference's hidden states."""
    examples = pairs(40)
    first = micro_batches(examples, 1024, shared=True)[0]
    total = sum(examples[i].tokens for i in first)
    answers = sum(examples[i].answer_tokens for i in first)
    monkeypatch.setattr(budget, "memory_in_use", lambda _: GIGABYTE)
    monkeypatch.setattr(budget, "peak_memory", lambda _: GIGABYTE + total * MEGABYTE)
    model = model_of("llama")
    engine = LogProbModel(model, shared=True)

    def fitting(method: Method) -> int:
        signals = signals_of(Objective.of(method))
        return tokens_within(4.0, engine, examples, NOTHING, autocast=nullcontext, signals=signals)

    free, head = 3 * GIGABYTE, total * MEGABYTE * chunk_rows(97) // answers
    assert fitting(methods.dpo()) == int(0.9 * 3072)
    assert fitting(methods.wpo()) == int(0.9 * (free - head) / MEGABYTE)
    hidden = answers * model.config.hidden_size * 4 / total
    assert fitting(methods.tdpo()) == int(0.9 * (free - head) / (MEGABYTE + hidden))
    layers = 2 * (hidden + model.config.hidden_size * 4)  # at the answers, and as they came
    assert fitting(methods.mapo()) == int(0.9 * (free - head) / (MEGABYTE + hidden + layers))
    assert all(p.grad is None for p in model.parameters())


def test_the_forecast_counts_copies_of_a_chunk() -> None:
    model = model_of("llama", vocab_size=4096)
    chunk = 4 * 1024 * 4096

    def activations(method: Method) -> int:
        signals = signals_of(Objective.of(method))
        return run_sizes(model, tokens=8, signals=signals)["activations"]

    plain = run_sizes(model, tokens=8)["activations"]
    assert activations(methods.dpo()) == plain
    assert activations(methods.wpo()) >= plain + 7 * chunk
    assert activations(methods.tdpo()) >= plain + 20 * chunk
    assert activations(methods.sparse_po()) == activations(methods.tdpo())


@needs_peak
def test_a_run_says_what_it_chose_and_goes_on_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second measurement would differ, and with it the bits."""
    named: dict[str, Any] = {"memory_budget": 8.0, "tokens_per_micro_batch": 7}
    monkeypatch.setattr("collimate.jobs.prepare.tokens_within", lambda *_, **__: 96)
    whole = train(tmp_path / "a", **named)
    assert whole.record["tokens_per_micro_batch"] == 96
    assert metrics_of(whole) == metrics_of(train(tmp_path / "plain", tokens_per_micro_batch=96))
    record = record_of(whole.folder)
    record["status"] = "stopped"
    (whole.folder / "run.json").write_text(json.dumps(record))
    monkeypatch.setattr("collimate.jobs.prepare.tokens_within", lambda *_, **__: 50)
    again = train(tmp_path / "a", **named, resume=True)
    assert again.record["tokens_per_micro_batch"] == 96


@needs_peak
def test_the_record_has_the_peak_of_each_phase(tmp_path: Path) -> None:
    record = train(tmp_path / "a").record
    assert record["peak_memory"].keys() == record["phases"].keys()
    assert all(50 * MEGABYTE < peak < 64 * GIGABYTE for peak in record["peak_memory"].values())


MEASURED = """
import json, random, sys
import collimate
from collimate.engine.memory import memory_in_use
from tests.equivalence.runs import WORDS, word_tokenizer
from tests.engine.test_memory import {builder}
draw = random.Random(0)
def words(n): return " ".join(draw.choices(WORDS, k=n))
rows = [dict(prompt=words({prompt}), chosen=words({answer}), rejected=words({answer}))
        for _ in range({rows})]
run = collimate.train({builder}(), rows, tokenizer=word_tokenizer(), device="cpu", samples=0,
                      progress=False, report=False, **json.loads(sys.argv[1]))
print(json.dumps(run.record))
"""


def half_billion() -> Any:
    """24 layers of 896, vocabulary 151936: random weights, 0.49 billion of them."""
    from transformers import AutoModelForCausalLM, Qwen2Config

    config = Qwen2Config(
        vocab_size=151936,
        hidden_size=896,
        num_hidden_layers=24,
        num_attention_heads=14,
        num_key_value_heads=2,
        intermediate_size=4864,
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.generation_config.eos_token_id = 2
    return model


def deep() -> Any:
    """8 layers of 256: activations are most of its memory."""
    model = model_of(
        "llama", num_hidden_layers=8, hidden_size=256, intermediate_size=1024, vocab_size=4096
    )
    model.generation_config.eos_token_id = 2
    return model


def measured(
    tmp_path: Path, builder: str, *, prompt: int, answer: int, rows: int, **named: Any
) -> Any:
    """The record of a run in a process of its own."""
    code = MEASURED.format(builder=builder, prompt=prompt, answer=answer, rows=rows)
    settings = {"out": str(tmp_path / "run"), "cache": str(tmp_path / "cache"), **named}
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(settings)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@needs_peak
@pytest.mark.slow
@pytest.mark.parametrize("gigabytes", [1.0, 1.5])
def test_training_stays_within_its_budget(gigabytes: float, tmp_path: Path) -> None:
    record = measured(
        tmp_path, "deep", prompt=60, answer=40, rows=128, batch_size=64, memory_budget=gigabytes
    )
    assert record["tokens_per_micro_batch"] > 500
    assert record["peak_memory"]["train"] <= gigabytes * GIGABYTE
    assert record["peak_memory"]["train"] >= 0.5 * gigabytes * GIGABYTE  # and makes use of it


@needs_peak
@pytest.mark.slow
@pytest.mark.parametrize(("method", "gigabytes"), [("tdpo", 2.0), ("wpo", 1.5)])
def test_so_does_a_method_of_further_signals(method: str, gigabytes: float, tmp_path: Path) -> None:
    shape: dict[str, int] = {"prompt": 60, "answer": 40, "rows": 64, "batch_size": 32}
    named = {"method": method, "memory_budget": gigabytes, "max_steps": 2}
    record = measured(tmp_path, "deep", **shape, **named)
    assert record["tokens_per_micro_batch"] > 500
    assert record["peak_memory"]["train"] <= gigabytes * GIGABYTE


@needs_peak
@pytest.mark.slow
def test_so_does_activation_checkpointing(tmp_path: Path) -> None:
    shape: dict[str, int] = {"prompt": 60, "answer": 40, "rows": 128, "batch_size": 64}
    saving = {"activation_checkpointing": True}
    record = measured(tmp_path, "deep", memory_budget=0.8, **shape, **saving)
    assert record["tokens_per_micro_batch"] > 500
    assert record["peak_memory"]["train"] <= 0.8 * GIGABYTE


@needs_peak
@pytest.mark.slow
def test_half_a_billion_parameters_take_a_step_within_six_gigabytes(tmp_path: Path) -> None:
    record = measured(
        tmp_path,
        "half_billion",
        prompt=512,
        answer=255,
        rows=1,
        batch_size=1,
        max_steps=1,
        lora_rank=8,
        activation_checkpointing=True,
    )
    assert record["steps"] == 1
    assert record["model"]["parameters"] > 490e6
    assert max(record["peak_memory"].values()) <= 6 * GIGABYTE
