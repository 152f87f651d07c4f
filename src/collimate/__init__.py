"""Align, distil and match models: every method is five choices on one fast engine.

The public verbs are loaded on first use, so that the axes work without transformers and the
command line answers at once.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # what the lazy names are, for editors and type checkers
    from collimate import (
        distributions,
        divergences,
        lab,
        logic,
        losses,
        margins,
        methods,
        tradeoffs,
    )
    from collimate._checks import CollimateError
    from collimate._types import PairLogProbs
    from collimate.citations import cite
    from collimate.compose import Method, Objective
    from collimate.explanations import explain
    from collimate.jobs.check import check
    from collimate.jobs.demo import demo
    from collimate.jobs.export import export
    from collimate.jobs.frontier import Sweep, frontier
    from collimate.jobs.run import Run
    from collimate.jobs.score import score
    from collimate.jobs.score_on_ray import score_on_ray
    from collimate.jobs.train import train

__version__ = "0.1.0"

_LAZY = {
    "train": "collimate.jobs.train",
    "frontier": "collimate.jobs.frontier",
    "score": "collimate.jobs.score",
    "score_on_ray": "collimate.jobs.score_on_ray",
    "export": "collimate.jobs.export",
    "check": "collimate.jobs.check",
    "demo": "collimate.jobs.demo",
    "Run": "collimate.jobs.run",
    "Sweep": "collimate.jobs.frontier",
    "Method": "collimate.compose",
    "Objective": "collimate.compose",
    "cite": "collimate.citations",
    "explain": "collimate.explanations",
    "PairLogProbs": "collimate._types",
    "CollimateError": "collimate._checks",
}
_MODULES = (
    "divergences",
    "distributions",
    "lab",
    "logic",
    "losses",
    "margins",
    "methods",
    "tradeoffs",
)

__all__ = [
    "CollimateError",
    "Method",
    "Objective",
    "PairLogProbs",
    "Run",
    "Sweep",
    "check",
    "cite",
    "demo",
    "distributions",
    "divergences",
    "explain",
    "export",
    "frontier",
    "lab",
    "logic",
    "losses",
    "margins",
    "methods",
    "score",
    "score_on_ray",
    "tradeoffs",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    if name in _MODULES:
        return importlib.import_module(f"collimate.{name}")
    raise AttributeError(f"module 'collimate' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
