"""Who may ask what: names, methods, tokens, paths, links; and what the page may do."""

from __future__ import annotations

import http.client
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from collimate._checks import BadConfig, BadRun
from collimate.board.app import static_files
from collimate.board.safety import HEADERS, host_allowed, is_loopback
from collimate.board.serve import bind, runs_folder, serve
from tests.board.conftest import Board
from tests.board.server import serving
from tests.report.example_run import make_run

TOKEN = "a-token-of-more-than-16-characters"


@pytest.mark.parametrize(
    ("header", "bound", "allowed"),
    [
        ("127.0.0.1:8765", "127.0.0.1", True),
        ("localhost", "127.0.0.1", True),
        ("LocalHost:1", "127.0.0.1", True),
        ("[::1]:8765", "127.0.0.1", True),
        ("evil.example:8765", "127.0.0.1", False),
        ("localhost.evil.example", "127.0.0.1", False),
        ("127.0.0.1.evil.example", "127.0.0.1", False),
        ("", "127.0.0.1", False),
        ("192.0.2.7:8765", "127.0.0.1", False),
        ("192.0.2.7:8765", "192.0.2.7", True),
        ("192.0.2.7:8765", "0.0.0.0", True),
        ("[2001:db8::1]:8765", "::", True),
        ("evil.example", "0.0.0.0", False),
    ],
)
def test_the_board_is_known_by_its_own_names(header: str, bound: str, allowed: bool) -> None:
    assert host_allowed(header, bound) == allowed


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.0.1", "::1", "localhost"])
def test_only_this_machine(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "localhost.example", ""])
def test_also_others(host: str) -> None:
    assert not is_loopback(host)


def test_a_strangers_name_that_leads_here_is_refused(runs: Path, board: Board) -> None:
    client = board(runs)
    for address in ("/", "/api/runs", "/static/app.js"):
        answer = client.get(address, headers={"Host": "evil.example"})
        assert answer.status_code == 400
        assert "address in numbers" in answer.json()["error"]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
def test_the_board_only_reads(method: str, runs: Path, board: Board) -> None:
    answer = board(runs).request(method, "/api/runs")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")
    assert "only reads" in answer.json()["error"]


def test_head_is_get_without_its_body(runs: Path, board: Board) -> None:
    client = board(runs)
    assert client.head("/api/runs").headers["etag"] == client.get("/api/runs").headers["etag"]


