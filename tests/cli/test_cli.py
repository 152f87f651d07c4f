"""The commands on good input."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from dataclasses import fields
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from collimate import methods
from collimate.cli.main import COMMANDS
from collimate.explanations import explanation
from tests.cli.conftest import Collimate, train_arguments
from tests.cli.tiny import CHATML, pairs, save_tiny, write_rows


def record(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "run.json").read_text(encoding="utf-8"))


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


# Help and version


def test_help_lists_every_command(collimate: Collimate) -> None:
    done = collimate("--help")
    assert done.code == 0
    assert all(re.search(rf"(?m)^  {name} ", done.out) for name in COMMANDS)
    assert collimate().out == done.out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_its_options_explained(name: str, collimate: Collimate) -> None:
    done = collimate(name, "--help")
    assert done.code == 0
    assert f"Usage: collimate {name}" in done.out
    options = re.findall(r"(?m)^  (--\S+)(?: <\w+>)?\s*$", done.out)
    assert not options, "an option without a word of help"


def test_every_setting_has_a_flag_and_help(collimate: Collimate) -> None:
    from collimate.cli._settings import HELP
    from collimate.jobs.settings import TrainSettings

    names = [field.name for field in fields(TrainSettings)]
    assert list(HELP) == names
    done = collimate("train", "--help").out
    assert [n for n in names if f"--{n.replace('_', '-')}" not in done] == []


def test_version(collimate: Collimate) -> None:
    from collimate import __version__

    assert collimate("--version").out == f"collimate {__version__}\n"


def test_it_runs_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "collimate", "--version"], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("collimate ")


@pytest.mark.parametrize("line", [["--help"], ["train", "--help"], ["methods", "--json"]], ids=str)
def test_what_only_tells_imports_nothing_heavy(line: list[str]) -> None:
    code = (
        f"import sys; from collimate.cli.main import main; main({line})\n"
        "heavy = {'torch', 'numpy', 'transformers', 'rich', 'datasets'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# methods, explain, cite


def test_methods_lists_each_preset_with_five_choices_and_its_source(collimate: Collimate) -> None:
    done = collimate("methods", "--json")
    entries = {entry["name"]: entry for entry in json.loads(done.out)}
    assert list(entries) == methods.__all__
    choices = ("distribution", "divergence", "margin", "loss", "tradeoff", "source", "summary")
    needs = ("formula", "data", "legal_divergences")
    assert all(entry[choice] for entry in entries.values() for choice in (*choices, *needs))
    assert entries["cdpo"]["parameters"] == {"beta": 0.1, "label_smoothing": 0.1}
    assert entries["f_dpo"]["parameters"]["divergence"] == "reverse_kl"
    assert entries["ipo"]["loss"] == "squared(0.1)"
    assert entries["ipo"]["formula"] == "(u_w - u_l - 5)^2"
    assert entries["nca_pair"]["also"] == ["chosen_noise", "rejected_noise"]
    assert (entries["odpo"]["columns"], entries["dpo"]["columns"]) == (["margin"], [])
    assert (entries["aot"]["whole_step"], entries["dpo"]["whole_step"]) == (True, False)
    assert (entries["simpo"]["reference"], entries["dpo"]["reference"]) == (False, True)
    assert entries["dpo"]["legal_divergences"] == "any f-divergence with f'(0+) = -inf"
    assert entries["simpo"]["legal_divergences"] == "none read"


def rows(table: str) -> dict[str, list[str]]:
    """Cells by the method's name; two spaces part them."""
    cells = [re.split(r" {2,}", line) for line in table.splitlines()[1:-2]]
    return {row[0].partition("(")[0]: row for row in cells}


def test_methods_is_a_table_for_people(collimate: Collimate) -> None:
    table = collimate("methods").out
    assert max(map(len, table.splitlines())) <= 120
    found = rows(table)
    assert list(found) == methods.__all__
    assert found["odpo"] == [
        "odpo(beta, alpha)",
        "pairs, margin",
        "yes",
        "logistic of log_ratio_gap",
    ]
    assert found["aot"][1:3] == ["pairs, step", "yes"]
    assert found["cpo"][1:] == ["pairs", "no", "logistic of log_prob_gap + 1 more"]


