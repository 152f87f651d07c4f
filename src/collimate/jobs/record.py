"""The first state of a run's record: what is known before the first step."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import psutil
import torch

from collimate.citations import cited
from collimate.compose import Method, Objective
from collimate.data import Loaded
from collimate.engine.load import name_of
from collimate.engine.model import causal_model
from collimate.engine.quantize import entries, quantization_of
from collimate.engine.run_folder import RunFolder
from collimate.explanations import explanation
from collimate.jobs.prepare import Prepared
from collimate.jobs.settings import TrainSettings


def first_record(
    folder: RunFolder,
    objective: Objective,
    prepared: Prepared,
    settings: TrainSettings,
    *,
    inputs: Mapping[str, object],
) -> dict[str, Any]:
    """run.json as of the start of training; see docs/run-folder.md.

    inputs: the arguments of `train` that are paths or objects, by name.
    """
    causal = causal_model(prepared.model)
    reference = prepared.reference
    quantization = quantization_of(prepared.model)
    packages = ["collimate", "torch", "transformers", "accelerate"]
    if quantization is not None or settings.optimizer == "adamw_8bit":
        packages.append("bitsandbytes")
    return {
        "kind": "train",
        "name": folder.path.name,
        "status": "running",
        "error": None,
        "created": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "seconds": 0.0,
        "phases": {},
        "peak_memory": {},
        "steps": 0,
        "skipped_steps": 0,
        "seed": settings.seed,
        "config": {
            **{name: None if x is None else name_of(x) for name, x in inputs.items()},
            "method": objective.name,
            **settings.to_json(),
        },
        "versions": {
            **{name: version(name) for name in packages},
            "python": platform.python_version(),
        },
        "machine": {
            "device": _device_name(prepared.runtime.device),
            "threads": torch.get_num_threads(),
            "processes": prepared.processes.count,
            "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        },
        "method": describe_objective(objective),
        "model": {
            "path": name_of(inputs["model"]),
            "architecture": type(causal).__name__,
            "parameters": sum(map(entries, prepared.model.parameters())),
            "trainable": sum(p.numel() for p in prepared.trained.parameters() if p.requires_grad),
            "quantization": quantization,
            "layout": prepared.check.layout,
            "layout_reason": prepared.check.reason,
            "check": {
                name: prepared.check.to_json()[name]
                for name in ("log_prob", "gradient", "tolerance", "gradient_tolerance")
            },
            "hash": prepared.fingerprint,
        },
        "kernels": {name: trial.to_json() for name, trial in prepared.trials.items()},
        "sizes": dict(prepared.sizes),
        "tokens_per_micro_batch": prepared.budget,
        "data": {
            "train": _facts(prepared.train),
            "evaluation": None if prepared.evaluation is None else _facts(prepared.evaluation),
        },
        "reference": None
        if reference is None
        else {
            "hash": reference.hash,
            "computed": reference.computed,
            "from_cache": reference.from_cache,
            "is_policy": reference.is_policy,
            "first_step_max_log_ratio": None,
        },
        "evaluation": {"before": None, "after": None},
        "samples": [],
        "frontier": None,
    }


def describe_objective(objective: Objective) -> Mapping[str, Any]:
    """Five choices by name (of the first part), parameters of a user's function, sources, formulas.

    composite: whether the loss is more than one loss of one margin: several parts, further losses, a
    factor, or a function of a user's own.
    """
    method = objective.parts[0].method
    choices = ("distribution", "divergence", "margin", "loss", "tradeoff")
    return {
        "name": objective.name,
        **{choice: getattr(getattr(method, choice, None), "name", None) for choice in choices},
        "composite": len(objective.parts) > 1
        or not isinstance(method, Method)
        or bool(method.also)
        or method.factor is not None,
        "parameters": dict(getattr(getattr(method, "function", None), "keywords", {})),
        "source": getattr(method, "source", ""),
        "sources": list(
            dict.fromkeys(
                key
                for part in objective.parts
                if isinstance(part.method, Method)
                for key in cited(part.method)
            )
        ),
        "formulas": [
            explanation(part.method).formula
            for part in objective.parts
            if isinstance(part.method, Method)
        ],
    }


def _facts(loaded: Loaded) -> Mapping[str, Any]:
    return loaded.facts.to_json()


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
