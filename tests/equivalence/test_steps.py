"""A step's gradient is a property of its examples: micro-batches, order and layout change nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from collimate import methods
from collimate._types import Batch, Example, PairLogProbs, TokenLogProbs
from collimate.axes import Needs, State, Term
from collimate.compose import Method, Objective, Part
from collimate.distributions import offline_pairs
from collimate.engine import step as engine_step
from collimate.engine.checkpoint import Progress, load_checkpoint, save_checkpoint
from collimate.engine.evaluate import Rows
from collimate.engine.head import Readout
from collimate.engine.loop import LoopSettings, LoopState, run_steps
from collimate.engine.model import LogProbModel
from collimate.engine.objective import initial_states, objective_value
from collimate.engine.packing import step_batch
from collimate.engine.plan import Plan
from collimate.engine.step import StepOutcome, gradient_step
from collimate.signals import entropy
from tests.engine.tiny import difference, gradients, model_of, pairs, plain_log_probs

ONE_BY_ONE, WHOLE = 1, 10**9
BUDGETS = (ONE_BY_ONE, 40, 130)


@dataclass(frozen=True)
class Coupled:
    """A toy whose units depend on each other: the margin above the batch's mean, exponentiated.

    With `moving` it remembers a running mean of the margins and measures from there.
    """

    name: str = "coupled"
    needs: Needs = Needs(view="pairs", couples="batch")
    moving: bool = False

    def _values(self, view: PairLogProbs, state: State) -> Tensor:
        chosen, rejected = view.log_ratios()
        h = 0.3 * (chosen - rejected)
        return torch.exp(-(h - h.mean()) - (state["mean"] if self.moving else 0.0))

    def __call__(self, view: PairLogProbs, /) -> Tensor:
        return self._values(view, self.init())

    def init(self) -> State:
        return {"mean": 0.0, "steps": 0.0} if self.moving else {}

    def terms(self, view: PairLogProbs, state: State, /) -> Mapping[str, Term]:
        values = self._values(view, state)
        weight = view.columns.get("weight", torch.ones_like(values))
        return {"loss": Term(1.0, values, weight)}

    def update(self, view: PairLogProbs, state: State, /) -> State:
        if not self.moving:
            return state
        chosen, rejected = view.log_ratios()
        mean = 0.9 * state["mean"] + 0.1 * (chosen - rejected).mean().item()
        return {"mean": mean, "steps": state["steps"] + 1}

    def measure(self, view: PairLogProbs, state: State, /) -> Mapping[str, Tensor]:
        return {}


@dataclass(frozen=True)
class TokenLevel:
    """A toy on tokens: log-ratios bent token by token, with the entropy as a second signal."""

    name: str = "token_level"
    needs: Needs = Needs(view="tokens", signals=(entropy,))
    seen: list[TokenLogProbs] = field(default_factory=list, compare=False)

    def __call__(self, view: TokenLogProbs, /) -> Tensor:
        assert view.reference is not None
        u = view.log_prob - view.reference
        scores = view.sums(torch.tanh(u - 0.1) + 0.2 * view.signals["entropy"] ** 2)
        return torch.exp(-0.3 * (scores[0::2] - scores[1::2]))

    def init(self) -> State:
        return {}

    def terms(self, view: TokenLogProbs, state: State, /) -> Mapping[str, Term]:
        assert view.reference is not None
        values = self(view)
        # A second term with one unit per token, weighted by the token weights of the data.
        u = view.log_prob - view.reference
        return {
            "pairs": Term(1.0, values, torch.ones_like(values)),
            "tokens": Term(0.5, u.square(), view.weight),
        }

    def update(self, view: TokenLogProbs, state: State, /) -> State:
        self.seen.append(view)
        return state

    def measure(self, view: TokenLogProbs, state: State, /) -> Mapping[str, Tensor]:
        return {}


@dataclass(frozen=True)
class Likelihood:
    """Supervised fine-tuning on the chosen answers: no reference, one unit per token."""

    name: str = "likelihood"
    needs: Needs = Needs(view="batch", reference=False)

    def __call__(self, view: Batch, /) -> Tensor:
        return -view.log_prob

    def init(self) -> State:
        return {}

    def terms(self, view: Batch, state: State, /) -> Mapping[str, Term]:
        chosen = (view.label[view.sequence] != -1).to(view.log_prob.dtype)
        return {"nll": Term(1.0, -view.log_prob, chosen * view.token_weight)}

    def update(self, view: Batch, state: State, /) -> State:
        return state

    def measure(self, view: Batch, state: State, /) -> Mapping[str, Tensor]:
        return {}


def two_parts() -> Objective:
    source = offline_pairs()
    return Objective(
        name="dpo + likelihood",
        parts=(
            Part(source=source, method=methods.dpo(0.3), coefficient=0.7),
            Part(source=source, method=Likelihood(), coefficient=0.2),
        ),
    )


def mixed_parts() -> Objective:
    """One part couples the batch, the other does not: the whole objective is pulled back."""
    source = offline_pairs()
    return Objective(
        name="coupled + likelihood",
        parts=(
            Part(source=source, method=Coupled(), coefficient=1.0),
            Part(source=source, method=Likelihood(), coefficient=-0.3),
        ),
    )


OBJECTIVES: dict[str, Any] = {
    "dpo": methods.dpo(0.3),
    "ipo": methods.ipo(0.3),
    "coupled": Coupled(),
    "token_level": TokenLevel(),
    "two_parts": two_parts(),
    "mixed_parts": mixed_parts(),
    "function": Method.of(lambda view: (view.policy_chosen - view.policy_rejected).square()),
}
COUPLED = ("coupled", "mixed_parts")


def labelled(examples: Sequence[Example], *, token_weights: bool = False) -> list[Example]:
    generator = np.random.default_rng(5)

    def weights(n: int) -> np.ndarray | None:
        return generator.choice([0.0, 0.5, 1.0, 2.0], n) if token_weights else None

    return [
        replace(
            e,
            answers=tuple(
                replace(a, label=label, token_weight=weights(len(a.ids)))
                for a, label in zip(e.answers, (1, -1), strict=True)
            ),
        )
        for e in examples
    ]


def reference_of(model: PreTrainedModel, examples: Sequence[Example]) -> Rows:
    """The reference is another model, so that log-ratios are far from 0."""
    flat = plain_log_probs(model, examples).numpy()
    lengths = [len(a.ids) for e in examples for a in e.answers]
    parts = iter(np.split(flat, np.cumsum(lengths)[:-1]))
    return [tuple(next(parts) for _ in e.answers) for e in examples]


def plain_values(model: PreTrainedModel, examples: Sequence[Example]) -> tuple[Tensor, Tensor]:
    """Log-prob and entropy of all answer tokens by the model's own logits, with gradient."""
    values: list[Tensor] = []
    entropies: list[Tensor] = []
    for one in examples:
        for answer in one.answers:
            row = torch.from_numpy(np.concatenate((one.prompt, answer.ids)))
            logits = model(input_ids=row[None], use_cache=False).logits[0]
            log_p = logits[len(one.prompt) - 1 : -1].log_softmax(-1)
            values.append(log_p.gather(1, row[len(one.prompt) :, None])[:, 0])
            entropies.append(-(log_p.exp() * log_p).sum(-1))
    return torch.cat(values), torch.cat(entropies)


