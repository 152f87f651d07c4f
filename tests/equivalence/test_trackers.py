"""What a tracker gets: every number that metrics.jsonl and run.json hold, at its step."""

from __future__ import annotations

import importlib.util
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tensorboardX.proto.event_pb2 import Event

from collimate._checks import BadConfig, MissingExtra
from tests.equivalence.runs import text_pairs, train

HELD_OUT = text_pairs(12, seed=1)


def events(path: Path) -> Iterator[Any]:
    """The records of an events file: length, its checksum, the record, its checksum."""
    content = path.read_bytes()
    while content:
        (length,) = struct.unpack("<Q", content[:8])
        yield Event.FromString(content[12 : 12 + length])
        content = content[16 + length :]


def tracked(folder: Path) -> dict[tuple[str, int], float]:
    return {
        (value.tag, event.step): value.simple_value
        for path in folder.rglob("events.out.tfevents*")
        for event in events(path)
        for value in event.summary.value
        if value.HasField("simple_value")
    }


def numbers(values: Any) -> dict[str, float]:
    return {k: v for k, v in (values or {}).items() if isinstance(v, int | float)}


def test_tensorboard_gets_training_and_evaluation(tmp_path: Path) -> None:
    run = train(
        tmp_path / "a",
        max_steps=3,
        evaluation=HELD_OUT,
        evaluate_every=2,
        trackers=("tensorboard",),
    )
    evaluations = run.record["evaluation"]
    measured = [(0, evaluations["before"]), (3, evaluations["after"])]
    measured += [(x["step"], x["evaluation"]) for x in run.metrics if "evaluation" in x]
    expected = {
        (f"evaluation/{name}", step): value
        for step, figures in measured
        for name, value in numbers(figures).items()
    }
    assert {step for _, step in expected} == {0, 2, 3}
    lines = [line for line in run.metrics if "evaluation" not in line]
    expected |= {(k, line["step"]): v for line in lines for k, v in numbers(line).items()}
    found = tracked(run.folder)
    assert set(found) == set(expected)
    assert ("loss", 1) in found
    for place, value in expected.items():
        assert found[place] == pytest.approx(value, rel=1e-6), place


@pytest.mark.parametrize("name", ["trackio", "wandb"])
def test_a_tracker_that_is_not_installed_is_refused_first_with_its_command(
    name: str, tmp_path: Path
) -> None:
    if importlib.util.find_spec(name) is not None:
        pytest.skip(f"{name} is installed here")
    nowhere = {"model": tmp_path / "no model", "data": tmp_path / "no data"}
    with pytest.raises(MissingExtra, match=f"'{name}' needs its package.*: pip install {name}"):
        train(tmp_path / "a", trackers=(name,), **nowhere)
    assert not (tmp_path / "a").exists()


def test_an_unknown_tracker_is_refused_first_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match=r"unknown tracker 'wandbb'; known: .*did you mean 'wandb'"):
        train(tmp_path / "a", model=tmp_path / "no model", trackers=("wandbb",))
    assert not (tmp_path / "a").exists()
