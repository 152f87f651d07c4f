"""The store of log-probs: the first value written wins, and what is torn is never read."""

from __future__ import annotations

import os
import tempfile
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from collimate._checks import BadRun
from collimate.engine import evaluate, store
from collimate.engine.cache import collect
from collimate.engine.evaluate import log_probs, stored_log_probs
from collimate.engine.fingerprint import column_hash, sequence_key
from collimate.engine.model import LogProbModel
from collimate.engine.store import KnownKeys, LogProbStore
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


DAMAGES: dict[str, Callable[[bytes, int, int], bytes]] = {
    "cut": lambda data, at, _: data[:at],
    "one bit": lambda data, at, bit: data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :],
    "never written to the end": lambda data, at, _: data[:at] + bytes(len(data) - at),
    "a part of another file": lambda data, at, _: data[:at] + data[at // 2 :],
    "longer": lambda data, at, bit: data + data[: at + bit + 1],
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A segment of twenty rows."""
    one = LogProbStore(tmp_path_factory.mktemp("whole"), "m")
    one.add(keys(*range(20)), rows(*(-0.5 * name for name in range(20))))
    one.flush()
    (path,) = one.segments
    return path


@pytest.mark.parametrize("damage", DAMAGES)
@settings(max_examples=30)  # each writes files for good
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_whatever_is_torn_is_never_read_and_done_again(
    damage: str, whole: Path, place: float, bit: int
) -> None:
    data = whole.read_bytes()
    changed = DAMAGES[damage](data, int(place * len(data)), bit)
    assume(changed != data)
    with tempfile.TemporaryDirectory() as root:
        torn = Path(root, "log_probs", "m", whole.name)
        torn.parent.mkdir(parents=True)
        torn.write_bytes(changed)
        found = LogProbStore(Path(root), "m")
        assert len(found) == 0
        assert found.torn == [torn]
        found.add(keys(*range(20)), rows(*(-0.5 * name for name in range(20))))
        found.settle()
        again = LogProbStore(Path(root), "m")
        assert [again[key][0] for key in keys(*range(20))] == [-0.5 * n for n in range(20)]


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


def test_where_two_computed_a_row_at_once_both_end_with_the_first_written(tmp_path: Path) -> None:
    one, other = LogProbStore(tmp_path, "m"), LogProbStore(tmp_path, "m")
    one.add(keys(1, 2), rows(-1, -2))
    other.add(keys(2, 3), rows(-5, -3))
    one.settle()
    other.settle()
    late = LogProbStore(tmp_path, "m")
    for found in (other, late):
        assert [found[key][0] for key in keys(2, 3)] == [-2, -3]
    assert [one[key][0] for key in keys(1, 2)] == [-1, -2]
    assert keys(1)[0] not in other, "what was not asked for is not taken in"


def test_a_segment_of_another_version_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as future:
        future.setattr(store, "SCHEMA_VERSION", 99)
        newer = LogProbStore(tmp_path, "m")
        newer.add(keys(1), rows(-1))
        newer.flush()
    found = LogProbStore(tmp_path, "m")
    assert len(found) == 0
    assert found.torn == []
    found.add(keys(1), rows(-2))
    found.flush()
    assert LogProbStore(tmp_path, "m")[keys(1)[0]][0] == -2


class TestMemory:
    def filled(self, folder: Path) -> LogProbStore:
        one = LogProbStore(folder, "m")
        one.add(keys(*range(200)), [np.full(1000, -name, np.float32) for name in range(200)])
        one.flush()
        return one

    def test_only_the_rows_asked_for_are_held(self, tmp_path: Path) -> None:
        self.filled(tmp_path)
        LogProbStore(tmp_path, "m", keys=set(keys(9)))  # what the first call allocates for good
        tracemalloc.start()
        try:
            some = LogProbStore(tmp_path, "m", keys=set(keys(3, 7, 250)))
            held = tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()
        assert len(some) == 2
        assert [some[key][0] for key in keys(3, 7)] == [-3, -7]
        assert keys(4)[0] not in some
        assert 8_000 < held < 50_000, "two rows take 8 kB, the segment 800"

    def test_its_segments_are_those_it_needs(self, tmp_path: Path) -> None:
        for name in (1, 2, 3):
            one = LogProbStore(tmp_path, "m")
            one.add(keys(name), rows(-name))
            one.flush()
        first, second, third = segments(tmp_path)
        assert LogProbStore(tmp_path, "m", keys=keys(2)).segments == {second}
        assert LogProbStore(tmp_path, "m", keys=keys(4)).segments == set()
        writes = LogProbStore(tmp_path, "m", keys=keys(1, 4))
        writes.add(keys(4), rows(-4))
        writes.settle()
        assert writes.segments == {first, segments(tmp_path)[-1]}
        assert third not in writes.segments


@contextmanager
def bound_by_rights() -> Iterator[None]:
    """As a user whom the rights of files bind: root is none."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


@pytest.fixture
def open_to_all() -> Iterator[Path]:
    """A cache with one row, in a place that any user can reach."""
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        one = LogProbStore(Path(place), "m")
        one.add(keys(1), rows(-1))
        one.flush()
        yield Path(place)


def test_a_cache_that_can_only_be_read_serves_what_it_has(open_to_all: Path) -> None:
    (open_to_all / "log_probs" / "m").chmod(0o555)
    with bound_by_rights():
        found = LogProbStore(open_to_all, "m", keys=keys(1, 2))
        assert found[keys(1)[0]][0] == -1
        refused = r"cannot write the reference cache in .*Permission denied"
        with pytest.raises(BadRun, match=refused):
            found.require_writable()
        found.add(keys(2), rows(-2))
        with pytest.raises(BadRun, match=refused):
            found.flush()
        assert found[keys(2)[0]][0] == -2


def test_a_cache_that_may_not_be_read_is_named(open_to_all: Path) -> None:
    (open_to_all / "log_probs" / "m").chmod(0o000)
    with (
        bound_by_rights(),
        pytest.raises(BadRun, match=r"cannot read the reference cache in .*Permission denied"),
    ):
        LogProbStore(open_to_all, "m")


def test_a_segment_that_may_not_be_read_is_left_out(open_to_all: Path) -> None:
    (path,) = segments(open_to_all)
    path.chmod(0o000)
    with bound_by_rights():
        found = LogProbStore(open_to_all, "m")
        known = KnownKeys(open_to_all / "log_probs" / "m")
    assert len(found) == 0
    assert found.torn == [path]
    assert keys(1)[0] not in known


def test_a_segment_that_vanishes_while_it_is_read_is_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (1, 2):
        one = LogProbStore(tmp_path, "m")
        one.add(keys(name), rows(-name))
        one.flush()
    sound = store.segments_in

    def listed_then_removed(folder: Path) -> list[Path]:
        listed = sound(folder)
        collect(tmp_path, max_bytes=0, keep=listed[1:])
        return listed

    monkeypatch.setattr(store, "segments_in", listed_then_removed)
    found = LogProbStore(tmp_path, "m")
    assert keys(1)[0] not in found
    assert found[keys(2)[0]][0] == -2
    assert found.torn == []
    found.add(keys(1), rows(-1))
    found.settle()  # its new segment is the one kept
    assert found[keys(1)[0]][0] == -1
    assert found[keys(2)[0]][0] == -2, "what was read stays in memory"


class TestThroughTheStore:
    EXAMPLES = (*pairs(20), *pairs(3))  # the last three stand twice

    def store(self, folder: Path) -> LogProbStore:
        asked = {sequence_key(example, a) for example in self.EXAMPLES for a in example.answers}
        return LogProbStore(folder, "m", keys=asked)

    def read(self, folder: Path, budget: int = 90) -> tuple[str, int]:
        engine = LogProbModel(model_of("llama", factor=3.0), shared=True)
        (found,), computed = stored_log_probs(
            engine, [self.EXAMPLES], self.store(folder), budget=budget, autocast=nullcontext
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
        stored_log_probs(engine, [self.EXAMPLES], self.store(tmp_path), **named)
        assert sum(seen) == 2 * len(self.EXAMPLES)

    def test_data_sets_are_planned_alone_and_share_their_rows(self, tmp_path: Path) -> None:
        engine = LogProbModel(model_of("llama", factor=3.0), shared=True)
        named = {"budget": 90, "autocast": nullcontext}
        parts = [self.EXAMPLES[:20], self.EXAMPLES[20:], self.EXAMPLES[:1]]
        both, computed = stored_log_probs(engine, parts, self.store(tmp_path / "a"), **named)
        assert computed == 20, "the second and third part repeat rows of the first"
        alone, _ = stored_log_probs(engine, parts[:1], self.store(tmp_path / "b"), **named)
        flat = [[row for answers in part for row in answers] for part in (both[0], alone[0])]
        assert column_hash(flat[0]) == column_hash(flat[1])
        assert list(map(len, both)) == [20, 3, 1]
        assert np.array_equal(both[1][0][0], both[0][0][0])

    def test_another_process_that_was_first_is_followed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Both plan otherwise, so that their own values differ in the last bits."""
        first = self.read(tmp_path / "first", budget=60)[0]
        alone = self.read(tmp_path / "alone")[0]
        assert first != alone
        sound = evaluate._forward

        def overtaken(*given: object) -> object:
            monkeypatch.setattr(evaluate, "_forward", sound)
            assert self.read(tmp_path / "both", budget=60)[0] == first
            return sound(*given)

        monkeypatch.setattr(evaluate, "_forward", overtaken)
        bits, computed = self.read(tmp_path / "both")
        assert computed >= 20, "it had begun before, and computed every row"
        assert bits == first
        assert self.read(tmp_path / "both") == (first, 0)

    def test_a_cache_that_cannot_be_written_is_told_before_the_first_forward(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "file").write_text("not a folder")
        monkeypatch.setattr(evaluate, "_forward", None)
        with pytest.raises(BadRun, match="cannot write the reference cache"):
            self.read(tmp_path / "file")