class Bench:
    """A policy, its step and its reference; `gradient` under any micro-batching."""

    def __init__(
        self,
        name: str,
        dtype: torch.dtype,
        examples: Sequence[Example],
        *,
        factor: float = 3.0,
    ) -> None:
        self.model = model_of(name, factor=factor, dtype=dtype)
        self.examples = list(examples)
        other = model_of(name, factor=factor, dtype=torch.float64, seed=1)
        self.reference = reference_of(other, self.examples)

    def step(
        self, method: Any, budget: int, *, shared: bool = True, order: Sequence[int] | None = None
    ) -> tuple[StepOutcome, dict[str, Tensor]]:
        objective = Objective.of(method)
        order = range(len(self.examples)) if order is None else order
        outcome = gradient_step(
            LogProbModel(self.model, shared=shared),
            objective,
            [self.examples[i] for i in order],
            [self.reference[i] for i in order],
            initial_states(objective),
            budget=budget,
            autocast=nullcontext,
        )
        return outcome, gradients(self.model)

    def by_plain_autograd(self, method: Any) -> tuple[float, dict[str, Tensor]]:
        """The same objective through the model's own logits: nothing of the engine but its record."""
        objective = Objective.of(method)
        values, entropies = plain_values(self.model, self.examples)
        flat = np.concatenate([row for rows in self.reference for row in rows])
        reference = torch.from_numpy(flat).to(values.dtype)
        batch = step_batch(self.examples, values, reference, {"entropy": entropies})
        loss = objective_value(objective, batch, initial_states(objective))
        loss.backward()
        return loss.item(), gradients(self.model)