def test_a_table_too_wide_is_cut_where_it_ends(
    collimate: Collimate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("collimate.cli.methods.WIDTH", 60)
    table = collimate("methods").out.splitlines()[:-2]
    assert max(map(len, table)) == 60
    assert any(line.endswith("…") for line in table)


def test_methods_wide_has_every_column(collimate: Collimate) -> None:
    found = rows(collimate("methods", "--wide").out)
    assert list(found) == methods.__all__
    assert {len(row) for row in found.values()} == {11}
    assert found["rpo_sft"] == [
        *("rpo_sft(beta=0.05, eta=0.005)", "offline_pairs", "reverse_kl", "log_ratio_gap"),
        *("logistic", "fixed(0.05)", "nll", "pairs", "yes"),
        *("any f-divergence with f'(0+) = -inf", "liu:24b"),
    ]


def test_methods_answers_within_two_seconds() -> None:
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "collimate", "methods", "--json"], check=True,
                          capture_output=True)  # fmt: skip
    assert time.perf_counter() - began < 2
    assert len(json.loads(done.stdout)) == len(methods.__all__)


@pytest.mark.parametrize("name", methods.__all__)
def test_explain_has_the_users_numbers_of_every_preset(name: str, collimate: Collimate) -> None:
    defaults = {k: p.default for k, p in signature(getattr(methods, name)).parameters.items()}
    numbers = {
        k: v + 1 if type(v) is int else 0.9 * v for k, v in defaults.items() if k != "divergence"
    }
    given = [flag for key, value in numbers.items() for flag in ("--param", f"{key}={value}")]
    done = collimate("explain", name, *given)
    assert (done.code, done.err) == (0, "")
    head = done.out.partition(":")[0]
    assert head.startswith(f"{name}(")
    assert all(f"{key}={value}" in head for key, value in numbers.items())
    found = json.loads(collimate("explain", name, *given, "--json").out)
    assert found["method"] == name
    assert {key: found["parameters"][key] for key in numbers} == numbers
    assert " ".join(f"= {found['formula']}".split()) in " ".join(done.out.split())
    preset = getattr(methods, name)(**numbers)
    assert found["formula"] == explanation(preset).formula


def test_explain_by_hand(collimate: Collimate) -> None:
    page = collimate("explain", "ipo", "--beta", 0.2).out
    assert "\n  (z/0.2)^2, z = 0.2·h - 0.5\n  = (u_w - u_l - 2.5)^2\n" in page
    assert "\n  u_w, u_l  log-ratio of the whole answer" in page
    page = collimate("explain", "f_dpo", "--param", "divergence=forward_kl").out
    assert page.startswith("f_dpo(beta=0.1, divergence=forward_kl): ")
    assert "= -log(s(0.1·(1/t_l - 1/t_w)))\n" in page


def test_explain_ones_own_method(collimate: Collimate, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "from collimate import methods\n\ndef made(beta=0.1):\n    return methods.ipo(beta)\n"
    )
    page = collimate("explain", "own.py:made", "--beta", 0.5).out
    assert page.startswith("ipo(beta=0.5): ")
    assert "= (u_w - u_l - 1)^2\n" in page


def test_explain_keeps_to_the_terminal(
    collimate: Collimate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "70")
    assert max(map(len, collimate("explain", "aot").out.splitlines())) <= 70


@pytest.mark.parametrize("name", methods.__all__)
def test_cite_prints_bibtex_of_every_preset(name: str, collimate: Collimate) -> None:
    done = collimate("cite", name)
    assert done.code == 0
    assert done.out.startswith("@")
    assert done.out.count("{") == done.out.count("}")
    found = json.loads(collimate("cite", name, "--json").out)
    assert found == {"method": name, "bibtex": done.out.rstrip("\n")}


# train


def test_train_prints_its_folder_and_leaves_a_finished_run(finished: Path) -> None:
    assert record(finished)["status"] == "finished"
    assert (finished / "report.html").stat().st_size > 10_000
    assert len(lines((finished / "metrics.jsonl").read_text())) == 3


