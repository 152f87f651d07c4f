"""The cache folder: listed, bounded by last use, verified, and shared without locks."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collimate import _files
from collimate.engine import store
from collimate.engine.cache import (
    LEFTOVER_SECONDS,
    cached_models,
    collect,
    default_cache,
    mark_used,
    verify,
)
from collimate.engine.store import LogProbStore

DESCRIPTION = {
    "model": "models/a",
    "architecture": "LlamaForCausalLM",
    "layout": "shared",
    "precision": "fp32",
}


def key(name: int) -> bytes:
    return name.to_bytes(32, "big")


def value(name: int) -> np.ndarray:
    return np.full(1 + name % 7, -0.25 * name, dtype=np.float32)


def write(root: Path, model: str, *names: int, description: dict[str, str] | None = None) -> Path:
    """Rows of these names as one segment."""
    one = LogProbStore(root, model, keys=(), description=description or DESCRIPTION)
    one.add([key(name) for name in names], [value(name) for name in names])
    one.flush()
    (path,) = one.segments
    return path


def used(root: Path, model: str, seconds_ago: float) -> None:
    when = time.time() - seconds_ago
    os.utime(root / "log_probs" / model / "model.json", (when, when))


def names_in(root: Path, model: str, names: Sequence[int]) -> list[int]:
    """Those of the names whose rows are there, each of the right value."""
    found = LogProbStore(root, model)
    there = [name for name in names if key(name) in found]
    assert all(np.array_equal(found[key(name)], value(name)) for name in there)
    return there


def total(root: Path) -> int:
    return sum(path.stat().st_size for path in root.rglob("*.safetensors"))


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLLIMATE_CACHE", "/some/where")
    assert default_cache() == Path("/some/where")
    monkeypatch.delenv("COLLIMATE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert default_cache() == Path("/x/collimate")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_cache() == Path(os.path.expanduser("~")) / ".cache" / "collimate"


class TestList:
    def test_each_model_with_what_a_person_knows_it_by(self, tmp_path: Path) -> None:
        write(tmp_path, "a", 1, 2, 3)
        write(tmp_path, "a", 4)
        write(tmp_path, "b", 1, description={**DESCRIPTION, "model": "models/b"})
        used(tmp_path, "b", 100)
        a, b = cached_models(tmp_path)
        assert (a.fingerprint, a.rows, a.segments) == ("a", 4, 2)
        assert a.description == DESCRIPTION
        assert (b.fingerprint, b.rows, b.description["model"]) == ("b", 1, "models/b")
        assert a.bytes + b.bytes == total(tmp_path)
        assert a.last_use - b.last_use == pytest.approx(100, abs=5)

    def test_a_read_is_a_use_and_a_look_is_none(self, tmp_path: Path) -> None:
        for model, ago in (("a", 300), ("b", 200), ("c", 100)):
            write(tmp_path, model, 1)
            used(tmp_path, model, ago)

        def order() -> list[str]:
            return [model.fingerprint for model in cached_models(tmp_path)]

        assert order() == ["c", "b", "a"]
        LogProbStore(tmp_path, "b", keys={key(2)})
        verify(tmp_path)
        collect(tmp_path, max_bytes=1e9)
        assert order() == ["c", "b", "a"]
        LogProbStore(tmp_path, "a", keys={key(1)}, description=DESCRIPTION)
        assert order() == ["a", "c", "b"]
        LogProbStore(tmp_path, "b", keys={key(2)}).require_writable()
        assert order() == ["b", "a", "c"]

    def test_nothing_and_what_is_no_cache(self, tmp_path: Path) -> None:
        (tmp_path / "log_probs").mkdir()
        (tmp_path / "log_probs" / "notes.txt").write_text("mine")
        (tmp_path / "file").write_text("mine")
        for root in (tmp_path, tmp_path / "missing", tmp_path / "file"):
            assert cached_models(root) == []
            assert collect(root, max_bytes=0).removed == ()
            assert verify(root).segments == 0
        assert (tmp_path / "log_probs" / "notes.txt").exists()

    @pytest.mark.parametrize("content", [None, b"", b"[1, 2]", b"3", b"\xff", b'{"model":'])
    def test_the_description_is_not_needed(self, content: bytes | None, tmp_path: Path) -> None:
        path = write(tmp_path, "a", 1)
        place = path.with_name("model.json")
        place.unlink() if content is None else place.write_bytes(content)
        (model,) = cached_models(tmp_path)
        assert (model.rows, model.description) == (1, {})
        assert model.last_use == pytest.approx(time.time(), abs=60)
        assert names_in(tmp_path, "a", [1]) == [1]

    def test_a_header_that_cannot_be_read_counts_no_rows(self, tmp_path: Path) -> None:
        for content in (b"", b"\xff" * 100, b"\x02" + bytes(7) + b"{}", bytes(9)):
            write(tmp_path, "a", 1).write_bytes(content)
        (model,) = cached_models(tmp_path)
        assert (model.segments, model.rows) == (4, 0)


class TestBound:
    def test_the_model_used_longest_ago_goes_first_its_oldest_segment_before_the_others(
        self, tmp_path: Path
    ) -> None:
        paths = {
            (model, name): write(tmp_path, model, name) for model in "abc" for name in (7, 14, 21)
        }
        for model, ago in (("a", 100), ("b", 300), ("c", 200)):
            used(tmp_path, model, ago)
        one = paths["a", 7].stat().st_size
        assert total(tmp_path) == 9 * one
        found = collect(tmp_path, max_bytes=5 * one + 1)
        gone = [paths["b", 7], paths["b", 14], paths["b", 21], paths["c", 7]]
        assert found.removed == tuple(gone)
        assert (found.freed, found.left) == (4 * one, 5 * one)
        assert total(tmp_path) == 5 * one
        assert names_in(tmp_path, "c", [7, 14, 21]) == [14, 21]
        folder = gone[0].parent
        assert folder.exists(), "a writer may be about to fill it"
        when = time.time() - LEFTOVER_SECONDS - 10
        os.utime(folder, (when, when))
        collect(tmp_path, max_bytes=1e9)
        assert not folder.exists()

    def test_a_bound_that_is_kept_removes_nothing(self, tmp_path: Path) -> None:
        write(tmp_path, "a", 1, 2)
        size = total(tmp_path)
        found = collect(tmp_path, max_bytes=size)
        assert (found.removed, found.freed, found.left) == ((), 0, size)
        assert names_in(tmp_path, "a", [1, 2]) == [1, 2]

    def test_what_is_to_be_kept_stays_even_beyond_the_bound(self, tmp_path: Path) -> None:
        kept, other = write(tmp_path, "a", 1), write(tmp_path, "a", 2)
        used(tmp_path, "a", 1000)
        third = write(tmp_path, "b", 3)
        found = collect(tmp_path, max_bytes=0, keep={kept})
        assert found.removed == (other, third)
        assert found.left == kept.stat().st_size
        assert names_in(tmp_path, "a", [1, 2]) == [1]

    def test_a_dry_run_says_the_same_and_does_nothing(self, tmp_path: Path) -> None:
        write(tmp_path, "a", 1)
        write(tmp_path, "b", 2)
        before = total(tmp_path)
        said = collect(tmp_path, max_bytes=0, dry_run=True)
        assert len(said.removed) == 2
        assert total(tmp_path) == before
        assert collect(tmp_path, max_bytes=0) == said
        assert total(tmp_path) == 0

    @settings(max_examples=20)
    @given(
        sizes=st.lists(st.integers(1, 5), min_size=1, max_size=6),
        ages=st.permutations(range(6)),
        share=st.floats(0, 1.2),
    )
    def test_the_bound_is_kept_and_as_little_as_possible_goes(
        self,
        sizes: list[int],
        ages: list[int],
        share: float,
        tmp_path_factory: pytest.TempPathFactory,
    ) -> None:
        root = tmp_path_factory.mktemp("cache")
        bytes_of = {}
        for model, count in enumerate(sizes):
            path = write(root, str(model), *range(count))
            bytes_of[path] = path.stat().st_size
            used(root, str(model), 100 * ages[model])
        bound = share * total(root)
        found = collect(root, max_bytes=bound)
        assert found.left == total(root) <= bound
        if found.removed:
            assert found.left + bytes_of[found.removed[-1]] > bound
        gone = {int(path.parent.name) for path in found.removed}
        stayed = set(range(len(sizes))) - gone
        assert all(ages[g] > ages[s] for g in gone for s in stayed)

    def test_what_a_killed_writer_left_goes_when_it_is_old(self, tmp_path: Path) -> None:
        path = write(tmp_path, "a", 1)
        old, new = path.with_name(".old.partial"), path.with_name(".new.partial")
        old.write_bytes(b"12345")
        new.write_bytes(b"123")
        when = time.time() - LEFTOVER_SECONDS - 10
        os.utime(old, (when, when))
        found = collect(tmp_path, max_bytes=1e9)
        assert (found.removed, found.freed, found.left) == ((old,), 5, path.stat().st_size)
        assert not old.exists()
        assert new.exists(), "its writer may be at work"
        collect(tmp_path, max_bytes=0)
        assert new.exists()


class TestVerify:
    def test_everything_whole(self, tmp_path: Path) -> None:
        for model in "ab":
            write(tmp_path, model, 1, 2)
        found = verify(tmp_path)
        assert (found.segments, found.bytes) == (2, total(tmp_path))
        assert (dict(found.damaged), found.unknown, found.leftovers) == ({}, (), ())

    def test_each_kind_of_trouble_is_told_apart(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        paths = [write(tmp_path, "a", name) for name in range(3)]
        paths[0].write_bytes(paths[0].read_bytes()[:-1])
        flipped = bytearray(paths[1].read_bytes())
        flipped[100] ^= 4
        paths[1].write_bytes(flipped)
        with monkeypatch.context() as future:
            future.setattr(store, "SCHEMA_VERSION", 2)
            newer = write(tmp_path, "b", 5)
        part = newer.with_name(".0.partial")
        part.write_bytes(b"1")
        found = verify(tmp_path)
        assert dict(found.damaged) == dict.fromkeys(
            paths[:2], "torn: its content is not what its name says"
        )
        assert found.unknown == (newer,)
        assert found.leftovers == (part,)
        assert found.segments == 4
        assert all(path.exists() for path in (*paths, newer, part)), "it only looks"

    def test_a_segment_that_cannot_be_read_is_damaged(self, tmp_path: Path) -> None:
        path = write(tmp_path, "a", 1)
        path.unlink()
        path.mkdir()
        assert dict(verify(tmp_path).damaged) == {path: "cannot be read: Is a directory"}
        assert LogProbStore(tmp_path, "a").torn == [path]


# Several processes


def children(*works: Callable[[], object]) -> list[int]:
    """Each work in a process of its own, all at once; their exit codes, negative for a signal."""
    wait, go = os.pipe()
    started: list[int] = []
    for work in works:
        child = os.fork()
        if child == 0:
            os.close(go)
            os.read(wait, 1)  # until the last one is there
            try:
                work()
                os._exit(0)
            except BaseException:  # noqa: BLE001 - the child must end here, whatever came
                os._exit(1)
        started.append(child)
    os.close(go)
    os.close(wait)
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in started]


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks writers")


@needs_fork
def test_many_writers_at_once_lose_and_mix_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each computes the same rows in an order of its own, and a few alone."""
    monkeypatch.setattr(store, "SEGMENT_BYTES", 16)

    def writer(number: int) -> Callable[[], None]:
        def work() -> None:
            names = [*range(40), 100 + number]
            np.random.default_rng(number).shuffle(names)
            own = LogProbStore(tmp_path, "a", keys={key(name) for name in names})
            for name in names:
                own.add([key(name)], [value(name)])
            own.settle()
            assert all(np.array_equal(own[key(name)], value(name)) for name in names)

        return work

    assert children(*map(writer, range(4))) == [0] * 4
    everything = [*range(40), *range(100, 104)]
    assert names_in(tmp_path, "a", everything) == everything
    found = verify(tmp_path)
    assert found.segments > 20
    assert (dict(found.damaged), found.leftovers) == ({}, ())