@pytest.fixture(scope="module")
def plain_pairs() -> list[Example]:
    return labelled(pairs(8))


@pytest.fixture(scope="module", params=["even", "weighted"])
def step_examples(request: pytest.FixtureRequest) -> list[Example]:
    if request.param == "even":
        return labelled(pairs(8))
    weights = [1.0, 0.0, 2.5, 0.5, 0.0, 1.0, 3.0, 0.25]
    return labelled(pairs(8, weight=weights), token_weights=True)


# GPT-2 computes in float64 throughout; Llama's norms and rotary angles are float32 inside.
@pytest.fixture(scope="module")
def exact(step_examples: list[Example]) -> Bench:
    return Bench("gpt2", torch.float64, step_examples)


@pytest.mark.parametrize("name", OBJECTIVES)
class TestFloat64:
    def test_micro_batches_change_nothing(self, name: str, exact: Bench) -> None:
        method = OBJECTIVES[name]
        whole, expected = exact.step(method, WHOLE)
        assert whole.loss.dtype == torch.float64
        for budget in BUDGETS:
            outcome, found = exact.step(method, budget)
            assert (outcome.loss - whole.loss).abs() <= 1e-12 * max(1.0, abs(whole.loss.item()))
            assert difference(found, expected) <= 1e-12

    def test_the_plain_layout_gives_the_same(self, name: str, exact: Bench) -> None:
        method = OBJECTIVES[name]
        whole, expected = exact.step(method, WHOLE)
        for budget in (ONE_BY_ONE, 130):
            outcome, found = exact.step(method, budget, shared=False)
            assert (outcome.loss - whole.loss).abs() <= 1e-12 * max(1.0, abs(whole.loss.item()))
            assert difference(found, expected) <= 1e-12

    def test_the_order_of_the_examples_changes_nothing(self, name: str, exact: Bench) -> None:
        method = OBJECTIVES[name]
        whole, expected = exact.step(method, WHOLE)
        outcome, found = exact.step(method, 60, order=[3, 1, 7, 0, 2, 6, 4, 5])
        assert (outcome.loss - whole.loss).abs() <= 1e-12 * max(1.0, abs(whole.loss.item()))
        assert difference(found, expected) <= 1e-12

    def test_equals_plain_autograd(self, name: str, exact: Bench) -> None:
        loss, expected = exact.by_plain_autograd(OBJECTIVES[name])
        outcome, found = exact.step(OBJECTIVES[name], 60)
        assert outcome.loss.item() == pytest.approx(loss, rel=1e-12, abs=1e-12)
        assert difference(found, expected) <= 1e-12
        assert max(x.abs().max().item() for x in expected.values()) > 1e-3


@pytest.mark.parametrize("model", ["llama", "gpt2", "gemma3"])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_float32_agrees_to_1e_5(name: str, model: str, plain_pairs: list[Example]) -> None:
    """Where the objective cancels (the coupled toy), float32's own distance from float64 is the bar."""
    bench = Bench(model, torch.float32, plain_pairs, factor=1.0)
    method = OBJECTIVES[name]
    whole, expected = bench.step(method, WHOLE)
    worst = 0.0
    for budget, shared in ((ONE_BY_ONE, True), (60, True), (60, False)):
        outcome, found = bench.step(method, budget, shared=shared)
        assert (outcome.loss - whole.loss).abs() <= 1e-5 * max(1.0, abs(whole.loss.item()))
        worst = max(worst, difference(found, expected))
    if worst > 1e-5:
        bench.model = bench.model.double()
        _, truth = bench.step(method, WHOLE)
        own = difference(expected, {name: slope.float() for name, slope in truth.items()})
        assert worst <= own < 2e-5


@pytest.mark.parametrize("name", ["dpo", "coupled", "token_level", "two_parts"])
def test_a_model_with_float32_inside_agrees_in_float64(
    name: str, plain_pairs: list[Example]
) -> None:
    """Llama: float32 roundings inside fall alike unless an input crosses a rounding boundary."""
    bench = Bench("llama", torch.float64, plain_pairs)
    _, expected = bench.step(OBJECTIVES[name], WHOLE)
    _, one_by_one = bench.step(OBJECTIVES[name], ONE_BY_ONE)
    _, plain = bench.step(OBJECTIVES[name], WHOLE, shared=False)
    assert difference(one_by_one, expected) <= 1e-6
    assert difference(plain, expected) <= 1e-6


