"""The page of several runs and the exports: no text of a run adds markup to them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from markdown_it import MarkdownIt

from collimate import report
from collimate.report import _write
from tests.report.example_run import frontier, make_run, run_fields
from tests.security.test_report import ATTACKS, KEPT, Skeleton, _poisoned, require_same

MARKDOWN = (
    *ATTACKS,
    "# heading",
    "1. list",
    "a\n\n## Limits\n\n- none",
    "[x](javascript:alert(1))",
    "![x](http://e.org/x.png)",
    "```\n<script>alert(1)</script>\n```",
    "| a | b |\n| --- | --- |",
    "---\nlicense: mit\n---",
    "x\ntags:\n- safe",
    "*&anchor !!python/object/apply:os.system",
)


@pytest.fixture(scope="module", autouse=True)
def _without_plotly() -> Iterator[None]:
    """Four megabytes of script that no text of a run is in."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_write, "_plotly_js", lambda: "/* plotly */")
        yield


def attacked(folder: Path, text: str, *, name: str = "run") -> Path:
    """A run in which every text, value or key, is `text`."""
    fields = {**run_fields("run", 5), "frontier": frontier(), "error": text}
    poisoned: dict[str, Any] = {
        key: value if key in KEPT else _poisoned(value, text) for key, value in fields.items()
    }
    for part in ("config", "versions", "machine"):
        poisoned[part][text] = text
    poisoned["data"]["train"]["skipped"] = {text: 3}
    return make_run(folder / name, **poisoned)


def comparison(folder: Path, text: str) -> str:
    runs = [attacked(folder, text, name=name) for name in ("a", "b")]
    return report.render_comparison([report.load(run) for run in runs])


@pytest.fixture(scope="module")
def harmless(tmp_path_factory: pytest.TempPathFactory) -> Skeleton:
    return Skeleton(comparison(tmp_path_factory.mktemp("harmless"), "harmless"))


@pytest.mark.parametrize("text", ATTACKS, ids=range(len(ATTACKS)))
def test_no_text_adds_an_element_to_a_comparison(
    text: str, harmless: Skeleton, tmp_path: Path
) -> None:
    page = comparison(tmp_path, text)
    require_same(page, harmless)
    figures = page.split('id="figures">')[1].split("</script>")[0]
    json.loads(figures)
    assert not set("<>\u2028\u2029") & set(figures)


def markup(card: str) -> list[str]:
    """The kinds of everything that Markdown reads in a card, in order, but for words."""
    reader = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    found: list[str] = []
    for token in reader.parse(card.split("---\n", 2)[2]):
        found.append(f"{token.type} {token.tag}")
        found += [child.type for child in token.children or [] if not child.type.startswith("text")]
    return found


@pytest.mark.parametrize("text", MARKDOWN, ids=range(len(MARKDOWN)))
def test_no_text_adds_markup_or_front_matter_to_a_card(text: str, tmp_path: Path) -> None:
    good = report.model_card(report.load(attacked(tmp_path / "good", "A harmless text")))
    card = report.model_card(report.load(attacked(tmp_path / "bad", text)))
    assert yaml.safe_load(card.split("---\n")[1]) == yaml.safe_load(good.split("---\n")[1])
    found = markup(card)
    assert found == markup(good)
    assert not {"html_block ", "html_inline", "image", "link_open"} & set(found)


def test_the_reader_of_cards_sees_what_it_is_to_see(tmp_path: Path) -> None:
    card = report.model_card(report.load(attacked(tmp_path, "A harmless text")))
    for planted in ("<b>x</b>", "[x](http://e.org)", "# x", "*x*"):
        assert markup(card) != markup(f"{card}\n\n{planted}\n")
