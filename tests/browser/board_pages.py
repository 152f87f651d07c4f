"""Where things are on the board's pages."""

from __future__ import annotations

from playwright.sync_api import Locator, Page, expect

SOON = 15_000  # ms: polls are 2 s apart, and the machine may be busy


def names(page: Page) -> list[str]:
    return page.locator("tbody th a").all_text_contents()


def rows(page: Page) -> Locator:
    return page.locator("#pairs tbody tr")


def column(page: Page, title: str) -> list[float]:
    """The numbers of a column of the pairs on the page, in their order."""
    at = page.locator("#pairs thead th").all_text_contents()
    (number,) = [i for i, text in enumerate(at) if text.startswith(title)]
    cells = page.locator(f"#pairs tbody tr > :nth-child({number + 1})").all_text_contents()
    return [float(cell.replace("\N{MINUS SIGN}", "-").replace(",", "")) for cell in cells]


def open_pairs(page: Page, board: str, run: str = "second") -> None:
    page.goto(f"{board}/runs/{run}#pairs")
    expect(rows(page).first).to_be_visible(timeout=SOON)