@pytest.mark.parametrize("address", ["/", "/api/runs", "/static/app.js", "/nothing", "/api/no"])
def test_every_answer_has_the_headers(address: str, runs: Path, board: Board) -> None:
    headers = board(runs).get(address).headers
    assert {name: headers[name] for name in HEADERS} == HEADERS
    assert headers["cache-control"] == "no-cache"
    policy = dict(part.split(" ", 1) for part in HEADERS["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert "access-control-allow-origin" not in headers


# The token


def test_without_the_token_there_is_nothing(runs: Path, board: Board) -> None:
    client = board(runs, host="0.0.0.0", token=TOKEN)
    for address in ("/", "/api/runs", "/static/app.js", "/nothing", f"/api/runs?token={TOKEN}x"):
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Cookie": "collimate_board_8765="}):
            answer = client.get(address, headers=headers, follow_redirects=False)
            assert answer.status_code == 401
            assert "token" in answer.json()["error"]
            assert TOKEN not in answer.text


def test_the_token_in_the_address_becomes_a_cookie(runs: Path, board: Board) -> None:
    client = board(runs, host="0.0.0.0", token=TOKEN)
    first = client.get(f"/compare?run=a&token={TOKEN}&run=b", follow_redirects=False)
    assert (first.status_code, first.headers["location"]) == (303, "/compare?run=a&run=b")
    cookie = first.headers["set-cookie"]
    assert TOKEN in cookie
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert client.get("/api/runs").status_code == 200


def test_the_token_leads_nowhere_else(runs: Path, board: Board) -> None:
    client = board(runs, token=TOKEN)
    for path in ("//evil.example/", "/%0d%0aSet-Cookie:x=1"):
        answer = client.get(f"http://127.0.0.1:8765{path}?token={TOKEN}", follow_redirects=False)
        place = urlsplit(answer.headers["location"])
        assert (answer.status_code, place.netloc, place.scheme) == (303, "", "")


def test_the_token_in_a_header(runs: Path, board: Board) -> None:
    client = board(runs, token=TOKEN)
    answer = client.get("/api/runs", headers={"Authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 200


@pytest.mark.parametrize("token", ["", "short", "ünicode-of-enough-characters"])
def test_a_token_that_can_be_guessed_is_refused(token: str, runs: Path) -> None:
    with pytest.raises(BadConfig, match="16 or more"):
        serve(runs, token=token, port=0)


# Paths


@pytest.fixture(scope="module")
def address(runs: Path) -> Iterator[str]:
    with serving(runs) as found:
        yield found


PATHS = [
    *("/runs/..", "/runs/../notes.txt", "/api/runs/..", "/api/runs/../../runs", "//etc/passwd"),
    *("/api/runs/%2e%2e", "/api/runs/..%2f..%2fetc", "/api/runs/%2fetc%2fpasswd"),
    *("/api/runs/plain%2f..%2fsecond", "/api/runs/./plain", "/api/runs/plain/../second"),
    *("/static/../app.py", "/static/%2e%2e%2fapp.py", "/static/..\\app.py", "/static/"),
    *("/api/runs/plain%00", "/api/runs/second/pairs/../../plain", "/api/runs//plain"),
    *("/api/runs/second/pairs/%2e%2e%2findex.json", "/notes.txt", "/api/runs/plain/run.json"),
]


@pytest.mark.parametrize("path", PATHS)
def test_no_address_is_a_path(path: str, address: str) -> None:
    """Sent as it stands, which clients and browsers would not."""
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=10)
    connection.putrequest("GET", path)
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    assert answer.status == 404, body
    assert b"mine" not in body
    assert b"root:" not in body


@pytest.mark.parametrize("name", ["../runs/plain", "plain/../second", "./plain", "{root}/plain"])
def test_no_parameter_is_a_path(name: str, runs: Path, board: Board) -> None:
    answer = board(runs).get("/api/compare", params={"run": name.format(root=runs)})
    assert answer.status_code == 404


def test_links_out_of_the_folder_are_no_runs(tmp_path: Path, board: Board) -> None:
    elsewhere = make_run(tmp_path / "elsewhere" / "run", steps=3)
    root = tmp_path / "runs"
    make_run(root / "one", steps=3)
    (root / "out").symlink_to(elsewhere)
    (root / "in").symlink_to("one")
    (root / "loop").symlink_to("loop")
    (root / "up").symlink_to("..")
    make_run(root / "inner", steps=3)
    for name in ("run.json", "metrics.jsonl"):
        (root / "inner" / name).unlink()
        (root / "inner" / name).symlink_to(elsewhere / name)
    client = board(root)
    found = {run["name"]: run for run in client.get("/api/runs").json()["runs"]}
    assert sorted(found) == ["in", "inner", "one"]
    assert "link out of the run folder" in found["inner"]["error"]
    assert client.get("/api/runs/out").status_code == 404
    assert client.get("/api/runs/inner").status_code == 422


def test_the_end_of_a_link_is_not_read(tmp_path: Path, board: Board) -> None:
    """metrics.jsonl alone being the link."""
    run = make_run(tmp_path / "runs" / "one", steps=3)
    (run / "metrics.jsonl").rename(tmp_path / "metrics.jsonl")
    (run / "metrics.jsonl").symlink_to(tmp_path / "metrics.jsonl")
    (found,) = board(tmp_path / "runs").get("/api/runs").json()["runs"]
    assert found["status"] == "unreadable"
    assert "loss" not in found


# The server


def test_a_port_that_is_taken_is_said() -> None:
    with bind("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(BadConfig, match=rf"port {port} of 127.0.0.1 is taken.*--port, or 0"):
            bind("127.0.0.1", port)


def test_small_answers_do_not_wait_for_the_last_ones_receipt() -> None:
    """asyncio's condition for TCP_NODELAY."""
    with bind("127.0.0.1", 0) as listening:
        assert listening.proto == socket.IPPROTO_TCP


def test_a_folder_that_is_a_run_or_none(runs: Path) -> None:
    with pytest.raises(BadRun, match=r"is a run itself; .* collimate board .*runs"):
        runs_folder(runs / "plain")
    with pytest.raises(BadRun, match="is not a folder"):
        runs_folder(runs / "nowhere")


def test_elsewhere_a_token_is_made_and_shown(runs: Path) -> None:
    with serving(runs, "--host", "0.0.0.0") as found:
        (token,) = re.findall(r"\?token=([\w-]{32})$", found)
        connection = http.client.HTTPConnection("127.0.0.1", urlsplit(found).port, timeout=10)
        for headers, status in (({}, 401), ({"Authorization": f"Bearer {token}"}, 200)):
            connection.request("GET", "/api/runs", headers=headers)
            answer = connection.getresponse()
            answer.read()
            assert answer.status == status
            assert "server" not in answer.headers
        connection.close()


def test_ctrl_c_is_how_it_ends(runs: Path) -> None:
    command = [sys.executable, "-m", "collimate", "board", str(runs), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert " is at http://127.0.0.1:" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=20) == ("", "")
    assert process.returncode == 0


# The page


def test_the_page_reads_no_text_as_markup_and_names_no_other_machine() -> None:
    """What the browser refuses too (Trusted Types), said of the source."""
    scripts = {name: text.decode() for name, text in static_files().items() if name.endswith(".js")}
    assert len(scripts) >= 7
    banned = (
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|srcdoc|eval\(|"
        r"Function\(|javascript:|importScripts|localStorage|sendBeacon|WebSocket"
    )
    for name, text in scripts.items():
        assert re.findall(banned, text) == [], name
        urls = re.findall(r"https?://[^\s\"'`]+", text)
        assert set(urls) <= {"http://www.w3.org/2000/svg"}, name
    page = static_files()["index.html"].decode()
    assert re.findall(r"<script(?![^>]*\bsrc=)|\son\w+=|\sstyle=", page) == []