@pytest.mark.parametrize("name", COUPLED)
def test_naive_accumulation_would_be_wrong_for_a_coupled_method(
    name: str, exact: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The toy really couples: without the two-pass pull-back its gradient is off by more than 1 %."""
    _, expected = exact.step(OBJECTIVES[name], ONE_BY_ONE)
    monkeypatch.setattr(engine_step, "couples_batch", lambda objective: False)
    _, naive = exact.step(OBJECTIVES[name], ONE_BY_ONE)
    assert difference(naive, expected) > 0.01


def test_mean_of_micro_batch_means_would_be_wrong_for_uneven_weights(
    plain_pairs: list[Example],
) -> None:
    """Σ over terms of Σ values·weight / Σ weight is over the step, not over micro-batches."""
    weights = [1.0, 0.0, 2.5, 0.5, 0.0, 1.0, 3.0, 0.25]
    weighted = [
        replace(e, columns={"weight": w}) for e, w in zip(plain_pairs, weights, strict=True)
    ]
    bench = Bench("gpt2", torch.float64, weighted)
    outcome, _ = bench.step(methods.dpo(0.3), ONE_BY_ONE)
    losses = []
    for i in range(len(weighted)):
        alone, _ = bench.step(methods.dpo(0.3), WHOLE, order=[i])
        losses.append(alone.loss.item())
    expected = np.average(losses, weights=weights)
    assert outcome.loss.item() == pytest.approx(expected, rel=1e-12)
    assert abs(np.mean(losses) - expected) > 1e-3 * abs(expected)


def test_examples_of_weight_zero_give_no_gradient(plain_pairs: list[Example]) -> None:
    weighted = [replace(e, columns={"weight": float(i % 2)}) for i, e in enumerate(plain_pairs)]
    bench = Bench("gpt2", torch.float64, weighted)
    _, found = bench.step(methods.dpo(0.3), 60)
    _, expected = bench.step(methods.dpo(0.3), 60, order=[1, 3, 5, 7])
    assert difference(found, expected) <= 1e-12


def test_tokens_of_weight_zero_give_no_gradient(plain_pairs: list[Example]) -> None:
    """Masking the last tokens of every answer is the same as leaving them out."""

    def masked(e: Example) -> Example:
        answers = tuple(
            replace(a, token_weight=np.array([1.0] + [0.0] * (len(a.ids) - 1))) for a in e.answers
        )
        return replace(e, answers=answers)

    def cut(e: Example) -> Example:
        return replace(e, answers=tuple(replace(a, ids=a.ids[:1]) for a in e.answers))

    long, short = ([f(e) for e in plain_pairs] for f in (masked, cut))
    _, found = Bench("gpt2", torch.float64, long).step(methods.dpo(0.3), 60)
    _, expected = Bench("gpt2", torch.float64, short).step(methods.dpo(0.3), 60)
    assert difference(found, expected) <= 1e-12


@pytest.mark.parametrize("name", ["dpo", "coupled"])
def test_a_step_of_weight_zero_changes_nothing(name: str, plain_pairs: list[Example]) -> None:
    """A step drawn by seed may hold rows of weight 0 alone; it must pass, with a gradient of 0."""
    bench = Bench("gpt2", torch.float64, [replace(e, columns={"weight": 0.0}) for e in plain_pairs])
    outcome, found = bench.step(OBJECTIVES[name], 60)
    assert outcome.loss == 0
    assert all((gradient == 0).all() for gradient in found.values())


def test_the_step_sees_the_log_probs_of_its_examples_in_their_order(
    plain_pairs: list[Example],
) -> None:
    bench = Bench("gpt2", torch.float64, plain_pairs)
    order = [4, 2, 6, 0]
    expected = plain_log_probs(bench.model, [plain_pairs[i] for i in order])
    for name in ("dpo", "coupled"):
        outcome, _ = bench.step(OBJECTIVES[name], 40, order=order)
        assert not outcome.batch.log_prob.requires_grad
        assert (outcome.batch.log_prob - expected).abs().max() < 1e-12
        given = np.concatenate([row for i in order for row in bench.reference[i]])
        assert np.array_equal(outcome.batch.reference, given)


def test_gradients_are_added_to_those_there(plain_pairs: list[Example]) -> None:
    bench = Bench("gpt2", torch.float64, plain_pairs)
    _, once = bench.step(methods.dpo(0.3), 60)
    objective = Objective.of(methods.dpo(0.3))
    for _ in range(2):
        gradient_step(
            LogProbModel(bench.model, shared=True),
            objective,
            bench.examples,
            bench.reference,
            initial_states(objective),
            budget=60,
            autocast=nullcontext,
        )
    assert difference({n: g / 2 for n, g in gradients(bench.model).items()}, once) <= 1e-12


@pytest.mark.parametrize("name", ["dpo", "coupled"])
def test_no_logits_are_computed_twice(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many answers a step has: its micro-batches are cut so that the head keeps them all."""
    bench = Bench("gpt2", torch.float64, labelled(pairs(16)))
    assert sum(example.answer_tokens for example in bench.examples) > 3 * 64
    _, expected = bench.step(OBJECTIVES[name], WHOLE)
    computed: list[int] = []
    raw = Readout.raw

    def counted(self: Readout, hidden: Tensor, weight: Tensor) -> Tensor:
        computed.append(len(hidden))
        return raw(self, hidden, weight)

    monkeypatch.setattr(Readout, "raw", counted)
    monkeypatch.setattr("collimate.engine.head.CHUNK_BYTES", 1)  # the fewest rows: 64
    _, found = bench.step(OBJECTIVES[name], WHOLE)
    passes = 2 if name == "coupled" else 1  # it looks at the whole step before it differentiates
    assert sum(computed) == passes * sum(example.answer_tokens for example in bench.examples)
    assert max(computed) <= 64
    assert difference(found, expected) <= 1e-12


class TestState:
    """A method's memory is updated once per step, by the whole step, and lives in checkpoints."""

    SETTINGS = LoopSettings(
        peak=1e-2,
        warmup=0,
        schedule="constant",
        max_gradient_norm=1.0,
        budget=WHOLE,
        log_every=100,
        max_skipped_steps=0,
    )

    def run(
        self,
        steps: range,
        start: LoopState,
        bench: Bench,
        optimizer: torch.optim.Optimizer,
        budget: int,
    ) -> list[LoopState]:
        states: list[LoopState] = []

        def on_step(now: LoopState, line: object, outcome: StepOutcome) -> bool:
            states.append(now)
            return now.step < steps.stop

        run_steps(
            LogProbModel(bench.model, shared=True),
            Objective.of(Coupled(moving=True)),
            optimizer,
            Plan(examples=len(bench.examples), batch_size=3, steps=6, seed=0),
            bench.examples,
            bench.reference,
            start,
            replace(self.SETTINGS, budget=budget),
            autocast=nullcontext,
            on_step=on_step,
        )
        return states

    @pytest.mark.parametrize("budget", [ONE_BY_ONE, WHOLE])
    def test_once_per_step_and_across_a_checkpoint(
        self, budget: int, plain_pairs: list[Example], tmp_path: Path
    ) -> None:
        begin = LoopState(step=0, states=({"mean": 0.0, "steps": 0.0},))
        bench = Bench("gpt2", torch.float64, plain_pairs)
        sgd = torch.optim.SGD(bench.model.parameters(), lr=0.1)
        whole = self.run(range(6), begin, bench, sgd, WHOLE)
        assert [state.states[0]["steps"] for state in whole] == [1, 2, 3, 4, 5, 6]
        assert len({state.states[0]["mean"] for state in whole}) == 6

        again = Bench("gpt2", torch.float64, plain_pairs)
        sgd = torch.optim.SGD(again.model.parameters(), lr=0.1)
        half = self.run(range(3), begin, again, sgd, budget)
        progress = Progress(step=3, states=half[-1].states, metrics_bytes=0, identity="x")
        save_checkpoint(tmp_path, again.model, sgd, progress, keep=1)

        resumed = Bench("gpt2", torch.float64, plain_pairs)
        sgd = torch.optim.SGD(resumed.model.parameters(), lr=0.1)
        loaded = load_checkpoint(tmp_path / "step-00000003", resumed.model, sgd, identity="x")
        assert loaded.states == half[-1].states
        rest = self.run(
            range(6), LoopState(step=loaded.step, states=loaded.states), resumed, sgd, budget
        )
        for one, other in zip(whole, [*half, *rest], strict=True):
            assert one.states[0]["mean"] == pytest.approx(other.states[0]["mean"], rel=1e-10)
        for a, b in zip(bench.model.parameters(), resumed.model.parameters(), strict=True):
            assert torch.allclose(a, b, rtol=1e-9, atol=1e-12)
