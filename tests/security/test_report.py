"""The report escapes everything: no text of a run adds an element or an attribute to the page."""

from __future__ import annotations

import json
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collimate import report
from collimate.report import _write, render, summary_lines
from tests.report.example_run import frontier, make_run, run_fields

ATTACKS = (
    "</script><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</title><script>alert(1)</script>",
    "</pre></textarea></style><svg onload=alert(1)>",
    "javascript:alert(1)",
    "data:text/html,<script>alert(1)</script>",
    "<!--<script>",
    "]]><script>alert(1)</script>",
    "\u2028\u2029\x00\x0b\x1b[2J",
    "&lt;script&gt;&#60;script&#62;",
    "{{ 7*7 }}{% raw %}{# #}",
    "\ud800<b>",
    "var(--ink);background:url(//evil)",
    "%{x}<a href='javascript:alert(1)'>",
)
KEPT = {"schema_version", "kind", "status", "steps", "created"}


class Skeleton(HTMLParser):
    """The elements of a page with the names of their attributes, and the values that could act."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, tuple[str, ...]]] = []
        self.values: list[str] = []
        self.comments: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, tuple(name for name, _ in attrs)))
        acting = ("href", "src", "style", "id", "class", "content", "http-equiv", "aria-controls")
        self.values += [value or "" for name, value in attrs if name in acting]

    def handle_comment(self, data: str) -> None:
        self.comments.append(data)


def page_of(folder: Path, text: str) -> str:
    """The page of a run in which every text, value or key, is `text`."""
    fields = {**run_fields("run", 5), "frontier": frontier(), "error": text}
    poisoned = {
        key: value if key in KEPT else _poisoned(value, text) for key, value in fields.items()
    }
    for name in ("config", "versions", "machine"):
        poisoned[name][text] = text
    poisoned["data"]["train"]["skipped"] = {text: 3}
    poisoned["sizes"][text] = poisoned["phases"][text] = 3
    return render(report.load(make_run(folder, **poisoned)))


def _poisoned(value: Any, text: str) -> Any:
    if isinstance(value, dict):
        return {key: _poisoned(item, text) for key, item in value.items()}
    if isinstance(value, list):
        return [_poisoned(item, text) for item in value]
    return text if isinstance(value, str) else value


@pytest.fixture(scope="module", autouse=True)
def _without_plotly() -> Iterator[None]:
    """Four megabytes of script that no text of a run is in."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_write, "_plotly_js", lambda: "/* plotly */")
        yield


@pytest.fixture(scope="module")
def harmless(tmp_path_factory: pytest.TempPathFactory) -> Skeleton:
    return Skeleton(page_of(tmp_path_factory.mktemp("harmless") / "run", "harmless"))


def require_same(page: str, harmless: Skeleton) -> None:
    found = Skeleton(page)
    assert found.elements == harmless.elements
    assert found.values == harmless.values
    assert found.comments == harmless.comments


@pytest.mark.parametrize("text", ATTACKS, ids=range(len(ATTACKS)))
def test_no_text_adds_an_element_or_an_attribute(
    text: str, harmless: Skeleton, tmp_path: Path
) -> None:
    page = page_of(tmp_path / "run", text)
    require_same(page, harmless)
    figures = page.split('id="figures">')[1].split("</script>")[0]
    json.loads(figures)
    assert not set("<>\u2028\u2029") & set(figures)


PIECES = st.sampled_from(
    [*ATTACKS, "<", ">", '"', "'", "&", "`", "=", "/", "-->", "</", " a", "\n"]
)


@pytest.mark.slow
@settings(
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(PIECES | st.text(max_size=6), min_size=1, max_size=5))
def test_nor_does_any_mixture(harmless: Skeleton, tmp_path: Path, pieces: list[str]) -> None:
    require_same(page_of(tmp_path / "run", f"x{''.join(pieces)}"), harmless)


def test_the_comparison_sees_what_it_is_to_see(harmless: Skeleton, tmp_path: Path) -> None:
    page = page_of(tmp_path / "run", "harmless")
    require_same(page, harmless)
    for planted in ("<b>", '<p onclick="x">', "<!-- -->", '<a href="javascript:x">'):
        with pytest.raises(AssertionError):
            require_same(page.replace("harmless", planted, 1).replace("<p>", planted, 1), harmless)


@pytest.mark.parametrize("text", ATTACKS, ids=range(len(ATTACKS)))
def test_the_terminal_gets_no_escapes(text: str, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", steps=3, name=text, error=text, status="failed")
    for line in summary_lines(report.load(run)):
        assert not {"\x1b", "\x00", "\x0b", "\u2028", "\n"} & set(line)
