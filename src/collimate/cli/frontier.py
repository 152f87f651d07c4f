"""`collimate frontier`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from functools import partial
from typing import Any

import typer

from collimate._checks import BadConfig, require_extra
from collimate.cli._config import OPTIONS, keys, read_values
from collimate.cli._output import table, write, write_json
from collimate.cli._settings import flags, require, settings, signature
from collimate.cli.train import PACKAGES, REPORT_PACKAGES
from collimate.jobs.settings import TrainSettings

EXTRA = "frontier"
RUN_SETTINGS = tuple(field.name for field in fields(TrainSettings) if field.name != "seed")
"""The settings of every run; of seeds a sweep has a list."""

_PLACES = ("out", "evaluation", "reference", "tokenizer")
_LISTS: Mapping[str, tuple[str, str]] = {
    "methods": ("NAME,...", "presets, or FILE.py:NAME [default: dpo]"),
    "beta": ("NUMBER,...", "values; of random and nsga2 the two ends [default: 0.03,0.1,0.3]"),
    "seeds": ("INTEGER,...", "the same for every setting [default: 0,1,2]"),
    "objectives": (
        "NAME[:max|min],...",
        "two to five of docs/frontier.md [default: reward_accuracy,mean_log_ratio]",
    ),
    "worst": ("NAME=NUMBER,...", "the hypervolume's reference point; unset: docs/frontier.md"),
}
_OWN: Mapping[str, tuple[str, str]] = {
    "sampler": ("grid|random|nsga2", "which settings are tried [default: grid]"),
    "trials": ("INTEGER", "settings to try; unset: as many as the grid has"),
    "kl_samples": (
        "INTEGER",
        "answers to draw for each of 32 held-out prompts, for kl and entropy",
    ),
}


def _flag(name: str, metavar: str, text: str) -> tuple[Any, Any]:
    return str, typer.Option(f"--{name.replace('_', '-')}", metavar=metavar, help=text)


_OPTIONS: Mapping[str, tuple[Any, Any]] = {
    "model": (
        str,
        typer.Argument(metavar="MODEL", help="folder, or hub:owner/name", show_default=False),
    ),
    "data": (str, typer.Argument(metavar="DATA", help="preference pairs", show_default=False)),
    "config": OPTIONS["config"],
    "out": _flag("out", "DIR", "folder of the sweep; new, unless --resume"),
    **{name: _flag(name, *told) for name, told in {**_LISTS, **_OWN}.items()},
    "evaluation": _flag("evaluation", "FILE", "held-out pairs"),
    "reference": _flag("reference", "DIR", "unset: the model as passed, frozen"),
    "tokenizer": OPTIONS["tokenizer"],
    "json": (bool, typer.Option("--json", help="frontier.json on standard output")),
}


def command(model: str, data: str, **given: Any) -> int:
    """Train methods at several betas and seeds, and say which settings are on the front.

    collimate frontier MODEL pairs.jsonl --evaluation held_out.jsonl --out sweeps/a
    --methods dpo,ipo --beta 0.03,0.1,0.3 --seeds 0,1,2

    The reference is computed once. Killed, or stopped with Ctrl-C, it goes on with --resume. A config
    file holds the settings of the runs, and out, evaluation, reference, tokenizer.
    """
    kinds = {**settings(*RUN_SETTINGS), **keys("text", *_PLACES)}
    values = {**read_values(given["config"], kinds), **flags(given, kinds)}
    require("frontier", values, "out")
    sweep: dict[str, Any] = {
        name: _several(name, given[name]) for name in _LISTS if given[name] is not None
    }
    sweep |= {name: given[name] for name in _OWN if given[name] is not None}
    _numbers(sweep)
    for package in PACKAGES:
        require_extra(package, "train")
    require_extra("optuna", EXTRA)
    if values.get("report", True):
        for package in REPORT_PACKAGES:
            require_extra(package, "report")
    if "methods" in sweep:
        sweep["methods"] = _methods(sweep["methods"])

    from collimate.jobs.settings import settings_from

    settings_from({key: value for key, value in values.items() if key not in _PLACES})

    from collimate.jobs.frontier import frontier

    found = frontier(model, data, **sweep, **values)
    if given["json"]:
        write_json(found.record)
    else:
        write("\n".join(lines(found.record)))
    return 130 if found.record["status"] == "stopped" else 0


def lines(record: Mapping[str, Any]) -> Iterator[str]:
    """A sweep's record as a page of text: its settings, along the front and then the others."""
    names = [objective["name"] for objective in record["objectives"]]
    shown = [one for one in record["settings"] if one["mean"] is not None]
    if shown:
        head = [f"{o['name']} ({o['direction']})" for o in record["objectives"]]
        rows = [
            (
                one["name"],
                *(_with_ends(one["mean"][name], one["interval"][name]) for name in names),
                "yes" if one["on_front"] else "no",
                f"{one['frequency']:.0%}",
            )
            for one in sorted(shown, key=lambda one: (not one["on_front"], one["mean"][names[0]]))
        ]
        yield table([("setting", *head, "on the front", "frequency"), *rows])
        yield ""
    for one in record["settings"]:
        if one["error"] is not None:
            yield f"{one['name']} failed: {one['error']}"
    volume = record["hypervolume"]
    if volume is not None:
        at = ", ".join(f"{name} {value:.4g}" for name, value in volume["reference"].items())
        yield f"hypervolume {_with_ends(volume['value'], volume['interval'])} from {at}"
        if volume["measured"]:
            names = ", ".join(volume["measured"])
            yield f"({names}: the worst seen, which no other sweep has; fix it with --worst)"


