"""Sentences follow from numbers."""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from collimate import methods, report
from collimate.compose import Objective, Part
from collimate.jobs.record import describe_objective
from collimate.report import RunRecord, summary_lines
from collimate.report._displacement import Displacement, displacement, sentences
from collimate.report._record import Evaluation
from collimate.report._summary import _tiles
from collimate.report._verdict import verdict
from tests.report.example_run import evaluation, frontier, make_run


def record(folder: Path, **changes: Any) -> RunRecord:
    return report.load(make_run(folder / "run", steps=60, **changes))


def before_after(before: Any, after: Any) -> dict[str, Any]:
    return {"before": before, "after": after}


def test_the_verdict_of_an_ordinary_run(tmp_path: Path) -> None:
    assert verdict(record(tmp_path)) == (
        "Held-out likelihood accuracy went from 0.52 [0.49, 0.55] to 0.57 [0.54, 0.60]; "
        "the two 95 % intervals overlap, so these 1,000 pairs alone do not settle it.",
        "Implicit-reward accuracy is 0.63 [0.60, 0.66], above the 0.5 of chance.",
        "On held-out pairs, the chosen answers lost 3.1 nats on average while the rejected lost "
        "7.8: both fell, the gap grew by 4.7.",
        "This is usual for DPO, whose loss sees only the gap; the mass went to other answers.",
    )


OF_THE_GAP = {
    *("dpo", "f_dpo", "f_dpo_js", "cdpo", "rdpo", "ipo", "hinge_norm"),
    *("chi_po", "discopop", "exo_pair", "odpo", "r_dpo", "tr_dpo"),
}


@pytest.mark.parametrize("name", sorted(methods.__all__))
def test_a_fall_of_both_is_usual_for_a_loss_of_the_gap(tmp_path: Path, name: str) -> None:
    method = describe_objective(Objective.of(getattr(methods, name)()))
    usual = f"This is usual for {name.upper()}, whose loss sees only the gap"
    opening = usual if name in OF_THE_GAP else "This is common"
    said = verdict(record(tmp_path, method=method))[-1]
    assert said == f"{opening}; the mass went to other answers."


def test_a_loss_of_the_gap_among_others_is_none(tmp_path: Path) -> None:
    own = methods.dpo()
    part = Part(source=own.distribution, method=own)
    for method in (
        describe_objective(Objective(name="dpo", parts=(part, part))),
        {"name": "dpo", "margin": "log_ratio_gap"},  # an older run, which does not say
    ):
        said = verdict(record(tmp_path, method=method))[-1]
        assert said == "This is common; the mass went to other answers."


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (0.50, 0.60, "the two 95 % intervals do not overlap: a clear gain."),
        (0.60, 0.50, "the two 95 % intervals do not overlap: a clear loss."),
        (0.50, 0.56, "the two 95 % intervals overlap"),  # they touch at 0.53
    ],
)
def test_intervals_are_compared(tmp_path: Path, old: float, new: float, said: str) -> None:
    pair = before_after(evaluation(old, 0.5, 0.0, 0.0), evaluation(new, 0.5, -1.0, -2.0))
    assert said in verdict(record(tmp_path, evaluation=pair))[0]


@pytest.mark.parametrize(
    ("reward", "said"),
    [(0.6, ", above the 0.5 of chance"), (0.4, ", below"), (0.51, ", not distinguishable from")],
)
def test_reward_accuracy_is_compared_with_chance(tmp_path: Path, reward: float, said: str) -> None:
    after = evaluation(0.5, reward, -1.0, -2.0)
    assert said in verdict(record(tmp_path, evaluation=before_after(None, after)))[1]


