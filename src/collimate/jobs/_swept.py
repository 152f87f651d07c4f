"""The settings of a sweep: a method and its beta, checked before anything is trained."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from collimate._checks import BadConfig, positive
from collimate.jobs.train import preset_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One method at one beta, None where it has none.

    >>> setting = Setting(method="dpo", beta=0.1)
    >>> setting.name, setting.folder(seed=2)
    ('dpo, beta 0.1', 'runs/dpo-beta0.1-seed2')
    """

    method: str
    beta: float | None

    @property
    def name(self) -> str:
        """What people read."""
        return self.method if self.beta is None else f"{self.method}, beta {self.beta:.12g}"

    def folder(self, *, seed: int) -> str:
        """Where its run with a seed lies in the sweep's folder."""
        beta = "" if self.beta is None else f"-beta{self.beta:.12g}"
        return f"runs/{_slug(self.method)}{beta}-seed{seed}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Maker:
    """A function that gives a method: of a beta, where it has a parameter of that name."""

    function: Callable[..., Any]

    @property
    def takes_beta(self) -> bool:
        """Whether the method has a beta to set."""
        return "beta" in inspect.signature(self.function).parameters

    def __call__(self, beta: float | None) -> Any:
        """The method at a beta."""
        return self.function(beta=beta) if self.takes_beta else self.function()


def makers(methods: Sequence[str] | Mapping[str, Callable[..., Any]]) -> Mapping[str, Maker]:
    """What makes each method, by name: presets, or functions of one's own (of `beta`, or of nothing).

    Errors: BadConfig for none, an unknown name, or two names that would share a folder.

    >>> {name: maker.takes_beta for name, maker in makers(["dpo", "orpo"]).items()}
    {'dpo': True, 'orpo': False}
    """
    if isinstance(methods, str) or not methods:
        raise BadConfig(f"methods must be a list of names, at least one, got {methods!r}")
    known = methods if isinstance(methods, Mapping) else {name: preset_of(name) for name in methods}
    if len({_slug(name) for name in known}) < len(methods):
        raise BadConfig(f"methods must have different names, got {', '.join(map(str, methods))}")
    return {name: Maker(function=function) for name, function in known.items()}


def checked_betas(beta: int | float | Iterable[int | float]) -> tuple[float, ...]:
    """The values of beta, each once. Errors: BadConfig for none, a repetition, or a value not above 0.

    >>> checked_betas([0.1, 1])
    (0.1, 1.0)
    """
    given = [beta] if isinstance(beta, int | float) else beta
    values = tuple(float(positive("beta", value)) for value in given)
    return _each_once("beta", values)


def checked_seeds(seeds: int | Iterable[int]) -> tuple[int, ...]:
    """The seeds, each once. Errors: BadConfig for none, a repetition, or one that is no seed.

    >>> checked_seeds(range(3))
    (0, 1, 2)
    """
    values = tuple([seeds] if isinstance(seeds, int) else seeds)
    for seed in values:
        if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
            raise BadConfig(f"seeds must be whole numbers of at least 0, got {seed!r}")
    return _each_once("seeds", values)


def _each_once(name: str, values: tuple[Any, ...]) -> tuple[Any, ...]:
    if not values:
        raise BadConfig(f"{name} must hold at least one value, got none")
    if len(set(values)) < len(values):
        raise BadConfig(f"{name} must hold each value once, got {', '.join(map(str, values))}")
    return values


def _slug(name: str) -> str:
    return re.sub(r"[^\w.]+", "-", name).strip("-.")