def test_flags_and_a_config_file_give_the_same_run(
    tiny: Path, collimate: Collimate, tmp_path: Path
) -> None:
    flags = train_arguments(
        tiny, "flags", "--method", "cdpo", "--beta", 0.2, "--param", "label_smoothing=0.2",
        "--learning-rate", 1e-3, "--warmup", 0, "--schedule", "linear", "--no-report",
        "--evaluation", tiny / "held_out.jsonl", "--seed", 5, "--max-gradient-norm", 2,
    )  # fmt: skip
    (tmp_path / "run.toml").write_text(
        f'''
        model = "{tiny / "model"}"
        data = "{tiny / "pairs.jsonl"}"
        evaluation = "{tiny / "held_out.jsonl"}"
        out = "file"
        max_steps = 3
        batch_size = 4
        progress = false
        device = "cpu"
        learning_rate = 1e-3
        warmup = 0
        schedule = "linear"
        report = false
        seed = 5
        max_gradient_norm = 2

        [method]
        name = "cdpo"
        beta = 0.2
        label_smoothing = 0.2
        '''
    )
    assert collimate(*flags).code == 0
    done = collimate("train", "--config", "run.toml", "--json")
    assert done.code == 0, done.err
    by_flags, by_file = record(tmp_path / "flags"), record(tmp_path / "file")
    assert by_flags["config"] == by_file["config"]
    assert by_flags["method"] == by_file["method"]
    assert by_flags["method"]["loss"] == "smoothed_logistic(0.2)"
    assert by_flags["identity"] == by_file["identity"]

    printed = json.loads(done.out)
    assert printed["folder"] == "file"
    assert printed["status"] == "finished"
    assert printed["data"]["train"]["used"] == 40
    assert 0 <= printed["evaluation"]["after"]["reward_accuracy"] <= 1
    assert not done.err


def test_flags_win_over_the_config_file(tiny: Path, collimate: Collimate, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(
        'max_steps = 9\nreport = true\nbatch_size = 2\nout = "elsewhere"\n'
        '[method]\nname = "cdpo"\nbeta = 0.5\nlabel_smoothing = 0.3\n'
    )
    arguments = train_arguments(tiny, "run", "--config", "run.toml", "--no-report", "--beta", 0.2)
    assert collimate(*arguments).code == 0
    found = record(tmp_path / "run")
    assert (found["config"]["max_steps"], found["config"]["report"]) == (3, False)
    assert (found["method"]["tradeoff"], found["method"]["loss"]) == (
        "fixed(0.2)",
        "smoothed_logistic(0.3)",
    )
    assert not (tmp_path / "elsewhere").exists()
    assert not (tmp_path / "run" / "report.html").exists()


def test_another_method_leaves_the_parameters_of_the_file_out(tmp_path: Path) -> None:
    from collimate.cli._config import chosen_method, read_config

    (tmp_path / "run.toml").write_text('[method]\nname = "cdpo"\nlabel_smoothing = 0.3\n')
    config = read_config(tmp_path / "run.toml", {})
    given = {"method": None, "param": None, "beta": None}
    assert chosen_method(config, given) == ("cdpo", {"label_smoothing": 0.3})
    other = {**given, "method": "ipo", "beta": "0.5"}
    assert chosen_method(config, other) == ("ipo", {"beta": 0.5})


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("jensen_shannon", "jensen_shannon"),
        ("alpha(0.5)", "alpha(0.5)"),
        ("alpha(a = 0.25)", "alpha(0.25)"),
        ("alpha(.5)", "alpha(0.5)"),
    ],
)
def test_a_divergence_is_named_on_the_command_line(text: str, name: str) -> None:
    from collimate.cli._method import resolve
    from collimate.cli._values import assignments

    method = resolve("f_dpo", assignments([f"divergence={text}", "beta=1"]))
    assert method.divergence.name == name  # type: ignore[union-attr]