@pytest.mark.parametrize(
    ("chosen", "rejected", "said"),
    [
        (-3.1, -7.8, "both fell, the gap grew by 4.7."),
        (-7.8, -3.1, "the gap shrank by 4.7, which is the wrong way."),
        (2.0, 1.0, "gained 2.0 nats on average while the rejected gained 1.0: both rose, the gap"),
        (2.0, -1.0, "gained 2.0 nats on average while the rejected lost 1.0: the gap grew by 3.0."),
        (-2.0, 1.0, "the gap shrank by 3.0, which is the wrong way."),
        (0.01, -0.02, "hardly moved: training hardly moved these answers."),
        (-0.01, -2.0, "the chosen answers hardly moved on average while the rejected lost 2.0"),
        (-1.0, -1.01, "both fell, the gap did not change."),
    ],
)
def test_displacement_in_words(chosen: float, rejected: float, said: str) -> None:
    found = Displacement(chosen=chosen, rejected=rejected, over="held-out pairs")
    assert said in sentences(found)[0]


def test_displacement_is_the_change_of_held_out_log_probs(tmp_path: Path) -> None:
    found = displacement(record(tmp_path))
    assert found is not None
    assert (found.chosen, found.rejected) == pytest.approx((-3.1, -7.8))
    assert found.over == "held-out pairs"


def test_displacement_without_an_evaluation_comes_from_the_last_steps(tmp_path: Path) -> None:
    lines = [
        {"step": step, "log_ratio_chosen": -step, "log_ratio_rejected": -2 * step}
        for step in range(1, 21)
    ]
    found = displacement(record(tmp_path, metrics=lines, evaluation=before_after(None, None)))
    assert found is not None
    assert (found.chosen, found.rejected) == (-18.0, -36.0)  # the means of steps 16 to 20
    assert found.over == "the training pairs of the last 5 logged steps"


OTHER = {"is_policy": False}  # the reference is another model, so log-ratios begin anywhere


def test_displacement_against_another_model_is_the_change_of_held_out_log_probs(
    tmp_path: Path,
) -> None:
    pair = before_after(evaluation(0.5, 0.5, 20.0, 25.0), evaluation(0.5, 0.5, 16.9, 17.2))
    found = displacement(record(tmp_path, evaluation=pair, reference=OTHER))
    assert found is not None
    assert (found.chosen, found.rejected) == pytest.approx((-3.1, -7.8))
    assert found.over == "held-out pairs"


@pytest.mark.parametrize("after", [None, evaluation(0.5, 0.5, 16.9, 17.2)])
def test_displacement_against_another_model_is_never_a_bare_log_ratio(
    tmp_path: Path, after: Any
) -> None:
    lines = [
        {"step": step, "log_ratio_chosen": 20 - step, "log_ratio_rejected": 25 - 2 * step}
        for step in range(1, 21)
    ]
    pair = before_after(None, after)
    found = displacement(record(tmp_path, metrics=lines, evaluation=pair, reference=OTHER))
    assert found is not None
    assert (found.chosen, found.rejected) == (-17.0, -34.0)  # steps 16 to 20, less step 1
    assert found.over == (
        "the training pairs of the last 5 logged steps, against those of the first"
    )


@pytest.mark.parametrize("steps", [1, 2])
def test_one_step_against_another_model_says_nothing(tmp_path: Path, steps: int) -> None:
    lines = [
        {"step": step, "log_ratio_chosen": 20 - step, "log_ratio_rejected": 25 - 2 * step}
        for step in range(1, steps + 1)
    ]
    nothing = before_after(None, None)
    run = record(tmp_path, metrics=lines, evaluation=nothing, reference=OTHER)
    found = displacement(run)
    if steps == 1:
        assert found is None
        assert summary_lines(run)[1] == (
            "nothing logged says how the chosen and rejected answers moved"
        )
    else:
        assert found is not None
        assert (found.chosen, found.rejected) == (-1.0, -2.0)
        assert (
            found.over == "the training pairs of the last logged step, against those of the first"
        )


def test_only_a_loss_that_sees_the_gap_alone_is_said_to(tmp_path: Path) -> None:
    run = record(tmp_path)
    assert run.method is not None
    other = replace(run, method=replace(run.method, name="rpo", margin="gap_with_sft"))
    assert "This is common; the mass went to other answers." in verdict(other)


