"""What a run writes of its pairs, against the plain computation of the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import PreTrainedTokenizerFast

import collimate
from collimate import methods, report
from collimate.diagnostics import ches_score, ches_score_length_normalised
from tests.equivalence.runs import policy, sums, text_pairs, train, word_tokenizer

ROWS = [{**row, "gold": row["chosen"]} for row in text_pairs(12)]
STILL = 1e-12  # a learning rate that leaves the policy where it is
METHODS = {
    name: getattr(methods, name)()
    for name in ("beta_dpo", "cpo", "dpo", "ipo", "simpo", "tdpo", "tpo", "tr_dpo")
}


def pairs_of(run: collimate.Run | Path) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    folder = (run if isinstance(run, Path) else run.folder) / "pairs"
    index = json.loads((folder / "index.json").read_text())
    table, ratios, ids = (np.load(folder / f"{x}.npy") for x in ("table", "log_ratios", "ids"))
    return dict(zip(index["columns"], table.T, strict=True)), ratios, ids


def plain_ches(model: Any) -> tuple[np.ndarray, np.ndarray]:
    """Both scores of each row, from padded rows of hidden states and masks."""
    tokens = word_tokenizer()
    hidden: dict[str, list[torch.Tensor]] = {"chosen": [], "rejected": []}
    masks: dict[str, list[torch.Tensor]] = {"chosen": [], "rejected": []}
    for row in ROWS:
        prompt = tokens(row["prompt"], add_special_tokens=False)["input_ids"]
        for side in hidden:
            answer = [*tokens(row[side], add_special_tokens=False)["input_ids"], 2]
            with torch.no_grad():
                read = model(
                    input_ids=torch.tensor([[*prompt, *answer]]), output_hidden_states=True
                )
            place = torch.arange(len(prompt) + len(answer))
            hidden[side].append(read.hidden_states[-1][0].double())
            masks[side].append((place >= len(prompt) - 1) & (place < len(place) - 1))
    padded = {
        side: torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=7.0)
        for side, rows in hidden.items()
    }
    where = {s: torch.nn.utils.rnn.pad_sequence(m, batch_first=True) for s, m in masks.items()}
    named = {"chosen_mask": where["chosen"], "rejected_mask": where["rejected"]}
    return tuple(
        score(padded["chosen"], padded["rejected"], **named).numpy()
        for score in (ches_score, ches_score_length_normalised)
    )


@pytest.mark.parametrize("name", METHODS)
def test_the_figures_of_a_policy_that_stays_are_those_of_its_start(
    name: str, tmp_path: Path
) -> None:
    method, model = METHODS[name], policy()
    chosen, rejected = sums(model, ROWS)
    ches, normalised = plain_ches(model)
    settings = {"max_steps": 3, "batch_size": 4, "learning_rate": STILL}
    run = train(tmp_path / "run", model=model, data=ROWS, method=method, **settings)
    found, ratios, ids = pairs_of(run)
    assert found["row"].tolist() == list(range(len(ROWS)))
    assert sorted(found["step"]) == [1] * 4 + [2] * 4 + [3] * 4
    for side, expected in (("chosen", chosen), ("rejected", rejected)):
        assert found[f"log_prob_{side}"] == pytest.approx(expected, abs=1e-4)
        assert found[f"start_log_prob_{side}"] == pytest.approx(expected, abs=1e-4)
        if method.needs.reference:
            assert found[f"log_ratio_{side}"] == pytest.approx(np.zeros(len(ROWS)), abs=1e-4)
        else:
            assert np.isnan(found[f"log_ratio_{side}"]).all()
    assert found["ches"] == pytest.approx(ches, abs=1e-5 * abs(ches).max())
    tolerance = 1e-5 * abs(normalised).max()
    assert found["ches_length_normalised"] == pytest.approx(normalised, abs=tolerance)
    assert found["loss"].mean() == pytest.approx(
        np.mean([line["loss"] for line in run.metrics]), rel=1e-6
    )
    text = word_tokenizer().decode(ids[: int(found["prompt_tokens"][0])])
    assert text == ROWS[0]["prompt"]
    lengths = (found["chosen_tokens"] + found["rejected_tokens"]).astype(int)
    whole = np.add.reduceat(ratios, np.cumsum([0, *lengths[:-1]]))
    wanted = np.zeros(len(ROWS)) if method.needs.reference else chosen + rejected
    assert whole == pytest.approx(wanted, abs=2e-4)


def test_figures_follow_the_policy_and_the_start_stays(tmp_path: Path) -> None:
    model = policy()
    before = sums(model, ROWS)
    run = train(tmp_path / "run", model=model, data=ROWS, batch_size=12, max_steps=5)
    found, ratios, _ = pairs_of(run)
    assert (found["step"] == 5).all()
    assert found["start_log_prob_chosen"] == pytest.approx(before[0], abs=1e-4)
    moved = found["log_prob_chosen"] - found["start_log_prob_chosen"]
    assert found["log_ratio_chosen"] == pytest.approx(moved, abs=1e-4)
    assert abs(moved).max() > 0.05
    gap = found["log_ratio_chosen"] - found["log_ratio_rejected"]
    assert found["margin"] == pytest.approx(0.1 * gap, abs=1e-6)
    assert found["loss"] == pytest.approx(np.log1p(np.exp(-0.1 * gap)), abs=1e-6)
    assert run.metrics[-1]["loss"] == pytest.approx(found["loss"].mean(), rel=1e-6)
    assert ratios.sum() == pytest.approx(
        (found["log_ratio_chosen"] + found["log_ratio_rejected"]).sum(), abs=1e-4
    )
    read = report.load_pairs(run.folder)
    assert read is not None
    assert all(np.array_equal(read.column(name), column) for name, column in found.items())
    assert read.column("displacement") == pytest.approx(moved)
    assert np.array_equal(
        np.concatenate(read.log_ratios(0)),
        ratios[: int(found["chosen_tokens"][0] + found["rejected_tokens"][0])],
    )
    tokenizer = PreTrainedTokenizerFast.from_pretrained(run.folder / "tokenizer")
    assert tokenizer.get_vocab() == word_tokenizer().get_vocab()


def test_none_are_recorded_where_none_were_asked_for_or_there_are_none(tmp_path: Path) -> None:
    run = train(tmp_path / "a", data=ROWS, max_steps=1, recorded_pairs=0)
    assert not (run.folder / "pairs").exists()
    thumbs = [{"prompt": r["prompt"], "completion": r["chosen"], "label": True} for r in ROWS]
    thumbs += [{"prompt": r["prompt"], "completion": r["rejected"], "label": False} for r in ROWS]
    run = train(tmp_path / "b", data=thumbs, max_steps=1, method="kto")
    assert not (run.folder / "pairs").exists()
