"""A Chromium, a folder of runs, its board, and a page that is watched."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.board.conftest import make_folder
from tests.board.server import serving

ARGUMENTS = [
    *("--no-sandbox", "--headless", "--disable-gpu", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--no-first-run"),
]


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield found
        found.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its runs are read; tests that write make runs of their own in it."""
    return make_folder(tmp_path_factory.mktemp("browsed") / "runs")


@pytest.fixture(scope="module")
def board(folder: Path) -> Iterator[str]:
    with serving(folder) as address:
        yield address.rstrip("/")


@pytest.fixture
def own(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """An empty folder for a test to write runs in, and the address of its board."""
    with serving(tmp_path) as address:
        yield tmp_path, address.rstrip("/")


class Watched:
    """A page, what it said that it should not, and what it asked for."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.said: list[str] = []
        self.asked: list[str] = []
        page.on("console", lambda message: self.said.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.said.append(f"error: {error}"))
        page.on("dialog", lambda dialog: self.said.append(f"dialog: {dialog.message}"))
        page.on("request", lambda request: self.asked.append(request.url))


@pytest.fixture
def watched(browser: Browser) -> Iterator[Watched]:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    yield Watched(page)
    page.close()


@pytest.fixture
def page(watched: Watched) -> Page:
    return watched.page
