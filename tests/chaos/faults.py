"""Faults: processes that die at a chosen moment, disks that are full, folders that stay as they are.

All of it happens in a forked child, which a test starts warm, without the seconds that importing
torch takes; what a child patches, limits or mounts dies with it.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

forking = pytest.mark.skipif(
    sys.platform != "linux", reason="forks children, and reads where they write from /proc"
)


def killed(work: Callable[[], object], until: Callable[[], bool] | None = None) -> int:
    """Do `work` in a child that is killed by SIGKILL when `until` holds; its exit status.

    Without `until` the child is expected to kill itself.
    """
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except BaseException:  # noqa: BLE001 - the child must end here, whatever came
            os._exit(1)
    deadline = time.monotonic() + 60
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status
        if (until is not None and until()) or time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            return os.waitpid(child, 0)[1]
        time.sleep(0.001)


def kill_self() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("unreachable")


def require_killed(status: int) -> None:
    """The child must have come to the moment of its death."""
    assert os.WIFSIGNALED(status), f"it ended with {os.waitstatus_to_exitcode(status)}"
    assert os.WTERMSIG(status) == signal.SIGKILL


def told_by(work: Callable[[], object]) -> str:
    """What `work`, done in a child, returned as text, or the type and text of what it raised."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            told = str(work())
        except BaseException as error:  # noqa: BLE001 - the child must end here, whatever came
            told = f"{type(error).__name__}: {error}"
        os.write(writer, told.encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        told = pipe.read().decode()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, told
    return told


# What follows is called in a child.


def at_call(call: int, of: tuple[Any, str], then: Callable[[], object]) -> None:
    """Do `then` just before the n-th call (from 1) of the attribute `of[1]` of `of[0]`."""
    owner, name = of
    sound, count = getattr(owner, name), 0

    def wrapped(*given: Any, **named: Any) -> Any:
        nonlocal count
        count += 1
        if count == call:
            then()
        return sound(*given, **named)

    setattr(owner, name, wrapped)


def die_writing(part: str, call: int, share: float) -> None:
    """Die in the n-th write of a file whose path holds `part`, a share of its bytes being there."""
    sound, count = os.fsync, 0

    def fsync(file: int) -> None:
        nonlocal count
        path = Path(f"/proc/self/fd/{file}")
        if part in str(path.readlink()):
            count += 1
            if count == call:
                os.truncate(path, int(share * path.stat().st_size))
                kill_self()
        sound(file)

    os.fsync = fsync


EVENTS = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate")


def at_event(call: int | None, folder: Path, then: Callable[[], object]) -> None:
    """Do `then` just before Python opens, makes, renames, removes or cuts a path in `folder`.

    For the n-th time, or each time.
    """
    inside, count = str(folder), 0

    def hook(event: str, given: tuple[Any, ...]) -> None:
        nonlocal count
        if event in EVENTS and str(given[0]).startswith(inside):
            count += 1
            if call is None or count == call:
                then()

    sys.addaudithook(hook)


def fill_every_disk() -> None:
    """From now on the kernel refuses every byte to any library (EFBIG), as a full disk does (ENOSPC)."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


NEW_NAMESPACE, NEW_USER, PRIVATE, REMOUNT, READ_ONLY = 0x20000, 0x10000000, 0x44000, 32, 1


def mount_disk(folder: Path, kib: int) -> None:
    """A disk of that size in `folder`, which only this process sees. Errors: OSError without leave."""
    libc = ctypes.CDLL(None, use_errno=True)
    user = os.getuid()
    if libc.unshare(NEW_NAMESPACE) != 0:
        _require(libc.unshare(NEW_NAMESPACE | NEW_USER))
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
    _require(libc.mount(b"none", b"/", None, PRIVATE, None))
    folder.mkdir(exist_ok=True)
    _require(libc.mount(b"tmpfs", bytes(folder), b"tmpfs", 0, f"size={kib}k".encode()))


def mount_again(folder: Path, kib: int = 1 << 16, *, read_only: bool = False) -> None:
    """The disk with another size, or not to be written to."""
    flags = REMOUNT | (READ_ONLY if read_only else 0)
    libc = ctypes.CDLL(None, use_errno=True)
    _require(libc.mount(b"tmpfs", bytes(folder), b"tmpfs", flags, f"size={kib}k".encode()))


def _require(result: int) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def can_mount(folder: Path) -> bool:
    """Whether this machine lets a test mount a disk of its own."""
    return told_by(lambda: mount_disk(folder, 64)) == "None"
