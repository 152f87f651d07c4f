"""Runs that must agree: seeds, caches, budgets, references, adapters, precisions."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM

import collimate
from collimate import methods
from collimate._checks import BadConfig, BadModel, BadRun, TrainingFailed
from collimate._types import PairLogProbs
from collimate.axes import Needs
from collimate.compose import Method
from collimate.engine import evaluate, store
from collimate.engine.plan import Plan
from tests.engine.tiny import VOCABULARY, model_of
from tests.equivalence.runs import (
    metrics_of,
    policy,
    record_of,
    saved,
    sums,
    tensors_of,
    text_pairs,
    train,
    weights_of,
    word_tokenizer,
)

HELD_OUT = text_pairs(12, seed=1)


class AgainstTeacher:
    """A signal that this version does not compute."""

    name = "kl"
    against = "teacher"

    def value(self, logits: Any, target: Any, other: Any) -> Any:
        raise AssertionError("never asked")


@pytest.fixture
def forwards(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of all forward passes without gradient (reference, scoring, evaluation)."""
    seen: list[int] = []
    sound = evaluate._forward

    def counted(model: Any, examples: Any, *more: Any) -> Any:
        seen.append(len(examples))
        return sound(model, examples, *more)

    monkeypatch.setattr(evaluate, "_forward", counted)
    return seen


@pytest.fixture
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "SEGMENT_BYTES", 256)


