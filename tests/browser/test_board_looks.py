"""The board under attack, on a phone, and in the dark."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, expect

from tests.board.conftest import NASTY
from tests.browser.board_pages import rows
from tests.browser.conftest import Watched
from tests.report.example_run import ATTACK

pytestmark = [pytest.mark.browser, pytest.mark.slow]


# Attacks


def test_no_text_of_a_run_acts(watched: Watched, board: str) -> None:
    page = watched.page
    page.goto(board)
    expect(page.get_by_role("link", name=NASTY)).to_be_visible()
    page.get_by_label(f"Compare {NASTY}", exact=True).check()
    page.get_by_label("Compare plain").check()
    page.get_by_role("link", name="Compare 2").click()
    expect(page.locator("table").first).to_contain_text(NASTY)
    expect(page.locator(".names").first).to_contain_text("<img src=x onerror=")
    page.goto(f"{board}/runs/{quote(NASTY, safe='')}")
    expect(page.locator("h1")).to_have_text(NASTY)
    expect(page.locator("#summary")).to_contain_text("<img src=x onerror=")
    for tab in page.get_by_role("tab").all():
        tab.click()
    expect(rows(page)).to_have_count(3)
    assert ATTACK.startswith((rows(page).first.locator(".excerpt").text_content() or "x")[:30])
    rows(page).nth(1).click()
    dialog = page.get_by_role("dialog")
    assert dialog.locator("pre").text_content() == ATTACK
    shown = dialog.locator(".tokens").first.text_content() or ""
    assert shown.replace("⋯", "") == f" {ATTACK}"
    assert page.evaluate("typeof window.pwned") == "undefined"
    assert (
        page.locator("img, iframe, main script, dialog script, a[href^='javascript']").count() == 0
    )
    assert watched.said == []
    assert all(url.startswith(board) for url in watched.asked)


def test_the_policy_stops_what_would_get_through(watched: Watched, board: str) -> None:
    page = watched.page
    page.goto(board)
    expect(page.locator("tbody tr").first).to_be_visible()
    refused = page.evaluate(
        """async () => {
            const tried = {};
            try { document.body.innerHTML = "<b>x</b>"; tried.markup = "ran"; }
            catch { tried.markup = "refused"; }
            try { document.createElement("script").textContent = "x = 1"; tried.script = "ran"; }
            catch { tried.script = "refused"; }
            tried.image = await new Promise((done) => {
                const image = new Image();
                image.onload = () => done("ran");
                image.onerror = () => done("refused");
                image.src = "https://example.org/x.png";
            });
            tried.fetched = await fetch("https://example.org/").then(() => "ran", () => "refused");
            return tried;
        }"""
    )
    assert refused == dict.fromkeys(["markup", "script", "image", "fetched"], "refused")
    assert any("Content Security Policy" in message for message in watched.said)


# Phone and dark mode


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_every_text_can_be_read_and_nothing_sticks_out(
    width: int, scheme: str, page: Page, board: str
) -> None:
    page.set_viewport_size({"width": width, "height": 844})
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    page.goto(board)
    expect(page.locator("tbody tr")).not_to_have_count(0)
    require_readable(page, width)
    page.goto(f"{board}/compare?run=plain&run=second")
    expect(page.locator("svg .trace").first).to_be_attached()
    require_readable(page, width)
    page.goto(f"{board}/runs/second")
    expect(page.get_by_role("tab", name="Pairs")).to_be_visible()
    for tab in page.get_by_role("tab").all():
        tab.click()
        require_readable(page, width)
    expect(rows(page).first).to_be_visible()
    require_readable(page, width)
    rows(page).nth(3).click()
    expect(page.locator(".tokens").first).to_be_visible()
    require_readable(page, width)


READ = (Path(__file__).parent / "contrast.js").read_text(encoding="utf-8")


def require_readable(page: Page, width: int) -> None:
    assert page.evaluate(READ) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    outside = page.eval_on_selector_all(
        "header *, main *, dialog *",
        """(all, width) => all.filter((x) => x.checkVisibility()
            && !x.closest(".scroll, svg, .hidden, [role=tablist], h2")
            && x.getBoundingClientRect().right > width + 0.5).map((x) => x.outerHTML.slice(0, 80))""",
        width,
    )
    assert outside == []
