"""The store of log-probs: the first value written wins, and what is torn is never read."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

from collimate._checks import BadRun
from collimate.engine import evaluate, store
from collimate.engine.evaluate import log_probs, stored_log_probs
from collimate.engine.fingerprint import column_hash
from collimate.engine.model import LogProbModel
from collimate.engine.store import LogProbStore, default_cache
from tests.engine.tiny import model_of, pairs, plain_log_probs


def keys(*names: int) -> list[bytes]:
    return [bytes([name]) * 32 for name in names]


def rows(*values: float) -> list[np.ndarray]:
    return [np.full(int(abs(value)) + 1, value, dtype=np.float32) for value in values]


def segments(folder: Path) -> Sequence[Path]:
    return sorted(folder.rglob("*.safetensors"))


def test_what_is_added_is_read_back(tmp_path: Path) -> None:
    first = LogProbStore(tmp_path, "model")
    first.add(keys(1, 2, 3), rows(-0.5, -3.25, -1.0))
    assert keys(2)[0] in first
    assert segments(tmp_path) == []
    first.flush()
    second = LogProbStore(tmp_path, "model")
    assert len(second) == 3
    for key, row in zip(keys(1, 2, 3), rows(-0.5, -3.25, -1.0), strict=True):
        assert np.array_equal(second[key], row)
        assert second[key].dtype == np.float32
    assert keys(4)[0] not in second
    with pytest.raises(KeyError):
        second[keys(4)[0]]


def test_models_do_not_mix(tmp_path: Path) -> None:
    one = LogProbStore(tmp_path, "a")
    one.add(keys(1), rows(-1))
    one.flush()
    assert len(LogProbStore(tmp_path, "b")) == 0


def test_the_first_value_wins_within_a_writer_and_between_two(tmp_path: Path) -> None:
    one, other = LogProbStore(tmp_path, "m"), LogProbStore(tmp_path, "m")
    one.add(keys(1), rows(-1))
    one.add(keys(1), rows(-2))
    one.flush()
    other.add(keys(1, 2), rows(-3, -4))  # it did not see the first writer
    other.flush()
    assert len(segments(tmp_path)) == 2
    third = LogProbStore(tmp_path, "m")
    assert third[keys(1)[0]][0] == -1
    assert third[keys(2)[0]][0] == -4


def test_flushing_nothing_writes_nothing(tmp_path: Path) -> None:
    one = LogProbStore(tmp_path, "m")
    one.flush()
    one.add(keys(1), rows(-1))
    one.flush()
    one.flush()
    one.add(keys(1), rows(-1))
    one.flush()
    assert len(segments(tmp_path)) == 1


def test_segments_are_cut_by_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "SEGMENT_BYTES", 100)
    one = LogProbStore(tmp_path, "m")
    for name in range(12):
        one.add(keys(name), [np.zeros(10, dtype=np.float32)])
    one.flush()
    assert len(segments(tmp_path)) == 4
    assert len(LogProbStore(tmp_path, "m")) == 12


@pytest.mark.parametrize("damage", ["empty", "cut", "changed", "renamed"])
def test_a_torn_segment_is_not_read(damage: str, tmp_path: Path) -> None:
    for name in (1, 2, 3):
        one = LogProbStore(tmp_path, "m")
        one.add(keys(name), rows(-name))
        one.flush()
    torn = segments(tmp_path)[1]
    data = torn.read_bytes()
    if damage == "renamed":
        torn.rename(torn.with_name(torn.name.replace("-", "-x", 1)))  # its writer: still whole
    else:
        changed = {"empty": b"", "cut": data[:-5], "changed": data[:-5] + b"\x00" + data[-4:]}
        torn.write_bytes(changed[damage])
    found = LogProbStore(tmp_path, "m")
    if damage == "renamed":
        assert len(found) == 3
        assert found.torn == []
        return
    assert len(found) == 2
    assert keys(2)[0] not in found
    assert found.torn == [torn]
    found.add(keys(2), rows(-2))
    found.flush()
    assert len(LogProbStore(tmp_path, "m")) == 3


def test_a_killed_writers_part_is_not_read(tmp_path: Path) -> None:
    one = LogProbStore(tmp_path, "m")
    one.add(keys(1), rows(-1))
    one.flush()
    (path,) = segments(tmp_path)
    path.with_name(f".{path.name}.partial").write_bytes(path.read_bytes()[:50])
    again = LogProbStore(tmp_path, "m")
    assert len(again) == 1
    assert again.torn == []


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    one = LogProbStore(tmp_path / "file", "m")
    one.add(keys(1), rows(-1))
    with pytest.raises(BadRun, match=r"cannot write the reference cache in .*COLLIMATE_CACHE"):
        one.flush()


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLLIMATE_CACHE", "/some/where")
    assert default_cache() == Path("/some/where")
    monkeypatch.delenv("COLLIMATE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert default_cache() == Path("/x/collimate")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_cache() == Path(os.path.expanduser("~")) / ".cache" / "collimate"


class TestThroughTheStore:
    EXAMPLES = (*pairs(20), *pairs(3))  # the last three stand twice

    def read(self, folder: Path, budget: int = 90) -> tuple[str, int]:
        engine = LogProbModel(model_of("llama", factor=3.0), shared=True)
        found, computed = stored_log_probs(
            engine, self.EXAMPLES, LogProbStore(folder, "m"), budget=budget, autocast=nullcontext
        )
        flat = np.concatenate([row for answers in found for row in answers])
        plain = plain_log_probs(model_of("llama", factor=3.0), self.EXAMPLES).numpy()
        assert np.abs(flat - plain).max() < 1e-5
        return column_hash([flat]), computed

    def test_cold_warm_and_any_half_give_the_same_bits(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(store, "SEGMENT_BYTES", 300)
        bits, computed = self.read(tmp_path)
        assert 20 <= computed <= 23
        assert self.read(tmp_path) == (bits, 0)
        whole = {path: path.read_bytes() for path in segments(tmp_path)}
        assert len(whole) > 3
        for gone in whole:
            gone.unlink()
            again, computed = self.read(tmp_path)
            assert again == bits
            assert 0 < computed < 23
            for path in segments(tmp_path):
                path.unlink()
            for path, data in whole.items():
                path.write_bytes(data)

    def test_the_bits_do_depend_on_the_micro_batch(self, tmp_path: Path) -> None:
        """Else the test above would show nothing."""
        assert len({self.read(tmp_path / str(b), b)[0] for b in (1, 60, 90, 10**6)}) > 1

    def test_log_probs_come_in_the_order_of_the_examples(self) -> None:
        engine = LogProbModel(model_of("llama", factor=3.0), shared=True)
        found = log_probs(engine, self.EXAMPLES, budget=70, autocast=nullcontext)
        for example, answers in zip(self.EXAMPLES, found, strict=True):
            assert [len(row) for row in answers] == [len(a.ids) for a in example.answers]
        flat = np.concatenate([row for answers in found for row in answers])
        plain = plain_log_probs(engine.model, self.EXAMPLES).numpy()
        assert np.abs(flat - plain).max() < 1e-5

    def test_progress_counts_every_example(self, tmp_path: Path) -> None:
        seen: list[int] = []
        engine = LogProbModel(model_of("llama"), shared=True)
        named = {"budget": 90, "autocast": nullcontext, "progress": seen.append}
        log_probs(engine, self.EXAMPLES, **named)
        assert sum(seen) == len(self.EXAMPLES)
        stored_log_probs(engine, self.EXAMPLES, LogProbStore(tmp_path, "m"), **named)
        assert sum(seen) == 2 * len(self.EXAMPLES)
        assert evaluate._forward is not None
