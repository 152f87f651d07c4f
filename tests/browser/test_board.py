"""The board in a real browser: the list, runs that go on, comparison, what is not there."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.board.server import serving
from tests.browser.board_pages import SOON, names
from tests.browser.conftest import Watched
from tests.report.example_run import make_run, metric_lines

pytestmark = [pytest.mark.browser, pytest.mark.slow]


# The list


def test_the_list_opens_quietly_and_asks_the_board_alone(watched: Watched, board: str) -> None:
    page = watched.page
    page.goto(board)
    expect(page.locator("h1")).to_have_text("Runs")
    expect(page.locator("tbody tr")).to_have_count(7)
    expect(page.get_by_role("status").first).to_have_text("7 runs")
    page.wait_for_timeout(2500)  # a second poll
    assert watched.said == []
    assert all(url.startswith(board) for url in watched.asked)
    assert sum(url.endswith("/api/runs") for url in watched.asked) >= 2


def test_the_list_is_sorted_and_filtered(page: Page, board: str) -> None:
    page.goto(board)
    expect(page.locator("tbody tr")).to_have_count(7)
    page.get_by_role("button", name="Run", exact=True).click()
    assert names(page) == sorted(names(page), key=str.lower)
    expect(page.locator("th[aria-sort=ascending]")).to_have_count(1)
    page.get_by_role("button", name=re.compile("^Run")).click()
    assert names(page) == sorted(names(page), key=str.lower, reverse=True)
    page.get_by_role("button", name="Steps", exact=True).click()
    expect(page.locator("tbody tr td.minor").first).to_have_text("20 / 400")
    page.get_by_label("Filter runs").fill("dpo finished")
    expect(page.get_by_role("status").first).to_have_text("2 of 7 runs")
    assert set(names(page)) == {"plain", "second"}


def test_a_corrupt_run_says_why_and_the_others_work(page: Page, board: str) -> None:
    page.goto(board)
    torn = page.locator('tr[data-name="torn"]')
    expect(torn.locator(".error")).to_contain_text("must be JSON")
    expect(torn.get_by_role("checkbox")).to_be_disabled()
    torn.get_by_role("link").click()
    expect(page.get_by_role("alert")).to_contain_text("must be JSON")
    page.get_by_role("link", name="Collimate board").click()
    page.get_by_role("link", name="plain").click()
    expect(page.locator("h1")).to_have_text("plain")
    expect(page.locator(".tiles")).to_be_visible()


# A run


def test_a_run_has_its_report_with_drawn_charts(watched: Watched, board: str) -> None:
    page = watched.page
    page.goto(f"{board}/runs/plain")
    expect(page.get_by_text("What to try next")).to_be_visible()
    for name, chart_count in [
        ("Training", 5),
        ("Data", 0),
        ("Engine", 0),
        ("Frontier", 1),
        ("Samples", 0),
    ]:
        page.get_by_role("tab", name=name).click()
        shown = page.locator("section.shown")
        expect(shown).to_have_count(1)
        expect(shown.locator("svg")).to_have_count(chart_count)
        for svg in shown.locator("svg").all():
            expect(svg.locator(".trace").first).to_be_attached()
            assert "NaN" not in (svg.inner_html())
    assert page.url.endswith("#samples")
    page.go_back()
    expect(page.locator("#frontier")).to_be_visible()
    assert watched.said == []


def test_a_chart_tells_its_values_by_pointer_and_key(page: Page, board: str) -> None:
    page.goto(f"{board}/runs/plain#training")
    plot = page.locator("figure", has=page.get_by_role("heading", name="Loss", exact=True))
    plot.locator("svg").hover(position={"x": 200, "y": 100})
    expect(plot.locator(".readout")).to_contain_text(re.compile(r"step \d+: training 0\.\d+"))
    plot.locator("svg").focus()
    page.keyboard.press("Home")
    expect(plot.locator(".readout")).to_contain_text("step 1: ")
    page.keyboard.press("End")
    expect(plot.locator(".readout")).to_contain_text("step 400: ")


def test_a_run_that_goes_on_is_followed(page: Page, own: tuple[Path, str]) -> None:
    folder, board = own
    lines = metric_lines(40)
    run = make_run(folder / "live", metrics=[], status="running", evaluation=None,
                   config={"max_steps": 40})  # fmt: skip
    page.goto(f"{board}/runs/live#training")
    expect(page.locator("#training")).to_contain_text("No training step has been logged yet")
    with (run / "metrics.jsonl").open("a") as file:
        for line in lines[:20]:
            file.write(json.dumps(line) + "\n")
        file.write(json.dumps(lines[20])[:50])  # the run is in the middle of a line
    expect(page.locator(".progress")).to_contain_text("step 20 of 40 (50 %)", timeout=SOON)
    path = (
        page.locator("figure", has=page.get_by_role("heading", name="Loss", exact=True))
        .locator(".line")
        .first
    )
    expect(path).to_be_attached()
    before = path.get_attribute("d")
    page.get_by_role("tab", name="Training").focus()
    with (run / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(lines[20])[50:] + "\n")
        file.writelines(json.dumps(line) + "\n" for line in lines[21:])
    expect(page.locator(".progress")).to_contain_text("step 40 of 40", timeout=SOON)
    expect(path).not_to_have_attribute("d", before or "", timeout=SOON)
    assert page.evaluate("document.activeElement.id") == "tab-training"
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**record, "status": "finished", "steps": 40}))
    expect(page.locator(".status")).to_have_text("finished", timeout=SOON)
    expect(page.locator(".progress")).to_be_hidden()


def test_a_new_run_appears_and_a_board_that_stops_is_told(page: Page, tmp_path: Path) -> None:
    with serving(tmp_path) as address:
        page.goto(address)
        expect(page.get_by_role("status").first).to_contain_text("No run in this folder yet")
        make_run(tmp_path / "fresh", steps=3)
        expect(page.get_by_role("link", name="fresh")).to_be_visible(timeout=SOON)
    expect(page.get_by_role("alert")).to_contain_text("does not answer", timeout=SOON)


def test_what_is_not_there_is_told(page: Page, board: str) -> None:
    for address, words in [
        ("/runs/nowhere", "there is no run 'nowhere'"),
        ("/compare", "1 to 6 runs"),
    ]:
        page.goto(f"{board}{address}")
        expect(page.get_by_role("alert")).to_contain_text(words)
    answer = page.goto(f"{board}/nothing/here")
    assert answer is not None
    assert answer.status == 404
    expect(page.get_by_text("There is no page at this address")).to_be_visible()


# Comparing


def test_runs_are_picked_and_compared(watched: Watched, board: str) -> None:
    page = watched.page
    page.goto(board)
    for name in ("plain", "second", "going"):
        page.get_by_label(f"Compare {name}", exact=True).check()
    page.get_by_role("link", name="Compare 3").click()
    expect(page.locator("h1")).to_have_text("Comparison")
    expect(page.locator("table").first).to_contain_text("plain")
    expect(page.locator("svg .trace").first).to_be_attached()
    loss = page.locator("figure", has=page.get_by_role("heading", name="Loss", exact=True))
    names = page.locator(".names").first.locator("li")
    assert names.all_text_contents() == ["plain", "second", "going"]
    strokes = [x.evaluate("x => getComputedStyle(x).stroke") for x in loss.locator(".line").all()]
    assert len(set(strokes)) == 3
    expect(page.get_by_role("heading", name="Runs", exact=True)).to_be_visible()
    assert page.locator(".bars b").count() >= 3  # intervals under one another
    assert watched.said == []


def test_no_more_than_six_are_compared(page: Page, tmp_path: Path) -> None:
    for number in range(7):
        make_run(tmp_path / f"run-{number}", steps=3)
    with serving(tmp_path) as address:
        page.goto(address)
        for number in range(7):
            page.get_by_label(f"Compare run-{number}").click()
        expect(page.get_by_label("Compare run-6")).not_to_be_checked()
        expect(page.get_by_role("status").first).to_contain_text("At most 6")
        expect(page.get_by_role("link", name="Compare 6")).to_be_visible()


def test_the_token_opens_the_board_once_and_for_all(browser: Browser, folder: Path) -> None:
    context = browser.new_context()
    page = context.new_page()
    with serving(folder, "--token", "a-token-of-more-than-16-characters") as address:
        bare = address.split("?")[0]
        page.goto(bare)
        expect(page.locator("body")).to_contain_text("needs its token")
        page.goto(address)
        assert page.url == bare
        expect(page.locator("tbody tr").first).to_be_visible()
        page.goto(f"{bare}runs/plain")
        expect(page.locator(".tiles")).to_be_visible()
    context.close()
