"""`collimate.train`: a model, preferences and a method in; an aligned model and its record out."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from torch import Tensor

from collimate import methods
from collimate._checks import (
    BadConfig,
    BadRun,
    CollimateError,
    nearest,
    require_extra,
)
from collimate._types import PairLogProbs
from collimate.axes import Method as AnyMethod
from collimate.compose import Method, Objective
from collimate.engine.load import AnyModel, Tokenizer, quiet
from collimate.engine.processes import explaining_lost_process
from collimate.engine.run_folder import RunFolder
from collimate.engine.runtime import explaining_memory, seeded
from collimate.engine.trial import trials_from
from collimate.jobs._console import Console
from collimate.jobs._job import Job
from collimate.jobs._phases import Phases
from collimate.jobs.prepare import prepare
from collimate.jobs.record import first_record
from collimate.jobs.run import Run
from collimate.jobs.settings import (
    settings_from,
)
from collimate.report import load as load_report
from collimate.report import summary_lines
from collimate.report import write as write_report

_FROM_THE_START = "nothing was written; give the command again"

AnyLoss = str | AnyMethod | Objective | Callable[[PairLogProbs], Tensor]


def train(
    model: AnyModel,
    data: Any,
    *,
    out: str | Path,
    method: AnyLoss = "dpo",
    tokenizer: Tokenizer | str | Path | None = None,
    reference: AnyModel | None = None,
    evaluation: Any = None,
    **settings: Any,
) -> Run:
    """Minimise a method's loss on preferences, and leave a run folder (docs/run-folder.md).

    Args:
        model: folder, `hub:owner/name` or `AutoModelForCausalLM` object; an object is trained in
            place.
        data: file, `datasets.Dataset` or iterable of rows, in any preference format.
        out: the run folder; new, or the run to continue with `resume=True`.
        method: preset name, method, objective, or any `f(PairLogProbs) -> Tensor[pair]`.
        tokenizer: needed with a model object; else the one beside the model.
        reference: what the policy is compared with; None is the policy as passed, frozen.
        evaluation: held-out data, measured before and after.
        settings: see `TrainSettings`.

    Returns: the run, with `.folder`, `.record`, `.metrics`, `.model`. Errors: a `CollimateError`
    that says what was expected, what came, and what to do. Before the first step nothing is
    written; later the run folder keeps its last checkpoint.

    Example:
        run = collimate.train("path/to/model", "pairs.jsonl", method=methods.dpo(0.1), out="runs/a")
    """
    options = settings_from(settings)
    if reference is model and not isinstance(model, str | Path):
        reference = None  # the policy as passed: the object itself is about to change
    if options.report:
        require_extra("plotly", "report")
    if options.quantize is not None or options.optimizer == "adamw_8bit":
        require_extra("bitsandbytes", "quantize")
    objective = Objective.of(method_of(method))
    require_served(objective)
    if options.evaluate_every is not None and evaluation is None:
        raise BadConfig("evaluate_every needs held-out data: give evaluation too, or leave it out")
    folder = RunFolder(Path(out))
    budget, trials = None, None
    if options.resume:
        _require_resumable(folder)
        trials = trials_from(folder.read_record().get("kernels"))  # tried again, they may flip
        if options.memory_budget is not None:  # measured again, it would give other bits
            budget = _measured_before(folder)
    else:
        folder.require_new()
    console, phases = Console(enabled=options.progress), Phases()
    quiet()
    with seeded(options.seed), explaining_memory(), explaining_lost_process(_FROM_THE_START):
        prepared = prepare(
            model,
            data,
            objective=objective,
            tokenizer=tokenizer,
            reference=reference,
            evaluation=evaluation,
            settings=options,
            folder=folder.path,
            budget=budget,
            trials=trials,
            console=console,
            phases=phases,
        )
        folder = RunFolder(folder.path, writes=prepared.processes.is_main)
        record = first_record(
            folder,
            objective,
            prepared,
            options,
            inputs={
                "model": model,
                "tokenizer": tokenizer,
                "reference": reference,
                "data": data,
                "evaluation": evaluation,
            },
        )
        job = Job(folder, objective, prepared, options, record, console, phases)
        try:
            with explaining_lost_process("--resume goes on from the last checkpoint"):
                run = job.run()
        except BaseException as error:
            if "identity" in record:  # else nothing has begun, and a refused resume changes nothing
                record.update(phases.to_json(), status="failed", error=_reason(error))
                with suppress(BadRun):  # on a full disk the first error is the one to tell
                    folder.write_record(record)
            raise
        finally:
            prepared.runtime.end()
    if options.report and prepared.processes.is_main:
        write_report(folder.path)
        for line in summary_lines(load_report(folder.path)):
            console.say(line)
        console.say(f"report: {folder.report_path}")
    return run


def method_of(method: AnyLoss) -> AnyMethod | Objective:
    """The method that `train` was given in one of its ways. Errors: BadConfig for anything else."""
    if isinstance(method, str):
        return preset_of(method)()
    if isinstance(method, AnyMethod | Objective):
        return method
    if callable(method):
        return Method.of(method)
    raise BadConfig(f"method must be a name, a method or a function, got {type(method).__name__}")


def preset_of(name: str) -> Callable[..., Method]:
    """The preset of that name. Errors: BadConfig for an unknown one, with the nearest."""
    if name not in methods.__all__:
        raise BadConfig(
            f"unknown method '{name}'{nearest(name, methods.__all__)}; "
            f"known: {', '.join(methods.__all__)}"
        )
    return getattr(methods, name)


def _reason(error: BaseException) -> str:
    if isinstance(error, CollimateError):
        return str(error)
    text = "interrupted" if isinstance(error, KeyboardInterrupt) else type(error).__name__
    return f"{text}: {error}" if str(error) else text


def require_served(objective: Objective) -> None:
    """Errors: BadConfig for a method that draws samples, or reads what is not computed here."""
    for part in objective.parts:
        name, needs = part.method.name, part.method.needs
        if part.source.draw != "data":
            raise BadConfig(
                f"'{name}' draws from '{part.source.draw}', and this version trains on given data only; "
                "use a method with an offline distribution"
            )
        if needs.readout != "tokens":
            raise BadConfig(
                f"'{name}' reads a {needs.readout} output, and this version computes token log-probs "
                "only; use a method whose needs.readout is 'tokens'"
            )
        for signal in needs.signals:
            if signal.against == "teacher":
                raise BadConfig(
                    f"'{name}' needs the signal '{signal.name}' against a teacher's logits, and this "
                    "version compares with a reference alone"
                )


def _measured_before(folder: RunFolder) -> int:
    tokens = folder.read_record().get("tokens_per_micro_batch")
    if isinstance(tokens, bool) or not isinstance(tokens, int) or tokens < 1:
        raise BadRun(
            f"{folder.record_path}: field 'tokens_per_micro_batch' is missing or was damaged (got "
            f"{str(tokens)[:60]}): restore the file, or resume with --tokens-per-micro-batch"
        )
    return tokens


def _require_resumable(folder: RunFolder) -> None:
    if folder.require_whole()["status"] == "finished":
        raise BadRun(
            f"{folder.path} is finished: nothing to resume; start a new run in another folder"
        )
    load_report(folder.path)  # every other field, and every line of metrics, is one that it wrote
