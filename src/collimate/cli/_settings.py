"""The settings of `TrainSettings` as flags and as keys of a config file: one description, two faces."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, TypeGuard, Union, get_args, get_origin, get_type_hints

import typer
from typer.models import ArgumentInfo

from collimate._checks import BadConfig, nearest
from collimate.jobs.settings import TrainSettings

Kind = Literal["flag", "whole", "number", "text", "choice", "texts"]

HELP: Mapping[str, str] = {
    "epochs": "passes over the data",
    "max_steps": "stop after so many steps, whatever --epochs says",
    "batch_size": "examples per step",
    "format": "of the data file; auto goes by its name",
    "limit": "use only the first rows",
    "optimizer": "adamw_8bit: moments of a byte each, by bitsandbytes",
    "learning_rate": "peak; unset: 1e-4 to width 256, then falling with its square; tenfold for LoRA",
    "schedule": "of the learning rate after the warm-up",
    "warmup": "share of the steps, from 0 to below 1",
    "weight_decay": "of AdamW, on matrices only",
    "max_gradient_norm": "longer gradients are shortened to it",
    "max_skipped_steps": "steps whose loss or gradient is not finite; one more stops the run",
    "precision": "bf16 is autocast over float32 weights",
    "device": "auto takes cuda, then mps, then cpu",
    "dropout": "train with the model's own dropout",
    "lora_rank": "train a LoRA adapter of this rank",
    "lora_alpha": "of the adapter; unset: twice the rank",
    "quantize": "QLoRA: linear layers of the base model to 4 bits, by bitsandbytes",
    "max_prompt": "tokens; longer prompts keep their end",
    "max_answer": "tokens, the end included; longer answers are bad rows",
    "truncate_answers": "cut answers to --max-answer instead",
    "on_bad_row": "stop at the first bad row, or skip, count and record them",
    "seed": "of everything random",
    "log_every": "steps between lines of metrics.jsonl",
    "evaluate_every": "steps; unset: before and after only",
    "checkpoint_every": "steps; unset: five times",
    "keep": "checkpoints to keep",
    "resume": "continue the run in --out",
    "cache": "folder of reference log-probs, kept between runs",
    "cache_gb": "that folder is held to; models used longest ago go first",
    "trackers": "tensorboard, wandb, trackio ...; may be repeated; docs/report.md",
    "samples": "held-out prompts to answer before and after",
    "recorded_pairs": "of so many training pairs the run folder keeps texts and figures",
    "tokens_per_micro_batch": "memory against speed; changes no number",
    "memory_budget": "GB; --tokens-per-micro-batch is then measured once",
    "activation_checkpointing": "compute layers again backward: less memory, a third slower",
    "parallel": "of several processes: whole models, or parts of one",
    "deepspeed": "a ZeRO config, read for its settings; flags win",
    "trust_remote_code": "run Python code that comes with a model",
    "progress": "bars and lines on standard error",
    "report": "write report.html at the end",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One setting: its name, the kind of value it takes, the choices if any, its default."""

    name: str
    kind: Kind
    default: Any
    choices: tuple[str, ...] = ()

    def read(self, text: str) -> Any:
        """The text of a flag as the setting takes it.

        Errors: BadConfig for a number that is none, and for a choice that is not offered.
        """
        if self.choices and text not in self.choices:
            offered = f"{', '.join(self.choices)}, got '{text}'{nearest(text, self.choices)}"
            raise BadConfig(f"{self.flag} must be one of {offered}")
        try:
            return {"whole": int, "number": float}.get(self.kind, str)(text)
        except ValueError:
            raise BadConfig(f"{self.flag} must be {EXPECTED[self.kind]}, got '{text}'") from None

    @property
    def flag(self) -> str:
        """Its spelling on the command line."""
        return "--" + self.name.replace("_", "-")

    def parse(self, value: Any) -> Any:
        """A value of a config file as the setting takes it. Errors: ValueError, what was expected."""
        if self.kind == "flag" and isinstance(value, bool):
            return value
        if self.kind == "whole" and isinstance(value, int) and not isinstance(value, bool):
            return value
        if self.kind == "number" and isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        if self.kind == "text" and isinstance(value, str):
            return value
        if self.kind == "choice" and value in self.choices:
            return value
        if self.kind == "texts" and _is_texts(value):
            return tuple(value)
        one_of = f"one of {', '.join(self.choices)}" if self.choices else ""
        raise ValueError(one_of or EXPECTED[self.kind])


