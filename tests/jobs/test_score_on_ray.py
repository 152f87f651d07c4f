"""Blocks, parts and refusals of `score_on_ray`, its workers in this process; no Ray is started."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest

import collimate
from collimate._checks import BadConfig, BadData, BadModel, BadRun, OutOfMemory
from collimate.cli.main import main
from collimate.data import CharacterTokenizer, stream_data
from collimate.engine.cache import cached_models
from collimate.jobs import _ray, _scorer, prepare, score_on_ray
from collimate.jobs._console import Bar
from collimate.jobs._parts import PartsFolder
from collimate.jobs._ray import Pool, pool_on
from collimate.jobs._scorer import ScoredBlock, Scorer, ScorerSettings, Surveyed
from collimate.jobs.score import line
from collimate.jobs.score_on_ray import ScoreSummary, cut_blocks, parts_beside
from tests.cli.tiny import write_rows
from tests.equivalence.runs import policy, saved, text_pairs, train

ROWS = text_pairs(30)
BLOCK = 8


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return saved(tmp_path / "model")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "pairs.jsonl", ROWS)


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The workers in this process; which blocks they computed."""
    seen: list[int] = []

    def scored(
        blocks: Mapping[int, Path],
        model: Surveyed,
        reference: Surveyed | None,
        settings: ScorerSettings,
        pool: Pool,
    ) -> Iterator[ScoredBlock]:
        assert pool == Pool(workers=1, cores=1, gpus=0)
        scorer = Scorer(model, reference, settings)
        for number in sorted(blocks, reverse=True):  # in no order that anybody may rely on
            seen.append(number)
            yield scorer.score(number, blocks[number].read_bytes())

    def call(function: Callable[[], Any], pool: Pool) -> Any:
        return function()

    def connected(address: str | None) -> AbstractContextManager[None]:
        return nullcontext()

    def machines() -> list[tuple[int, int]]:
        return [(1, 0)]

    for replaced in (scored, call, connected, machines):
        monkeypatch.setattr(_ray, replaced.__name__, replaced)
    monkeypatch.setattr(score_on_ray, "BLOCK_ROWS", BLOCK)
    return seen


def scores(folder: Path, model: Path | str, data: Any, **given: Any) -> ScoreSummary:
    settings: dict[str, Any] = {"device": "cpu", "tokens_per_micro_batch": 96, **given}
    if "out" not in given and "cache" not in given:
        settings["out"] = folder / "s.jsonl"
    return collimate.score_on_ray(model, data, **settings)


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(text) for text in path.read_text(encoding="utf-8").splitlines()]


def require_close(
    found: Sequence[Mapping[str, Any]], expected: Sequence[Mapping[str, Any]]
) -> None:
    """Whole numbers are equal, log-probs to 1e-5."""
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.keys() == other.keys()
        for name, value in one.items():
            exact = name == "row" or name.endswith(("_tokens", "_weights"))
            assert value == (other[name] if exact else pytest.approx(other[name], abs=1e-5)), name


@pytest.mark.parametrize("tokens", [False, True])
def test_every_row_is_that_of_score(
    tokens: bool, model: Path, data: Path, tmp_path: Path, computed: list[int]
) -> None:
    other = saved(tmp_path / "other", seed=9)
    done = scores(tmp_path, model, data, reference=other, tokens=tokens)
    rows = collimate.score(model, data, reference=other, device="cpu")
    require_close(read(tmp_path / "s.jsonl"), [line(row, tokens=tokens) for row in rows])
    assert done == ScoreSummary(out=tmp_path / "s.jsonl", rows=30, left_out={}, blocks=4, kept=0)
    assert sorted(computed) == [0, 1, 2, 3]
    assert not parts_beside(tmp_path / "s.jsonl").exists()


