"""Every row of `tests/bad_input.py`, and how errors look."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch
import typer

from collimate.cli import _errors
from collimate.cli.main import COMMANDS, build, main
from tests.bad_input import BAD_INPUT, Bad, Place
from tests.cli.conftest import Collimate, train_arguments
from tests.data.bad_rows import BAD_CASES, FILES, BadCase

THROUGH_A_SHELL = {"missing field", "unknown method", "no such command"}


@pytest.fixture
def place(tiny: Path, finished: Path, tmp_path: Path) -> Place:
    return Place(folder=tmp_path, tiny=tiny, finished=finished)


def snapshot(folder: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def assert_one_screen(error: str) -> None:
    assert error.startswith("error: ")
    assert "Traceback" not in error
    assert error.count("\n") <= 24
    assert max(len(line) for line in error.splitlines()) <= 100 or "/" in error


def assert_words(error: str, words: tuple[str, ...]) -> None:
    flat = " ".join(error.split())
    assert [word for word in words if word not in flat] == [], error


@pytest.mark.parametrize("row", BAD_INPUT, ids=[row.name for row in BAD_INPUT])
def test_bad_input_is_refused_and_leaves_nothing_behind(
    row: Bad, place: Place, collimate: Collimate
) -> None:
    argv = row.argv(place)
    before = snapshot(place.folder)
    done = collimate(*argv)
    assert done.code == 2, done.err
    assert_one_screen(done.err)
    assert_words(done.err, row.words)
    assert done.out == ""
    assert snapshot(place.folder) == before


@pytest.mark.parametrize(
    "row", [row for row in BAD_INPUT if row.name in THROUGH_A_SHELL], ids=lambda row: row.name
)
def test_the_same_from_a_shell(row: Bad, place: Place) -> None:
    argv = [str(argument) for argument in row.argv(place)]
    before = snapshot(place.folder)
    environment = {**os.environ, "COLLIMATE_CACHE": str(place.folder.parent / "cache")}
    done = subprocess.run(
        [sys.executable, "-m", "collimate", *argv],
        cwd=place.folder, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert_one_screen(done.stderr)
    assert_words(done.stderr, row.words)
    assert snapshot(place.folder) == before


def test_the_table_is_long_enough_and_its_names_distinct() -> None:
    names = [row.name for row in BAD_INPUT]
    assert len(names) == len(set(names)) >= 45
    assert set(names) >= THROUGH_A_SHELL


def test_every_flag_of_every_command_has_a_row(place: Place) -> None:
    lines = [[str(a) for a in _argv_in_a_new_folder(row, place)] for row in BAD_INPUT]
    missing = [
        f"{' '.join(words)} {flag}"
        for command in COMMANDS
        for words, flag in _flags(command)
        if not any(flag in " ".join(line) for line in lines if line[: len(words)] == words)
    ]
    assert missing == []


def _flags(command: str) -> list[tuple[list[str], str]]:
    """The words of each command and the long spelling of each option that takes or is a value."""
    application: Any = typer.main.get_command(build(command))
    found = application.commands[command]
    commands = {
        (command,): found,
        **{(command, name): inner for name, inner in getattr(found, "commands", {}).items()},
    }
    return [
        (list(words), option.opts[0])
        for words, one in commands.items()
        for option in one.params
        if option.opts[0].startswith("--")
    ]


def _argv_in_a_new_folder(row: Bad, place: Place) -> list[Any]:
    folder = place.folder / str(len(list(place.folder.iterdir())))
    folder.mkdir()
    return row.argv(Place(folder=folder, tiny=place.tiny, finished=place.finished))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_cuda_without_a_gpu(tiny: Path, tmp_path: Path, collimate: Collimate) -> None:
    done = collimate(*train_arguments(tiny, "run", "--device", "cuda"))
    assert done.code == 2
    assert_words(done.err, ("torch sees no GPU",))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("flags", "broken"),
    [
        (("--quantize", "nf4", "--lora-rank", 2), "nn.Linear4bit"),
        (("--optimizer", "adamw_8bit"), "optim.AdamW8bit"),
    ],
    ids=["quantize", "optimizer"],
)
def test_bitsandbytes_that_does_not_run_here_is_told_first(
    flags: tuple[Any, ...],
    broken: str,
    tiny: Path,
    tmp_path: Path,
    collimate: Collimate,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Before model and data are looked at: neither would be found."""

    def fails(*_: object, **__: object) -> NoReturn:
        raise RuntimeError("no kernel image for this GPU")

    (tmp_path / "empty").mkdir()
    argv = train_arguments(tiny, "run", *flags, "--model", "empty", "--data", "nowhere.jsonl")
    monkeypatch.setattr(f"bitsandbytes.{broken}", fails)
    done = collimate(*argv)
    assert done.code == 2
    assert_words(
        done.err, (f"{flags[1]} cannot run on this machine", "no kernel image", "leave out")
    )
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    assert_words(collimate(*argv).err, ('pip install "collimate[quantize]"',))
    assert not (tmp_path / "run").exists()