def same_tensors(a: Mapping[str, torch.Tensor], b: Mapping[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


class TestSeeds:
    def test_the_same_seed_gives_the_same_bits(self, tmp_path: Path) -> None:
        runs = []
        for name in ("a", "b"):
            torch.manual_seed(len(runs))  # the caller's generator must not matter
            runs.append(
                train(tmp_path / name, evaluation=HELD_OUT, cache=tmp_path / f"c{name}", samples=1)
            )
        one, other = runs
        assert metrics_of(one) == metrics_of(other)
        assert weights_of(one.folder) == weights_of(other.folder)
        assert one.record["evaluation"] == other.record["evaluation"]
        assert one.record["samples"] == other.record["samples"] != []

    @pytest.mark.parametrize(
        "options", [{"lora_rank": 2}, {"dropout": True}], ids=["lora", "dropout"]
    )
    def test_what_is_random_is_drawn_from_the_seed(
        self, options: dict[str, Any], tmp_path: Path
    ) -> None:
        def run(name: str, global_seed: int, seed: int) -> collimate.Run:
            model = policy("gpt2") if "dropout" in options else policy()
            torch.manual_seed(global_seed)
            return train(tmp_path / name, model=model, seed=seed, max_steps=2, **options)

        first = run("a", 1, 0)
        assert weights_of(first.folder) == weights_of(run("b", 2, 0).folder)
        assert weights_of(first.folder) != weights_of(run("c", 1, 5).folder)

    def test_the_callers_generator_is_left_alone(self, tmp_path: Path) -> None:
        model = policy()
        torch.manual_seed(11)
        expected = torch.rand(3)
        torch.manual_seed(11)
        train(tmp_path / "a", model=model, max_steps=1, lora_rank=2)
        assert torch.equal(torch.rand(3), expected)

    def test_another_seed_takes_other_examples(self, tmp_path: Path) -> None:
        one = train(tmp_path / "a", max_steps=1)
        other = train(tmp_path / "b", max_steps=1, seed=1)
        assert metrics_of(one)[0]["tokens"] != metrics_of(other)[0]["tokens"]

    def test_training_moves_the_weights_and_the_loss(self, tmp_path: Path) -> None:
        before = tensors_of(policy())
        run = train(tmp_path / "a", max_steps=12, learning_rate=3e-3)
        assert not any(
            torch.equal(tensor, before[name]) for name, tensor in tensors_of(run.model).items()
        )
        assert metrics_of(run)[-1]["loss"] < 0.8 * math.log(2)


@pytest.mark.usefixtures("small_segments")
class TestCache:
    def test_cold_warm_and_half_filled_give_the_same_bits(
        self, tmp_path: Path, forwards: list[int]
    ) -> None:
        cache = tmp_path / "cache"
        cold = train(tmp_path / "cold", evaluation=HELD_OUT, cache=cache)
        total = 48 + len(HELD_OUT)
        assert cold.record["reference"]["computed"] == total
        assert cold.record["reference"]["from_cache"] == 0
        forwards.clear()

        warm = train(tmp_path / "warm", evaluation=HELD_OUT, cache=cache)
        assert warm.record["reference"]["computed"] == 0
        assert warm.record["reference"]["from_cache"] == total
        assert sum(forwards) == len(HELD_OUT), "only the evaluation after training computes"

        segments = sorted(cache.rglob("*.safetensors"))
        assert len(segments) > 4
        segments[len(segments) // 2].unlink()
        half = train(tmp_path / "half", evaluation=HELD_OUT, cache=cache)
        assert 0 < half.record["reference"]["computed"] < total

        for other in (warm, half):
            assert other.record["reference"]["hash"] == cold.record["reference"]["hash"]
            assert metrics_of(other) == metrics_of(cold)
            assert weights_of(other.folder) == weights_of(cold.folder)
            assert other.record["evaluation"] == cold.record["evaluation"]

    def test_a_torn_segment_is_recomputed(self, tmp_path: Path) -> None:
        cache = tmp_path / "cache"
        cold = train(tmp_path / "cold", cache=cache, max_steps=2)
        segments = sorted(cache.rglob("*.safetensors"))
        for segment, cut in zip(segments[1:3], (0, -7), strict=True):
            segment.write_bytes(segment.read_bytes()[:cut])
        half = train(tmp_path / "half", cache=cache, max_steps=2)
        assert half.record["reference"]["computed"] > 0
        assert half.record["reference"]["hash"] == cold.record["reference"]["hash"]
        assert metrics_of(half) == metrics_of(cold)
        again = train(tmp_path / "again", cache=cache, max_steps=1)
        assert again.record["reference"]["computed"] == 0

    @pytest.mark.parametrize(
        "changed",
        [
            {"method": methods.dpo(0.4)},
            {"method": methods.ipo(0.2)},
            {"learning_rate": 3e-4},
            {"seed": 4},
            {"batch_size": 5},
            {"schedule": "constant", "warmup": 0.5},
            {"lora_rank": 2},
            {"max_steps": 1},
        ],
        ids=lambda changed: "-".join(changed),
    )
    def test_what_the_reference_does_not_depend_on_computes_nothing(
        self, changed: dict[str, Any], tmp_path: Path, forwards: list[int]
    ) -> None:
        first = train(tmp_path / "a", max_steps=1)
        forwards.clear()
        second = train(tmp_path / "b", **{"max_steps": 1, **changed})
        assert second.record["reference"]["computed"] == 0
        assert second.record["reference"]["hash"] == first.record["reference"]["hash"]
        assert forwards == []

    def test_other_weights_are_another_reference(self, tmp_path: Path) -> None:
        train(tmp_path / "a", max_steps=1)
        other = policy()
        with torch.no_grad():
            other.lm_head.weight[5, 5] += 1e-3
        second = train(tmp_path / "b", model=other, max_steps=1)
        assert second.record["reference"]["computed"] == 48

    def test_no_reference_is_computed_for_a_method_without_one(
        self, tmp_path: Path, forwards: list[int]
    ) -> None:
        from tests.equivalence.test_steps import Likelihood

        run = train(tmp_path / "a", method=Likelihood(), max_steps=1)
        assert forwards == []
        assert run.record["reference"] is None


class TestStep:
    def test_the_token_budget_changes_nothing(self, tmp_path: Path) -> None:
        named = {"learning_rate": 1e-5, "evaluation": HELD_OUT, "max_steps": 6}
        runs = [
            train(
                tmp_path / f"{budget}",
                tokens_per_micro_batch=budget,
                cache=tmp_path / f"c{budget}",
                **named,
            )
            for budget in (1, 100, 10**6)
        ]
        assert len({weights_of(run.folder) for run in runs}) > 1, "the budgets really differ"
        for run in runs[1:]:
            for one, other in zip(metrics_of(runs[0]), metrics_of(run), strict=True):
                assert one.keys() == other.keys()
                for name in one.keys() - {"reward_accuracy"}:  # at a tie a rounding decides
                    assert one[name] == pytest.approx(other[name], rel=1e-5, abs=1e-5), name
            after, expected = (r.record["evaluation"]["after"] for r in (run, runs[0]))
            assert after["loss"] == pytest.approx(expected["loss"], abs=1e-5)

    @pytest.mark.parametrize(
        ("method", "value"),
        [
            (methods.dpo(0.3), math.log(2)),
            (methods.ipo(0.2), 1 / (4 * 0.2**2)),
            ("dpo", math.log(2)),
        ],
        ids=["dpo", "ipo", "by name"],
    )
    @pytest.mark.parametrize("name", ["llama", "gpt2", "gemma2", "bloom"])
    def test_the_first_loss_is_its_value_at_u_0(
        self, name: str, method: Any, value: float, tmp_path: Path
    ) -> None:
        """For an object with weights no folder has; GPT-2 and Bloom come with dropout settings."""
        model = policy(name)
        if name == "gpt2":
            assert model.config.resid_pdrop == 0.1
        run = train(tmp_path / "a", model=model, method=method, evaluation=HELD_OUT, max_steps=2)
        first, second = metrics_of(run)
        assert first["loss"] == pytest.approx(value, rel=2e-6)
        assert first["log_ratio_chosen"] == pytest.approx(0, abs=2e-5)
        assert first["log_ratio_rejected"] == pytest.approx(0, abs=2e-5)
        assert run.record["reference"]["first_step_max_log_ratio"] < 1e-5
        assert run.record["evaluation"]["before"]["loss"] == pytest.approx(value, rel=1e-7)
        assert run.record["evaluation"]["before"]["reward_accuracy"] == 0.5
        assert abs(second["loss"] - first["loss"]) > 1e-4
        assert run.record["model"]["layout"] == ("plain" if name == "bloom" else "shared")

    def test_gradients_left_by_other_training_are_forgotten(self, tmp_path: Path) -> None:
        plain = train(tmp_path / "a", max_steps=1)
        model = policy()
        for parameter in model.parameters():
            parameter.grad = torch.full_like(parameter, torch.nan)
        stale = train(tmp_path / "b", model=model, max_steps=1)
        assert weights_of(stale.folder) == weights_of(plain.folder)

    def test_dropout_when_asked_for(self, tmp_path: Path) -> None:
        plain = train(tmp_path / "a", model=policy("gpt2"), max_steps=2)
        dropped = train(tmp_path / "b", model=policy("gpt2"), max_steps=2, dropout=True)
        assert metrics_of(dropped)[0]["loss"] != pytest.approx(math.log(2), abs=1e-4)
        assert dropped.record["reference"]["hash"] == plain.record["reference"]["hash"]

    def test_dropout_is_refused_where_a_step_is_computed_twice(self, tmp_path: Path) -> None:
        def centred(view: PairLogProbs) -> torch.Tensor:
            u = view.policy_chosen - view.policy_rejected
            return -torch.nn.functional.logsigmoid(u - u.mean())

        with pytest.raises(BadConfig, match="leave out dropout"):
            train(tmp_path / "a", method=centred, dropout=True)
        assert train(tmp_path / "b", method=centred, max_steps=1).record["steps"] == 1

    def test_a_stale_cache_is_seen_at_the_first_step(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from collimate.jobs import prepare

        monkeypatch.setattr(prepare, "model_fingerprint", lambda *_, **__: "f" * 64)
        train(tmp_path / "a", max_steps=1)
        with pytest.raises(TrainingFailed, match="differs from its own reference"):
            train(tmp_path / "b", model=policy(seed=3), max_steps=1)

    def test_an_object_is_its_own_reference_and_not_what_lies_in_its_folder(
        self, tmp_path: Path
    ) -> None:
        folder = saved(tmp_path / "model")
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
        run = train(tmp_path / "a", model=model, method=methods.dpo(0.3), max_steps=1)
        assert metrics_of(run)[0]["loss"] == pytest.approx(math.log(2), abs=2e-6)

    @pytest.mark.parametrize("by", ["object", "folder"])
    def test_another_reference(self, by: str, tmp_path: Path) -> None:
        """The first loss by hand, through the models' own logits."""
        other = saved(tmp_path / "other", seed=9) if by == "folder" else policy(seed=9)
        run = train(tmp_path / "a", reference=other, method=methods.dpo(0.3), max_steps=1)
        order = Plan(examples=48, batch_size=8, steps=1, seed=0).step(0)
        rows = [text_pairs()[i] for i in order]
        (pw, pl), (qw, ql) = sums(policy(), rows), sums(policy(seed=9), rows)
        z = 0.3 * ((pw - qw) - (pl - ql))
        line = metrics_of(run)[0]
        assert line["loss"] == pytest.approx(np.mean(np.logaddexp(0, -z)), rel=1e-5)
        assert line["reward_gap"] == pytest.approx(np.mean(z), rel=1e-4, abs=1e-5)
        assert line["log_prob_chosen"] == pytest.approx(pw.mean(), rel=1e-5)
        assert line["log_prob_rejected"] == pytest.approx(pl.mean(), rel=1e-5)
        assert line["log_ratio_chosen"] == pytest.approx((pw - qw).mean(), rel=1e-4, abs=1e-5)
        assert line["likelihood_accuracy"] == np.mean(pw > pl)
        assert line["reward_accuracy"] == np.mean(z > 0)
        assert line["pairs"] == 8

    def test_a_reference_of_another_vocabulary_is_refused(self, tmp_path: Path) -> None:
        small = policy(vocab_size=20)
        with pytest.raises(BadModel, match="vocabulary"):
            train(tmp_path / "a", reference=small, max_steps=1)
        assert not (tmp_path / "a").exists()

    def test_a_reference_with_another_tokenizer_is_refused(self, tmp_path: Path) -> None:
        """Of the same size, so that every id can be read, and none means what it should."""
        other = saved(tmp_path / "other", seed=9)
        text = (other / "tokenizer.json").read_text(encoding="utf-8")
        a, b = text_pairs()[0]["chosen"].split()[:2]
        swapped = text.replace(f'"{a}":', '"?":').replace(f'"{b}":', f'"{a}":')
        (other / "tokenizer.json").write_text(swapped.replace('"?":', f'"{b}":'), encoding="utf-8")
        with pytest.raises(BadModel, match="shares the policy's tokenizer"):
            train(tmp_path / "a", reference=other, max_steps=1)
        with pytest.raises(BadModel, match="shares the policy's tokenizer"):
            collimate.score(policy(), text_pairs(), word_tokenizer(), reference=other)
        assert not (tmp_path / "a").exists()

    def test_the_record_of_held_out_data_by_hand(self, tmp_path: Path) -> None:
        run = train(
            tmp_path / "a",
            evaluation=HELD_OUT,
            evaluate_every=2,
            method=methods.dpo(0.3),
            max_steps=6,
        )
        run.model.eval()
        (pw, pl), (qw, ql) = sums(run.model, HELD_OUT), sums(policy(), HELD_OUT)
        u = (pw - qw) - (pl - ql)
        after = run.record["evaluation"]["after"]
        assert after["rows"] == len(HELD_OUT)
        assert after["loss"] == pytest.approx(np.logaddexp(0, -0.3 * u).mean(), rel=1e-5)
        assert after["reward_accuracy"] == pytest.approx(np.mean(u > 0))
        assert after["likelihood_accuracy"] == pytest.approx(np.mean(pw > pl))
        assert after["log_prob_chosen"] == pytest.approx(pw.mean(), rel=1e-5)
        assert after["log_prob_rejected"] == pytest.approx(pl.mean(), rel=1e-5)
        assert after["log_ratio_chosen"] == pytest.approx((pw - qw).mean(), abs=1e-4)
        assert after["log_ratio_rejected"] == pytest.approx((pl - ql).mean(), abs=1e-4)
        sure = 1 / (1 + np.exp(-0.3 * abs(u)))  # of the favoured answer
        missed = np.bincount((10 * sure).astype(int), weights=(u > 0) - sure)
        assert after["calibration_error"] == pytest.approx(abs(missed).sum() / len(u), abs=1e-5)
        for name in ("reward_accuracy", "likelihood_accuracy"):
            low, high = after[f"{name}_interval"]
            assert low <= after[name] <= high
            assert high - low > 0.1  # twelve rows say little
        low, high = after["calibration_error_interval"]
        assert 0 <= low < high <= 1
        before = run.record["evaluation"]["before"]
        assert before["likelihood_accuracy"] == pytest.approx(np.mean(qw > ql))
        inner = [line for line in metrics_of(run) if "evaluation" in line]
        assert [line["step"] for line in inner] == [2, 4]

    def test_the_weights_of_rows_count(self, tmp_path: Path) -> None:
        """Rows of weight 0 are as good as absent, and a step that has no others passes."""
        rows = [{**row, "weight": float(i % 8 == 0)} for i, row in enumerate(text_pairs())]
        run = train(
            tmp_path / "a",
            data=rows,
            reference=policy(seed=9),
            method=methods.dpo(0.3),
            batch_size=3,
        )
        plan = Plan(examples=48, batch_size=3, steps=4, seed=0)
        for step, line in enumerate(metrics_of(run)[:1]):
            chosen = [rows[i] for i in plan.step(step)]
            (pw, pl), (qw, ql) = sums(policy(), chosen), sums(policy(seed=9), chosen)
            losses = np.logaddexp(0, -0.3 * ((pw - qw) - (pl - ql)))
            weights = np.array([row["weight"] for row in chosen])
            expected = (losses * weights).sum() / weights.sum() if weights.any() else 0.0
            assert line["loss"] == pytest.approx(expected, rel=1e-5)
        assert any(not any(rows[i]["weight"] for i in plan.step(s)) for s in range(4))

    @pytest.mark.parametrize(
        ("needs", "words"),
        [
            (Needs(readout="scalar"), "reads a scalar output"),
            (Needs(signals=(AgainstTeacher(),)), "'kl' against a teacher's logits"),
        ],
        ids=["readout", "signal"],
    )
    def test_needs_that_are_not_served_are_refused(
        self, needs: Needs, words: str, tmp_path: Path
    ) -> None:
        method = dataclasses.replace(Method.of(lambda view: view.policy_chosen), needs=needs)
        with pytest.raises(BadConfig, match=words):
            train(tmp_path / "a", method=method)

    def test_a_function_is_a_method(self, tmp_path: Path) -> None:
        def my_loss(view: PairLogProbs) -> torch.Tensor:
            chosen, rejected = view.log_ratios()
            return torch.nn.functional.softplus(-0.1 * (chosen - rejected))

        mine = train(tmp_path / "a", method=my_loss)
        theirs = train(tmp_path / "b", method="dpo")
        for one, other in zip(metrics_of(mine), metrics_of(theirs), strict=True):
            assert one["loss"] == pytest.approx(other["loss"], abs=1e-6)
        assert record_of(mine.folder)["method"]["name"] == "my_loss"


class TestPrecision:
    def test_bf16_is_autocast_over_float32_weights(self, tmp_path: Path) -> None:
        run = train(
            tmp_path / "a", precision="bf16", evaluation=HELD_OUT, max_steps=8, learning_rate=3e-3
        )
        lines = metrics_of(run)
        assert lines[0]["loss"] == pytest.approx(math.log(2), abs=0.05)
        assert lines[-1]["loss"] < 0.9 * math.log(2)
        assert {parameter.dtype for parameter in run.model.parameters()} == {torch.float32}
        with safe_open(run.folder / "model" / "model.safetensors", "pt") as file:
            assert {file.get_tensor(name).dtype for name in file.keys()} == {torch.float32}  # noqa: SIM118
        full = train(tmp_path / "b", max_steps=1)
        assert run.record["reference"]["hash"] != full.record["reference"]["hash"]

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_pure_half_precision_is_refused(self, dtype: torch.dtype, tmp_path: Path) -> None:
        with pytest.raises(BadConfig, match=r"model.float\(\).*precision='bf16'"):
            train(tmp_path / "a", model=policy().to(dtype))
        assert not (tmp_path / "a").exists()

    def test_a_folder_in_bf16_is_trained_in_float32(self, tmp_path: Path) -> None:
        policy().bfloat16().save_pretrained(tmp_path / "model")
        word_tokenizer().save_pretrained(tmp_path / "model")
        run = train(tmp_path / "a", model=tmp_path / "model", max_steps=1)
        assert {parameter.dtype for parameter in run.model.parameters()} == {torch.float32}

    def test_a_frozen_model_is_refused(self, tmp_path: Path) -> None:
        model = policy().requires_grad_(False)
        with pytest.raises(BadConfig, match=r"no parameter .* trainable"):
            train(tmp_path / "a", model=model)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def run(base: Path, tmp_path_factory: pytest.TempPathFactory) -> collimate.Run:
    """A finished LoRA run from a folder."""
    return train(
        tmp_path_factory.mktemp("lora") / "run",
        model=base,
        lora_rank=2,
        learning_rate=1e-2,
        max_steps=6,
        evaluation=HELD_OUT,
    )


class TestLora:
    def test_the_base_is_untouched_and_the_policy_moves(
        self, base: Path, run: collimate.Run
    ) -> None:
        trained = {
            name.removeprefix("base_model.model."): t for name, t in tensors_of(run.model).items()
        }
        for name, tensor in tensors_of(policy()).items():
            inner, _, leaf = name.rpartition(".")
            wrapped = f"{inner}.base_layer.{leaf}"
            assert torch.equal(trained.get(wrapped, trained.get(name)), tensor), name
        lines = metrics_of(run)
        assert lines[0]["loss"] == pytest.approx(math.log(2), abs=2e-6)
        assert abs(lines[-1]["log_ratio_chosen"]) > 1e-3
        assert run.record["model"]["trainable"] < 0.3 * run.record["model"]["parameters"]

    def test_the_model_folder_is_an_adapter(self, run: collimate.Run) -> None:
        names = {path.name for path in (run.folder / "model").iterdir()}
        assert {"adapter_config.json", "adapter_model.safetensors"} <= names
        assert "model.safetensors" not in names
        assert not any(name.endswith((".bin", ".pt", ".pkl")) for name in names)

    def test_reloaded_and_merged_give_the_trained_log_probs(
        self, run: collimate.Run, tmp_path: Path
    ) -> None:
        expected = np.concatenate(sums(run.model.eval(), HELD_OUT))
        base = np.concatenate(sums(policy(), HELD_OUT))
        assert np.abs(expected - base).max() > 0.1
        merged = collimate.export(run.folder, tmp_path / "merged", merge=True)
        assert (merged / "config.json").exists()
        assert not (merged / "adapter_config.json").exists()
        copied = collimate.export(run.folder, tmp_path / "copied")
        assert (copied / "adapter_config.json").exists()
        for folder in (run.folder / "model", merged, copied):
            rows = collimate.score(folder, HELD_OUT, device="cpu")
            got = [row.chosen.sum() for row in rows] + [row.rejected.sum() for row in rows]
            assert np.abs(np.array(got) - expected).max() < 1e-4

    def test_what_export_refuses(self, run: collimate.Run, base: Path, tmp_path: Path) -> None:
        with pytest.raises(BadRun, match="no adapter to merge"):
            collimate.export(base, tmp_path / "a", merge=True)
        with pytest.raises(BadRun, match="not an empty folder"):
            collimate.export(run.folder, base)
        with pytest.raises(BadRun, match="holds no model"):
            collimate.export(tmp_path, tmp_path / "b")
        assert not (tmp_path / "a").exists()

    def test_training_goes_on_from_an_adapter(self, run: collimate.Run, tmp_path: Path) -> None:
        """The reference is the policy as passed, its adapter included."""
        second = train(tmp_path / "b", model=run.folder / "model", max_steps=2)
        assert metrics_of(second)[0]["loss"] == pytest.approx(math.log(2), abs=2e-6)
        assert second.record["model"]["trainable"] == run.record["model"]["trainable"]
        with pytest.raises(BadConfig, match="already has an adapter"):
            train(tmp_path / "c", model=run.folder / "model", lora_rank=2)

    def test_an_adapter_on_a_bf16_base_begins_at_zero(self, tmp_path: Path) -> None:
        """The base rounds to bf16, so the first log-ratio is only nearly zero: that is no error."""
        run = train(tmp_path / "a", model=policy().bfloat16(), lora_rank=2, max_steps=2)
        assert metrics_of(run)[0]["loss"] == pytest.approx(math.log(2), abs=0.02)
        assert {p.dtype for p in run.model.parameters() if p.requires_grad} == {torch.float32}

    def test_sizes_are_said_before_the_reference_pass(
        self, run: collimate.Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """As they are of the model that is then trained."""
        from collimate.engine.sizes import run_sizes

        again = train(tmp_path / "a", lora_rank=2, max_steps=1, progress=True)
        told = capsys.readouterr().err
        assert (
            0 < told.index("memory to expect") < told.index("reference") < told.index("48 examples")
        )
        sizes = again.record["sizes"]
        assert sizes == run_sizes(again.model, tokens=96)
        assert sizes["gradients"] == 4 * again.record["model"]["trainable"] < sizes["weights"] / 3

    def test_the_trained_folder_resumes_as_a_model(
        self, run: collimate.Run, tmp_path: Path
    ) -> None:
        config = json.loads((run.folder / "model" / "adapter_config.json").read_text())
        assert config["r"] == 2
        assert config["lora_alpha"] == 4


class TestScore:
    ROWS = text_pairs(14, seed=2)

    @pytest.mark.parametrize("name", ["llama", "gemma3", "bloom"])
    def test_equals_a_plain_forward_token_by_token(self, name: str) -> None:
        model = policy(name)
        rows = collimate.score(model, self.ROWS, word_tokenizer(), device="cpu")
        pw, pl = sums(model, self.ROWS)
        assert [row.row for row in rows] == list(range(len(self.ROWS)))
        for i, (row, text) in enumerate(zip(rows, self.ROWS, strict=True)):
            assert row.chosen.dtype == np.float32
            assert len(row.chosen) == len(text["chosen"].split()) + 1  # the end of sequence counts
            assert len(row.rejected) == len(text["rejected"].split()) + 1
            assert row.chosen.sum() == pytest.approx(pw[i], abs=1e-4)
            assert row.rejected.sum() == pytest.approx(pl[i], abs=1e-4)

    @pytest.mark.parametrize("name", ["llama", "llama_tied", "gemma2", "gpt2", "mistral_window"])
    def test_equals_a_plain_forward_off_the_initial_weights(self, name: str) -> None:
        """The bar: 1e-5 nats per token, each weight moved by 5 % of itself."""
        model = model_of(name)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(1 + 0.05 * torch.randn_like(parameter))
        rows = collimate.score(model, HELD_OUT, word_tokenizer())
        tokens = word_tokenizer()
        for row, given in zip(rows, HELD_OUT, strict=True):
            prompt = tokens(given["prompt"])["input_ids"]
            for side, got in zip(("chosen", "rejected"), row.answers, strict=True):
                answer = [*tokens(given[side])["input_ids"], 2]
                logits = model(input_ids=torch.tensor([[*prompt, *answer]]), use_cache=False).logits
                log_p = logits[0, len(prompt) - 1 : -1].log_softmax(-1)
                expected = log_p.gather(1, torch.tensor(answer)[:, None])[:, 0]
                assert (torch.from_numpy(got) - expected).abs().max() <= 1e-5

    def test_bad_settings_are_refused(self) -> None:
        for name in ("learning_rate", "limt"):
            with pytest.raises(BadConfig, match=f"unknown setting '{name}'"):
                collimate.score(policy(), HELD_OUT, word_tokenizer(), **{name: 1})
        with pytest.raises(BadConfig, match="tokens_per_micro_batch"):
            collimate.score(policy(), HELD_OUT, word_tokenizer(), tokens_per_micro_batch=0)

    def test_the_end_of_sequence_is_the_last_number(self) -> None:
        model, tokens = policy(), word_tokenizer()
        (row,) = collimate.score(model, self.ROWS[:1], tokens, device="cpu")
        ids = tokens(f"{self.ROWS[0]['prompt']} {self.ROWS[0]['chosen']}")["input_ids"]
        with torch.no_grad():
            log_p = model(input_ids=torch.tensor([ids])).logits[0, -1].log_softmax(-1)
        assert row.chosen[-1] == pytest.approx(log_p[2].item(), abs=1e-5)

    @pytest.mark.parametrize("name", ["llama", "bloom"])
    def test_does_not_depend_on_batch_or_order(self, name: str) -> None:
        model, tokens = policy(name), word_tokenizer()
        together = collimate.score(model, self.ROWS, tokens, device="cpu")
        backwards = collimate.score(model, self.ROWS[::-1], tokens, device="cpu")[::-1]
        alone = [collimate.score(model, [row], tokens, device="cpu")[0] for row in self.ROWS[:3]]
        small = collimate.score(model, self.ROWS, tokens, device="cpu", tokens_per_micro_batch=30)
        for others in (backwards, alone, small):
            for one, other in zip(together, others, strict=False):
                for a, b in zip(one.answers, other.answers, strict=True):
                    assert np.abs(a - b).max() <= 1e-5

    def test_a_reference_beside_it(self) -> None:
        rows = collimate.score(
            policy(), self.ROWS, word_tokenizer(), reference=policy(seed=9), device="cpu"
        )
        qw, _ = sums(policy(seed=9), self.ROWS)
        for row, expected in zip(rows, qw, strict=True):
            assert row.reference is not None
            assert row.reference[0].sum() == pytest.approx(expected, abs=1e-4)

    def test_leaves_the_model_as_it_was(self) -> None:
        model = policy().train()
        before = tensors_of(model)
        collimate.score(model, self.ROWS[:2], word_tokenizer(), device="cpu")
        assert model.training
        assert same_tensors(tensors_of(model), before)


class TestFolder:
    def test_a_finished_run_has_everything(self, tmp_path: Path) -> None:
        run = train(tmp_path / "a", evaluation=HELD_OUT, samples=1)
        record = record_of(run.folder)
        assert record["schema_version"] == 1
        assert record["status"] == "finished"
        assert record["steps"] == 4
        assert record["model"]["layout"] == "shared"
        assert record["model"]["check"]["log_prob"] < 1e-5
        assert record["data"]["train"]["used"] == 48
        assert [line["step"] for line in run.metrics] == [1, 2, 3, 4]
        assert len(record["samples"]) == 1
        assert record["samples"][0]["after"] is not None
        assert {path.name for path in (run.folder / "checkpoints").iterdir()} == {
            "step-00000003",
            "step-00000004",
        }
        model = AutoModelForCausalLM.from_pretrained(run.folder / "model")
        assert same_tensors(tensors_of(model), tensors_of(run.model))

    def test_a_tracker_gets_every_line(self, tmp_path: Path) -> None:
        run = train(tmp_path / "a", max_steps=3, trackers=("tensorboard",))
        written = b"".join(path.read_bytes() for path in run.folder.rglob("events.out.tfevents*"))
        assert written.count(b"reward_accuracy") == 3

    def test_samples_keep_to_the_context(self, tmp_path: Path) -> None:
        """The prompt is whole and the answer as long as there is room, not the other way round."""
        rows = text_pairs(8, seed=2)
        context = 28
        model = policy(max_position_embeddings=context)
        run = train(tmp_path / "a", model=model, data=rows, samples=3, max_steps=1, batch_size=2)
        tokens = word_tokenizer()
        for sample, row in zip(run.record["samples"], rows, strict=False):
            assert sample["prompt"] == row["prompt"]
            ids = tokens(row["prompt"], return_tensors="pt")["input_ids"]
            out = policy().generate(
                input_ids=ids, do_sample=False, max_new_tokens=context - ids.shape[1]
            )
            expected = tokens.decode(out[0, ids.shape[1] :], skip_special_tokens=True)
            assert sample["before"] == expected

    def test_progress_with_evaluations_within(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """A bar within a bar."""
        train(tmp_path / "a", progress=True, evaluation=HELD_OUT, evaluate_every=1, max_steps=2)
        told = capsys.readouterr().err
        assert re.search(r"training .* 2/2 left 0:00:00 loss \d\.\d{3} acc ", told)
        assert "evaluating" in told

    def test_what_a_run_was_given_is_in_its_record(self, tmp_path: Path) -> None:
        other = saved(tmp_path / "other", seed=4)
        record = train(tmp_path / "a", reference=other, max_steps=1).record
        assert record["config"]["reference"] == str(other)
        assert record["config"]["tokenizer"] == type(word_tokenizer()).__name__
        assert record["reference"]["is_policy"] is False
        assert train(tmp_path / "b", max_steps=1).record["reference"]["is_policy"] is True

    def test_an_occupied_folder_is_refused(self, tmp_path: Path) -> None:
        train(tmp_path / "a", max_steps=1)
        with pytest.raises(BadRun, match="already holds a run: continue it with --resume"):
            train(tmp_path / "a", max_steps=1)
        (tmp_path / "b").mkdir()
        (tmp_path / "b" / "mine.txt").write_text("precious")
        with pytest.raises(BadRun, match="not an empty folder"):
            train(tmp_path / "b", max_steps=1)

    def test_nothing_is_written_before_the_run_can_begin(self, tmp_path: Path) -> None:
        rows = [*text_pairs(3), {"prompt": "w1", "chosen": "w2", "rejected": "w2"}]
        with pytest.raises(collimate.CollimateError, match="row"):
            train(tmp_path / "a", data=rows)
        with pytest.raises(BadConfig, match="unknown setting 'epoch'; did you mean 'epochs'"):
            train(tmp_path / "a", epoch=2)
        with pytest.raises(BadConfig, match="unknown method 'dpoo'; did you mean 'dpo'"):
            train(tmp_path / "a", method="dpoo")
        assert not (tmp_path / "a").exists()

    @pytest.mark.parametrize(("options", "rate"), [({}, 2.5e-5), ({"lora_rank": 2}, 2.5e-4)])
    def test_the_default_rate_is_that_of_the_width(
        self, options: dict[str, int], rate: float, tmp_path: Path
    ) -> None:
        """Width 512: 1e-4·(256/512)², and ten times that for an adapter."""
        named = {"learning_rate": None, "warmup": 0.0, "schedule": "constant", **options}
        run = train(tmp_path / "a", model=policy(hidden_size=512), max_steps=1, **named)
        assert metrics_of(run)[0]["learning_rate"] == pytest.approx(rate)

    def test_two_log_lines_in_five_steps(self, tmp_path: Path) -> None:
        run = train(tmp_path / "a", log_every=3, max_steps=5)
        assert [line["step"] for line in run.metrics] == [3, 5]
        each = train(tmp_path / "b", max_steps=5)
        assert metrics_of(run) == [metrics_of(each)[2], metrics_of(each)[4]]
        assert weights_of(run.folder) == weights_of(each.folder)


def test_ids_of_the_word_tokenizer_fit_the_tiny_models() -> None:
    assert len(word_tokenizer()) <= VOCABULARY
