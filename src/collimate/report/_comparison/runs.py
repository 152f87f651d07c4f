"""Runs side by side: a name, a colour and a dash for each, and which are seeds of one setting."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import count as counting

from collimate.report._record import RunRecord

COLOURS = tuple(f"run-{number}" for number in range(1, 7))
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")

SETTINGS_WITHOUT_EFFECT = frozenset(
    {
        *("seed", "device", "threads", "log_every", "evaluate_every", "checkpoint_every", "keep"),
        *("resume", "cache", "cache_gb", "trackers", "samples", "max_skipped_steps", "parallel"),
        *("tokens_per_micro_batch", "memory_budget", "activation_checkpointing", "progress"),
        *("report", "trust_remote_code", "recorded_pairs"),
    }
)
"""Settings that change no number of a run beyond rounding; and the seed, which is not a setting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One run of a comparison.

    label: its name, told apart from the others'. colour: a CSS variable. setting: number of the
    setting that it shares with its other seeds.
    """

    label: str
    record: RunRecord
    colour: str
    dash: str
    setting: int


def compared(records: Sequence[RunRecord]) -> tuple[Compared, ...]:
    """The runs with their names, settings, colours and dashes, in the order given.

    >>> from pathlib import Path
    >>> both = compared([RunRecord(folder=Path(x) / "dpo", name="dpo") for x in ("a", "b")])
    >>> [(run.label, run.colour, run.dash) for run in both]
    [('a/dpo', 'run-1', 'solid'), ('b/dpo', 'run-2', 'solid')]
    """
    settings = _numbered([setting_of(record) for record in records])
    return tuple(
        Compared(label=label, record=record, colour=colour, dash=dash, setting=setting)
        for label, record, (colour, dash), setting in zip(
            labels(records), records, styles(settings), settings, strict=True
        )
    )


def labels(records: Sequence[RunRecord]) -> tuple[str, ...]:
    """Names of the runs; where several have one name, the end of their folders that differs too."""
    names = [record.name or record.folder.name for record in records]
    shared = Counter(names)
    found: list[str] = []
    for name, record in zip(names, records, strict=True):
        if shared[name] > 1:
            alike = [r for n, r in zip(names, records, strict=True) if n == name]
            place = _place(record, alike)
            name = place if f"/{place}".endswith(f"/{name}") else f"{name} ({place})"
        found.append(name)
    taken = Counter(found)
    again: Counter[str] = Counter()
    for index, name in enumerate(found):  # one record twice: numbers are left
        if taken[name] > 1:
            again[name] += 1
            found[index] = f"{name} #{again[name]}"
    return tuple(found)


def _place(record: RunRecord, alike: Sequence[RunRecord]) -> str:
    """The shortest end of the run's folder that no other folder of `alike` has."""
    parts = [other.folder.resolve().parts for other in alike]
    mine = record.folder.resolve().parts
    for length in range(1, len(mine)):
        if sum(other[-length:] == mine[-length:] for other in parts) == 1:
            return "/".join(mine[-length:])
    return "/".join(mine[-2:])


def styles(settings: Sequence[int]) -> tuple[tuple[str, str], ...]:
    """Colour and dash of each run: a colour for a setting, a dash for its seed.

    Where all runs are of one setting, or none shares its setting, each run has the next colour;
    when the colours are used up, they begin again with the next dash.

    >>> styles([0, 0, 1])
    (('run-1', 'solid'), ('run-1', 'dash'), ('run-2', 'solid'))
    """
    kinds = len(set(settings))
    groups = settings if 1 < kinds < len(settings) else range(len(settings))
    used: Counter[str] = Counter()
    found: list[tuple[str, str]] = []
    for group in groups:
        colour = COLOURS[group % len(COLOURS)]
        found.append((colour, DASHES[used[colour] % len(DASHES)]))
        used[colour] += 1
    return tuple(found)


def setting_of(record: RunRecord) -> str:
    """All that decides a run's numbers but its seed, as text: equal for seeds of one setting."""
    data = (record.train_data, record.evaluation_data)
    parts = {
        "config": {k: v for k, v in record.config.items() if k not in SETTINGS_WITHOUT_EFFECT},
        "method": None if record.method is None else asdict(record.method),
        "data": [facts and facts.hash for facts in data],
        "model": record.model and record.model.hash,
        "reference": record.reference and record.reference.hash,
    }
    return json.dumps(parts, sort_keys=True, default=str)


def by_setting(runs: Sequence[Compared]) -> tuple[tuple[Compared, ...], ...]:
    """The runs of each setting, in the order of their first runs."""
    numbers = dict.fromkeys(run.setting for run in runs)
    return tuple(tuple(run for run in runs if run.setting == number) for number in numbers)


def _numbered(keys: Sequence[str]) -> tuple[int, ...]:
    """The place of each key among the distinct ones."""
    fresh = counting()
    places: dict[str, int] = {}
    return tuple(
        places[key] if key in places else places.setdefault(key, next(fresh)) for key in keys
    )
