"""Where a run computes: device, precision and trackers, by accelerate."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.tracking import get_available_trackers
from accelerate.utils import LoggerType

from collimate._checks import BadConfig, MissingExtra, OutOfMemory, nearest
from collimate.engine.processes import Processes

PRECISIONS = ("fp32", "bf16")
DEVICES = ("auto", "cuda", "mps", "cpu")


class Runtime:
    """Device, autocast, trackers and processes of one run (torchrun or accelerate start several).

    precision: `bf16` is autocast over float32 master weights. device: `auto` takes cuda, then mps,
    then cpu. Errors: BadConfig for a device that is not there, unknown names, processes that cannot
    meet or were started for DeepSpeed; MissingExtra for a tracker whose package is not installed,
    which accelerate would leave out.
    """

    def __init__(
        self,
        *,
        device: str,
        precision: str,
        trackers: Sequence[str] = (),
        folder: Path | None = None,
    ) -> None:
        if precision not in PRECISIONS:
            raise BadConfig(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
        _require_device(device)
        _require_trackers(trackers)
        started = int(os.environ.get("WORLD_SIZE", "1"))
        _require_served_launch(precision)
        if device == "auto" and started > 1 and not torch.cuda.is_available():
            device = "cpu"  # processes meet on GPUs or on CPUs
        # accelerate keeps one process-wide state and refuses a second run with other settings.
        AcceleratorState._reset_state(reset_partial_state=True)
        self.accelerator = Accelerator(
            cpu=device == "cpu",
            mixed_precision="bf16" if precision == "bf16" else "no",
            log_with=list(trackers) or None,
            project_dir=None if folder is None else str(folder),
        )
        self.device = torch.device(device) if device in ("mps", "cpu") else self.accelerator.device
        self.processes = Processes(
            rank=self.accelerator.process_index,
            count=self.accelerator.num_processes,
            device=self.device,
        )

        if self.processes.count != started:
            raise BadConfig(
                f"WORLD_SIZE says {started} processes, but on the device '{device}' they do not meet; "
                "use cuda or cpu, or start one process"
            )

    def autocast(self) -> AbstractContextManager[object]:
        """The precision's autocast, or nothing."""
        return self.accelerator.autocast()

    def start_trackers(self, name: str, config: Mapping[str, Any]) -> None:
        """Open the trackers (nothing without any): the run `name` of the project "collimate".

        WANDB_PROJECT names another project.
        """
        plain = {k: v for k, v in config.items() if isinstance(v, int | float | str | bool)}
        named = {tracker: {"name": name} for tracker in ("wandb", "trackio")}
        project = os.environ.get("WANDB_PROJECT", "collimate")
        self.accelerator.init_trackers(project, config=plain, init_kwargs=named)

    def log(self, numbers: Mapping[str, Any], step: int) -> None:
        """Send the numbers of a step to the trackers."""
        self.accelerator.log(
            {k: v for k, v in numbers.items() if isinstance(v, int | float)}, step=step
        )

    def end(self) -> None:
        """Close the trackers; the processes stay together for the next run."""
        for tracker in self.accelerator.trackers:
            tracker.finish()


@contextmanager
def explaining_memory() -> Iterator[None]:
    """Within the context an allocation that fails becomes an OutOfMemory that says what to do."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise OutOfMemory(
            f"out of memory ({str(error).partition(chr(10))[0]}); lower --tokens-per-micro-batch, "
            "shorten rows with --max-prompt and --max-answer, or train an adapter (--lora-rank); "
            "`collimate check DATA --model DIR` says what a run takes"
        ) from error


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed: torch has no type of error for it on a CPU."""
    types = (torch.OutOfMemoryError, MemoryError)
    return isinstance(error, types) or "can't allocate memory" in str(error)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Within the context torch draws from `seed`; the caller's generators go on as before."""
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        yield


def _require_served_launch(precision: str) -> None:
    """Errors: BadConfig where `accelerate launch` was told what would quietly not be done here."""
    if os.environ.get("ACCELERATE_USE_DEEPSPEED") == "true":
        raise BadConfig(
            "accelerate was told to use DeepSpeed, which is not run here: start with another "
            "accelerate config, and give its ZeRO config as --deepspeed (configs/distributed)"
        )
    for name in ("FSDP", "MEGATRON_LM"):
        if os.environ.get(f"ACCELERATE_USE_{name}") == "true":
            raise BadConfig(
                f"accelerate was told to use {name}, which is not run here: start with an accelerate "
                "config of plain processes (MULTI_GPU or MULTI_CPU), and shard with --parallel fsdp2"
            )
    asked = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    if asked != "no" and asked != precision:
        raise BadConfig(
            f"accelerate was told to use mixed precision {asked}, and the run's precision is "
            f"{precision}: give --precision bf16, or set mixed_precision: 'no' in accelerate's config"
        )


def _require_device(device: str) -> None:
    if device not in DEVICES:
        raise BadConfig(f"device must be one of {', '.join(DEVICES)}, got {device!r}")
    if device == "cuda" and not torch.cuda.is_available():
        raise BadConfig("device 'cuda' was asked for, but torch sees no GPU; use 'auto' or 'cpu'")
    if device == "mps" and not torch.backends.mps.is_available():
        raise BadConfig("device 'mps' was asked for, but it is not available; use 'auto' or 'cpu'")


def _require_trackers(trackers: Sequence[str]) -> None:
    known = sorted(set(LoggerType.list()) - {"all"})
    available = {str(tracker) for tracker in get_available_trackers()} if trackers else set()
    for name in trackers:
        if name not in known:
            raise BadConfig(
                f"unknown tracker '{name}'; known: {', '.join(known)}{nearest(name, known)}"
            )
        if name not in available:
            raise MissingExtra(
                f"tracker '{name}' needs its package, which is not installed; install it with: "
                f"pip install {name.replace('_', '-')}"
            )
