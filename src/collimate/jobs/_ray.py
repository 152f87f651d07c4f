"""The only importer of Ray: a pool of workers, on this machine or a cluster, that map blocks.

Ray says what it does in many places; here all of it is switched off but errors. Without an address
everything stays on the loopback device.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from collimate._checks import BadConfig, BadRun

if TYPE_CHECKING:  # Ray imports this module wherever a block is read, which needs no torch
    from collimate.jobs._scorer import ScoredBlock, Scorer, ScorerSettings, Surveyed

Result = TypeVar("Result")

OBJECT_STORE = 2**30  # bytes that a Ray of our own may hold in shared memory
IN_FLIGHT = 2**29  # bytes of blocks and results on their way, on any
PER_WORKER = 2  # blocks: one in work and one that waits
AT_ONCE = 4096  # blocks that Ray is told of; each is an object that it keeps an account of
ATTEMPTS = 4  # a block that kills its worker so often is not given to another


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """How many workers, and what each claims: cores (threads of torch) and GPUs (0 or 1)."""

    workers: int
    cores: int
    gpus: int


def pool_on(
    machines: Sequence[tuple[int, int]], *, workers: int | None, device: str = "auto"
) -> Pool:
    """Share out machines, each its (cores, GPUs), among workers.

    workers: None is one for each GPU, or for each machine where there is none. Each worker gets as
    many cores as all can have at once. Errors: BadConfig for more workers than GPUs or cores.

    >>> pool_on([(8, 0)], workers=3)
    Pool(workers=3, cores=2, gpus=0)
    >>> pool_on([(16, 4), (16, 4)], workers=None)
    Pool(workers=8, cores=4, gpus=1)
    """
    gpus = sum(gpus for _, gpus in machines) if device in ("auto", "cuda") else 0
    if device == "cuda" and not gpus:
        raise BadConfig("device 'cuda' was asked for, but Ray sees no GPU; use 'auto' or 'cpu'")
    used = [(cores, own) for cores, own in machines if (own if gpus else cores)]
    if not used:
        raise BadConfig("Ray sees no core that a worker could have")
    count = workers or gpus or len(used)
    if gpus and count > gpus:
        raise BadConfig(f"workers must be at most the GPUs that Ray sees, {gpus}, got {count}")
    for cores in range(max(cores for cores, _ in used), 0, -1):
        fit = sum(min(has // cores, own) if gpus else has // cores for has, own in used)
        if fit >= count:
            return Pool(workers=count, cores=cores, gpus=1 if gpus else 0)
    total = sum(cores for cores, _ in used)
    raise BadConfig(f"workers must be at most the cores that Ray sees, {total}, got {count}")


@contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Ray for as long as the context lasts: one of our own, or the cluster at `address`.

    Where Ray has been started in this process already, that one is used and goes on.
    Errors: BadRun if there is no cluster at the address.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # no telemetry, whatever was configured
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    if address is None:  # read on import: with it Ray binds to the loopback device
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    with _quiet():
        with _mute_standard_error():  # its libraries say which log level they took
            import ray

        _hush()
        if ray.is_initialized():
            if address is not None:
                raise BadConfig(
                    "Ray has been started in this process already: leave out the address, or shut it "
                    "down first (ray.shutdown())"
                )
            _load_data_layer()
            yield
            return
        options: dict[str, Any] = {
            "address": "local",  # even where RAY_ADDRESS names a cluster
            "include_dashboard": False,
            "object_store_memory": OBJECT_STORE,
        }
        if address is not None:
            options = {"address": address}
        try:
            with _mute_standard_error():
                ray.init(log_to_driver=False, logging_level=logging.CRITICAL, **options)
        except Exception as error:  # Ray raises a bare one where a node starts slowly
            where = "on this machine" if address is None else f"at '{address}'"
            raise BadRun(
                f"cannot start or reach Ray {where}: {error}; a cluster is given as host:port (or "
                "auto), one of its machines is where this command must run, and one that asks for a "
                "token needs RAY_AUTH_MODE=token"
            ) from error
        try:
            _load_data_layer()  # after the start: with it loaded, Ray would miss a cluster's token
            yield
        finally:
            ray.shutdown()


def _load_data_layer() -> None:
    """Import it without a word: it warns of its own fields, and sets levels of its own."""
    with _mute_standard_error():
        from ray.data import DataContext

        DataContext.get_current()
    _hush()


def _hush() -> None:
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def machines() -> list[tuple[int, int]]:
    """Cores and GPUs of each machine that Ray sees."""
    import ray

    found = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return [(int(has.get("CPU", 0)), int(has.get("GPU", 0))) for has in found]


def call(function: Callable[[], Result], pool: Pool) -> Result:
    """The result of a function that one worker computes. Errors: those of the function."""
    import ray

    with _own_errors():
        # A worker that is killed here would be killed again: its model does not fit.
        task: Any = ray.remote(num_cpus=pool.cores, num_gpus=pool.gpus, max_retries=0)(_called)
        return ray.get(task.remote(function))


def _called(function: Callable[[], Result]) -> Result:
    return function()


def scored(
    blocks: Mapping[int, Path],
    model: Surveyed,
    reference: Surveyed | None,
    settings: ScorerSettings,
    pool: Pool,
) -> Iterator[ScoredBlock]:
    """Score blocks by number, in whatever order they are done. Errors: those of `Scorer`, BadRun."""
    import ray
    import ray.data

    context = ray.data.DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.raise_original_map_exception = True  # else a wrapper that loses it on the way
    context.execution_no_progress_timeout_s = -1  # a block may take hours
    context.execution_options.resource_limits = ray.data.ExecutionResources.for_limits(
        object_store_memory=IN_FLIGHT
    )
    items = [{"number": number, "path": str(path)} for number, path in blocks.items()]
    with ray.data.DataContext.current(context), _own_errors():
        here = {"ray.io/node-id": ray.get_runtime_context().get_node_id()}
        counter: Any = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(_Attempts)
        attempts = counter.options(label_selector=here).remote()
        for start in range(0, len(items), AT_ONCE):
            yield from _mapped(
                items[start : start + AT_ONCE], (model, reference, settings, attempts), here, pool
            )


def _mapped(
    items: list[dict[str, Any]], given: tuple[Any, ...], here: dict[str, str], pool: Pool
) -> Iterator[ScoredBlock]:
    import ray.data

    results = (
        ray.data.from_items(items, override_num_blocks=len(items))
        # Only this machine is sure to have the files; one process reads faster than all score.
        .map(_read, num_cpus=0, label_selector=here, compute=ray.data.TaskPoolStrategy(size=1))
        .map(
            cast(Any, _Worker),  # a class is called once, its object for every block
            fn_constructor_args=given,
            compute=ray.data.ActorPoolStrategy(
                size=pool.workers, max_tasks_in_flight_per_actor=PER_WORKER
            ),
            num_cpus=pool.cores,
            num_gpus=pool.gpus or None,
        )
    )
    from collimate.jobs._scorer import ScoredBlock

    for row in results.iter_rows():
        yield ScoredBlock(number=row["number"], lines=row["lines"], segment=row["segment"])


def _read(item: dict[str, Any]) -> dict[str, Any]:
    return {"number": item["number"], "block": Path(item["path"]).read_bytes()}


class _Attempts:
    """How often each block was given to a worker and did not come back: Ray would try for ever."""

    def __init__(self) -> None:
        self.begun: dict[int, int] = {}

    def begin(self, number: int) -> int:
        self.begun[number] = self.begun.get(number, 0) + 1
        return self.begun[number]

    def end(self, number: int) -> None:
        self.begun.pop(number, None)


class _Worker:
    """`Scorer` as Ray Data calls it: one dictionary in, one out."""

    def __init__(
        self,
        model: Surveyed,
        reference: Surveyed | None,
        settings: ScorerSettings,
        attempts: Any,
    ) -> None:
        self.given = (model, reference, settings)
        self.scorer: Scorer | None = None
        self.attempts = attempts

    def __call__(self, item: dict[str, Any]) -> dict[str, Any]:
        import ray

        number = item["number"]
        attempt: Any = ray.get(self.attempts.begin.remote(number))
        if attempt > ATTEMPTS:
            raise BadRun(
                f"block {number} has killed {ATTEMPTS} workers, probably because they ran out of "
                "memory: lower --workers or --tokens-per-micro-batch and give the command again; "
                "what is done is kept"
            )
        if self.scorer is None:  # late: a worker that dies of its models has died of a block
            from collimate.jobs._scorer import Scorer

            self.scorer = Scorer(*self.given)
        found = self.scorer.score(number, item["block"])
        self.attempts.end.remote(number)
        return {"number": number, "lines": found.lines, "segment": found.segment}


@contextmanager
def _own_errors() -> Iterator[None]:
    """What a worker raised as if it had been raised here; BadRun where workers were lost."""
    from ray.exceptions import RayError

    try:
        yield
    except Exception as error:  # raised again below, whatever it is
        raised = _raised(error)
        if raised is not error and not isinstance(raised, RayError):
            raise raised from error
        if isinstance(error, RayError):
            reason = " ".join(str(error).split())[-300:]
            raise BadRun(
                f"the workers were lost ({type(error).__name__}: {reason}); what is done is kept: "
                "give the same command again"
            ) from error
        raise


def _raised(error: Exception) -> Exception:
    """An error of ours among the causes of an error; of one of Ray's, else the first cause."""
    chain: list[BaseException] = [error]
    while (cause := getattr(chain[-1], "cause", None) or chain[-1].__cause__) is not None:
        chain.append(cause)
    of_ray = type(error).__module__.startswith("ray.")
    known = [one for one in chain if type(one).__module__.startswith("collimate")]
    first = (known or (chain[-1:] if of_ray else chain))[0]
    return first if isinstance(first, Exception) else error


@contextmanager
def _quiet() -> Iterator[None]:
    """Ray prints its raylets' messages on standard output, which belongs to the user's pipe."""
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"ray\b")
        yield


@contextmanager
def _mute_standard_error() -> Iterator[None]:
    """Below Python, where Ray's libraries write; what goes wrong is an exception all the same."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
