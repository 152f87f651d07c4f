"""`collimate cache ls|gc|verify`, on a cache that training filled and on made-up ones."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from collimate.engine.cache import LEFTOVER_SECONDS
from collimate.engine.store import LogProbStore
from tests.cli.conftest import Collimate, train_arguments

pytestmark = pytest.mark.slow


def fill(root: Path, model: str, rows: int, seconds_ago: float = 0.0) -> Path:
    """A segment of a model that was used some time ago."""
    one = LogProbStore(root, model, keys=(), description={"model": f"models/{model}"})
    keys = [bytes([row]) * 32 for row in range(rows)]
    one.add(keys, [np.zeros(1000, dtype=np.float32) for _ in keys])
    one.flush()
    when = time.time() - seconds_ago
    os.utime(one.folder / "model.json", (when, when))
    (path,) = one.segments
    return path


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Two models; `old` was used an hour before `new`."""
    root = tmp_path / "cache"
    fill(root, "old", 3, seconds_ago=3600)
    fill(root, "new", 2)
    return root


def test_ls_shows_what_training_left(collimate: Collimate, tiny: Path, tmp_path: Path) -> None:
    arguments = train_arguments(tiny, "run", "--cache", "mine", "--no-report")
    assert collimate(*arguments, "--evaluation", tiny / "held_out.jsonl").code == 0
    done = collimate("cache", "ls", "--cache", "mine", "--json")
    assert (done.code, done.err) == (0, "")
    (model,) = json.loads(done.out)["models"]
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert model["fingerprint"] == record["model"]["hash"]
    assert model["model"] == str(tiny / "model")
    assert (model["architecture"], model["precision"]) == ("LlamaForCausalLM", "fp32")
    assert model["layout"] == record["model"]["layout"]
    assert model["rows"] <= 2 * (40 + 10), "an answer that stands twice is one row"
    assert model["rows"] > 50
    (segment,) = (tmp_path / "mine").rglob("*.safetensors")
    assert model["bytes"] == segment.stat().st_size
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", model["last_use"])
    page = collimate("cache", "ls", "--cache", "mine").out
    for word in (model["fingerprint"][:12], str(model["rows"]), str(tiny / "model"), "in mine"):
        assert word in page


def test_ls_lists_the_last_used_first(collimate: Collimate, cache: Path) -> None:
    found = json.loads(collimate("cache", "ls", "--cache", cache, "--json").out)
    assert [model["model"] for model in found["models"]] == ["models/new", "models/old"]
    assert found["bytes"] == sum(model["bytes"] for model in found["models"])
    assert [model["layout"] for model in found["models"]] == [None, None]
    page = collimate("cache", "ls", "--cache", cache).out.splitlines()
    assert page[0].split()[:2] == ["fingerprint", "answers"]
    name, rows, _, unit, *_ = page[1].split()
    assert (name, rows, unit) == ("new", "2", "KiB")
    assert page[-1].startswith("2 models, ")


