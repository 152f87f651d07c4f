"""The key of the cache: it changes with whatever changes log-probs, and with nothing else."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from collimate._types import Answer, Example
from collimate.engine.fingerprint import (
    column_hash,
    model_fingerprint,
    sequence_key,
    weights_hash,
)
from collimate.engine.load import add_lora, load_model
from tests.engine.tiny import model_of


def key(model: nn.Module, *, layout: str = "shared", precision: str = "fp32") -> str:
    return model_fingerprint(model, layout=layout, precision=precision)


@pytest.fixture(scope="module")
def standard() -> str:
    return key(model_of("gemma2"))


def test_equal_models_have_equal_keys(standard: str, tmp_path: Path) -> None:
    assert key(model_of("gemma2")) == standard
    model_of("gemma2").save_pretrained(tmp_path)
    assert key(load_model(tmp_path)) == standard
    assert len(standard) == 64


@pytest.mark.parametrize(
    "change",
    [
        {"attn_logit_softcapping": 3.0},
        {"final_logit_softcapping": 2.0},
        {"sliding_window": 11},
        {"query_pre_attn_scalar": 100},
        {"rms_norm_eps": 1e-5},
        {"rope_parameters": {"rope_type": "default", "rope_theta": 20_000.0}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_fields_that_act_change_it(change: dict, standard: str) -> None:
    model = model_of("gemma2")
    for name, value in change.items():
        setattr(model.config, name, value)
    assert key(model) != standard


def test_dropout_under_any_name_changes_nothing() -> None:
    model = model_of("gpt2")
    standard = key(model)
    model.config.resid_pdrop, model.config.embd_pdrop, model.config.attn_pdrop = 0.3, 0.2, 0.0
    assert key(model) == standard


@pytest.mark.parametrize(
    "change",
    [
        {"use_cache": False},
        {"_name_or_path": "elsewhere"},
        {"eos_token_id": 5},
        {"attention_dropout": 0.3},
        {"initializer_range": 0.5},
    ],
    ids=lambda change: next(iter(change)),
)
def test_fields_that_do_not_act_change_nothing(change: dict, standard: str) -> None:
    model = model_of("gemma2")
    for name, value in change.items():
        setattr(model.config, name, value)
    assert key(model.train()) == standard


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.lm_head.weight.data[3, 3].add_(1e-6),
        lambda m: m.model.layers[1].mlp.up_proj.weight.data.neg_(),
        lambda m: m.double(),
        lambda m: m.bfloat16(),
        lambda m: setattr(m.config, "_attn_implementation", "sdpa"),
    ],
    ids=["one entry", "one layer", "float64", "bfloat16", "attention"],
)
def test_weights_dtype_and_attention_change_it(
    change: Callable[[nn.Module], object], standard: str
) -> None:
    model = model_of("gemma2")
    change(model)
    assert key(model) != standard


def test_layout_and_precision_change_it(standard: str) -> None:
    model = model_of("gemma2")
    keys = {standard, key(model, layout="plain"), key(model, precision="bf16")}
    assert len(keys) == 3


def test_weights_that_are_known_need_not_be_read_again(standard: str) -> None:
    model = model_of("gemma2")
    known = weights_hash(model)
    named = {"layout": "shared", "precision": "fp32"}
    assert model_fingerprint(model, **named, weights=known) == standard
    assert model_fingerprint(model, **named, weights="other") != standard


class TestAdapters:
    @staticmethod
    def adapted(rank: int = 2, alpha: float | None = None, value: float = 0.01) -> nn.Module:
        model = add_lora(model_of("llama"), rank=rank, alpha=alpha)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "lora_" in name:
                    parameter.fill_(value)
        return model

    def test_the_adapters_weights_count(self) -> None:
        assert key(self.adapted()) == key(self.adapted())
        assert key(self.adapted(value=0.02)) != key(self.adapted())
        assert key(self.adapted()) != key(model_of("llama"))

    def test_the_adapters_scale_counts(self) -> None:
        """alpha is in no tensor, yet it changes every log-prob."""
        assert key(self.adapted(alpha=8)) != key(self.adapted(alpha=16))

    def test_a_disabled_adapter_counts(self) -> None:
        model = self.adapted()
        enabled = key(model)
        with model.disable_adapter():
            assert key(model) != enabled

    def test_where_the_base_lies_does_not_count(self) -> None:
        one, other = self.adapted(), self.adapted()
        other.peft_config["default"].base_model_name_or_path = "elsewhere"
        other.peft_config["default"].inference_mode = True
        assert key(one) == key(other)

    @pytest.mark.slow  # two interpreters that import transformers
    def test_it_is_the_same_in_another_process(self) -> None:
        """Sets are written in an order that changes with the hash seed."""
        script = (
            "from tests.engine.test_fingerprint import TestAdapters, key;"
            "print(key(TestAdapters.adapted()))"
        )
        found = {
            subprocess.run(
                [sys.executable, "-c", script],
                env={"PYTHONHASHSEED": seed, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
                cwd=Path(__file__).parents[2],
                capture_output=True,
                text=True,
                check=True,
            ).stdout.strip()
            for seed in ("1", "2")
        }
        assert found == {key(self.adapted())}


def test_a_sequence_key_is_prompt_boundary_and_answer() -> None:
    def of(prompt: list[int], answer: list[int], dtype: type = np.int64, row: int = 0) -> bytes:
        one = Answer(ids=np.array(answer, dtype=dtype))
        return sequence_key(
            Example(prompt=np.array(prompt, dtype=dtype), answers=(one,), row=row), one
        )

    standard = of([1, 2, 3], [4, 5])
    assert len(standard) == 32
    assert of([1, 2, 3], [4, 5], dtype=np.int32, row=9) == standard
    others = [([1, 2], [3, 4, 5]), ([1, 2, 3, 4], [5]), ([1, 2, 3], [5, 4]), ([1, 2, 3], [4, 5, 2])]
    keys = {of(prompt, answer) for prompt, answer in others}
    assert len(keys) == len(others)
    assert standard not in keys


def test_a_column_hash_sees_order_and_bits() -> None:
    a, b = np.array([-1.0, -2.0], dtype=np.float32), np.array([-3.0], dtype=np.float32)
    assert column_hash([a, b]) == column_hash([a.copy(), b.copy()])
    assert column_hash([a, b]) != column_hash([b, a])
    assert column_hash([np.nextafter(a, np.float32(0)), b]) != column_hash([a, b])
