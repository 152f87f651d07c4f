"""The published methods as records: what `collimate methods` lists."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from collimate import methods


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One preset: its five choices by name at the default parameters, its source, one line of words.

    parameters: name -> default, a part of an axis by its name.
    """

    name: str
    parameters: Mapping[str, Any]
    distribution: str
    divergence: str
    margin: str
    loss: str
    tradeoff: str
    source: str
    summary: str

    @property
    def signature(self) -> str:
        """As one would call it.

        >>> [entry.signature for entry in catalogue() if entry.name == "dpo"]
        ['dpo(beta=0.1)']
        """
        given = ", ".join(f"{name}={default}" for name, default in self.parameters.items())
        return f"{self.name}({given})"

    def to_json(self) -> dict[str, Any]:
        """Every field by name."""
        return asdict(self)


def catalogue() -> tuple[Entry, ...]:
    """Every preset of `collimate.methods`, in its order.

    >>> [entry.name for entry in catalogue()][:2]
    ['cdpo', 'dpo']
    """
    return tuple(map(_entry, methods.__all__))


def _entry(name: str) -> Entry:
    preset = getattr(methods, name)
    method = preset()
    parameters = inspect.signature(preset).parameters
    return Entry(
        name=name,
        parameters={key: _plain(value.default) for key, value in parameters.items()},
        distribution=method.distribution.name,
        divergence=method.divergence.name,
        margin=method.margin.name,
        loss=method.loss.name,
        tradeoff=method.tradeoff.name,
        source=method.source,
        summary=(inspect.getdoc(preset) or "").partition("\n")[0],
    )


def _plain(default: Any) -> Any:
    return getattr(default, "name", default)
