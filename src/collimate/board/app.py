"""The addresses of the board: pages for people, JSON for them, and the files of the page."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import fields
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from collimate._checks import BadConfig, BadRun, CollimateError
from collimate.board import api
from collimate.board.safety import Guard, refusal

KINDS = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}
Ask = Callable[[Path, Request], Mapping[str, Any]]


def create_app(root: Path, *, host: str = "127.0.0.1", token: str | None = None) -> Starlette:
    """The board of the runs in `root`, to be served on `host`.

    >>> import tempfile
    >>> app = create_app(Path(tempfile.mkdtemp()))
    >>> [route.path for route in app.routes][-2:]
    ['/runs/{name}', '/static/{name}']
    """
    files = static_files()

    def page(request: Request) -> Response:
        if "name" in request.path_params:
            api.find(root, request.path_params["name"])
        return _file(request, files["index.html"], ".html")

    def static(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in files:
            raise api.NotFound(f"there is no file {name!r}")
        return _file(request, files[name], Path(name).suffix)

    def missing(request: Request, error: Exception) -> Response:
        """JSON for programs, the page for people; it says itself that there is nothing here."""
        if isinstance(error, HTTPException) and error.status_code != 404:
            return refusal(error.status_code, error.detail)
        if request.url.path.startswith(("/api/", "/static/")):
            said = str(error) if isinstance(error, api.NotFound) else "there is no such address"
            return refusal(404, said)
        return Response(files["index.html"], 404, media_type=KINDS[".html"])

    return Starlette(
        routes=[
            *(Route(path, _json(root, ask)) for path, ask in ASKED.items()),
            Route("/", page),
            Route("/compare", page),
            Route("/runs/{name}", page),
            Route("/static/{name}", static),
        ],
        middleware=[Middleware(Guard, bound=host, token=token)],
        exception_handlers={
            api.NotFound: missing,
            HTTPException: missing,
            BadConfig: lambda _, error: refusal(400, str(error)),
            BadRun: lambda _, error: refusal(422, str(error)),
            CollimateError: lambda _, error: refusal(422, str(error)),
            OSError: lambda _, error: refusal(422, f"cannot be read: {error}"),
            Exception: lambda _, error: refusal(500, f"a bug in collimate: {error!r}"),
        },
    )


ASKED: Mapping[str, Ask] = {
    "/api/runs": lambda root, _: api.runs(root),
    "/api/runs/{name}": lambda root, r: api.run(root, r.path_params["name"]),
    "/api/runs/{name}/pairs": lambda root, r: api.pairs(
        root, r.path_params["name"], r.query_params
    ),
    "/api/runs/{name}/pairs/{index}": lambda root, r: api.pair(
        root, r.path_params["name"], r.path_params["index"]
    ),
    "/api/compare": lambda root, r: api.compare(root, r.query_params.getlist("run")),
}


def static_files() -> dict[str, bytes]:
    """The page's files by name, in memory: no address is ever a path.

    >>> sorted(static_files())[:2]
    ['app.js', 'blocks.js']
    """
    ours = resources.files("collimate.board") / "static"
    report = resources.files("collimate.report") / "templates" / "page.css"
    found: list[Traversable] = [item for item in ours.iterdir() if Path(item.name).suffix in KINDS]
    return {item.name: item.read_bytes() for item in [*found, report]}


def _json(root: Path, ask: Ask) -> Callable[[Request], Response]:
    def endpoint(request: Request) -> Response:
        text = json.dumps(
            ask(root, request), allow_nan=False, separators=(",", ":"), default=_fields
        )
        return _tagged(request, text.encode(), "application/json")

    return endpoint


def _fields(record: Any) -> dict[str, Any]:
    """A frozen record as an object. `asdict` would copy every number of every curve."""
    return {field.name: getattr(record, field.name) for field in fields(record)}


def _file(request: Request, content: bytes, suffix: str) -> Response:
    return _tagged(request, content, KINDS[suffix])


def _tagged(request: Request, content: bytes, kind: str) -> Response:
    """The content, or 304 where the asker has it already: what polling mostly comes to."""
    tag = f'"{hashlib.blake2b(content, digest_size=12).hexdigest()}"'
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers={"ETag": tag})
    return Response(content, headers={"ETag": tag}, media_type=kind)
