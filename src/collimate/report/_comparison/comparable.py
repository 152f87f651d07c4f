"""What stands between two runs and a comparison of their numbers, in plain sentences."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence

from collimate.report._comparison.runs import Compared
from collimate.report._format import plural
from collimate.report._words import words_of


def doubts(runs: Sequence[Compared]) -> tuple[str, ...]:
    """One sentence for each thing that makes figures of these runs incomparable; none if all agree.

    A run that did not record a fact is held to differ from one that did.
    """
    return tuple(
        sentence
        for sentence in (
            _held_out(runs),
            _kinds(runs),
            _models(runs),
            _references(runs),
            _unfinished(runs),
            _losses(runs),
            _steps(runs),
            _machines(runs),
        )
        if sentence
    )


def agreement(runs: Sequence[Compared]) -> str:
    """What all of the runs have in common, as a sentence; empty where there is nothing to say."""
    held, model = runs[0].record.evaluation_data, runs[0].record.model
    found: list[str] = []
    if held is not None and _all_known(map(_hash, runs)) and not _held_out(runs):
        found.append(f"are judged on the same held-out data ({plural(held.used or 0, 'row')})")
    models = (run.record.model.hash if run.record.model else None for run in runs)
    if model is not None and _all_known(models) and not _models(runs):
        found.append("start from the same model")
    return f"All runs {' and '.join(found)}." if found else ""


def _all_known(hashes: Iterable[str | None]) -> bool:
    """What has no hash may be anything."""
    return all(hashes)


def _differ(runs: Sequence[Compared], fact: Callable[[Compared], Hashable]) -> bool:
    return len({fact(run) for run in runs}) > 1


def _named(runs: Sequence[Compared], limit: int = 4) -> str:
    names = [run.label for run in runs[:limit]]
    return ", ".join(names) + (f" and {len(runs) - limit} more" if len(runs) > limit else "")


def _hash(run: Compared) -> str | None:
    held = run.record.evaluation_data
    return held.hash if held is not None else None


def _held_out(runs: Sequence[Compared]) -> str:
    without = [run for run in runs if run.record.evaluation_data is None]
    measured = [run for run in runs if run.record.evaluation_data is not None]
    if measured and _differ(measured, _hash):
        return (
            "The held-out data are not the same (other rows, or the same ones tokenised or cut "
            "otherwise): held-out figures of such runs must not be compared."
        )
    if without and measured:
        return f"Without held-out data, and so without held-out figures: {_named(without)}."
    return ""


def _kinds(runs: Sequence[Compared]) -> str:
    if not _differ(runs, lambda run: words_of(run.record).unit):
        return ""
    kinds = " and ".join(sorted({words_of(run.record).units for run in runs}))
    return f"The runs count different things ({kinds}): their accuracies mean different things."


def _models(runs: Sequence[Compared]) -> str:
    known = [run for run in runs if run.record.model is not None]
    if not _differ(known, lambda run: run.record.model and run.record.model.hash):
        return ""
    return (
        "The runs do not start from the same model (its weights, layout or precision differ): a "
        "difference of results need not come from the method."
    )


def _references(runs: Sequence[Compared]) -> str:
    known = [run for run in runs if run.record.reference is not None]
    if not _differ(known, lambda run: run.record.reference and run.record.reference.hash):
        return ""
    return (
        "The references differ, and reward accuracy and log-ratios are measured against them: "
        "compare likelihood accuracy instead."
    )


def _unfinished(runs: Sequence[Compared]) -> str:
    others = [run for run in runs if run.record.status != "finished"]
    if not others:
        return ""
    states = ", ".join(f"{run.label} ({run.record.status})" for run in others[:4])
    more = f" and {len(others) - 4} more" if len(others) > 4 else ""
    return f"Not finished: {states}{more}."


def _losses(runs: Sequence[Compared]) -> str:
    def loss(run: Compared) -> Hashable:
        method = run.record.method
        return method and (method.formulas or (method.name, method.loss, method.tradeoff))

    if not _differ(runs, loss):
        return ""
    return "The losses are of different methods: their curves share an axis, not a scale."


def _steps(runs: Sequence[Compared]) -> str:
    if not _differ(runs, lambda run: str(run.record.config.get("batch_size"))):
        return ""
    return "The batch sizes differ: at the same step the runs have not seen as many rows."


def _machines(runs: Sequence[Compared]) -> str:
    def machine(run: Compared) -> str:
        return str([run.record.machine.get(name) for name in ("device", "threads", "processes")])

    if not _differ(runs, machine):
        return ""
    return "The machines differ, or the part of them that was used: compare no times."