EXPECTED: Mapping[Kind, str] = {
    "flag": "true or false",
    "whole": "a whole number",
    "number": "a number",
    "text": "a text in quotes",
    "texts": "a list of texts",
}

_TYPES: Mapping[Kind, Any] = {"flag": bool, "texts": list[str]}
_METAVARS: Mapping[str, str] = {
    "whole": "INTEGER",
    "number": "NUMBER",
    "cache": "DIR",
    "deepspeed": "FILE.json",
    "trackers": "NAME",
}


def settings(*names: str) -> dict[str, Setting]:
    """Fields of `TrainSettings` by name, in its order: those named, or all.

    >>> settings()["batch_size"].kind, list(settings("seed", "limit"))
    ('whole', ['limit', 'seed'])
    """
    hints = get_type_hints(TrainSettings)
    return {
        field.name: _setting(field.name, hints[field.name], field.default)
        for field in fields(TrainSettings)
        if not names or field.name in names
    }


def flags(given: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """The flags among `names` that were given, read: an unset one is None, or an empty list."""
    known, found = settings(), dict[str, Any]()
    for name in names:
        value = given[name]
        if isinstance(value, str) and name in known:
            found[name] = known[name].read(value)
        elif value not in (None, []):
            found[name] = tuple(value) if isinstance(value, list) else value
    return found


def require(command: str, values: Mapping[str, Any], *names: str) -> None:
    """Errors: BadConfig unless each of the names has a value, by flag or config file."""
    missing = [name for name in names if not values.get(name)]
    if missing:
        spelt = ", ".join(f"--{name}" for name in missing)
        raise BadConfig(
            f"{command} needs {spelt}: give {'it as a flag' if len(missing) == 1 else 'them as flags'} "
            f'or as {", ".join(missing)} = "..." in the config file'
        )


def signature(options: Mapping[str, tuple[Any, Any]], *names: str) -> inspect.Signature:
    """What typer reads of a command: its own options, and the settings named (or all)."""
    own = [parameter(name, kind, info) for name, (kind, info) in options.items()]
    return inspect.Signature([*own, *map(option, settings(*names).values())])


def option(setting: Setting) -> inspect.Parameter:
    """The flag of a setting; unset is None, so that a config file may have its say."""
    text = f"{HELP.get(setting.name, '')}{_default_text(setting)}".strip()
    spelling = setting.flag
    if setting.kind == "flag":
        spelling = f"{spelling}/--no-{spelling.removeprefix('--')}"
    info = typer.Option(
        spelling,
        help=text,
        show_default=False,
        metavar="|".join(setting.choices)
        or _METAVARS.get(setting.name)
        or _METAVARS.get(setting.kind),
    )
    return parameter(setting.name, _TYPES.get(setting.kind, str), info)


def parameter(name: str, kind: Any, info: Any) -> inspect.Parameter:
    """A keyword of a command that typer reads; None unless given, and arguments must be given."""
    if isinstance(info, ArgumentInfo):
        annotation = Annotated[kind, info]
        return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation)
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, info]
    )


def _setting(name: str, hint: Any, default: Any) -> Setting:
    options = [part for part in _union(hint) if part is not type(None)]
    first = options[0]
    if get_origin(first) is Literal:
        return Setting(name=name, kind="choice", default=default, choices=get_args(first))
    if get_origin(first) is tuple:
        return Setting(name=name, kind="texts", default=default)
    kinds: Mapping[Any, Kind] = {
        bool: "flag",
        int: "whole",
        float: "number",
        str: "text",
        Path: "text",
    }
    return Setting(name=name, kind=kinds[first], default=default)


def _union(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def _is_texts(value: Any) -> TypeGuard[list[str]]:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _default_text(setting: Setting) -> str:
    default = setting.default
    if default is None or default == ():
        return ""
    if setting.kind == "flag":
        return f" [default: {'yes' if default else 'no'}]"
    shown = f"{default:g}" if isinstance(default, float) and math.isfinite(default) else default
    return f" [default: {shown}]"