OWN = """
from helpers import SCALE
from collimate import losses, methods
from collimate.compose import Objective, Part

def mine(view, scale=1.0):
    chosen, rejected = view.log_ratios()
    return losses.logistic(SCALE * scale * (chosen - rejected))

def coupled(view):
    chosen, rejected = view.log_ratios()
    gap = chosen - rejected
    return losses.logistic(gap - gap.mean())

ready = methods.dpo(0.3)

def made(beta=0.1):
    return methods.ipo(beta)
"""


def test_a_method_of_ones_own_file(collimate: Collimate, tiny: Path, tmp_path: Path) -> None:
    from collimate.cli._method import resolve

    (tmp_path / "own.py").write_text(OWN)
    (tmp_path / "helpers.py").write_text("SCALE = 0.1\n")
    before = sorted(path.name for path in tmp_path.iterdir())
    assert resolve("own.py:mine", {}).name == "mine"
    assert resolve("own.py:coupled", {}).needs.couples == "batch"  # type: ignore[union-attr]
    assert resolve("own.py:ready", {}).tradeoff.name == "fixed(0.3)"  # type: ignore[union-attr]
    made = resolve("own.py:made", {"beta": 0.7})
    assert made.loss.name == "squared(0.7)"  # type: ignore[union-attr]
    assert sorted(path.name for path in tmp_path.iterdir()) == before

    arguments = train_arguments(tiny, "run", "--method", "own.py:mine", "--param", "scale=2.0")
    assert collimate(*arguments, "--no-report").code == 0
    assert record(tmp_path / "run")["method"]["name"] == "mine"


def test_bad_rows_are_skipped_counted_and_recorded(
    collimate: Collimate, tiny: Path, tmp_path: Path
) -> None:
    bad = {"prompt": "a", "chosen": "b", "rejected": "b"}
    data = write_rows(tmp_path / "some.jsonl", [*pairs(10), bad, {"prompt": "a", "chosen": "b"}])
    arguments = train_arguments(tiny, "run", "--data", data, "--on-bad-row", "skip", "--no-report")
    done = collimate(*arguments, "--json")
    assert done.code == 0
    assert json.loads(done.out)["data"]["train"]["skipped"] == {
        "chosen equals rejected": 1,
        "missing field": 1,
    }
    rows = lines((tmp_path / "run" / "bad_rows.jsonl").read_text())
    assert [row["row"] for row in rows] == [10, 11]


def test_resume_after_a_kill_ends_like_the_uninterrupted_run(
    collimate: Collimate, tiny: Path, finished: Path, tmp_path: Path
) -> None:
    shutil.copytree(finished, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "step-00000003")
    shutil.rmtree(tmp_path / "run" / "model")
    killed = {**record(tmp_path / "run"), "status": "running"}
    (tmp_path / "run" / "run.json").write_text(json.dumps(killed))
    arguments = train_arguments(tiny, "run", "--checkpoint-every", 1, "--keep", 3, "--resume")
    done = collimate(*arguments)
    assert done.code == 0, done.err
    weights = ("model", "model.safetensors")
    ours, theirs = tmp_path / "run", finished
    assert ours.joinpath(*weights).read_bytes() == theirs.joinpath(*weights).read_bytes()


# score


def test_score_writes_one_object_per_row(collimate: Collimate, tiny: Path, tmp_path: Path) -> None:
    common = ("--model", tiny / "model", "--data", tiny / "held_out.jsonl", "--no-progress")
    done = collimate(
        "score", *common, "--reference", tiny / "other", "--tokens", "--out", "s.jsonl"
    )
    assert (done.code, done.out, done.err) == (0, "s.jsonl\n", "")
    rows = lines((tmp_path / "s.jsonl").read_text())
    assert [row["row"] for row in rows] == list(range(10))
    for row in rows:
        for name in ("chosen", "rejected"):
            own, other = row[f"{name}_log_probs"], row[f"{name}_reference_log_probs"]
            assert row[f"{name}_tokens"] == len(own) == len(other)
            assert row[name] == pytest.approx(sum(own), rel=1e-12)
            assert row[f"{name}_log_ratio"] == pytest.approx(sum(own) - sum(other), abs=1e-9)

    plain = collimate("score", *common)
    assert lines(plain.out) == [
        {key: row[key] for key in ("row", "chosen", "rejected", "chosen_tokens", "rejected_tokens")}
        for row in rows
    ]
    again = collimate("score", *common, "--out", "s.jsonl")
    assert again.code == 2
    assert "--force" in again.err
    assert collimate("score", *common, "--out", "s.jsonl", "--force").code == 0
    assert lines((tmp_path / "s.jsonl").read_text()) == lines(plain.out)


