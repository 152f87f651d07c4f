"""ZeRO configs as settings: what is taken, what is left, what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from collimate._checks import BadConfig
from collimate.jobs.deepspeed import zero_settings
from collimate.jobs.settings import settings_from

CONFIGS = Path(__file__).parents[2] / "configs" / "distributed"


def written(folder: Path, config: Any) -> Path:
    path = folder / "zero.json"
    path.write_text(config if isinstance(config, str) else json.dumps(config), encoding="utf-8")
    return path


def test_the_committed_config_is_sharded_bf16() -> None:
    assert zero_settings(CONFIGS / "zero3.json") == {
        "parallel": "fsdp2",
        "precision": "bf16",
        "max_gradient_norm": 1.0,
    }


@pytest.mark.parametrize(
    ("stage", "parallel"), [(0, "ddp"), (1, "ddp"), (2, "fsdp2"), (3, "fsdp2")]
)
def test_stages_are_whole_models_or_parts(stage: int, parallel: str, tmp_path: Path) -> None:
    path = written(tmp_path, {"zero_optimization": {"stage": stage}})
    assert zero_settings(path) == {"parallel": parallel}


def test_numbers_are_taken_and_flags_win(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        {
            "train_batch_size": 16,
            "gradient_clipping": 0.5,
            "gradient_accumulation_steps": 4,
            "steps_per_print": 10,
            "optimizer": {
                "type": "AdamW",
                "params": {"lr": 3e-6, "weight_decay": 0.01, "betas": [0.9, 0.999]},
            },
        },
    )
    found = settings_from({"deepspeed": path, "batch_size": 8})
    assert (found.batch_size, found.max_gradient_norm) == (8, 0.5)
    assert (found.learning_rate, found.weight_decay) == (3e-6, 0.01)


@pytest.mark.parametrize(
    "offload", [None, False, {}, "none", {"device": "none", "pin_memory": True}]
)
def test_offloading_that_is_off_is_no_offloading(offload: Any, tmp_path: Path) -> None:
    zero = {"stage": 3, "offload_param": offload, "offload_optimizer": offload}
    assert zero_settings(written(tmp_path, {"zero_optimization": zero})) == {"parallel": "fsdp2"}


def test_what_is_auto_is_left_to_the_defaults(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        {
            "gradient_clipping": "auto",
            "optimizer": {"params": {"lr": "auto"}},
            "bf16": {"enabled": "auto"},
        },
    )
    assert zero_settings(path) == {"parallel": "ddp"}


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("{", "not valid JSON"),
        ([], "must be an object"),
        ({"zero_optimization": 3}, "'zero_optimization' must be an object"),
        ({"zero_optimization": {"stage": 4}}, "stage must be 0, 1, 2 or 3"),
        ({"zero_optimization": {"offload_optimizer": {"device": "cpu"}}}, "offload_optimizer"),
        ({"fp16": {"enabled": True}}, "use bf16"),
        ({"optimizer": {"type": "Lamb"}}, "'Lamb'"),
        ({"optimizer": {"params": {"betas": [0.9, 0.95]}}}, "betas"),
        ({"scheduler": {"type": "WarmupDecayLR"}}, "'scheduler'"),
        ({"train_micro_batch_size_per_gpu": 4}, "give train_batch_size"),
        ({"gradient_clipping": 0.0}, "name a norm"),
        ({"zero_optimization": {"stage": True}}, "stage must be"),
        ({"zero_optimization": {"stage": []}}, "stage must be"),
        ({"zero_optimization": {"offload_optimizer": "cpu"}}, "offload_optimizer"),
        ({"zero_optimization": {"cpu_offload": True}}, "cpu_offload"),
        ({"pipeline": {}}, "'pipeline'"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(config: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match=words):
        zero_settings(written(tmp_path, config))
