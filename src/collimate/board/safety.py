"""Who may ask what: reading only, by the board's own names, and with its token where it has one.

The board shows prompts and answers, so a page of a stranger must not be able to read it through the
user's browser: it is asked by its own name only (a name that a stranger's server points here is
refused), nothing may frame or embed it, and nothing that it sends runs but its own files.
"""

from __future__ import annotations

import ipaddress
import json
import secrets
import socket
from collections.abc import Mapping
from urllib.parse import parse_qsl, urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "collimate_board"
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`.

    >>> is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def host_allowed(header: str, bound: str) -> bool:
    """Whether a request's Host header names the board: localhost, or the host it is bound to.

    Bound to every address (0.0.0.0), by any address as a number and by the machine's own name: a
    name that leads here from elsewhere could be a stranger's.

    >>> host_allowed("localhost:8765", "127.0.0.1"), host_allowed("evil.example", "127.0.0.1")
    (True, False)
    """
    name = header.rpartition("]")[0].removeprefix("[") if "]" in header else header.split(":")[0]
    name = name.lower()
    if is_loopback(name) or name == bound.lower():
        return True
    try:
        everywhere = ipaddress.ip_address(bound).is_unspecified
    except ValueError:
        return False
    if not everywhere:
        return False
    try:
        return bool(ipaddress.ip_address(name))
    except ValueError:
        return name == socket.gethostname().lower()


def refusal(status: int, message: str) -> Response:
    """An error as JSON."""
    return Response(json.dumps({"error": message}), status, media_type="application/json")


class Guard:
    """Asks of every request what this page says, before the board sees it.

    bound: the host that the board listens on. token: what a request must know, None for anyone on
    this machine. It comes in the address once (`?token=`), then in a cookie, or in the header
    `Authorization: Bearer`.
    """

    def __init__(self, app: ASGIApp, *, bound: str, token: str | None) -> None:
        self.app = app
        self.bound = bound
        self.token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, or refuse."""
        if scope["type"] != "http":
            return

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-cache")
            await send(message)

        app = self._refused(scope) or self.app
        await app(scope, receive, send_safely)

    def _refused(self, scope: Scope) -> ASGIApp | None:
        headers = Headers(scope=scope)
        if not host_allowed(headers.get("host", ""), self.bound):
            return refusal(400, "this board is not known by that name: use its address in numbers")
        if scope["method"] not in ("GET", "HEAD"):
            found = refusal(405, "the board only reads: GET and HEAD")
            found.headers["Allow"] = "GET, HEAD"
            return found
        if self.token is None:
            return None
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        for name, value in query:
            if name == "token" and self._is_token(value):
                return self._welcome(scope, [item for item in query if item[0] != "token"])
        cookie = cookie_parser(headers.get("cookie", "")).get(self._cookie(scope), "")
        bearer = headers.get("authorization", "").removeprefix("Bearer ")
        if self._is_token(cookie) or self._is_token(bearer):
            return None
        return refusal(401, "this board needs its token: open the address that its console shows")

    def _is_token(self, value: str) -> bool:
        """In the same time wherever the first difference is."""
        return secrets.compare_digest(value.encode(), (self.token or "").encode())

    def _welcome(self, scope: Scope, query: list[tuple[str, str]]) -> Response:
        """The same address without the token, which a cookie now has."""
        path = "/" + scope["path"].lstrip("/")  # "//host" would lead elsewhere
        found = RedirectResponse(f"{path}?{urlencode(query)}" if query else path, 303)
        name = self._cookie(scope)
        found.set_cookie(name, self.token or "", httponly=True, samesite="strict")
        return found

    @staticmethod
    def _cookie(scope: Scope) -> str:
        """A name for each port, which cookies do not tell apart."""
        return f"{COOKIE}_{(scope.get('server') or ('', 0))[1]}"