def test_score_sums_what_training_sums(collimate: Collimate, tmp_path: Path) -> None:
    """Within an answer of several turns the user's words weigh nothing."""
    save_tiny(tmp_path / "chat", chat_template=CHATML)

    def says(role: str, content: str) -> dict[str, str]:
        return {"role": role, "content": content}

    row = {
        "prompt": [says("user", "hi")],
        "chosen": [says("assistant", "a"), says("user", "more?"), says("assistant", "bc")],
        "rejected": [says("assistant", "no")],
    }
    write_rows(tmp_path / "chat.jsonl", [row])
    common = ("--model", "chat", "--data", "chat.jsonl", "--no-progress")
    done = collimate("score", *common, "--tokens")
    (found,) = lines(done.out)
    weights = np.array(found["chosen_weights"])
    assert 0 < weights.sum() < len(weights)
    assert found["chosen_tokens"] == weights.sum()
    assert found["chosen"] == pytest.approx(np.dot(weights, found["chosen_log_probs"]))
    arguments = (*common, "--evaluation", "chat.jsonl", "--out", "run", "--no-report")
    assert collimate("train", *arguments).code == 0
    before = record(tmp_path / "run")["evaluation"]["before"]
    assert before["log_prob_chosen"] == pytest.approx(found["chosen"], rel=1e-6)
    assert before["log_prob_rejected"] == pytest.approx(found["rejected"], rel=1e-6)


def test_score_leaves_bad_rows_out_and_records_them(
    collimate: Collimate, tiny: Path, tmp_path: Path
) -> None:
    good, bad = pairs(2)[0], {**pairs(2)[1], "chosen": ""}
    write_rows(tmp_path / "mixed.jsonl", [bad, good])
    common = ("score", "--model", tiny / "model", "--data", "mixed.jsonl", "--no-progress")
    done = collimate(*common, "--on-bad-row", "skip", "--out", "s.jsonl")
    assert done.code == 0, done.err
    assert "1 rows left out: empty answer" in done.err
    assert [line["row"] for line in lines((tmp_path / "s.jsonl").read_text())] == [1]
    (left_out,) = lines((tmp_path / "s.bad_rows.jsonl").read_text())
    assert (left_out["row"], left_out["field"], left_out["reason"]) == (0, "chosen", "empty answer")


def test_score_and_check_read_a_config_and_flags_win(
    collimate: Collimate, tiny: Path, tmp_path: Path
) -> None:
    (tmp_path / "s.toml").write_text(
        f'model = "{tiny / "model"}"\ndata = "{tiny / "pairs.jsonl"}"\n'
        "limit = 3\ntokens = true\nprogress = false\n"
    )
    assert len(lines(collimate("score", "--config", "s.toml").out)) == 3
    (found,) = lines(collimate("score", "--config", "s.toml", "--limit", 1).out)
    assert len(found["chosen_log_probs"]) == found["chosen_tokens"]
    (tmp_path / "c.toml").write_text("limit = 2\njson = true\n")
    done = collimate("check", tiny / "pairs.jsonl", "--config", "c.toml")
    assert json.loads(done.out)["data"]["rows"] == 2


# check


def test_check_without_a_model(collimate: Collimate, tiny: Path) -> None:
    done = collimate("check", tiny / "pairs.jsonl", "--json")
    assert done.code == 0
    found = json.loads(done.out)
    assert found["ok"] is True
    assert found["prediction"] is None
    data = found["data"]
    rows = pairs(40)
    assert (data["rows"], data["used"]) == (40, 40)
    assert data["prompt_characters"]["max"] == max(len(row["prompt"]) for row in rows)
    assert data["rejected_words"]["max"] == 3
    assert "prompt_tokens" not in data
    assert "characters" in collimate("check", tiny / "pairs.jsonl").out


