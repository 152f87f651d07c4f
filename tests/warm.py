"""`python -m MODULE` in processes that start warm: without the seconds that importing torch takes.

A server, itself as clean as a new process, imports once what every command does, and forks.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    [
        "collimate.jobs.train",
        "collimate.jobs._job",
        "collimate.engine.adapters",
        "transformers.models.llama.modeling_llama",
    ]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """What is left of a process; returncode: negative where a signal ended it."""

    returncode: int
    stdout: str
    stderr: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """A process that writes what it says in `folder`."""

    process: ForkServerProcess
    folder: Path

    @property
    def runs(self) -> bool:
        return self.process.is_alive()

    def kill(self) -> None:
        self.process.kill()

    def wait(self, timeout: float = 300) -> Ended:
        """Let it come to its end, once. Errors: TimeoutError, and it is killed."""
        self.process.join(timeout)
        in_time = not self.runs
        if not in_time:
            self.kill()
            self.process.join()
        stdout, stderr = ((self.folder / name).read_text() for name in ("stdout", "stderr"))
        shutil.rmtree(self.folder)
        if not in_time:
            raise TimeoutError(f"not done after {timeout} s: {stderr}")
        assert self.process.exitcode is not None
        return Ended(returncode=self.process.exitcode, stdout=stdout, stderr=stderr)


def start(module: str, *argv: str, environment: Mapping[str, str], cwd: Path) -> Started:
    """Begin `python -m module argv`, with that environment and no other."""
    folder = Path(tempfile.mkdtemp(prefix="started"))
    for name in ("stdout", "stderr"):
        (folder / name).touch()
    given = (module, argv, dict(environment), cwd, folder)
    process = FORKS.Process(target=_run, args=given, daemon=True)  # ends with the tests
    process.start()
    return Started(process=process, folder=folder)


def _run(
    module: str, argv: tuple[str, ...], environment: dict[str, str], cwd: Path, folder: Path
) -> None:
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        file = os.open(folder / name, os.O_WRONLY)
        os.dup2(file, descriptor)
        os.close(file)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    sys.argv = [module, *argv]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
