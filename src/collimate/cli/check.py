"""`collimate check`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Any

import typer

from collimate._checks import BadConfig
from collimate.cli._config import OPTIONS, PARAMETERS, chosen_method, keys, read_config
from collimate.cli._output import size, table, write, write_json
from collimate.cli._settings import flags, settings, signature
from collimate.jobs.settings import CHECK_SETTINGS

SHOWN_PER_REASON = 3


_OPTIONS: Mapping[str, tuple[Any, Any]] = {
    "file": (
        str,
        typer.Argument(metavar="FILE", help="pairs, thumbs or lists", show_default=False),
    ),
    "config": OPTIONS["config"],
    "model": (
        str,
        typer.Option("--model", metavar="DIR", help="only its tokenizer and config are read"),
    ),
    "tokenizer": OPTIONS["tokenizer"],
    "method": (
        str,
        typer.Option(
            "--method", metavar="NAME", help="read as its run would: preset, or FILE.py:NAME"
        ),
    ),
    **PARAMETERS,
    "json": (bool, typer.Option("--json", help="everything found, as JSON")),
}


def command(file: str, **given: Any) -> int:
    """What is in a data file: rows, lengths, truncations, duplicates, ties, length bias, bad rows.

    With --model also what training on it would take; with --method rows are converted and refused as
    its run would. Exit code 2 if any row is bad.
    """
    own = {**keys("text", "model", "tokenizer"), **keys("flag", "json")}
    kinds = {**own, **settings(*CHECK_SETTINGS)}
    config = read_config(given["config"], kinds)
    values = {**config.values, **flags(given, kinds)}
    json = values.pop("json", False)
    name, parameters = chosen_method(config, given)
    if name is not None:
        from collimate.cli._method import resolve

        values["method"] = resolve(name, parameters)
    elif parameters:
        raise BadConfig("--beta and --param are a method's: give --method too")

    from collimate.jobs.check import check

    checked = check(file, **values)
    if json:
        write_json(checked.to_json())
    else:
        write("\n".join(lines(checked.to_json())))
    return 0 if checked.ok else 2


def lines(found: Mapping[str, Any]) -> Iterator[str]:
    """The findings as a page of text."""
    data, prediction = found["data"], found["prediction"]
    yield f"{data['file']}: {data['format']}; {data['used']} of {data['rows']} rows can be used"
    yield ""
    yield table(_lengths(data))
    yield ""
    longer = data["chosen_longer"]
    share = "" if longer is None else f"; chosen is longer in {longer:.0%} of the pairs"
    facts = [
        f"duplicates {data['duplicates']}, contradictions {data['contradictions']}, "
        f"ties {data['ties']}{share}"
    ]
    if "prompts_truncated" in data:
        facts.append(
            f"prompts cut {data['prompts_truncated']}, answers cut {data['answers_truncated']}; "
            f"tokenised otherwise if joined {data['joint_tokenisation_differs']}"
        )
    yield from facts
    yield from (f"- {note}" for note in data["notes"])
    if prediction is not None:
        yield ""
        yield from _predicted(prediction)
    if found["bad_rows"]:
        yield ""
        yield from _bad(found["bad_rows"])


def _lengths(data: Mapping[str, Any]) -> list[tuple[str, ...]]:
    units = [unit for unit in ("tokens", "characters", "words") if f"prompt_{unit}" in data]
    head = ("length", *(f"{unit}: {what}" for unit in units for what in ("median", "most")))
    return [
        head,
        *(
            (
                field,
                *(
                    f"{data[f'{field}_{unit}'][what]:g}"
                    for unit in units
                    for what in ("median", "max")
                ),
            )
            for field in ("prompt", "chosen", "rejected")
            if data.get(f"{field}_{units[0]}") is not None
        ),
    ]


def _predicted(prediction: Mapping[str, Any]) -> Iterator[str]:
    sizes = ", ".join(f"{name} {size(held)}" for name, held in prediction["sizes"].items())
    yield (
        f"{prediction['parameters']:,} parameters, {prediction['trainable']:,} of them trained, "
        f"{prediction['steps']} steps"
    )
    yield f"memory about {size(prediction['memory'])}: {sizes}"
    yield (
        f"time about {_duration(prediction['seconds'])} on this {prediction['device']} "
        f"({prediction['speed'] / 1e9:.0f} GFLOP/s in float32 matrix products)"
    )


def _bad(rows: list[Mapping[str, Any]]) -> Iterator[str]:
    yield f"{len(rows)} bad rows; train stops at them, or leaves them out with --on-bad-row skip:"
    ordered = sorted(rows, key=lambda row: (row["reason"], row["row"]))
    for reason, group in groupby(ordered, key=lambda row: row["reason"]):
        members = list(group)
        places = ", ".join(
            f"row {row['row']}" + (f" ({row['field']})" if row["field"] else "")
            for row in members[:SHOWN_PER_REASON]
        )
        more = ", ..." if len(members) > SHOWN_PER_REASON else ""
        yield f"- {reason}, {len(members)}: {places}{more}"
        yield f"    {members[0]['message']}"


def _duration(seconds: int | float) -> str:
    """A time in the unit one would use.

    >>> _duration(90)
    '1.5 minutes'
    """
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= length:
            return f"{seconds / length:.2g} {unit}"
    return f"{seconds:.2g} seconds"


command.__signature__ = signature(  # pyright: ignore[reportFunctionMemberAccess]
    _OPTIONS, *CHECK_SETTINGS
)