def test_check_with_a_model_predicts_and_reads_no_weights(
    collimate: Collimate, tiny: Path, tmp_path: Path
) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    shutil.copytree(tiny / "model", tmp_path / "empty")
    (tmp_path / "empty" / "model.safetensors").unlink()
    done = collimate("check", tiny / "pairs.jsonl", "--model", "empty", "--json", "--epochs", 2)
    assert done.code == 0, done.err
    found = json.loads(done.out)
    model = AutoModelForCausalLM.from_pretrained(tiny / "model", dtype=torch.float32)
    prediction = found["prediction"]
    assert prediction["parameters"] == model.num_parameters()
    assert prediction["steps"] == 4
    assert prediction["sizes"]["weights"] == 4 * model.num_parameters()
    assert 0 < prediction["seconds"] < 60
    assert found["data"]["chosen_tokens"]["max"] == 1 + max(len(r["chosen"]) for r in pairs(40))
    adapted = collimate(
        "check", tiny / "pairs.jsonl", "--model", "empty", "--json", "--lora-rank", 2
    )
    smaller = json.loads(adapted.out)["prediction"]
    assert 0 < smaller["trainable"] < prediction["trainable"]
    assert smaller["sizes"]["optimizer"] < prediction["sizes"]["optimizer"]
    packed = collimate(
        *("check", tiny / "pairs.jsonl", "--model", "empty", "--json"),
        *("--lora-rank", 2, "--quantize", "nf4"),
    )
    weights = json.loads(packed.out)["prediction"]["sizes"]["weights"]
    layers = [m for m in model.modules() if isinstance(m, torch.nn.Linear)]
    layers.remove(model.get_output_embeddings())
    of_layers = sum(layer.weight.numel() for layer in layers)
    assert smaller["sizes"]["weights"] - weights == (4 - 0.5) * of_layers
    text = collimate("check", tiny / "pairs.jsonl", "--model", "empty", "--max-prompt", 8).out
    assert "memory about" in text
    assert "prompts cut 40" in text


def test_check_reads_rows_as_the_methods_run_would(
    collimate: Collimate, tiny: Path, tmp_path: Path
) -> None:
    common = ("check", tiny / "pairs.jsonl", "--json")
    plain, thumbs, own = (
        json.loads(done.out)
        for done in (
            collimate(*common),
            collimate(*common, "--method", "kto", "--param", "lam_D=2"),
            collimate(*common, "--method", "kto", "--model", tiny / "model"),
        )
    )
    assert "read as" not in plain["data"]["format"]
    for found in (thumbs, own):
        assert found["ok"]
        assert "read as" in found["data"]["format"]
    sizes = [
        json.loads(collimate(*common, "--model", tiny / "model", "--method", name).out)
        for name in ("dpo", "tdpo", "tr_dpo")
    ]
    dpo, tdpo, tr_dpo = (found["prediction"]["sizes"] for found in sizes)
    assert "reference" not in dpo
    assert tdpo["reference"] == tr_dpo["reference"] == dpo["weights"]
    assert tdpo["activations"] > tr_dpo["activations"] == dpo["activations"]
    (tmp_path / "c.toml").write_text('[method]\nname = "odpo"\n')
    done = collimate(*common, "--config", "c.toml")
    assert done.code == 2
    assert "'margin'" in done.err
    assert collimate(*common, "--config", "c.toml", "--method", "dpo").code == 0


def test_check_lists_bad_rows_by_reason_and_exits_with_2(
    collimate: Collimate, tmp_path: Path
) -> None:
    empty = {"prompt": "a", "chosen": "", "rejected": "b"}
    write_rows(tmp_path / "some.jsonl", [*pairs(5), *[empty] * 4, b"{broken"])
    done = collimate("check", "some.jsonl")
    assert done.code == 2
    assert "5 of 10 rows can be used" in done.out
    assert "empty answer, 4: row 5 (chosen), row 6 (chosen), row 7 (chosen), ..." in done.out
    assert "broken JSON, 1: row 9" in done.out
    found = json.loads(collimate("check", "some.jsonl", "--json").out)
    assert found["ok"] is False
    assert [row["row"] for row in found["bad_rows"]] == [5, 6, 7, 8, 9]