def test_within_one_block_the_bits_are_those_of_score(
    model: Path, data: Path, tmp_path: Path, computed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(score_on_ray, "BLOCK_ROWS", 30)
    scores(tmp_path, model, data, tokens=True)
    rows = collimate.score(model, data, device="cpu", tokens_per_micro_batch=96)
    assert read(tmp_path / "s.jsonl") == [line(row, tokens=True) for row in rows]


def test_conversations_keep_their_weights(model: Path, tmp_path: Path, computed: list[int]) -> None:
    from transformers import AutoTokenizer

    tokens = AutoTokenizer.from_pretrained(model)
    tokens.chat_template = "{% for m in messages %}{{ m.content + ' ' }}{% endfor %}"
    tokens.save_pretrained(model)

    def says(role: str, content: str) -> dict[str, str]:
        return {"role": role, "content": content}

    turns = [says("assistant", "w1 w2"), says("user", "w3"), says("assistant", "w4")]
    row = {"prompt": [says("user", "w5")], "chosen": turns, "rejected": [says("assistant", "w6")]}
    scores(tmp_path, model, [row, row], tokens=True)
    expected = [line(row, tokens=True) for row in collimate.score(model, [row, row], device="cpu")]
    assert min(expected[0]["chosen_weights"]) == 0
    require_close(read(tmp_path / "s.jsonl"), expected)


# Bad rows


def mixed() -> list[dict[str, str]]:
    """Good rows with bad ones at 5, 17 and the end."""
    bad = {**ROWS[0], "chosen": ""}
    return [*ROWS[:5], bad, *ROWS[5:16], {"prompt": "w1"}, *ROWS[16:], bad]  # type: ignore[list-item]


def test_bad_rows_are_left_out_recorded_and_counted_as_by_score(
    model: Path, tmp_path: Path, computed: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_rows(tmp_path / "mixed.jsonl", mixed())
    given: dict[str, Any] = {"on_bad_row": "skip", "max_answer": 8, "truncate_answers": True}
    rows = collimate.score(model, data, bad_rows=tmp_path / "a", device="cpu", **given)
    told = capsys.readouterr().err
    done = scores(tmp_path, model, data, bad_rows=tmp_path / "b", **given)
    assert capsys.readouterr().err == told
    assert "2 rows left out: empty answer" in told
    assert "answers truncated" in told
    assert (tmp_path / "b").read_bytes() == (tmp_path / "a").read_bytes()
    assert [row["row"] for row in read(tmp_path / "b")] == [5, 17, 32]
    require_close(read(tmp_path / "s.jsonl"), [line(row, tokens=False) for row in rows])
    assert done.left_out == {"empty answer": 2, "missing field": 1}
    (tmp_path / "b").write_text("of another data set")
    scores(tmp_path, model, ROWS, out=tmp_path / "t.jsonl", bad_rows=tmp_path / "b")
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("rows", "words"),
    [(mixed(), "row 5"), ([], "empty"), ([{**ROWS[0], "weight": 0}], "weight above 0")],
    ids=["a bad row", "no row", "no weight"],
)
def test_what_score_refuses_is_refused_alike_and_leaves_nothing(
    rows: list[Any], words: str, model: Path, tmp_path: Path, computed: list[int]
) -> None:
    with pytest.raises(BadData, match=words) as expected:
        collimate.score(model, rows, device="cpu")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(type(expected.value)) as found:
        scores(tmp_path, model, rows)
    assert str(found.value) == str(expected.value)
    assert sorted(tmp_path.rglob("*")) == before
    assert computed == []


def test_only_bad_rows_is_an_error_at_the_end(
    model: Path, tmp_path: Path, computed: list[int]
) -> None:
    rows = [{"prompt": "w1"}] * 3
    with pytest.raises(BadData, match="got 3 bad ones") as expected:
        collimate.score(model, rows, device="cpu", on_bad_row="skip")
    with pytest.raises(BadData) as found:
        scores(tmp_path, model, rows, on_bad_row="skip")
    assert str(found.value) == str(expected.value)


def test_a_log_prob_that_is_not_finite_is_named_with_its_row(
    model: Path, data: Path, tmp_path: Path, computed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = _scorer.log_probs

    def spoilt(*given: Any, **named: Any) -> Any:
        rows = sound(*given, **named)
        rows[3][1][0] = float("nan")
        return rows

    monkeypatch.setattr(_scorer, "log_probs", spoilt)
    with pytest.raises(BadModel, match=r"row 27: .* not finite"):  # the last block comes first
        scores(tmp_path, model, data)


# Going on


class Killed(Exception):
    """In place of SIGKILL: nothing that the job could do on the way out depends on its type."""


def stop_after(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver dies when so many blocks are done."""
    sound = _ray.scored

    def scored(*given: Any) -> Iterator[ScoredBlock]:
        for number, block in enumerate(sound(*given)):
            if number == count:
                raise Killed
            yield block

    monkeypatch.setattr(_ray, "scored", scored)


@pytest.fixture
def half(model: Path, data: Path, tmp_path: Path, computed: list[int]) -> Iterator[Path]:
    """A command that died with blocks 3 and 2 done."""
    with pytest.MonkeyPatch.context() as patch:
        stop_after(2, patch)
        with pytest.raises(Killed):
            scores(tmp_path, model, data)
    assert computed == [3, 2, 1]
    computed.clear()
    assert not (tmp_path / "s.jsonl").exists()
    return parts_beside(tmp_path / "s.jsonl")


def test_the_same_command_goes_on_to_the_same_bytes(
    half: Path, model: Path, data: Path, tmp_path: Path, computed: list[int]
) -> None:
    done = scores(tmp_path, model, data)
    assert computed == [1, 0]
    assert done.kept == 2
    assert not half.exists()
    scores(tmp_path, model, data, out=tmp_path / "whole.jsonl")
    assert (tmp_path / "s.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def test_memory_settings_may_change_on_the_way(
    half: Path, model: Path, data: Path, tmp_path: Path, computed: list[int]
) -> None:
    scores(tmp_path, model, data, tokens_per_micro_batch=30)
    assert computed == [1, 0]
    rows = collimate.score(model, data, device="cpu")
    require_close(read(tmp_path / "s.jsonl"), [line(row, tokens=False) for row in rows])


@pytest.mark.parametrize(
    ("changed", "differs"),
    [
        ({"model": 1}, "model"),
        ({"data": ROWS[:-1]}, "data"),
        ({"data": [*ROWS[1:], ROWS[0]]}, "data"),
        ({"tokens": True}, "tokens"),
        ({"reference": 2}, "reference"),
        ({"max_prompt": 3}, "data"),
    ],
    ids=["model", "fewer rows", "another order", "tokens", "reference", "shorter prompts"],
)
def test_parts_of_another_scoring_are_refused_unless_forced(
    changed: dict[str, Any],
    differs: str,
    half: Path,
    model: Path,
    data: Path,
    tmp_path: Path,
    computed: list[int],
) -> None:
    given = {"model": model, "data": data, **changed}
    for name in ("model", "reference"):
        if isinstance(given.get(name), int):
            given[name] = saved(tmp_path / f"other{given[name]}", seed=given[name])
    with pytest.raises(BadRun, match=f"another scoring: {differs} differ; .*--force"):
        scores(tmp_path, **given)
    assert computed == []
    assert len(list((half / "parts").iterdir())) == 2
    scores(tmp_path, **given, force=True)
    assert len(computed) == 4


def test_a_refused_command_does_not_spoil_the_one_that_goes_on(
    half: Path, model: Path, data: Path, tmp_path: Path, computed: list[int]
) -> None:
    with pytest.raises(BadRun):
        scores(tmp_path, model, ROWS[:12])
    with pytest.raises(BadData):
        scores(tmp_path, model, mixed())
    scores(tmp_path, model, data)
    assert computed == [1, 0]
    rows = collimate.score(model, data, device="cpu")
    require_close(read(tmp_path / "s.jsonl"), [line(row, tokens=False) for row in rows])


def test_a_file_that_is_there_is_replaced_by_force_only(
    model: Path, data: Path, tmp_path: Path, computed: list[int]
) -> None:
    (tmp_path / "s.jsonl").write_text("mine")
    with pytest.raises(BadConfig, match="exists"):
        scores(tmp_path, model, data)
    assert (tmp_path / "s.jsonl").read_text() == "mine"
    scores(tmp_path, model, data, force=True)
    assert len(read(tmp_path / "s.jsonl")) == 30


# The cache


@pytest.fixture
def no_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine fails where training would compute a reference."""

    def refuse(*given: Any, **named: Any) -> Any:
        raise AssertionError("a reference was computed")

    from collimate.engine import evaluate
    from collimate.jobs import reference

    sound = prepare.reference_columns

    def columns(*given: Any) -> Any:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(evaluate, "_forward", refuse)
            patch.setattr(reference, "check_layout", refuse)
            return sound(*given)

    monkeypatch.setattr(prepare, "reference_columns", columns)


@pytest.mark.parametrize("engine", ["local", "ray"])
@pytest.mark.parametrize("as_policy", [True, False])
def test_training_finds_what_was_filled(
    engine: str,
    as_policy: bool,
    model: Path,
    data: Path,
    tmp_path: Path,
    computed: list[int],
    no_reference: None,
) -> None:
    cache = tmp_path / "cache"
    if engine == "ray":
        done = scores(tmp_path, model, data, cache=cache)
        assert (done.out, done.rows) == (None, 30)
    else:
        collimate.score(model, data, cache=cache, device="cpu")
    given = {"model": model} if as_policy else {"reference": model}
    run = train(tmp_path / "run", data=data, cache=cache, max_steps=2, **given)
    assert run.record["reference"]["computed"] == 0
    (known,) = cached_models(cache)
    assert known.description["model"] == str(model)
    assert sorted(path.name for path in cache.iterdir()) == ["log_probs"]


def test_the_command_that_fills_the_cache_says_where_it_is(
    model: Path, data: Path, tmp_path: Path, computed: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["score", "--engine", "ray", "--model", str(model), "--data", str(data)]
    assert (
        main([*words, "--device", "cpu", "--fill-cache", "--cache", str(tmp_path / "cache")]) == 0
    )
    assert capsys.readouterr().out == f"{tmp_path / 'cache'}\n"
    assert sorted(computed) == [0, 1, 2, 3]
    assert cached_models(tmp_path / "cache")


def test_what_the_cache_holds_is_not_computed_again(
    model: Path, data: Path, tmp_path: Path, computed: list[int]
) -> None:
    given: dict[str, Any] = {"cache": tmp_path / "cache"}
    scores(tmp_path, model, data, **given)
    (before,) = cached_models(tmp_path / "cache")
    computed.clear()
    assert scores(tmp_path, model, data, **given).kept == 4
    more = write_rows(tmp_path / "more.jsonl", [*ROWS, *text_pairs(10, seed=3)])
    assert scores(tmp_path, model, more, **given).kept == 3
    assert computed == [4, 3]
    computed.clear()
    both = scores(tmp_path, model, data, **given, out=tmp_path / "s.jsonl")
    assert (both.rows, both.kept) == (30, 0)
    assert len(read(tmp_path / "s.jsonl")) == 30
    (after,) = cached_models(tmp_path / "cache")
    assert after.rows < before.rows + 2 * 16 + 1, "what was there was not added again"


def test_filling_goes_on_where_it_was_killed(
    model: Path, data: Path, tmp_path: Path, computed: list[int], no_reference: None
) -> None:
    given: dict[str, Any] = {"cache": tmp_path / "cache"}
    with pytest.MonkeyPatch.context() as patch:
        stop_after(2, patch)
        with pytest.raises(Killed):
            scores(tmp_path, model, data, **given)
    computed.clear()
    assert scores(tmp_path, model, data, **given).kept == 2
    assert computed == [1, 0]
    train(tmp_path / "run", model=model, data=data, max_steps=1, **given)


def test_local_scores_through_the_cache_are_the_scores(
    model: Path, data: Path, tmp_path: Path
) -> None:
    plain = collimate.score(model, data, device="cpu")
    for _ in range(2):  # cold and warm
        rows = collimate.score(model, data, device="cpu", cache=tmp_path / "cache")
        for one, other in zip(rows, plain, strict=True):
            assert line(one, tokens=True) == line(other, tokens=True)


# Cutting


def encoded(count: int) -> Iterator[Any]:
    return stream_data(
        ({"prompt": f"{i}?", "chosen": "yes", "rejected": "no"} for i in range(count)),
        CharacterTokenizer(),
    )


@pytest.fixture
def parts(tmp_path: Path) -> PartsFolder:
    folder = PartsFolder(tmp_path / "parts")
    folder.begin()
    return folder


@pytest.mark.parametrize(("count", "rows"), [(1, [1]), (4, [4]), (5, [4, 1]), (8, [4, 4])])
def test_blocks_are_cut_by_rows(count: int, rows: list[int], parts: PartsFolder) -> None:
    cut = cut_blocks(encoded(count), parts, bar=Bar(None, None), block_rows=4)
    assert cut.rows == rows
    assert [parts.block(number).exists() for number in range(3)] == [
        number < len(rows) for number in range(3)
    ]
    again = cut_blocks(encoded(count), parts, bar=Bar(None, None), block_rows=4)
    assert again.hash == cut.hash
    assert cut_blocks(encoded(9), parts, bar=Bar(None, None), block_rows=4).hash != cut.hash


def test_blocks_of_long_rows_are_shorter(
    parts: PartsFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, *_ = encoded(1)
    monkeypatch.setattr(score_on_ray, "BLOCK_TOKENS", 2 * first.example.tokens)
    cut = cut_blocks(encoded(5), parts, bar=Bar(None, None), block_rows=4)
    assert cut.rows == [2, 2, 1]
    assert cut.longest == first.example.tokens
    monkeypatch.setattr(score_on_ray, "BLOCK_TOKENS", 1)
    assert cut_blocks(encoded(3), parts, bar=Bar(None, None)).rows == [1, 1, 1]


def test_the_driver_holds_one_block(parts: PartsFolder) -> None:
    """What has been cut has been let go of: of a thousand examples at most two blocks live at once."""
    from collimate._types import Example

    most = 0

    def watched() -> Iterator[Any]:
        nonlocal most
        for number, entry in enumerate(encoded(1000)):
            if number % 250 == 249:
                gc.collect()
                # the data layer tokenises 256 rows at a time
                most = max(most, sum(type(one) is Example for one in gc.get_objects()))
            yield entry

    cut_blocks(watched(), parts, bar=Bar(None, None), block_rows=16)
    assert 0 < most <= 256 + 2 * 16


# Sharing out


@pytest.mark.parametrize(
    ("machines", "workers", "device", "expected"),
    [
        ([(2, 0)], None, "auto", (1, 2, 0)),
        ([(2, 0)], 2, "auto", (2, 1, 0)),
        ([(8, 0), (8, 0)], None, "auto", (2, 8, 0)),
        ([(8, 0), (8, 0)], 3, "auto", (3, 4, 0)),  # 16 // 3 = 5 would fit only two
        ([(8, 2)], None, "auto", (2, 4, 1)),
        ([(8, 2)], None, "cpu", (1, 8, 0)),
        ([(64, 0), (8, 2)], None, "auto", (2, 4, 1)),  # the head without a GPU takes no worker
        ([(8, 2)], 1, "cuda", (1, 8, 1)),
        ([(0, 0), (8, 0), (8, 0)], None, "auto", (2, 8, 0)),  # a head that takes no work
    ],
)
def test_cores_and_gpus_are_shared_out(
    machines: list[tuple[int, int]], workers: int | None, device: str, expected: tuple[int, ...]
) -> None:
    pool = pool_on(machines, workers=workers, device=device)
    assert (pool.workers, pool.cores, pool.gpus) == expected


@pytest.mark.parametrize(
    ("machines", "workers", "device", "words"),
    [
        ([(2, 0)], 3, "auto", "at most the cores that Ray sees, 2, got 3"),
        ([(8, 2)], 3, "auto", "at most the GPUs that Ray sees, 2, got 3"),
        ([(8, 0)], None, "cuda", "Ray sees no GPU"),
        ([(0, 0)], None, "auto", "Ray sees no core"),
    ],
)
def test_more_than_there_is_cannot_be_shared_out(
    machines: list[tuple[int, int]], workers: int | None, device: str, words: str
) -> None:
    with pytest.raises(BadConfig, match=words):
        pool_on(machines, workers=workers, device=device)


# Refusals


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"out": None}, "a place for what it finds"),
        ({"workers": 0}, "at least 1"),
        ({"address": "ray://somewhere:10001"}, "host:port"),
        ({"reference": "other", "cache": "cache"}, "one model"),
        ({"learning_rate": 1.0}, "unknown setting 'learning_rate'"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_starts(
    given: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(BadConfig, match=words):
        collimate.score_on_ray("model", ROWS, **{"out": tmp_path / "s.jsonl", **given})
    assert list(tmp_path.iterdir()) == []


def test_another_model_under_the_same_path_is_noticed_by_the_worker(
    model: Path, data: Path, tmp_path: Path, computed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = _ray.scored

    def scored(*given: Any) -> Iterator[ScoredBlock]:
        policy(seed=5).save_pretrained(model)
        return sound(*given)

    monkeypatch.setattr(_ray, "scored", scored)
    with pytest.raises(BadModel, match="is not the model"):
        scores(tmp_path, model, data)


@pytest.mark.parametrize("error", [BadModel("m"), OutOfMemory("o"), BadRun("r")])
def test_an_error_of_a_worker_is_said_as_if_it_were_ours(error: Exception) -> None:
    class FromAfar(Exception):
        cause = error

    with pytest.raises(type(error)) as found, _ray._own_errors():
        raise RuntimeError("of the library") from FromAfar("wrapped")
    assert found.value is error