@needs_fork
@pytest.mark.parametrize("written", [0.0, 0.5, 1.0])
def test_a_writer_killed_in_the_middle_leaves_what_it_had_and_a_leftover(
    written: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(file: int) -> None:
        os.ftruncate(file, int(written * os.fstat(file).st_size))
        os.kill(os.getpid(), signal.SIGKILL)

    def work() -> None:
        own = LogProbStore(tmp_path, "a")
        own.add([key(1)], [value(1)])
        own.flush()
        _files.os.fsync = killed  # type: ignore[assignment]  # in the child only
        own.add([key(2)], [value(2)])
        own.flush()

    assert children(work) == [-signal.SIGKILL]
    assert names_in(tmp_path, "a", [1, 2]) == [1]
    found = verify(tmp_path)
    assert dict(found.damaged) == {}
    (part,) = found.leftovers
    write(tmp_path, "a", 2)
    assert names_in(tmp_path, "a", [1, 2]) == [1, 2]
    when = time.time() - LEFTOVER_SECONDS - 10
    os.utime(part, (when, when))
    assert collect(tmp_path, max_bytes=1e9).removed == (part,)


@needs_fork
def test_readers_and_writers_go_on_while_everything_is_removed(tmp_path: Path) -> None:
    until = time.monotonic() + 1.5
    seen = tmp_path / "seen"

    def remover() -> None:
        while time.monotonic() < until:
            collect(tmp_path, max_bytes=0)

    def worker() -> None:
        lost = 0
        while time.monotonic() < until:
            names = range(10)
            own = LogProbStore(tmp_path, "a", keys={key(name) for name in names})
            for name in names:
                if key(name) not in own:
                    own.add([key(name)], [value(name)])
                    lost += 1
            own.settle()
            assert all(np.array_equal(own[key(name)], value(name)) for name in names)
        seen.write_text(str(lost))

    assert children(remover, worker, worker) == [0, 0, 0]
    assert int(seen.read_text()) > 10, "rows did vanish and were computed again"


@needs_fork
def test_a_description_written_by_many_is_one_of_theirs(tmp_path: Path) -> None:
    folder = write(tmp_path, "a", 1).parent

    def work(name: str) -> Callable[[], None]:
        def marks() -> None:
            for _ in range(50):
                mark_used(folder, {**DESCRIPTION, "model": name})

        return marks

    names = ["a" * 5, "b" * 5000]
    assert children(*map(work, names)) == [0, 0]
    assert json.loads((folder / "model.json").read_text())["model"] in names
    assert verify(tmp_path).leftovers == ()
