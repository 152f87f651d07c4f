"""One training run, from a prepared start to its saved model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from collimate._checks import BadRun, TrainingFailed
from collimate.axes import Signal, State
from collimate.compose import Objective
from collimate.engine.checkpoint import Progress, checkpoints, load_checkpoint, save_checkpoint
from collimate.engine.evaluate import Rows, signal_rows
from collimate.engine.load import save_model, save_tokenizer
from collimate.engine.loop import LoopSettings, LoopState, run_steps
from collimate.engine.metrics import evaluation as evaluation_metrics
from collimate.engine.model import LogProbModel, has_adapter, width_of
from collimate.engine.moving import moving_of
from collimate.engine.objective import initial_states, needs_of
from collimate.engine.pair_figures import pair_figures, token_values
from collimate.engine.pair_table import PairTable
from collimate.engine.plan import Plan
from collimate.engine.run_folder import RunFolder
from collimate.engine.sharding import whole_state
from collimate.engine.step import StepOutcome, signals_of
from collimate.jobs._alarms import Alarms
from collimate.jobs._console import Console
from collimate.jobs._interrupt import interruptible
from collimate.jobs._phases import Phases
from collimate.jobs._samples import add_samples_after, samples_before
from collimate.jobs.identity import run_identity
from collimate.jobs.prepare import Prepared
from collimate.jobs.run import Run
from collimate.jobs.settings import TrainSettings
from collimate.optim import OPTIMIZERS, default_learning_rate
from collimate.signals import log_prob


class Job:
    """One run, from a prepared start to its saved model."""

    def __init__(
        self,
        folder: RunFolder,
        objective: Objective,
        prepared: Prepared,
        options: TrainSettings,
        record: dict[str, Any],
        console: Console,
        phases: Phases,
    ) -> None:
        self.folder, self.objective, self.prepared = folder, objective, prepared
        self.options, self.record = options, record
        self.console, self.phases = console, phases
        count = len(prepared.train.examples)
        per_epoch = math.ceil(count / options.batch_size)
        steps = options.max_steps or max(1, math.ceil(options.epochs * per_epoch))
        self.plan = Plan(
            examples=count, batch_size=options.batch_size, steps=steps, seed=options.seed
        )
        peak = options.learning_rate or default_learning_rate(
            width_of(prepared.model), adapter=has_adapter(prepared.model)
        )
        self.loop = LoopSettings(
            peak=peak,
            warmup=math.ceil(options.warmup * steps),
            schedule=options.schedule,
            max_gradient_norm=options.max_gradient_norm,
            budget=prepared.budget,
            log_every=options.log_every,
            max_skipped_steps=options.max_skipped_steps,
        )
        self.every = options.checkpoint_every or math.ceil(steps / 5)
        self.optimizer = OPTIMIZERS[options.optimizer](
            prepared.trained, learning_rate=peak, weight_decay=options.weight_decay
        )
        self.moving = moving_of(objective, prepared.frozen)
        self.moved = None if self.moving is None else self.moving.reference.model  # saved with it
        self.pairs: PairTable | None = None
        if options.recorded_pairs and needs_of(objective).view == "pairs":
            examples = prepared.train.examples
            self.pairs = PairTable(folder.pairs_path, examples, limit=options.recorded_pairs)
        reference = prepared.reference
        self.compares = self.moving is None and reference is not None and reference.is_policy
        self.alarms = Alarms(
            folder,
            peak=peak,
            max_skipped=options.max_skipped_steps,
            compares=self.compares,
            pairs=self.pairs,
            say=console.say,
        )
        self.identity = run_identity(objective, prepared, options, self.plan, self.loop)

    def run(self) -> Run:
        """Train from the start, or from the last checkpoint, to the end or an interruption."""
        state = self._start()
        with self.phases.phase("train"), interruptible() as interrupt:
            state = self._train(state, interrupt)
        if state.step < self.plan.steps:
            self._checkpoint(state)
            self.record.update(status="stopped", steps=state.step)
            self._write_record()
            self.console.say(f"stopped after step {state.step}; continue with --resume")
        else:
            self._finish(state)
        return Run(folder=self.folder.path, record=self.record, model=self.prepared.model)

    def _start(self) -> LoopState:
        state = LoopState(step=0, states=self._initial_states())
        if self.options.resume:
            before = self.folder.read_record()
            for name in ("evaluation", "samples", "created"):
                self.record[name] = before[name]
            self.phases.continues(before)
            if self.record["reference"] is not None and before["reference"] is not None:
                name = "first_step_max_log_ratio"
                self.record["reference"][name] = before["reference"].get(name)
            done = checkpoints(self.folder.checkpoints_path)
            metrics = 0
            if done:
                progress = load_checkpoint(
                    done[-1],
                    self.prepared.trained,
                    self.optimizer,
                    identity=self.identity,
                    moving=self.moved,
                )
                state = LoopState(
                    step=progress.step, states=progress.states, skipped=progress.skipped
                )
                metrics = progress.metrics_bytes
            elif before["identity"] != self.identity:
                raise BadRun(_other_run(self.folder.path))
            self.prepared.processes.barrier()  # all have read what the main one now goes on to write
            self.folder.cut_metrics(metrics)
            self.alarms.continues(self.folder.read_metrics(), before.get("alarms", ()))
            self.console.say(f"resuming after step {state.step} of {self.plan.steps}")
        else:
            with self.phases.phase("evaluate"):
                self.record["evaluation"]["before"] = self._evaluate(before=True)
                self.record["samples"] = samples_before(
                    self.prepared, self.options.samples, self.console
                )
            self.prepared.processes.barrier()  # all have seen that the folder is new
            self.folder.create()
            held_out = self.prepared.evaluation
            self.folder.write_bad_rows(
                [*self.prepared.train.bad_rows, *(held_out.bad_rows if held_out else ())]
            )
        if self.pairs is not None and self.folder.writes:
            save_tokenizer(self.prepared.tokenizer, self.folder.tokenizer_path)
            self.pairs.begin()
        self.prepared.processes.require_same(f"{self.identity} {state.step}")
        self.record.update(status="running", identity=self.identity, skipped_steps=state.skipped)
        self.folder.write_record(self.record)
        self.prepared.runtime.start_trackers(self.record["name"], self.record["config"])
        if state.step == 0:
            self._track(self.record["evaluation"]["before"], 0)
        self.console.say(_plan_line(self.plan, self.loop))
        return state

    def _train(self, state: LoopState, interrupt: Any) -> LoopState:
        with self.console.bar("training", total=self.plan.steps, done=state.step) as bar:

            def on_step(
                now: LoopState, line: Mapping[str, Any] | None, outcome: StepOutcome
            ) -> bool:
                self.record.update(steps=now.step, skipped_steps=now.skipped)
                if now.step == 1:
                    self._require_zero_start(outcome)
                if line is None or "skipped" not in line:
                    self._record_pairs(now.step, outcome)
                if line is not None:
                    self.folder.append_metrics(line)
                    self.prepared.runtime.log(line, step=now.step)
                    self.alarms.see(line)
                bar.advance(1, _note(line))
                every = self.options.evaluate_every
                if every and now.step % every == 0 and now.step < self.plan.steps:
                    measured = self._evaluate()
                    self.folder.append_metrics({"step": now.step, "evaluation": measured})
                    self._track(measured, now.step)
                if now.step % self.every == 0 and now.step < self.plan.steps:
                    self._checkpoint(now)
                return not self.prepared.processes.any(interrupt.asked)

            return run_steps(
                self.prepared.engine,
                self.objective,
                self.optimizer,
                self.plan,
                self.prepared.train.examples,
                None if self.prepared.reference is None else self.prepared.reference.train,
                state,
                self.loop,
                autocast=self.prepared.runtime.autocast,
                frozen=self.prepared.frozen,
                processes=self.prepared.processes,
                similarity=self.pairs is not None,
                on_step=on_step,
            )

    def _record_pairs(self, step: int, outcome: StepOutcome) -> None:
        """Put what a step saw of its pairs into the run's table of them."""
        if self.pairs is None or not self.folder.writes:
            return
        chosen = self.plan.step(step - 1)
        figures = pair_figures(self.objective, outcome, starts_at_reference=self.compares)
        examples = [self.prepared.train.examples[i] for i in chosen]
        figures = {**figures, "step": np.full(len(chosen), float(step))}
        self.pairs.update(chosen, figures, token_values(outcome, examples))

    def _finish(self, state: LoopState) -> None:
        with self.phases.phase("save"):
            self._checkpoint(state)  # first, so that nothing below can cost the steps
        with self.phases.phase("evaluate"):
            after = self.record["evaluation"]["after"] = self._evaluate()
            self._track(after, state.step)
            add_samples_after(self.record["samples"], self.prepared)
        with self.phases.phase("save"):
            self._save_model()
        self.record.update(status="finished", steps=state.step)
        self._write_record()

    def _save_model(self) -> None:
        model, processes = self.prepared.model, self.prepared.processes
        state = whole_state(model, processes) if processes.sharded else None  # of everyone's parts
        if processes.is_main:
            save_model(model, self.prepared.tokenizer, self.folder.model_path, state=state)
        processes.barrier()

    def _write_record(self) -> None:
        self.alarms.explain()
        self.record.update(self.phases.to_json(), alarms=self.alarms.to_json())
        self.folder.write_record(self.record)

    def _checkpoint(self, state: LoopState) -> None:
        progress = Progress(
            step=state.step,
            states=state.states,
            metrics_bytes=self.folder.metrics_size(),
            identity=self.identity,
            skipped=state.skipped,
        )
        save_checkpoint(
            self.folder.checkpoints_path,
            self.prepared.trained,
            self.optimizer,
            progress,
            keep=self.options.keep,
            moving=self.moved,
            processes=self.prepared.processes,
        )
        self._write_record()

    def _track(self, measured: Mapping[str, Any] | None, step: int) -> None:
        numbers = {f"evaluation/{name}": value for name, value in (measured or {}).items()}
        self.prepared.runtime.log(numbers, step=step)

    def _initial_states(self) -> tuple[State, ...]:
        return tuple(initial_states(self.objective, seed=self.options.seed))

    def _evaluate(self, *, before: bool = False) -> dict[str, Any] | None:
        """Held-out numbers, in the methods' initial states: one loss, whenever it is measured."""
        held_out, reference = self.prepared.evaluation, self.prepared.reference
        if held_out is None:
            return None
        column = None if reference is None else reference.evaluation
        if self.moving is not None:
            (column,) = self._rows(self.moving.reference, (log_prob,))
        signals = signals_of(self.objective)
        names = [signal.name for signal in signals]
        if before and len(signals) == 1 and reference is not None and reference.is_policy:
            assert column is not None  # a reference with held-out data has its column
            rows = (column,)  # the policy is its reference before the first step
        else:
            self.prepared.model.eval()
            rows = self._rows(self.prepared.engine, signals)
            self.prepared.model.train(self.options.dropout)
        policy = dict(zip(names, rows, strict=True))
        return evaluation_metrics(
            self.objective, self._initial_states(), held_out.examples, policy, column
        )

    def _rows(self, engine: LogProbModel, signals: Sequence[Signal]) -> tuple[Rows, ...]:
        """Each signal of the held-out data."""
        held_out = self.prepared.evaluation
        assert held_out is not None
        with self.console.bar("evaluating", total=len(held_out.examples)) as bar:
            return signal_rows(
                engine,
                held_out.examples,
                signals,
                budget=self.prepared.budget,
                autocast=self.prepared.runtime.autocast,
                frozen=self.prepared.frozen,
                progress=bar.advance,
                processes=self.prepared.processes,
            )

    def _require_zero_start(self, outcome: StepOutcome) -> None:
        """The policy is its own reference at step 1, so every log-ratio must be 0 up to rounding."""
        reference, batch = self.prepared.reference, outcome.batch
        if reference is None or batch.reference is None:
            return
        largest = (batch.log_prob - batch.reference).abs().max().item()
        self.record["reference"]["first_step_max_log_ratio"] = largest
        self.folder.write_record(self.record)
        exact = self.options.precision == "fp32" and self.prepared.exact
        tolerance = 1e-3 if exact else 0.5
        if reference.is_policy and not self.options.dropout and not largest <= tolerance:
            raise TrainingFailed(
                f"at the first step the policy differs from its own reference by {largest:.2g} nats on "
                "a token, where 0 was expected: the model answers differently in training (dropout, "
                "noise), or the cache holds values of another model; clear it, or pass cache=<new folder>"
            )


def _other_run(path: Path) -> str:
    return (
        f"{path} belongs to another run: its model, data, method, reference or settings differ from "
        "those given now; resume with the run's own, or start a new folder"
    )


def _plan_line(plan: Plan, loop: LoopSettings) -> str:
    steps = f"{plan.steps} steps of {plan.batch_size}"
    return f"{plan.examples} examples, {steps}, learning rate {loop.peak:g}"


def _note(line: Mapping[str, Any] | None) -> str | None:
    if line is None:
        return None
    if "skipped" in line:
        return "skipped"
    shown = [f"loss {line['loss']:.3f}"]
    for name, keys in _NOTED.items():
        known = [f"{line[key]:.2f}" for key in keys if key in line]
        if known:
            shown.append(f"{name} {'/'.join(known)}")
    return " ".join(shown)


_NOTED = {
    "acc": ("likelihood_accuracy", "reward_accuracy"),
    "ratios": ("log_ratio_chosen", "log_ratio_rejected"),
}