def test_the_folder_is_that_of_the_environment_unless_given(
    collimate: Collimate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLLIMATE_CACHE", str(tmp_path / "none"))
    for word in ("ls", "gc", "verify"):
        done = collimate("cache", word)
        assert done.code == 0
        assert str(tmp_path / "none") in done.out
    fill(tmp_path / "none", "a", 1)
    assert len(json.loads(collimate("cache", "ls", "--json").out)["models"]) == 1


def test_gc_removes_the_model_used_longest_ago(collimate: Collimate, cache: Path) -> None:
    (old,) = (cache / "log_probs" / "old").glob("*.safetensors")
    (new,) = (cache / "log_probs" / "new").glob("*.safetensors")
    size, left = old.stat().st_size, new.stat().st_size
    bound = (left + 100) / 2**30
    gc = ("cache", "gc", "--cache", cache, "--max-gb", f"{bound:.12f}")
    dry = collimate(*gc, "--dry-run", "--json")
    assert dry.code == 0
    expected = {"cache": str(cache), "removed": [str(old)], "freed": size, "left": left}
    assert json.loads(dry.out) == {**expected, "dry_run": True}
    assert "would remove 1 files" in collimate(*gc, "--dry-run").out
    assert old.exists()
    assert json.loads(collimate(*gc, "--json").out) == {**expected, "dry_run": False}
    assert not old.exists()
    assert new.exists()
    assert collimate(*gc).out == f"removed 0 files, 0 B; {left / 1024:.3g} KiB left in {cache}\n"


def test_gc_without_a_size_takes_that_of_training(collimate: Collimate, cache: Path) -> None:
    assert json.loads(collimate("cache", "gc", "--cache", cache, "--json").out)["removed"] == []
    assert "[default: 20" in collimate("cache", "gc", "--help").out
    part = next((cache / "log_probs" / "old").glob("*.safetensors")).with_name(".x.partial")
    part.write_bytes(b"1")
    when = time.time() - 2 * LEFTOVER_SECONDS
    os.utime(part, (when, when))
    found = json.loads(collimate("cache", "gc", "--cache", cache, "--json").out)
    assert found["removed"] == [str(part)]
    assert not part.exists()


def test_verify_finds_damage_and_removes_it_on_request(collimate: Collimate, cache: Path) -> None:
    verify = ("cache", "verify", "--cache", cache)
    whole = collimate(*verify)
    assert (whole.code, whole.err) == (0, "")
    assert "2 segments read" in whole.out
    assert "0 damaged" in whole.out
    (old,) = (cache / "log_probs" / "old").glob("*.safetensors")
    old.write_bytes(old.read_bytes()[:-8])
    part = old.with_name(".x.partial")
    part.write_bytes(b"1")
    done = collimate(*verify)
    assert (done.code, done.err) == (1, "")
    assert f"{old}: torn" in done.out
    assert f"{part}: a leftover" in done.out
    assert "1 damaged\n" in done.out
    assert old.exists()
    found = json.loads(collimate(*verify, "--json").out)
    assert (found["ok"], found["segments"]) == (False, 2)
    assert list(found["damaged"]) == [str(old)]
    assert (found["unknown"], found["leftovers"]) == ([], [str(part)])
    gone = collimate(*verify, "--delete")
    assert gone.code == 1, "there was damage"
    assert "1 damaged, removed" in gone.out
    assert not old.exists()
    assert part.exists()
    assert collimate(*verify, "--delete").code == 0


@pytest.mark.parametrize("word", ["ls", "gc", "verify"])
def test_every_word_has_help_with_its_options_explained(word: str, collimate: Collimate) -> None:
    done = collimate("cache", word, "--help")
    assert done.code == 0
    assert f"Usage: collimate cache {word}" in done.out
    assert not re.findall(r"(?m)^  (--\S+)(?: <\w+>)?\s*$", done.out)
    assert word in collimate("cache", "--help").out


@pytest.mark.parametrize("line", [["ls"], ["gc", "--max-gb", "0"], ["verify"]], ids=" ".join)
def test_it_answers_without_anything_heavy(line: list[str], cache: Path) -> None:
    arguments = ["cache", *line, "--cache", str(cache)]
    code = (
        f"import sys; from collimate.cli.main import main; assert main({arguments}) == 0\n"
        "heavy = {'torch', 'numpy', 'safetensors', 'transformers', 'rich'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert str(cache) in done.stdout


def test_training_keeps_the_bound_and_its_own_rows(collimate: Collimate, tiny: Path) -> None:
    def train(model: str, out: str, *more: Any) -> dict[str, Any]:
        arguments = train_arguments(tiny, out, "--cache", "mine", "--no-report", "--json", *more)
        done = collimate(*arguments, "--model", tiny / model)
        assert done.code == 0, done.err
        return json.loads(done.out)["reference"]

    def cached() -> set[str]:
        listed = json.loads(collimate("cache", "ls", "--cache", "mine", "--json").out)["models"]
        return {model["model"] for model in listed}

    assert train("model", "a")["computed"] == 40
    assert train("other", "b")["computed"] == 40
    assert cached() == {str(tiny / "model"), str(tiny / "other")}
    assert train("model", "c", "--cache-gb", 0)["computed"] == 0
    assert cached() == {str(tiny / "model")}, "not what this run reads, whatever the bound"
    assert train("other", "d", "--cache-gb", 0)["computed"] == 40
    assert cached() == {str(tiny / "other")}
