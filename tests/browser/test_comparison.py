"""The page of several runs in a real browser: quiet, its legend at work, safe, readable everywhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from collimate import report
from tests.browser.test_report import ARGUMENTS, Opened, shown, visit_every_tab
from tests.report.example_run import frontier, make_attacked_run, make_run

pytestmark = pytest.mark.browser

TABS = ["runs", "curves", "differences", "frontier", "samples"]


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield found
        found.close()


@pytest.fixture(scope="module")
def three_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    runs = [
        make_run(folder / name, seed=seed, frontier=frontier())
        for seed, name in enumerate(("dpo", "ipo", "a run with a rather long name, seed 2"))
    ]
    return report.write_comparison(runs, folder / "page.html")


@pytest.fixture(scope="module")
def three(browser: Browser, three_file: Path) -> Opened:
    return Opened(browser.new_page(viewport={"width": 1280, "height": 900}), three_file)


@pytest.fixture(scope="module")
def attacked(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Opened:
    folder = tmp_path_factory.mktemp("attacked")
    runs = [make_attacked_run(folder / name) for name in ("a", "b", "c")]
    return Opened(browser.new_page(), report.write_comparison(runs, folder / "page.html"))


def lines(page: Page, chart: str) -> int:
    """How many curves a chart shows."""
    return page.locator(f"#{chart} .scatterlayer .trace.scatter path.js-line").count()


def test_the_page_is_quiet_and_asks_for_nothing(three: Opened, three_file: Path) -> None:
    assert [tab.get_attribute("aria-controls") for tab in three.page.get_by_role("tab").all()] == (
        TABS
    )
    visit_every_tab(three.page)
    assert three.said == []
    assert three.asked == [three_file.as_uri()]


def test_one_legend_switches_a_run_off_and_on_in_every_chart(three: Opened) -> None:
    page = three.page
    page.get_by_role("tab", name="Curves").click()
    charts = page.locator("#curves .chart").evaluate_all("all => all.map(x => x.id)")
    assert len(charts) == 6
    assert {lines(page, chart) for chart in charts} == {3}
    page.get_by_role("checkbox", name="ipo").uncheck()
    for chart in charts:
        expect(page.locator(f"#{chart} path.js-line")).to_have_count(2)
    page.get_by_role("checkbox", name="ipo").focus()
    page.keyboard.press("Space")  # by key as by hand
    for chart in charts:
        expect(page.locator(f"#{chart} path.js-line")).to_have_count(3)


def test_what_is_switched_off_stays_off_in_the_dark(three: Opened) -> None:
    page = three.page
    page.get_by_role("tab", name="Curves").click()
    page.get_by_role("checkbox", name="dpo").uncheck()
    before = page.locator("#chart-loss path.js-line").first.evaluate("x => x.style.stroke")
    page.emulate_media(color_scheme="dark")
    page.wait_for_function(
        "before => document.querySelector('#chart-loss path.js-line').style.stroke !== before",
        arg=before,
    )
    assert lines(page, "chart-loss") == 2
    page.emulate_media(color_scheme="light")
    page.get_by_role("checkbox", name="dpo").check()
    expect(page.locator("#chart-loss path.js-line")).to_have_count(3)


def test_nothing_injected_runs(attacked: Opened) -> None:
    page = attacked.page
    visit_every_tab(page)
    page.get_by_role("tab", name="Curves").click()
    page.locator(".legend input").first.uncheck()
    assert page.evaluate("typeof window.pwned") == "undefined"
    assert attacked.said == []
    assert len(attacked.asked) == 1
    assert page.locator(".chart a, .legend a, main img").count() == 0
    name = page.locator(".legend bdi").first.text_content() or ""
    assert "<img src=x onerror=" in name  # as text, not as markup


@pytest.mark.parametrize("run", ["three", "attacked"])
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
    page.set_viewport_size({"width": 1280, "height": 900})


def test_without_javascript_every_part_is_there(browser: Browser, three_file: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = Opened(context.new_page(), three_file).page
    for name in TABS:
        expect(page.locator(f"#{name}")).to_be_visible()
    context.close()


def test_runs_beyond_a_dozen_wait_in_the_legend(browser: Browser, tmp_path: Path) -> None:
    runs = [make_run(tmp_path / f"run-{n}", steps=40, seed=n) for n in range(14)]
    found = Opened(browser.new_page(), report.write_comparison(runs, tmp_path / "page.html"))
    found.page.get_by_role("tab", name="Curves").click()
    assert shown(found.page) == ["curves"]
    assert lines(found.page, "chart-loss") == 12
    found.page.get_by_role("checkbox", name="run-13").check()
    expect(found.page.locator("#chart-loss path.js-line")).to_have_count(13)
    assert found.said == []
    found.page.close()