def test_the_prediction_counts_the_work_of_a_plain_forward() -> None:
    """Twice the weights per token, and attention: what a hand count of a small Llama gives."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from collimate._types import Answer, Example
    from collimate.jobs import _predict

    config = LlamaConfig(
        vocab_size=50, hidden_size=8, intermediate_size=16, num_hidden_layers=3,
        num_attention_heads=2,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    ids = np.arange(4)
    example = Example(prompt=ids, answers=(Answer(ids=ids[:2]), Answer(ids=ids[:3])), row=0)
    found = _predict.predict(model, [example], epochs=1.0, batch_size=1, tokens_per_micro_batch=16)
    body = model.num_parameters() - 2 * 50 * 8
    visible = 10 + (8 + 3) + (12 + 6)
    forward = 2 * body * 9 + 4 * 3 * 8 * visible
    answers = 2 * 50 * 8 * 5
    assert found.work == forward + answers + 3 * forward + 3 * answers


# report, export, demo


def test_report_writes_the_page_again(collimate: Collimate, finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "run")
    (tmp_path / "run" / "report.html").unlink()
    done = collimate("report", "run")
    assert (done.code, done.out) == (0, "run/report.html\n")
    assert (tmp_path / "run" / "report.html").read_text().startswith("<!doctype html>")
    assert collimate("report", "run", "--out", "page.html").out == "page.html\n"
    assert (tmp_path / "page.html").exists()
    assert json.loads(collimate("report", "run", "--json").out) == {"report": "run/report.html"}


def test_export_of_a_full_run_is_the_same_model(
    collimate: Collimate, finished: Path, tmp_path: Path
) -> None:
    done = collimate("export", finished, "--out", "exported")
    assert (done.code, done.out) == (0, "exported\n")
    name = "model.safetensors"
    assert (tmp_path / "exported" / name).read_bytes() == (finished / "model" / name).read_bytes()


def test_export_merges_an_adapter_and_the_log_probs_stay(
    collimate: Collimate, tiny: Path, tmp_path: Path
) -> None:
    trained = collimate(
        *train_arguments(tiny, "run", "--lora-rank", 2, "--learning-rate", 0.05, "--no-report")
    )
    assert trained.code == 0, trained.err
    assert (tmp_path / "run" / "model" / "adapter_config.json").exists()
    done = collimate("export", "run", "--out", "merged", "--merge")
    assert (done.code, done.out) == (0, "merged\n"), done.err
    assert not (tmp_path / "merged" / "adapter_config.json").exists()

    def scores(model: Path | str) -> np.ndarray:
        found = collimate(
            "score", "--model", model, "--data", tiny / "held_out.jsonl", "--no-progress"
        )
        assert found.code == 0, found.err
        return np.array([[row["chosen"], row["rejected"]] for row in lines(found.out)])

    merged, adapter, base = scores("merged"), scores("run/model"), scores(tiny / "model")
    np.testing.assert_allclose(merged, adapter, rtol=1e-5)
    assert np.abs(merged - base).max() > 1e-3


def test_demo_prints_its_report_or_its_comparison(
    collimate: Collimate, monkeypatch: pytest.MonkeyPatch
) -> None:
    import collimate.jobs.demo as job

    outcome = job.Outcome(
        name="dpo", kl=1.0, reward=2.0, share_of_gain=0.9, outside=0.0, tv=0.1, tabular_tv=0.01
    )

    def found(out: Path, *, progress: bool) -> job.Demo:
        assert not progress
        return job.Demo(report=out / "report.html", outcomes=(outcome,), reference_reward=0.0)

    monkeypatch.setattr(job, "demo", found)
    done = collimate("demo", "--out", "there", "--no-progress")
    assert (done.code, done.out) == (0, "there/report.html\n")
    printed = json.loads(collimate("demo", "--out", "there", "--no-progress", "--json").out)
    assert printed["outcomes"][0]["share_of_gain"] == 0.9
