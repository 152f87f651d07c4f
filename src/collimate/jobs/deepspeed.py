"""A DeepSpeed ZeRO config, read as settings: what it asks for is done here without DeepSpeed.

ZeRO stages 2 and 3 shard what FSDP2 shards (weights too), 0 and 1 are whole models per process; what
only DeepSpeed has (offloading, fp16 loss scaling) is refused by name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from collimate._checks import BadConfig

_TAKEN = {
    "zero_optimization",
    "bf16",
    "fp16",
    "gradient_clipping",
    "train_batch_size",
    "train_micro_batch_size_per_gpu",
    "gradient_accumulation_steps",
    "optimizer",
}
_ADAMW: Mapping[str, Any] = {"betas": [0.9, 0.999], "eps": 1e-8, "adam_w_mode": True}
_NEEDLESS = {
    "steps_per_print",
    "wall_clock_breakdown",
    "zero_allow_untested_optimizer",
    "communication_data_type",
}


def zero_settings(path: str | Path) -> dict[str, Any]:
    """The settings that a ZeRO config names; what is "auto" is left to the defaults.

    Errors: BadConfig for a file that is no such config, and for what cannot be done here.
    """
    config = _read(Path(path))
    unknown = sorted(config.keys() - _TAKEN - _NEEDLESS)
    if unknown:
        raise BadConfig(
            f"{path}: '{unknown[0]}' is not served without DeepSpeed itself; remove it, or use "
            "--parallel fsdp2 and settings of collimate"
        )
    zero = _table(config, "zero_optimization", path)
    for name in ("offload_optimizer", "offload_param", "cpu_offload"):
        asked = zero.get(name)
        device = asked.get("device") if isinstance(asked, dict) else asked
        if device not in (None, False, "none"):
            raise BadConfig(
                f"{path}: {name} is not served; use --lora-rank or --activation-checkpointing to "
                "save memory"
            )
    if _on(_table(config, "fp16", path)):
        raise BadConfig(f"{path}: fp16 is not served; use bf16, which needs no loss scaling")
    adam = _table(config, "optimizer", path)
    if adam.get("type", "AdamW") not in ("Adam", "AdamW"):
        raise BadConfig(f"{path}: optimizer '{adam['type']}' is not served, AdamW is")
    parameters = _table(adam, "params", path)
    for name, value in parameters.items():
        if name not in ("lr", "weight_decay") and value not in ("auto", _ADAMW.get(name)):
            raise BadConfig(f"{path}: optimizer.params.{name} = {value!r} is not served")
    split = [
        config.get(f"{n}", "auto")
        for n in ("train_micro_batch_size_per_gpu", "gradient_accumulation_steps")
    ]
    if config.get("train_batch_size", "auto") == "auto" and split != ["auto", "auto"]:
        raise BadConfig(
            f"{path}: give train_batch_size, the examples of a step: micro-batches and accumulation "
            "follow from --tokens-per-micro-batch here"
        )
    stage = zero.get("stage", 0)
    if isinstance(stage, bool) or stage not in (0, 1, 2, 3):
        raise BadConfig(f"{path}: zero_optimization.stage must be 0, 1, 2 or 3, got {stage!r}")
    if config.get("gradient_clipping") == 0:
        raise BadConfig(f"{path}: gradient_clipping 0 (off) is not served: name a norm")
    found = {
        "parallel": "fsdp2" if stage > 1 else "ddp",
        "precision": "bf16" if _on(_table(config, "bf16", path)) else None,
        "max_gradient_norm": config.get("gradient_clipping"),
        "batch_size": config.get("train_batch_size"),
        "learning_rate": parameters.get("lr"),
        "weight_decay": parameters.get("weight_decay"),
    }
    return {name: value for name, value in found.items() if value not in (None, "auto")}


def _read(path: Path) -> Mapping[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadConfig(f"cannot read the DeepSpeed config {path}: {error.strerror}") from error
    except ValueError as error:
        raise BadConfig(f"the DeepSpeed config {path} is not valid JSON: {error}") from error
    if not isinstance(config, dict):
        raise BadConfig(
            f"the DeepSpeed config {path} must be an object, got a {type(config).__name__}"
        )
    return config


def _table(config: Mapping[str, Any], name: str, path: str | Path) -> Mapping[str, Any]:
    table = config.get(name) or {}
    if not isinstance(table, dict):
        raise BadConfig(f"{path}: '{name}' must be an object, got {table!r}")
    return table


def _on(table: Mapping[str, Any]) -> bool:
    return table.get("enabled") is True
