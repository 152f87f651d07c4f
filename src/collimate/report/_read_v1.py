"""The reader of schema_version 1 (docs/run-folder.md)."""

from __future__ import annotations

from pathlib import Path

from collimate.report._fields import Fields
from collimate.report._record import (
    Curve,
    DataFacts,
    Evaluation,
    Frontier,
    LayoutCheck,
    Lengths,
    MethodFacts,
    ModelFacts,
    Point,
    ReferenceFacts,
    RunRecord,
    Sample,
    Training,
)

STATUSES = ("running", "finished", "stopped", "failed")


def read_run(
    folder: Path,
    fields: Fields,
    training: Training,
    evaluations: tuple[tuple[int, Evaluation], ...],
    partial_lines: int,
) -> RunRecord:
    """A run record from the fields of run.json; errors: BadRun, naming the field."""
    status = fields.text("status")
    if status not in STATUSES:
        fields.fail("status", f"one of {', '.join(STATUSES)}", fields.values.get("status"))
    data = Fields(where=fields.where, path="data.", values=fields.mapping("data"))
    evaluation = Fields(where=fields.where, path="evaluation.", values=fields.mapping("evaluation"))
    return RunRecord(
        folder=folder,
        schema_version=1,
        kind=fields.text("kind", "train"),
        name=fields.text("name", folder.name),
        status=status,
        error=fields.optional_text("error"),
        created=fields.text("created"),
        seconds=fields.number("seconds"),
        steps=fields.integer("steps"),
        seed=fields.integer("seed"),
        config=fields.mapping("config"),
        versions={key: str(value) for key, value in fields.mapping("versions").items()},
        machine=fields.mapping("machine"),
        method=fields.record("method", _method),
        model=fields.record("model", _model),
        sizes=fields.counts("sizes"),
        phases=fields.amounts("phases"),
        train_data=data.record("train", _data),
        evaluation_data=data.record("evaluation", _data),
        reference=fields.record("reference", _reference),
        before=evaluation.record("before", read_evaluation),
        after=evaluation.record("after", read_evaluation),
        samples=fields.records("samples", _sample),
        frontier=fields.record("frontier", _frontier),
        training=training,
        evaluations=evaluations,
        partial_lines=partial_lines,
    )


def read_evaluation(fields: Fields) -> Evaluation:
    """An EVAL object; errors: BadRun, naming the field."""
    return Evaluation(
        rows=fields.integer("rows") or 0,
        loss=fields.number("loss"),
        reward_accuracy=fields.number("reward_accuracy"),
        reward_accuracy_interval=fields.interval("reward_accuracy_interval"),
        likelihood_accuracy=fields.number("likelihood_accuracy"),
        likelihood_accuracy_interval=fields.interval("likelihood_accuracy_interval"),
        log_ratio_chosen=fields.number("log_ratio_chosen"),
        log_ratio_rejected=fields.number("log_ratio_rejected"),
        log_prob_chosen=fields.number("log_prob_chosen"),
        log_prob_rejected=fields.number("log_prob_rejected"),
    )


def _method(fields: Fields) -> MethodFacts:
    return MethodFacts(
        name=fields.text("name"),
        distribution=fields.text("distribution"),
        divergence=fields.text("divergence"),
        margin=fields.text("margin"),
        loss=fields.text("loss"),
        tradeoff=fields.text("tradeoff"),
        source=fields.text("source"),
    )


def _model(fields: Fields) -> ModelFacts:
    return ModelFacts(
        path=fields.text("path"),
        architecture=fields.text("architecture"),
        parameters=fields.integer("parameters"),
        trainable=fields.integer("trainable"),
        layout=fields.text("layout"),
        layout_reason=fields.text("layout_reason"),
        check=fields.record("check", _check),
        hash=fields.text("hash"),
    )


def _check(fields: Fields) -> LayoutCheck:
    return LayoutCheck(
        log_prob=fields.number("log_prob"),
        gradient=fields.number("gradient"),
        tolerance=fields.number("tolerance"),
    )


def _data(fields: Fields) -> DataFacts:
    return DataFacts(
        file=fields.text("file"),
        hash=fields.text("hash"),
        format=fields.text("format"),
        rows=fields.integer("rows"),
        used=fields.integer("used"),
        skipped=fields.counts("skipped"),
        prompt_tokens=fields.record("prompt_tokens", _lengths),
        chosen_tokens=fields.record("chosen_tokens", _lengths),
        rejected_tokens=fields.record("rejected_tokens", _lengths),
        prompts_truncated=fields.integer("prompts_truncated"),
        answers_truncated=fields.integer("answers_truncated"),
        duplicates=fields.integer("duplicates"),
        chosen_longer=fields.number("chosen_longer"),
        joint_tokenisation_differs=fields.integer("joint_tokenisation_differs"),
        notes=fields.texts("notes"),
    )


def _lengths(fields: Fields) -> Lengths:
    return Lengths(median=fields.number("median"), max=fields.integer("max"))


def _reference(fields: Fields) -> ReferenceFacts:
    return ReferenceFacts(
        hash=fields.text("hash"),
        computed=fields.integer("computed"),
        from_cache=fields.integer("from_cache"),
        first_step_max_log_ratio=fields.number("first_step_max_log_ratio"),
    )


def _sample(fields: Fields) -> Sample:
    return Sample(
        prompt=fields.text("prompt"),
        before=fields.optional_text("before"),
        after=fields.optional_text("after"),
        chosen=fields.optional_text("chosen"),
    )


def _frontier(fields: Fields) -> Frontier:
    return Frontier(
        world=fields.text("world"),
        curves=fields.records("curves", _curve),
        points=fields.records("points", _point),
    )


def _curve(fields: Fields) -> Curve:
    kl, reward = fields.numbers("kl") or (), fields.numbers("reward") or ()
    if len(kl) != len(reward):
        fields.fail("reward", f"as long as kl ({len(kl)} numbers)", list(reward))
    return Curve(name=fields.text("name"), kl=kl, reward=reward)


def _point(fields: Fields) -> Point:
    kl, reward = fields.number("kl"), fields.number("reward")
    if kl is None or reward is None:
        fields.fail("kl" if kl is None else "reward", "a number", None)
    return Point(
        name=fields.text("name"),
        kl=kl,
        reward=reward,
        share_of_gain=fields.number("share_of_gain"),
        outside=fields.number("outside"),
        tv=fields.number("tv"),
        tabular_tv=fields.number("tabular_tv"),
    )
