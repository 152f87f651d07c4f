"""Runs side by side: told apart by name and by colour; what must not be compared is said."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from collimate.report import RunRecord
from collimate.report._comparison.comparable import agreement, doubts
from collimate.report._comparison.runs import COLOURS, compared, labels, styles
from collimate.report._write import _resource
from tests.report.example_run import data_facts
from tests.report.several import EXAMPLE, config, method, records, said, tab

# The names


def test_runs_of_one_name_are_told_apart(tmp_path: Path) -> None:
    found = [
        RunRecord(folder=tmp_path / "a" / "dpo", name="dpo"),
        RunRecord(folder=tmp_path / "b" / "dpo", name="dpo"),
        RunRecord(folder=tmp_path / "b" / "ipo", name="ipo"),
        RunRecord(folder=tmp_path / "moved", name="ipo"),
        RunRecord(folder=tmp_path / "c" / "x" / "dpo", name="dpo"),
        RunRecord(folder=tmp_path / "c" / "y" / "kto", name="kto"),
    ]
    assert labels(found) == ("a/dpo", "b/dpo", "ipo", "ipo (moved)", "x/dpo", "kto")


def test_names_differ_even_of_one_record_given_twice(tmp_path: Path) -> None:
    one = RunRecord(folder=tmp_path / "a" / "dpo", name="dpo")
    found = labels([one, one, RunRecord(folder=tmp_path / "b" / "dpo", name="dpo")])
    assert len(set(found)) == 3


# Colours


def test_seeds_share_a_colour_and_differ_in_dash() -> None:
    found = styles([0, 0, 1, 1, 2])
    colours, dashes = zip(*found, strict=True)
    assert colours == ("run-1", "run-1", "run-2", "run-2", "run-3")
    assert dashes == ("solid", "dash", "solid", "dash", "solid")


@pytest.mark.parametrize("settings", [range(36), [0] * 36], ids=["all differ", "all seeds"])
def test_three_dozen_runs_look_different(settings: Sequence[int]) -> None:
    found = styles(settings)
    assert len(set(found)) == 36
    assert [colour for colour, _ in found[:6]] == list(COLOURS)


# Machado, Oliveira and Fernandes 2009, table 1, severity 1.0, on linear RGB.
VISION = {
    "all cones": np.eye(3),
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "tritanopia": np.array(
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ]
    ),
}
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def linear(colour: str) -> NDArray[np.float64]:
    value = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def lab(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    """CIE L*a*b* of linear RGB, white point D65."""
    xyz = TO_XYZ @ np.clip(rgb, 0, 1) / TO_XYZ.sum(axis=1)
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_colours_are_told_apart_by_every_eye_and_from_the_ground(mode: str) -> None:
    light, _, rest = _resource("page.css").partition("@media")
    style = light if mode == "light" else rest.partition("* {")[0]
    named = dict(re.findall(r"--([\w-]+): (#\w{6})", style))
    colours = [named[name] for name in COLOURS]
    for name, matrix in VISION.items():
        seen = [lab(matrix @ linear(colour)) for colour in colours]
        distances = [np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)]
        assert min(distances) > 18, name
    ground = TO_XYZ[1] @ linear(named["surface"])
    for colour in colours:
        low, high = sorted((ground, TO_XYZ[1] @ linear(colour)))
        assert (high + 0.05) / (low + 0.05) > 3, colour


# What must not be compared


def held_out(**changes: Any) -> dict[str, Any]:
    train = EXAMPLE["data"]["train"]
    return {"data": {"train": train, "evaluation": {**data_facts("h", 1000, {}), **changes}}}


def model(**changes: Any) -> dict[str, Any]:
    return {"model": {**EXAMPLE["model"], **changes}}


DOUBTS: dict[str, tuple[dict[str, Any], str]] = {
    "other held-out data": (held_out(hash="other"), "held-out data are not the same"),
    "no held-out data": (
        {"data": {"train": EXAMPLE["data"]["train"], "evaluation": None}},
        "without held-out figures: b",
    ),
    "labelled answers": (
        {
            "data": {
                "train": {**EXAMPLE["data"]["train"], "format": "thumbs, explicit prompt"},
                "evaluation": EXAMPLE["data"]["evaluation"],
            }
        },
        "count different things (answers and pairs)",
    ),
    "another model": (model(hash="other"), "do not start from the same model"),
    "another reference": (
        {"reference": {**EXAMPLE["reference"], "hash": "other"}},
        "The references differ",
    ),
    "still going": ({"status": "running"}, "Not finished: b (running)."),
    "another loss": (method(formulas=["z"]), "share an axis, not a scale"),
    "another batch size": (config(batch_size=4), "have not seen as many rows"),
    "another machine": ({"machine": {"device": "a GPU"}}, "compare no times"),
}


@pytest.mark.parametrize("name", sorted(DOUBTS))
def test_what_makes_runs_incomparable_is_said_and_nothing_else(name: str, tmp_path: Path) -> None:
    changes, sentence = DOUBTS[name]
    both = records(tmp_path, {}, changes)
    found = doubts(compared(both))
    assert len(found) == 1, found
    assert sentence in found[0]
    assert sentence in said(tab(both, "runs"))
    alike = doubts(compared(records(tmp_path / "alike", changes, changes)))
    assert alike == (("Not finished: a (running), b (running).",) if name == "still going" else ())


def test_runs_that_agree_are_said_to(tmp_path: Path) -> None:
    both = compared(records(tmp_path, {}, {}))
    assert doubts(both) == ()
    assert agreement(both) == (
        "All runs are judged on the same held-out data (1,000 rows) and start from the same model."
    )
