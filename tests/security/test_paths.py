"""Names and links in data, models and run folders lead nowhere that the user did not name."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import collimate
from collimate import report
from collimate._checks import BadModel, BadRun
from collimate.engine.run_folder import RunFolder
from collimate.engine.tokenizer import load_tokenizer
from tests.chaos.faults import at_call, forking, kill_self, killed, require_killed, told_by
from tests.equivalence.runs import (
    contents,
    metrics_of,
    saved,
    text_pairs,
    train,
    weights_of,
    word_tokenizer,
)
from tests.report.example_run import make_attacked_run, make_run

pytestmark = pytest.mark.slow


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A folder that nobody named."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine\n")
    return folder


# A run folder with links in it


@pytest.fixture(scope="module")
def killed_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was killed after its third step of four, with a checkpoint of its second."""
    folder = tmp_path_factory.mktemp("killed") / "run"

    def work() -> None:
        at_call(4, (RunFolder, "append_metrics"), kill_self)
        train(folder, checkpoint_every=2)

    require_killed(killed(work))
    return folder


LINKS = ("metrics.jsonl", "run.json", "checkpoints", "checkpoints/step-00000002", "bad_rows.jsonl",
         "checkpoints/step-00000002/model.safetensors", "model", "report.html",
         ".run.json.partial")  # fmt: skip


@forking
@pytest.mark.parametrize("name", LINKS)
def test_a_run_does_not_go_on_through_a_link(
    name: str, killed_once: Path, elsewhere: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(killed_once, tmp_path / "run"))
    path, target = run / name, elsewhere / Path(name).name
    if path.exists():
        path.rename(target)
    elif name == "model":
        target.mkdir()
    else:
        target.write_text("mine\n")
    path.symlink_to(target)
    before = contents(elsewhere)
    with pytest.raises(BadRun, match=rf"{Path(name).name} is a link out of the run folder, to"):
        train(run, checkpoint_every=2, resume=True)
    assert contents(elsewhere) == before


@forking
def test_a_run_folder_may_be_a_link_itself(killed_once: Path, tmp_path: Path) -> None:
    """The user named it; and a link inside that stays inside leads nowhere else."""
    shutil.copytree(killed_once, tmp_path / "large_disk" / "run")
    (tmp_path / "run").symlink_to(tmp_path / "large_disk" / "run")
    (tmp_path / "run" / "newest").symlink_to("checkpoints/step-00000002")
    run = train(tmp_path / "run", checkpoint_every=2, resume=True)
    whole = train(tmp_path / "whole", checkpoint_every=2)
    assert metrics_of(run) == metrics_of(whole)
    assert weights_of(run.folder) == weights_of(whole.folder)


