"""The table of a run's pairs: what is written is what is read, whatever happened between."""

import json
from pathlib import Path

import numpy as np
import pytest

from collimate._checks import BadRun
from collimate.engine.pair_table import COLUMNS, FIRST, MEASURED, PairTable
from tests.engine.tiny import pairs

EXAMPLES = pairs(6)
LENGTHS = [[len(e.prompt), *(len(a.ids) for a in e.answers)] for e in EXAMPLES]


def begun(folder: Path, limit: int = 100) -> PairTable:
    table = PairTable(folder / "pairs", EXAMPLES, limit=limit)
    table.begin()
    return table


def read(folder: Path) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """The files by the description in docs/run-folder.md alone."""
    folder = folder / "pairs"
    index = json.loads((folder / "index.json").read_text())
    table, ratios, ids = (
        np.load(folder / f"{x}.npy", allow_pickle=False) for x in ("table", "log_ratios", "ids")
    )
    assert table.shape == (index["pairs"], len(index["columns"]))
    return dict(zip(index["columns"], table.T, strict=True)), ratios, ids


def step(number: int, chosen: list[int]) -> tuple[dict[str, np.ndarray], list[np.ndarray]]:
    """Made-up figures and token values of a step."""
    figures = {
        name: 100.0 * number + 10 * k + np.array(chosen, dtype=float)
        for k, name in enumerate((*MEASURED, *FIRST))
    }
    return figures, [np.full(sum(LENGTHS[i][1:]), number + i / 10) for i in chosen]


def test_before_the_first_step_it_holds_ids_and_lengths(tmp_path: Path) -> None:
    begun(tmp_path)
    columns, ratios, ids = read(tmp_path)
    assert list(columns) == list(COLUMNS)
    assert columns["row"].tolist() == [example.row for example in EXAMPLES]
    names = ("prompt_tokens", "chosen_tokens", "rejected_tokens")
    assert np.stack([columns[name] for name in names], axis=1).tolist() == LENGTHS
    assert all(np.isnan(columns[name]).all() for name in (*MEASURED, *FIRST))
    assert np.isnan(ratios).all()
    expected = [np.concatenate([e.prompt, *(a.ids for a in e.answers)]) for e in EXAMPLES]
    assert np.array_equal(ids, np.concatenate(expected))


def test_each_pair_has_the_figures_of_its_last_step_and_the_start_of_its_first(
    tmp_path: Path,
) -> None:
    table = begun(tmp_path)
    table.update(np.array([4, 1]), *step(1, [4, 1]))
    table.update(np.array([1, 5]), *step(2, [1, 5]))
    columns, ratios, _ = read(tmp_path)
    last, first = {4: 1, 1: 2, 5: 2}, {4: 1, 1: 1, 5: 2}
    starts = np.cumsum([0, *(sum(own[1:]) for own in LENGTHS)])
    for i in range(len(EXAMPLES)):
        for k, name in enumerate((*MEASURED, *FIRST)):
            which = (first if name in FIRST else last).get(i, np.nan)
            assert columns[name][i] == pytest.approx(100 * which + 10 * k + i, nan_ok=True)
        own = ratios[starts[i] : starts[i + 1]]
        assert own == pytest.approx(np.full(len(own), last.get(i, np.nan) + i / 10), nan_ok=True)


def test_what_a_step_does_not_know_is_nan(tmp_path: Path) -> None:
    table = begun(tmp_path)
    figures, tokens = step(1, [2])
    table.update(np.array([2]), figures, tokens)
    table.update(np.array([2]), {"loss": np.array([0.5])}, tokens)
    columns, _, _ = read(tmp_path)
    assert columns["loss"][2] == 0.5
    assert np.isnan(columns["ches"][2])
    assert columns[FIRST[0]][2] == figures[FIRST[0]][0]


def test_a_run_that_goes_on_finds_it_as_it_was(tmp_path: Path) -> None:
    begun(tmp_path).update(np.array([0, 3]), *step(1, [0, 3]))
    before = {p.name: p.read_bytes() for p in (tmp_path / "pairs").iterdir()}
    again = begun(tmp_path)
    assert {p.name: p.read_bytes() for p in (tmp_path / "pairs").iterdir()} == before
    again.update(np.array([0, 3]), *step(1, [0, 3]))  # the step that was lost, taken again
    assert {p.name: p.read_bytes() for p in (tmp_path / "pairs").iterdir()} == before
    assert np.array_equal(again.table[:, 1], read(tmp_path)[0]["step"], equal_nan=True)


def test_pairs_beyond_the_limit_are_left_out_and_counted(tmp_path: Path) -> None:
    table = begun(tmp_path, limit=2)
    table.update(np.array([5, 1, 3]), *step(1, [5, 1, 3]))
    columns, ratios, _ = read(tmp_path)
    assert json.loads((tmp_path / "pairs" / "index.json").read_text())["left_out"] == 4
    assert np.flatnonzero(~np.isnan(columns["step"])).tolist() == [1]
    assert len(ratios) == sum(sum(own[1:]) for own in LENGTHS[:2])


def test_what_a_kill_left_half_made_is_begun_anew(tmp_path: Path) -> None:
    begun(tmp_path)
    (tmp_path / "pairs" / "index.json").unlink()  # it is written last
    (tmp_path / "pairs" / "table.npy").write_bytes(b"half")
    begun(tmp_path)
    assert len(read(tmp_path)[0]["row"]) == len(EXAMPLES)


@pytest.mark.parametrize("file", ["index.json", "log_ratios.npy", "table.npy"])
@pytest.mark.parametrize("content", [b"", b"[1, 2"])
def test_damage_is_told_and_not_overwritten(file: str, content: bytes, tmp_path: Path) -> None:
    begun(tmp_path)
    (tmp_path / "pairs" / file).write_bytes(content)
    with pytest.raises(BadRun, match="pairs cannot be gone on with"):
        begun(tmp_path)
    assert (tmp_path / "pairs" / file).read_bytes() == content


def test_the_pairs_of_another_run_are_told(tmp_path: Path) -> None:
    PairTable(tmp_path / "pairs", EXAMPLES[:5], limit=100).begin()
    with pytest.raises(BadRun, match="other pairs"):
        begun(tmp_path)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    table = begun(tmp_path)
    (tmp_path / "pairs" / "log_ratios.npy").unlink()
    with pytest.raises(BadRun, match="pairs"):
        table.update(np.array([0]), *step(1, [0]))
