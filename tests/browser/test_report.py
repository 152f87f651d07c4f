"""The page in a real browser: quiet, operable by hand and by key, safe, readable everywhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from collimate import report
from tests.report.example_run import ATTACK, frontier, make_attacked_run, make_run

pytestmark = pytest.mark.browser

ARGUMENTS = [
    "--no-sandbox",
    "--headless",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
TABS = ["summary", "training", "data", "engine", "frontier", "samples"]


class Opened:
    """A page, and everything it said, did wrong or asked for since it was opened."""

    def __init__(self, page: Page, path: Path) -> None:
        self.page = page
        self.said: list[str] = []
        self.asked: list[str] = []
        page.on("console", lambda message: self.said.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.said.append(f"error: {error}"))
        page.on("dialog", lambda dialog: self.said.append(f"dialog: {dialog.message}"))
        page.on("request", lambda request: self.asked.append(request.url))
        page.goto(path.as_uri())


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield found
        found.close()


@pytest.fixture(scope="module")
def ordinary_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_run(tmp_path_factory.mktemp("runs") / "ordinary", frontier=frontier())
    return report.write(folder)


@pytest.fixture(scope="module")
def ordinary_page(browser: Browser, ordinary_file: Path) -> Opened:
    return Opened(browser.new_page(), ordinary_file)


@pytest.fixture
def ordinary(ordinary_page: Opened) -> Opened:
    """The page of an ordinary run, as on its first tab; opened once, because plotly is large."""
    ordinary_page.page.set_viewport_size({"width": 1280, "height": 900})
    ordinary_page.page.get_by_role("tab", name="Summary").click()
    return ordinary_page


@pytest.fixture(scope="module")
def attacked(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Opened:
    folder = make_attacked_run(tmp_path_factory.mktemp("runs") / "attacked")
    return Opened(browser.new_page(), report.write(folder))


def shown(page: Page) -> list[str]:
    return page.eval_on_selector_all(
        "[role=tabpanel]", "all => all.filter(x => x.checkVisibility()).map(x => x.id)"
    )


def visit_every_tab(page: Page) -> None:
    for tab in page.get_by_role("tab").all():
        tab.click()
        expect(page.locator(".shown .chart:not(:has(.main-svg))")).to_have_count(0)
    drawn = page.locator(".chart:has(.main-svg)").count()
    assert drawn == page.locator(".chart").count() > 0


def test_the_page_is_quiet_and_asks_for_nothing(ordinary: Opened, ordinary_file: Path) -> None:
    visit_every_tab(ordinary.page)
    assert ordinary.said == []
    assert ordinary.asked == [ordinary_file.as_uri()]


def test_tabs_work_by_click_by_key_and_by_link(ordinary: Opened) -> None:
    page = ordinary.page
    assert [tab.get_attribute("aria-controls") for tab in page.get_by_role("tab").all()] == TABS
    assert shown(page) == ["summary"]
    page.get_by_role("tab", name="Training").click()
    assert shown(page) == ["training"]
    assert page.url.endswith("#training")
    expect(page.locator("#chart-displacement .main-svg").first).to_be_visible()
    for key, expected in [
        ("ArrowRight", "data"),
        ("ArrowLeft", "training"),
        ("End", "samples"),
        ("ArrowRight", "summary"),
        ("ArrowLeft", "samples"),
        ("Home", "summary"),
    ]:
        page.keyboard.press(key)
        assert shown(page) == [expected], key
        assert page.evaluate("document.activeElement.id") == f"tab-{expected}"
        assert page.locator("[role=tab][aria-selected=true]").count() == 1
        assert page.locator('[role=tab][tabindex="0"]').count() == 1
    for fragment, expected in [("#engine", "engine"), ("#no'\"<b>", "summary")]:
        page.evaluate("fragment => { location.hash = fragment; }", fragment)
        page.wait_for_function("id => document.querySelector('.shown').id === id", arg=expected)
    page.go_back()
    page.wait_for_function("document.querySelector('.shown').id === 'engine'")


def test_samples_keep_their_white_space(ordinary: Opened) -> None:
    ordinary.page.get_by_role("tab", name="Samples").click()
    after = ordinary.page.locator("#samples article").first.locator("pre").nth(2)
    assert after.inner_text() == (
        " Basil likes light and warmth:\n\n  1. put it on a south window,\n"
        "  2. water it when the soil is dry,\n  3. cut it above a pair of leaves."
    )


def test_dark_mode_reaches_page_and_charts_and_back(ordinary: Opened) -> None:
    page = ordinary.page
    page.get_by_role("tab", name="Training").click()
    for scheme, background, text in [("dark", "< 200", "> 500"), ("light", "> 700", "< 200")]:
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        # Sums of red, green and blue: of the page, and of a number beside an axis.
        page.wait_for_function(
            f"""() => {{
                const sum = (css) => css.match(/\\d+/g).slice(0, 3).reduce((a, b) => a + +b, 0);
                const tick = document.querySelector("#chart-loss .xtick text");
                return tick && sum(getComputedStyle(document.body).backgroundColor) {background}
                    && sum(getComputedStyle(tick).fill) {text};
            }}"""
        )


def test_nothing_injected_runs(attacked: Opened) -> None:
    page = attacked.page
    visit_every_tab(page)
    assert page.evaluate("typeof window.pwned") == "undefined"
    assert attacked.said == []
    assert len(attacked.asked) == 1
    assert page.locator(".chart a").count() == 0
    legend = page.locator("#chart-frontier .legendtext").first.text_content() or ""
    assert legend.startswith("</script><script>window.pwned=1")  # as text, not as markup
    for text in page.locator("#samples pre").all_text_contents():
        assert text == ATTACK
    for place in ("h1", "#summary", "#data", "#engine", "#frontier"):
        assert "<img src=x onerror=" in (page.locator(place).text_content() or ""), place


@pytest.mark.parametrize("run", ["ordinary", "attacked"])
def test_a_phone_needs_no_sideways_scrolling(run: str, request: pytest.FixtureRequest) -> None:
    page: Page = request.getfixturevalue(run).page
    page.set_viewport_size({"width": 390, "height": 844})
    for tab in page.get_by_role("tab").all():
        tab.click()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, tab.text_content()
        overflowing = page.eval_on_selector_all(
            "main *",
            """all => all.filter((x) => x.checkVisibility() && !x.closest(".scroll, .chart, table")
                && x.getBoundingClientRect().right > 390.5).map((x) => x.outerHTML.slice(0, 80))""",
        )
        assert overflowing == []
    page.wait_for_function(  # charts follow the width
        """() => [...document.querySelectorAll(".shown .chart .main-svg")].every(
            (chart) => chart.getBoundingClientRect().right <= 390)"""
    )


def test_the_policy_stops_what_would_get_through(ordinary: Opened) -> None:
    refused = ordinary.page.evaluate(
        """async () => {
            const image = new Image();
            const failed = new Promise((done) => { image.onerror = () => done("image"); });
            image.src = "https://example.org/x.png";
            const fetched = fetch("https://example.org/").then(() => "ok", () => "fetch");
            return [await failed, await fetched];
        }"""
    )
    assert refused == ["image", "fetch"]
    assert any("Content Security Policy" in message for message in ordinary.said)
    ordinary.said.clear()


def test_a_link_to_a_tab_opens_it_at_the_top(browser: Browser, ordinary_file: Path) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 600})
    page.goto(f"{ordinary_file.as_uri()}#data")
    assert shown(page) == ["data"]
    assert page.evaluate("window.scrollY") == 0
    page.close()


def test_without_javascript_every_part_is_there(browser: Browser, ordinary_file: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = Opened(context.new_page(), ordinary_file).page
    for name in TABS:
        expect(page.locator(f"#{name}")).to_be_visible()
    context.close()


def test_a_run_that_has_only_begun_has_a_page(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"schema_version": 1, "status": "running"}')
    found = Opened(browser.new_page(), report.write(tmp_path))
    found.page.keyboard.press("Tab")  # the keyboard alone reaches the tabs, then what they show
    assert found.page.evaluate("document.activeElement.id") == "tab-summary"
    found.page.keyboard.press("ArrowRight")
    found.page.keyboard.press("Tab")
    assert found.page.evaluate("document.activeElement.id") == "training"
    for tab in found.page.get_by_role("tab").all():
        tab.click()
        assert found.page.locator("section.shown").inner_text().strip()
    assert found.said == []
    found.page.close()
