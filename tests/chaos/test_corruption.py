"""Files that were damaged: named, with what to do, and never a traceback or a silently other run."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import collimate
from collimate import report
from collimate._checks import BadModel, BadRun
from collimate.engine.checkpoint import FILES
from collimate.engine.load import load_model, quiet
from collimate.engine.run_folder import RunFolder
from collimate.engine.shape import empty_model
from collimate.engine.tokenizer import load_tokenizer
from tests.chaos.conftest import Begin, Whole
from tests.chaos.faults import at_call, forking, kill_self, killed, require_killed
from tests.equivalence.runs import SETTINGS, require_equal, train

pytestmark = [pytest.mark.chaos, forking]


def flipped(data: bytes, bit: int) -> bytes:
    return data[: bit // 8] + bytes([data[bit // 8] ^ 1 << bit % 8]) + data[bit // 8 + 1 :]


@pytest.fixture(scope="module")
def killed_once(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was killed after its seventh step; tests copy it."""
    folder = tmp_path_factory.mktemp("killed") / "run"

    def work() -> None:
        at_call(9, (RunFolder, "append_metrics"), kill_self)
        train(folder, model=base, **SETTINGS)

    require_killed(killed(work))
    return folder


@pytest.fixture
def stopped(killed_once: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(killed_once, tmp_path / "run"))


@pytest.mark.parametrize("name", [*FILES, "state.json"])
def test_a_flipped_bit_in_a_checkpoint(
    name: str, stopped: Path, begin: Begin, whole: Whole
) -> None:
    *_, older, newest = sorted((stopped / "checkpoints").iterdir())
    path = newest / name
    path.write_bytes(flipped(path.read_bytes(), 8 * path.stat().st_size - 90))
    words = rf"{newest.name} is damaged \({name} .*delete that folder .*{older.name}"
    with pytest.raises(BadRun, match=words):
        begin(resume=True)
    shutil.rmtree(newest)
    begin(resume=True)
    require_equal(stopped, whole.folder)


def test_every_checkpoint_damaged(stopped: Path, begin: Begin, whole: Whole) -> None:
    for path in (stopped / "checkpoints").iterdir():
        (path / "model.safetensors").write_bytes(b"torn")
    for _ in list((stopped / "checkpoints").iterdir()):
        with pytest.raises(BadRun, match="begins again at its first step") as caught:
            begin(resume=True)
        shutil.rmtree(str(caught.value).split()[1])
    begin(resume=True)
    require_equal(stopped, whole.folder)


# The run's own files


OTHER_KINDS: tuple[Any, ...] = (None, 3, "text", [], [3], {}, {"before": 3}, True)
CONTINUED = (
    "status", "created", "identity", "seconds", "phases", "reference", "evaluation", "samples",
    "schema_version",
)  # fmt: skip


@pytest.mark.parametrize("name", CONTINUED)
def test_a_record_with_a_damaged_field_is_refused_before_anything_is_loaded(
    name: str, stopped: Path, monkeypatch: pytest.MonkeyPatch, begin: Begin
) -> None:
    """Or, where the value is one that the field may have, it is gone on from; nothing else."""

    def loaded(*_: object, **__: object) -> None:
        raise LoadedError

    monkeypatch.setattr("collimate.jobs.train.prepare", loaded)
    path = stopped / "run.json"
    record = json.loads(path.read_text())
    fine = 0
    for value in OTHER_KINDS:
        path.write_text(json.dumps({**record, name: value}))
        fine += _refused(lambda: begin(resume=True))
    del record[name]
    path.write_text(json.dumps(record))
    assert not _refused(lambda: begin(resume=True))
    assert fine <= 3


class LoadedError(Exception):
    """What comes once the files have been found good."""


def _refused(work: Callable[[], object]) -> bool:
    """Whether it was taken for good; otherwise a BadRun that names the file."""
    with pytest.raises((BadRun, LoadedError)) as caught:
        work()
    assert caught.type is LoadedError or "run.json" in str(caught.value)
    return caught.type is LoadedError


