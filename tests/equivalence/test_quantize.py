"""Whole runs of QLoRA: what they save, resume to, refuse, and what others read of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors import safe_open
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

import collimate
from collimate._checks import BadConfig, BadRun
from collimate.engine.load import load_model
from collimate.jobs.export import export
from tests.equivalence.runs import (
    policy,
    record_of,
    require_equal,
    saved,
    sums,
    text_pairs,
    train,
    word_tokenizer,
)
from tests.equivalence.test_resume import interrupted_at

HELD_OUT = text_pairs(6, seed=1)
QLORA: dict[str, Any] = {
    "quantize": "nf4",
    "lora_rank": 64,  # large enough for 8-bit moments
    "max_steps": 6,
    "checkpoint_every": 2,
    "evaluation": HELD_OUT,
    "samples": 1,
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("base"), hidden_size=64, intermediate_size=128)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def whole(base: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of QLoRA with 8-bit moments."""
    out = tmp_path_factory.mktemp("whole") / "run"
    return train(out, model=base, cache=cache, optimizer="adamw_8bit", **QLORA).folder


def in_four_bits(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=torch.float32,
        device_map={"": "cpu"},
        quantization_config=BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.float32,
        ),
    )


def test_the_record_says_what_was_run(whole: Path) -> None:
    record = record_of(whole)
    assert record["config"]["quantize"] == record["model"]["quantization"] == "nf4"
    assert record["versions"]["bitsandbytes"]
    assert record["reference"]["is_policy"]
    assert record["reference"]["first_step_max_log_ratio"] < 1e-5
    plain = policy(hidden_size=64, intermediate_size=128)
    weights = sum(p.numel() for p in plain.parameters())
    assert record["model"]["parameters"] == weights + record["model"]["trainable"]
    assert record["sizes"]["weights"] < 4 * weights + record["sizes"]["gradients"]
    assert record["sizes"]["optimizer"] < record["sizes"]["gradients"]  # else it would be twice


def test_a_resumed_run_comes_to_the_same_bits(
    whole: Path, base: Path, cache: Path, tmp_path: Path
) -> None:
    named: dict[str, Any] = {"model": base, "cache": cache, "optimizer": "adamw_8bit", **QLORA}
    stopped = interrupted_at(3, lambda: train(tmp_path / "run", **named))
    checkpoint = sorted((stopped.folder / "checkpoints").iterdir())[-1]
    with safe_open(checkpoint / "model.safetensors", framework="pt") as weights:
        assert all("lora" in name for name in weights.keys())  # noqa: SIM118  # not a mapping
    with safe_open(checkpoint / "optimizer.safetensors", framework="pt") as slots:
        assert "U8" in {slots.get_slice(n).get_dtype() for n in slots.keys()}  # noqa: SIM118
    for other in ({"quantize": None}, {"optimizer": "adamw"}):
        with pytest.raises(BadRun, match="belongs to another run"):
            train(tmp_path / "run", **{**named, **other}, resume=True)
    train(tmp_path / "run", **named, resume=True)
    require_equal(stopped.folder, whole)


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # peft reads it
def test_the_adapter_loads_onto_the_quantised_and_the_plain_base(
    whole: Path, base: Path, tmp_path: Path
) -> None:
    """peft alone reads it; on the quantised base it gives the log-probs that the run measured."""
    after = record_of(whole)["evaluation"]["after"]
    four = PeftModel.from_pretrained(in_four_bits(base), str(whole / "model"))
    assert sums(four, HELD_OUT)[0].mean() == pytest.approx(after["log_prob_chosen"], abs=1e-4)
    plain = PeftModel.from_pretrained(load_model(base), str(whole / "model"))  # type: ignore[arg-type]
    expected = np.stack(sums(plain, HELD_OUT))
    assert abs(expected[0].mean() - after["log_prob_chosen"]) > 1e-2
    merged = load_model(export(whole, tmp_path / "merged", merge=True))
    np.testing.assert_allclose(np.stack(sums(merged, HELD_OUT)), expected, atol=1e-3)


def test_scores_of_the_saved_adapter_are_those_of_the_run(whole: Path) -> None:
    named: dict[str, Any] = {"tokenizer": word_tokenizer(), "device": "cpu"}
    rows = collimate.score(whole / "model", HELD_OUT, quantize="nf4", **named)
    found = np.mean([row.chosen.sum() for row in rows])
    assert found == pytest.approx(
        record_of(whole)["evaluation"]["after"]["log_prob_chosen"], abs=1e-4
    )


def test_an_adapter_is_trained_further(whole: Path, cache: Path, tmp_path: Path) -> None:
    more = {**QLORA, "lora_rank": None, "max_steps": 2}
    record = train(tmp_path / "run", model=whole / "model", cache=cache, **more).record
    assert record["model"]["quantization"] == "nf4"
    assert record["reference"]["first_step_max_log_ratio"] < 1e-5


def test_a_model_that_comes_quantised(base: Path, tmp_path: Path) -> None:
    """As an object, or as a folder; an adapter over it cannot be merged."""
    with pytest.raises(BadConfig, match="only an adapter over it: give lora_rank"):
        train(tmp_path / "run", model=in_four_bits(base))
    record = train(tmp_path / "a", model=in_four_bits(base), lora_rank=4).record
    assert record["model"]["quantization"] == "nf4"
    in_four_bits(base).save_pretrained(tmp_path / "packed")
    again = train(tmp_path / "b", model=tmp_path / "packed", lora_rank=4)
    assert again.record["model"]["trainable"] == record["model"]["trainable"]
    assert again.record["evaluation"] == record["evaluation"]
    config = json.loads((again.folder / "model" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(tmp_path / "packed")
    with pytest.raises(BadRun, match="would round it once more"):
        export(again.folder, tmp_path / "merged", merge=True)


def test_quantised_and_plain_are_other_references(base: Path, whole: Path, tmp_path: Path) -> None:
    named: dict[str, Any] = {"model": base, "cache": tmp_path / "cache", "evaluation": HELD_OUT}
    four = train(tmp_path / "a", **named, quantize="nf4", lora_rank=2).record
    plain = train(tmp_path / "b", **named, lora_rank=2).record
    assert plain["reference"]["from_cache"] == 0
    assert plain["model"]["hash"] != four["model"]["hash"] == record_of(whole)["model"]["hash"]
    assert plain["reference"]["hash"] != four["reference"]["hash"]
    again = train(tmp_path / "c", **named, quantize="nf4", lora_rank=4).record
    assert again["reference"]["computed"] == 0


def test_refused_before_anything_is_loaded(base: Path, tmp_path: Path) -> None:
    for named, words in (
        ({"quantize": "nf4"}, "only an adapter over it: give lora_rank"),
        ({"quantize": "nf4", "lora_rank": 2, "parallel": "fsdp2"}, "fsdp2 shards.*nf4"),
        ({"optimizer": "adamw_8bit", "parallel": "fsdp2"}, "fsdp2 shards.*adamw_8bit"),
    ):
        with pytest.raises(BadConfig, match=words):
            train(tmp_path / "run", model=base, tokenizer="nowhere", **named)


@pytest.mark.parametrize("named", [{"precision": "bf16"}, {"optimizer": "adamw_8bit"}])
def test_a_run_in_half_precision_or_of_whole_weights(
    named: dict[str, Any], base: Path, tmp_path: Path
) -> None:
    given = QLORA if "precision" in named else {"max_steps": 3}
    record = train(tmp_path / "run", model=base, **{**given, **named}).record
    assert record["status"] == "finished"
    assert record["model"]["layout"] == "shared"
