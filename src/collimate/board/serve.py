"""The board on a port of this machine."""

from __future__ import annotations

import errno
import ipaddress
import os
import secrets
import socket
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlencode

import uvicorn

from collimate._checks import BadConfig, BadRun
from collimate.board.app import create_app
from collimate.board.safety import is_loopback

PORT = 8765
SHORTEST_TOKEN = 16


def serve(
    root: str | Path,
    *,
    host: str = "127.0.0.1",
    port: int = PORT,
    token: str | None = None,
    ready: Callable[[str], object] = print,
) -> None:
    """Serve the runs in `root` until interrupted.

    port: 0 takes any free one. token: what every request must know; made up where the host is not
    this machine alone and none is given. ready: called with the address, token included, before
    the first request is taken.

    Errors: BadRun where `root` is no folder or a run itself; BadConfig where host or port cannot be
    had, or the token is short enough to be guessed.
    """
    folder = runs_folder(root)
    if token is not None and (len(token) < SHORTEST_TOKEN or not token.isascii()):
        raise BadConfig(
            f"token must be {SHORTEST_TOKEN} or more ASCII characters, got {len(token)}; "
            "leave it out to have one made"
        )
    if token is None and not is_loopback(host):
        token = secrets.token_urlsafe(24)
    listening = bind(host, port)
    with listening:
        shown = f"[{host}]" if ":" in host else host
        address = f"http://{shown}:{listening.getsockname()[1]}/"
        config = uvicorn.Config(
            create_app(folder, host=host, token=token),
            log_level="error",
            access_log=False,
            server_header=False,
            lifespan="off",
            ws="none",
            http="h11",
            limit_concurrency=64,
            timeout_graceful_shutdown=1,
        )
        ready(address if token is None else f"{address}?{urlencode({'token': token})}")
        uvicorn.Server(config).run(sockets=[listening])


def runs_folder(root: str | Path) -> Path:
    """`root` as a folder of runs. Errors: BadRun."""
    folder = Path(root)
    if not folder.is_dir():
        raise BadRun(f"expected a folder of runs, but {folder} is not a folder; check the path")
    if (folder / "run.json").exists():
        raise BadRun(
            f"expected a folder of runs, but {folder} is a run itself; "
            f"give the folder that it is in: collimate board {folder.resolve().parent}"
        )
    return folder.resolve()


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens there. Errors: BadConfig."""
    if not 0 <= port <= 65535:
        raise BadConfig(f"port must be 0 (any free one) to 65535, got {port}")
    try:
        address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError as error:
        raise BadConfig(
            f"host must be an address in numbers or localhost, got {host!r}; "
            "127.0.0.1 is this machine alone, 0.0.0.0 everywhere"
        ) from error
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    # asyncio sends small answers at once only where the socket says TCP; else they wait for 40 ms.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":  # elsewhere it would share the port with whoever has it
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((str(address), port))
        listening.listen()
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            said = (
                f"port {port} of {host} is taken; give another with --port, or 0 for any free one"
            )
        elif error.errno == errno.EACCES:
            said = f"port {port} needs more rights; give one of 1024 or more"
        else:
            said = (
                f"cannot listen on host {host}: {error.strerror}; give an address of this machine"
            )
        raise BadConfig(said) from error
    return listening
