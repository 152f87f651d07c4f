"""What every test stands on: offline, one thread, seeded, and no test skipped unnoticed.

`shared_data` and `chromium` skip where the file or the browser is absent, and mark the tests that
use them. Under COLLIMATE_NO_SKIPS (continuous integration) a skip of such a test, or of a whole
module, fails although the file or the browser is there.
"""

from __future__ import annotations

import ipaddress
import os
import random
import shutil
import socket
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

os.environ.update(
    HF_HUB_OFFLINE="1",
    TRANSFORMERS_OFFLINE="1",
    TOKENIZERS_PARALLELISM="false",
    OMP_NUM_THREADS="1",  # also of the processes that tests start: the same bits everywhere
)

import hypothesis
import numpy as np
import pytest
import torch

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
NO_SKIPS = os.environ.get("COLLIMATE_NO_SKIPS") == "1"

torch.set_num_threads(1)
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # kernels for GPUs run as Python, statement by statement
hypothesis.settings.register_profile("local", deadline=None)  # torch's first call takes longer
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "local")


@pytest.fixture(autouse=True)
def _seeded() -> None:
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - libraries under test read the old generator
    torch.manual_seed(0)


@pytest.fixture
def shared_data() -> Callable[[str], Path]:
    """Path of a file of the shared data by its name there; skips the test where it is absent."""

    def find(name: str) -> Path:
        path = SHARED_DATA / name
        if not path.exists():
            pytest.skip(f"needs the shared file {name}, expected beside the repository")
        return path

    return find


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of a Chromium; skips the test where there is none."""
    if CHROMIUM is None:
        pytest.skip("needs Chromium on the path (Debian: apt-get install chromium)")
    return CHROMIUM


@pytest.fixture(scope="session", autouse=True)
def _no_network() -> Generator[None]:
    """Sockets reach this machine only; a library that swallows errors cannot hide an attempt."""
    patch = pytest.MonkeyPatch()
    connect, connect_ex, resolve = (
        socket.socket.connect,
        socket.socket.connect_ex,
        socket.getaddrinfo,
    )

    def guarded_connect(self: socket.socket, address: Any) -> None:
        _require_local(address[0] if isinstance(address, tuple) else None)
        connect(self, address)

    def guarded_connect_ex(self: socket.socket, address: Any) -> int:
        _require_local(address[0] if isinstance(address, tuple) else None)
        return connect_ex(self, address)

    def guarded_resolve(host: Any, *args: Any, **kwargs: Any) -> Any:
        _require_local(host)
        return resolve(host, *args, **kwargs)

    patch.setattr(socket.socket, "connect", guarded_connect)
    patch.setattr(socket.socket, "connect_ex", guarded_connect_ex)
    patch.setattr(socket, "getaddrinfo", guarded_resolve)
    yield
    patch.undo()


def _require_local(host: object) -> None:
    name = host.decode() if isinstance(host, bytes) else host
    if name in (None, "", "localhost"):
        return  # a Unix socket, or this machine
    try:
        local = ipaddress.ip_address(str(name)).is_loopback
    except ValueError:
        local = False
    if not local:
        pytest.fail(f"a test tried to reach {name!r} over the network; tests stay on this machine")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        if "shared_data" in fixtures:
            item.add_marker("shared_data")
        if "chromium" in fixtures:
            item.add_marker("browser")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if NO_SKIPS and report.skipped and not hasattr(report, "wasxfail"):
        if item.get_closest_marker("shared_data") and SHARED_DATA.exists():
            _refuse(report, "a shared-data test was skipped although the shared data is there")
        if item.get_closest_marker("browser") and CHROMIUM:
            _refuse(report, "a browser test was skipped although Chromium is there")
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if NO_SKIPS and report.skipped:
        _refuse(report, "a whole module was skipped: mark the tests that need something instead")
    return report


def _refuse(report: pytest.TestReport | pytest.CollectReport, reason: str) -> None:
    report.longrepr = f"{reason}: {report.longrepr}"
    report.outcome = "failed"
