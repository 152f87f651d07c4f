"""The pair explorer in a real browser: sorted, filtered, by keyboard, token by token, live."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from tests.board.folders import COLUMNS, made_up, make_pairs
from tests.browser.board_pages import SOON, column, open_pairs, rows
from tests.report.example_run import make_run

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.mark.parametrize("title", ["Displacement", "CHES", "Margin", "Length", "Loss"])
def test_pairs_are_sorted_by_every_column(title: str, page: Page, board: str) -> None:
    open_pairs(page, board)
    button = page.locator("#pairs thead").get_by_role("button", name=title)
    button.click()
    expect(page.locator("#pairs th[aria-sort=ascending]")).to_contain_text(title)
    page.wait_for_function(
        "name => new URLSearchParams(location.search).get('sort') === name", arg=title.lower()
    )
    expect(rows(page)).to_have_count(50)
    page.wait_for_timeout(400)
    assert column(page, title) == sorted(column(page, title))
    button.click()
    expect(page.locator("#pairs th[aria-sort=descending]")).to_contain_text(title)
    page.wait_for_timeout(400)
    assert column(page, title) == sorted(column(page, title), reverse=True)


def test_pairs_are_filtered_and_the_address_keeps_it(page: Page, board: str, folder: Path) -> None:
    open_pairs(page, board)
    margin = np.load(folder / "second" / "pairs" / "table.npy")[:, COLUMNS.index("margin")]
    expected = int(((margin >= -1) & (margin <= 2)).sum())
    page.get_by_label("Margin, at least").fill("-1")
    page.get_by_label("Margin, at most").fill("2")
    said = page.locator("#pairs [role=status]")
    expect(said).to_contain_text(f"of {expected} pairs (of 120 recorded)", timeout=SOON)
    assert all(-1 <= value <= 2 for value in column(page, "Margin"))
    page.get_by_label("Text in prompt or answers").fill("MÜNCHEN")
    wanted = [
        i
        for i, t in enumerate(made_up(120))
        if "münchen" in "".join(t).lower() and -1 <= margin[i] <= 2
    ]
    expect(said).to_contain_text(f"of {len(wanted)} pairs", timeout=SOON)
    page.reload()
    expect(said).to_contain_text(f"of {len(wanted)} pairs", timeout=SOON)
    page.get_by_role("button", name="Clear").click()
    expect(said).to_contain_text("1 to 50 of 120 pairs", timeout=SOON)
    page.get_by_label("suspected of displacement").check()
    expect(rows(page)).to_have_count(2, timeout=SOON)
    expect(rows(page).first.locator(".badge")).to_have_attribute(
        "title", "row 4: its answers are alike"
    )
    page.get_by_label("Margin, at least").fill("1000")
    expect(said).to_have_text("No pair is like that.", timeout=SOON)


def test_pairs_by_keyboard_alone(page: Page, board: str) -> None:
    open_pairs(page, board)
    focused = "document.activeElement.dataset.index"
    page.keyboard.press("j")
    assert page.evaluate(focused) == "0"
    for key, expected in [
        ("j", "1"),
        ("ArrowDown", "2"),
        ("k", "1"),
        ("ArrowUp", "0"),
        ("End", "49"),
    ]:
        page.keyboard.press(key)
        assert page.evaluate(focused) == expected, key
    page.keyboard.press("j")  # past the last row: the next page
    expect(rows(page).first).to_have_attribute("data-index", "50")
    expect(page.locator("tr:focus")).to_have_attribute("data-index", "50")
    page.keyboard.press("k")
    expect(page.locator("tr:focus")).to_have_attribute("data-index", "49")
    page.keyboard.press("PageDown")
    expect(page.locator("tr:focus")).to_have_attribute("data-index", "50")
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Pair 50")
    page.keyboard.press("ArrowRight")
    expect(dialog.locator(".readout")).to_contain_text("Chosen, token 1 of ")
    page.keyboard.press("ArrowRight")
    expect(dialog.locator(".readout")).to_contain_text("Chosen, token 2 of ")
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    assert page.evaluate(focused) == "50"
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.name") == "text"
    page.keyboard.type("j/k")
    expect(page.get_by_label("Text in prompt or answers")).to_have_value("j/k")


def test_a_pair_shows_both_answers_token_by_token(page: Page, board: str) -> None:
    open_pairs(page, board)
    rows(page).nth(3).click()
    dialog = page.get_by_role("dialog")
    prompt, *answers = made_up(120)[3]
    assert dialog.locator("pre").inner_text() == prompt
    for place, answer in zip(dialog.locator(".tokens").all(), answers, strict=True):
        assert (place.text_content() or "").replace("⋯", "") == answer
    classes = dialog.locator(".tokens .token").evaluate_all(
        "all => all.map(x => x.className.split(' ')[1])"
    )
    assert {"up-1", "down-1", "down-4"} <= set(classes)
    strongest = dialog.locator(".tokens .down-4").first
    strongest.hover()
    expect(dialog.locator(".readout")).to_contain_text(re.compile("log-ratio \N{MINUS SIGN}"))
    assert "underline" in strongest.evaluate("x => getComputedStyle(x).textDecorationLine")


def test_pairs_of_a_run_that_goes_on_are_followed(page: Page, own: tuple[Path, str]) -> None:
    folder, board = own
    run = make_run(folder / "filling", steps=3, status="running")
    make_pairs(run, made_up(10), begun=0.0)
    open_pairs(page, board, "filling")
    cell = rows(page).nth(4).locator("td").nth(4)
    expect(cell).to_have_text("–")
    table = np.lib.format.open_memmap(run / "pairs" / "table.npy", mode="r+")
    table[4, COLUMNS.index("loss")] = 0.125
    table.flush()
    expect(cell).to_have_text("0.125", timeout=SOON)


def test_damaged_pairs_are_told_and_leave_the_rest(page: Page, own: tuple[Path, str]) -> None:
    folder, board = own
    run = make_pairs(make_run(folder / "one", steps=3), made_up(10))
    table = run / "pairs" / "table.npy"
    table.write_bytes(table.read_bytes()[:-8])
    page.goto(f"{board}/runs/one#pairs")
    expect(page.get_by_role("alert")).to_contain_text("table.npy: ends too early", timeout=SOON)
    page.get_by_role("tab", name="Summary").click()
    expect(page.locator(".tiles")).to_be_visible()
    page.wait_for_timeout(2500)  # the run itself has answered once more, and does not hide it
    expect(page.get_by_role("alert")).to_contain_text("table.npy: ends too early")


def test_an_address_beyond_the_last_pair_shows_the_first(page: Page, board: str) -> None:
    page.goto(f"{board}/runs/second?offset=5000#pairs")
    expect(rows(page)).to_have_count(50, timeout=SOON)
    expect(page.locator("#pairs [role=status]")).to_contain_text("1 to 50 of 120 pairs")
