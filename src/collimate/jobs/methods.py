"""The published methods as records: what `collimate methods` lists."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collimate.compose import Method

FILE = Path(__file__).with_name("methods.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One preset: its five choices by name at the default parameters, what it needs, its source.

    parameters: name -> default, a part of an axis by its name. also: names of the losses that are
    added. formula: the loss at the default parameters. data, columns, whole_step, reference,
    legal_divergences: see `collimate.explanations.Explanation`. summary: one line of words.
    """

    name: str
    parameters: Mapping[str, Any]
    distribution: str
    divergence: str
    margin: str
    loss: str
    tradeoff: str
    also: Sequence[str]
    formula: str
    data: str
    columns: Sequence[str]
    whole_step: bool
    reference: bool
    legal_divergences: str
    source: str
    summary: str

    @property
    def signature(self) -> str:
        """As one would call it, with the defaults.

        >>> [entry.signature for entry in catalogue() if entry.name == "dpo"]
        ['dpo(beta=0.1)']
        """
        given = ", ".join(f"{name}={_short(value)}" for name, value in self.parameters.items())
        return f"{self.name}({given})"

    @property
    def call(self) -> str:
        """Its name and those of its parameters.

        >>> [entry.call for entry in catalogue() if entry.name == "cdpo"]
        ['cdpo(beta, label_smoothing)']
        """
        return f"{self.name}({', '.join(self.parameters)})"

    def to_json(self) -> dict[str, Any]:
        """Every field by name."""
        return asdict(self)


def catalogue() -> tuple[Entry, ...]:
    """Every preset of `collimate.methods`, in its order.

    Read from a file written by `make catalogue`: importing torch would take most of the time.

    >>> [entry.name for entry in catalogue()][:2]
    ['alpha_po', 'aot']
    """
    return tuple(Entry(**entry) for entry in json.loads(FILE.read_text(encoding="utf-8")))


def computed_catalogue() -> tuple[Entry, ...]:
    """What `catalogue` holds, from the presets themselves."""
    from collimate import methods

    return tuple(_entry(name, getattr(methods, name)) for name in methods.__all__)


def _entry(name: str, preset: Callable[..., Method]) -> Entry:
    from collimate.explanations import explanation

    method = preset()
    found = explanation(method)
    parameters = inspect.signature(preset).parameters
    return Entry(
        name=name,
        parameters={key: _plain(value.default) for key, value in parameters.items()},
        distribution=method.distribution.name,
        divergence=method.divergence.name,
        margin=method.margin.name,
        loss=method.loss.name,
        tradeoff=method.tradeoff.name,
        also=[summand.name for summand in method.also],
        formula=found.formula,
        data=found.data,
        columns=list(found.columns),
        whole_step=found.whole_step,
        reference=found.reference,
        legal_divergences=found.legal_divergences,
        source=method.source,
        summary=(inspect.getdoc(preset) or "").partition("\n")[0],
    )


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _plain(default: Any) -> Any:
    return getattr(default, "name", default)


if __name__ == "__main__":
    lines = json.dumps(
        [entry.to_json() for entry in computed_catalogue()], indent=1, ensure_ascii=False
    )
    FILE.write_text(f"{lines}\n", encoding="utf-8")