def test_a_record_with_a_flipped_bit_never_ends_in_a_traceback(
    stopped: Path, begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    def loaded(*_: object, **__: object) -> None:
        raise LoadedError

    monkeypatch.setattr("collimate.jobs.train.prepare", loaded)
    path, draw = stopped / "run.json", random.Random(0)
    data = path.read_bytes()
    for _ in range(150):
        path.write_bytes(flipped(data, draw.randrange(8 * len(data))))
        _refused(lambda: begin(resume=True))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda data: data[:200] + b"\xff" + data[201:], "metrics.jsonl line 1: must be UTF-8"),
        (lambda data: data.replace(b'{"step": 3', b'"step": 3', 1), "metrics.jsonl line 3"),
        (lambda data: data.replace(b'"loss": 0', b'"loss": "0', 1), "metrics.jsonl line 1"),
        (lambda data: data[: len(data) // 3], "metrics.jsonl has .* bytes, and the checkpoint had"),
        (lambda data: b"", "metrics.jsonl has 0 bytes"),
    ],
    ids=["no text", "no object", "no JSON", "cut", "empty"],
)
def test_damaged_metrics_are_named_by_line(
    damage: Callable[[bytes], bytes], words: str, stopped: Path, begin: Begin, whole: Whole
) -> None:
    path = stopped / "metrics.jsonl"
    data = path.read_bytes()
    path.write_bytes(damage(data))
    with pytest.raises(BadRun, match=words):
        begin(resume=True)
    path.write_bytes(data)
    begin(resume=True)
    require_equal(stopped, whole.folder)


def test_a_report_of_damaged_files_is_refused_with_the_line(stopped: Path) -> None:
    path = stopped / "metrics.jsonl"
    path.write_bytes(path.read_bytes().replace(b'{"step": 3', b'"step": 3', 1))
    with pytest.raises(BadRun, match=r"metrics.jsonl line 3: must be JSON"):
        report.load(stopped)


# The cache


@pytest.mark.parametrize("kind", ["flipped", "cut", "empty"])
def test_damaged_segments_of_the_cache_are_said_and_computed_again(
    kind: str, begin: Begin, whole: Whole, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = begin(max_steps=1, evaluate_every=None)
    shutil.rmtree(first.folder)
    segments = sorted((tmp_path / "cache").rglob("*.safetensors"))
    for path in segments[::2]:
        data = path.read_bytes()
        damaged = {"flipped": flipped(data, 8 * len(data) - 9), "cut": data[:-5], "empty": b""}
        path.write_bytes(damaged[kind])
    run = begin(progress=True)
    told = " ".join(capsys.readouterr().err.split())
    assert told.count("a damaged segment of the reference cache") == len(segments[::2]) > 2
    assert 0 < run.record["reference"]["computed"] < 54
    require_equal(run.folder, whole.folder)


# What a user gave


MODEL_FILES = (
    "config.json", "generation_config.json", "model.safetensors", "tokenizer.json",
    "tokenizer_config.json",
)  # fmt: skip


@pytest.fixture
def model(base: Path, tmp_path: Path) -> Path:
    quiet()
    return Path(shutil.copytree(base, tmp_path / "model"))


def refusal(model: Path) -> str | None:
    """None if the folder loads; otherwise the BadModel's message, which names it, on one line."""
    try:
        load_tokenizer(None, model)
        load_model(model)
        empty_model(model)
    except BadModel as error:
        said = str(error)
    else:
        return None
    assert str(model) in said
    assert "\n" not in said
    return said


@pytest.mark.parametrize("name", MODEL_FILES)
def test_a_damaged_model_is_refused_or_still_one(name: str, model: Path) -> None:
    """A flipped bit may leave a number that is another number; nothing but BadModel comes of it."""
    path, draw = model / name, random.Random(0)
    data = path.read_bytes()
    assert refusal(model) is None
    header = min(len(data), 3000)  # of safetensors: what follows are weights, which any bits may be
    for _ in range(40):
        path.write_bytes(flipped(data, draw.randrange(8 * header)))
        refusal(model)
    for content in (b"", data[: len(data) // 2], b"{", b"\xff\xfe"):
        path.write_bytes(content)
        said = refusal(model)
        assert said is None or f"{name} is damaged: copy or download it again" in said
        assert (
            said is not None or name == "generation_config.json"
        )  # which transformers does without
    for content in (b"[]", b"3", b'"x"', b"null"):
        path.write_bytes(content)
        assert refusal(model) is not None or name == "generation_config.json" or content == b"null"


@pytest.mark.parametrize("lost", ["lm_head.weight", "model.layers.1.mlp.up_proj.weight"])
def test_weights_that_are_not_in_the_file_are_not_made_up(lost: str, model: Path) -> None:
    from safetensors.torch import load_file, save_file

    path = model / "model.safetensors"
    tensors = load_file(path)
    del tensors[lost]
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(BadModel, match=rf"too few for its config.json, such as {lost} \(1 in all"):
        load_model(model)


def test_a_config_with_fewer_layers_than_the_weights_is_refused(model: Path) -> None:
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 1}))
    with pytest.raises(BadModel, match=r"too many for its config.json, such as model.layers.1"):
        load_model(model)


def test_weights_that_are_not_numbers_stop_the_run(model: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(model / "model.safetensors")
    tensors["model.norm.weight"][3] = float("nan")
    save_file(tensors, model / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(collimate.CollimateError, match=r"nan|not finite"):
        train(tmp_path / "run", model=model)
    assert not (tmp_path / "run").exists()