def _with_ends(value: float, ends: list[float]) -> str:
    return f"{value:.4g} [{ends[0]:.4g}, {ends[1]:.4g}]"


def _several(name: str, text: str) -> list[str]:
    """The values of a list. Errors: BadConfig for an empty one."""
    found = [part.strip() for part in text.split(",")]
    if not all(found):
        raise BadConfig(f"--{name} must be a list such as {_LISTS[name][0]}, got '{text}'")
    return found


def _numbers(sweep: dict[str, Any]) -> None:
    """Turn the texts that are numbers into these. Errors: BadConfig for one that is none."""
    kinds: Mapping[str, tuple[Callable[[str], Any], str]] = {
        "beta": (float, "a number"),
        "seeds": (int, "a whole number"),
        "trials": (int, "a whole number"),
        "kl_samples": (int, "a whole number"),
    }
    for name, (kind, expected) in kinds.items():
        if name in sweep:
            given = sweep[name]
            read = partial(_number, f"--{name.replace('_', '-')}", kind, expected)
            sweep[name] = [read(text) for text in given] if name in _LISTS else read(given)
    if "worst" in sweep:
        found: dict[str, float] = {}
        for text in sweep["worst"]:
            name, equals, value = text.partition("=")
            if not equals or name in found:
                raise BadConfig(f"--worst must be NAME=NUMBER, each name once, got '{text}'")
            found[name] = _number(f"--worst {name}", float, "a number", value)
        sweep["worst"] = found


def _number(where: str, kind: Callable[[str], Any], expected: str, text: str) -> Any:
    try:
        return kind(text)
    except ValueError:
        raise BadConfig(f"{where} must be {expected}, got '{text}'") from None


def _methods(names: list[str]) -> Mapping[str, Any]:
    """What makes each method, by name: presets, and what a file defines."""
    from collimate.cli._method import preset, resolve

    def own(name: str) -> Callable[..., Any]:
        try:
            resolve(name, {"beta": 1.0})
        except BadConfig:  # it has no beta, or cannot be had at all, which the next line tells
            method = resolve(name, {})
            return lambda: method

        def make(beta: float) -> Any:
            return resolve(name, {"beta": beta})

        return make

    if len(set(names)) < len(names):
        raise BadConfig(f"--methods must name each method once, got {', '.join(names)}")
    return {name: own(name) if ".py" in name else preset(name) for name in names}


command.__signature__ = signature(  # pyright: ignore[reportFunctionMemberAccess]
    _OPTIONS, *RUN_SETTINGS
)