MODEL_FREE = [
    case
    for case in BAD_CASES
    if not case.options
    and case.tokenizer in ("plain", "chat")
    and case.name not in ("empty prompt", "no chat template", "refused role")
]


@pytest.mark.parametrize("case", MODEL_FREE, ids=[case.name for case in MODEL_FREE])
def test_check_finds_every_bad_row_without_a_model(
    case: BadCase, collimate: Collimate, tmp_path: Path
) -> None:
    (tmp_path / case.file).write_bytes(case.content)
    done = collimate("check", case.file)
    assert done.code == 2
    assert "Traceback" not in done.err
    # Told no method, it takes every kind of row for what it is, and refuses the mixture.
    reason = "mixed formats" if case.name == "thumbs among pairs" else case.reason
    assert reason is None or reason in done.out + done.err
    assert case not in FILES or case.file in done.out + done.err


# How errors look


def test_a_missing_extra_is_named_with_its_command(
    tiny: Path, collimate: Collimate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    done = collimate(*train_arguments(tiny, "run"))
    assert done.code == 2
    assert_words(done.err, ('pip install "collimate[train]"',))
    monkeypatch.setitem(sys.modules, "plotly", None)
    assert_words(collimate("report", "run").err, ('pip install "collimate[report]"',))
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert_words(collimate("board", ".").err, ('pip install "collimate[board]"',))


def test_debug_adds_the_traceback_before_or_after_the_command(
    collimate: Collimate, monkeypatch: pytest.MonkeyPatch
) -> None:
    for argv in (["--debug", "cite", "dpoo"], ["cite", "dpoo", "--debug"]):
        done = collimate(*argv)
        assert done.code == 2
        assert "Traceback" in done.err
        assert "did you mean 'dpo'?" in done.err
    monkeypatch.setenv("COLLIMATE_DEBUG", "1")
    assert "Traceback" in collimate("cite", "dpoo").err


def test_a_bug_is_called_one_in_a_few_lines(
    collimate: Collimate, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise RuntimeError("a wheel came off")

    monkeypatch.setattr("collimate.cli.methods.catalogue", broken)
    done = collimate("methods")
    assert done.code == 1
    assert_words(done.err, ("bug in collimate", "RuntimeError: a wheel came off", "--debug"))
    assert "Traceback" not in done.err
    assert "a wheel came off" in collimate("methods", "--debug").err


def test_an_interrupt_is_one_line_and_130(
    collimate: Collimate, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("collimate.cli.methods.catalogue", interrupted)
    done = collimate("methods")
    assert (done.code, done.out) == (130, "")
    assert done.err.startswith("interrupted")
    assert done.err.count("\n") == 1


def test_a_reader_that_goes_away_is_no_error() -> None:
    run = f'"{sys.executable}" -m collimate --help | true; echo "${{PIPESTATUS[0]}}"'
    done = subprocess.run(["bash", "-c", run], capture_output=True, text=True)
    assert done.stderr == ""
    assert done.stdout.strip() in ("0", "141")


def test_a_long_message_is_cut_to_a_screen_and_paths_stay_whole() -> None:
    path = "/somewhere/" + "deep/" * 30 + "pairs.jsonl"
    text = _errors.screen(f"error: {path}: " + "word " * 2000, width=80)
    assert text.count("\n") < _errors.LINES
    assert path in text
    assert "--debug" in text.splitlines()[-1]


def test_control_characters_of_a_file_do_not_reach_the_terminal(
    collimate: Collimate, tmp_path: Path
) -> None:
    (tmp_path / "pairs.jsonl").write_text('{"\\u001b[31mchosen": 1}\n')
    done = collimate("check", "pairs.jsonl")
    assert done.code == 2
    assert "\x1b" not in done.out + done.err


def test_main_needs_no_arguments_of_its_own(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capfd.readouterr().err == ""