def test_the_frontier_has_a_sentence(tmp_path: Path) -> None:
    assert verdict(record(tmp_path, frontier=frontier()))[-1] == (
        "Share of the exact frontier's gain at the same KL: dpo 0.94 (0.31 % of mass outside); "
        "f_dpo, Jensen-Shannon 0.91 (0.44 % of mass outside); "
        "f_dpo, forward KL 0.88 (0.79 % of mass outside)."
    )


@pytest.mark.parametrize(
    ("changes", "first"),
    [
        ({"status": "failed", "error": "disk full"}, "The run failed after 60 steps: disk full."),
        ({"status": "failed", "error": None}, "The run failed after 60 steps: it did not say why."),
        ({"status": "stopped"}, "The run was stopped after 60 steps and can be resumed."),
        ({"status": "running"}, "The run is still going, with 60 steps done: read what follows as"),
    ],
)
def test_a_run_that_did_not_finish_says_so_first(
    tmp_path: Path, changes: dict[str, Any], first: str
) -> None:
    assert verdict(record(tmp_path, **changes))[0].startswith(first)


@pytest.mark.parametrize("status", ["running", "finished", "stopped", "failed"])
@pytest.mark.parametrize("world", [None, frontier()])
@pytest.mark.parametrize("before", [None, evaluation(0.5, 0.5, 0.0, 0.0)])
@pytest.mark.parametrize("after", [None, evaluation(0.6, 0.6, -1.0, -2.0)])
@pytest.mark.parametrize("metrics", [[], None])
def test_two_to_five_sentences_whatever_is_missing(
    tmp_path: Path, status: str, world: Any, before: Any, after: Any, metrics: Any
) -> None:
    pair = before_after(before, after)
    run = record(tmp_path, status=status, frontier=world, evaluation=pair, metrics=metrics)
    assert 2 <= len(verdict(run)) <= 5
    assert 2 <= len(summary_lines(run)) <= 3


def test_the_terminal_summary_is_two_ascii_lines(tmp_path: Path) -> None:
    assert summary_lines(record(tmp_path)) == [
        "run: finished, dpo, 60 steps, 8 min 32 s; held-out likelihood accuracy "
        "0.52 [0.49, 0.55] -> 0.57 [0.54, 0.60], reward accuracy 0.63 [0.60, 0.66], 1,000 pairs",
        "chosen -3.1 nats, rejected -7.8 nats on held-out pairs: both fell, the gap grew",
    ]


def test_a_failed_run_has_its_error_as_third_line(tmp_path: Path) -> None:
    run = record(tmp_path, status="failed", error="step 3:\nthe loss is nan")
    assert summary_lines(run)[2] == "error: the loss is nan"


def test_a_name_cannot_drive_the_terminal(tmp_path: Path) -> None:
    text = "\n".join(summary_lines(record(tmp_path, name="a\x1b[2J\u202eb")))
    assert text.startswith("a [2J b: finished")
    assert "\x1b" not in text


def test_answers_judged_alone_have_no_likelihood_accuracy_to_speak_of() -> None:
    """Of thumbs nothing says which of two answers is the better one."""
    unknown = dict.fromkeys(field.name for field in fields(Evaluation))
    known = {"rows": 40, "reward_accuracy": 0.95, "reward_accuracy_interval": (0.88, 1.0)}
    alone = Evaluation(**{**unknown, **known})
    record = RunRecord(
        folder=Path("one"), name="one", status="finished", steps=3, before=alone, after=alone
    )
    said = verdict(record)
    assert said[0] == "Implicit-reward accuracy is 0.95 [0.88, 1.00], above the 0.5 of chance."
    assert "likelihood" not in " ".join(said)
    assert "held-out reward accuracy 0.95 [0.88, 1.00], 40 rows" in summary_lines(record)[0]
    assert [tile.label for tile in _tiles(record)] == ["Held-out reward accuracy"]