@pytest.mark.parametrize(
    "name", [".run.json.partial", "..writable.partial", ".writable", "bad_rows.jsonl"]
)
def test_a_new_run_does_not_write_through_a_planted_link(
    name: str, elsewhere: Path, tmp_path: Path
) -> None:
    """The names that a run killed before its record leaves behind, so that they may be there."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).symlink_to(elsewhere / "notes.txt")
    rows = [*text_pairs(), {"prompt": "w1", "chosen": "", "rejected": "w2"}]
    train(tmp_path / "run", data=rows, on_bad_row="skip", max_steps=1)
    assert (elsewhere / "notes.txt").read_text() == "mine\n"
    assert not any(path.is_symlink() for path in (tmp_path / "run").rglob("*"))


@pytest.mark.parametrize("name", ["run.json", "metrics.jsonl"])
def test_a_report_is_not_read_through_a_link(name: str, elsewhere: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", steps=2)
    (run / name).rename(elsewhere / name)
    (run / name).symlink_to(elsewhere / name)
    with pytest.raises(BadRun, match=rf"{name} is a link out of the run folder"):
        report.load(run)


def test_a_report_replaces_a_link_and_writes_nothing_else(elsewhere: Path, tmp_path: Path) -> None:
    """Whatever paths its record names."""
    run = make_attacked_run(tmp_path / "run")
    record = json.loads((run / "run.json").read_text())
    record["name"] = record["config"]["model"] = str(elsewhere / "../elsewhere/notes.txt")
    (run / "run.json").write_text(json.dumps(record))
    (run / "report.html").symlink_to(elsewhere / "notes.txt")
    before = contents(tmp_path)
    report.write(run)
    after = contents(tmp_path)
    assert not (run / "report.html").is_symlink()
    assert {name for name in after if after[name] != before.get(name)} == {"run/report.html"}


@pytest.mark.parametrize("name", ["model", "model/notes.txt", "model/deep/notes.txt"])
def test_an_export_carries_nothing_along_through_a_link(
    name: str, elsewhere: Path, tmp_path: Path
) -> None:
    model = saved(tmp_path / "run" / "model")
    collimate.export(tmp_path / "run", tmp_path / "good")
    if name == "model":
        model.rename(elsewhere / "model")
    (tmp_path / "run" / name).parent.mkdir(exist_ok=True)
    (tmp_path / "run" / name).symlink_to(elsewhere / Path(name).name)
    with pytest.raises(BadRun, match=r"is a link out of .*export the folder that it is in"):
        collimate.export(tmp_path / "run", tmp_path / "out")
    assert not (tmp_path / "out").exists()


# Names in what a run reads


def test_a_chat_template_is_not_saved_under_a_path(tmp_path: Path) -> None:
    """transformers saves each template under its name, when the training is over."""
    folder = saved(tmp_path / "model")
    path = folder / "tokenizer_config.json"
    templates = [{"name": "default", "template": "a"}, {"name": "../../evil", "template": "b"}]
    path.write_text(json.dumps({**json.loads(path.read_text()), "chat_template": templates}))
    with pytest.raises(BadModel, match=r"chat template called '../../evil': expected a plain name"):
        load_tokenizer(None, folder)
    templates[1]["name"] = "tools"
    path.write_text(json.dumps({**json.loads(path.read_text()), "chat_template": templates}))
    assert set(load_tokenizer(None, folder).chat_template) == {"default", "tools"}


def writes(work: Callable[[], object]) -> list[str]:
    """Every path that `work`, done in a child, opened to write, made, renamed, linked or removed."""
    found: list[str] = []

    def hook(event: str, given: tuple[Any, ...]) -> None:
        if event == "open" and not isinstance(given[0], int):
            path, mode, flags = given
            writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT
            if set(mode or "") & set("wax+") or (mode is None and flags & writing):
                found.append(os.fsdecode(path))
        elif event in ("os.mkdir", "os.truncate", "shutil.rmtree") or (
            event in ("os.remove", "os.rmdir") and given[1] == -1
        ):
            found.append(str(given[0]))
        elif event in ("os.rename", "os.link", "os.symlink"):
            found.extend(map(str, given[:2]))

    def watched() -> str:
        sys.addaudithook(hook)
        work()
        return json.dumps(found)

    told = told_by(watched)
    assert told.startswith("["), told
    return json.loads(told)


@forking
def test_a_run_writes_in_its_folder_and_its_cache_only(elsewhere: Path, tmp_path: Path) -> None:
    """Whatever paths stand in the texts, columns and names of what it reads."""
    evil = ("../../evil", str(elsewhere / "notes.txt"), "~/evil", "file:///evil", "w1/../../evil")
    rows = [{**row, "../../evil": 1.0, "/evil": "x"} for row in text_pairs()]
    rows += [{"prompt": path, "chosen": path, "rejected": "w1"} for path in evil]
    rows += [{"prompt": path, "chosen": "", "rejected": path} for path in evil]
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    model = saved(tmp_path / "model")
    for name, fields in {
        "config.json": {"_name_or_path": "../../evil", "name_or_path": str(elsewhere)},
        "tokenizer_config.json": {"name_or_path": "../../evil", "vocab_file": str(elsewhere)},
    }.items():
        path = model / name
        path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))
    train(tmp_path / "warm", model=model, max_steps=1, report=True)  # imports write bytecode

    def work() -> None:
        train(
            tmp_path / "run" / "..name", model=model, tokenizer=None, data=data, on_bad_row="skip",
            samples=2, report=True, cache=tmp_path / "cache",
        )  # fmt: skip

    found = writes(work)
    own = ("/dev/null", "/proc/self/clear_refs")  # the latter: the peak of memory begins anew
    inside = (str(tmp_path / "run"), str(tmp_path / "cache"), *own)
    assert [path for path in found if not path.startswith(inside)] == []
    assert any(path.endswith("metrics.jsonl") for path in found)
    assert (tmp_path / "run" / "..name" / "model").is_dir()


def test_the_watch_sees_what_it_is_to_see(elsewhere: Path) -> None:
    def work() -> None:
        (elsewhere / "a").write_text("x")
        (elsewhere / "b").mkdir()
        (elsewhere / "a").rename(elsewhere / "c")
        os.close(os.open(elsewhere / "d", os.O_CREAT | os.O_WRONLY))
        (elsewhere / "c").read_text()

    assert [Path(path).name for path in writes(work)] == ["a", "b", "a", "c", "d"]
    assert word_tokenizer().chat_template is None
