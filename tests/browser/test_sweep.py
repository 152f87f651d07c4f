"""A sweep's page in a real browser: quiet, alone, and its points say who they are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from playwright.sync_api import expect, sync_playwright

from collimate.report import write_sweep
from tests.browser.test_report import ARGUMENTS, Opened
from tests.report.test_sweep import sweep

pytestmark = pytest.mark.browser


def test_the_page_is_quiet_asks_for_nothing_and_names_its_points(
    chromium: str, tmp_path: Path
) -> None:
    (tmp_path / "frontier.json").write_text(json.dumps(sweep(3)))
    path = write_sweep(tmp_path)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        opened = Opened(browser.new_page(), path)
        expect(opened.page.locator(".chart .main-svg").first).to_be_attached()
        assert opened.page.locator(".chart:has(.main-svg)").count() == 3
        point = opened.page.locator("#chart-reward_accuracy-kl .points path").first
        point.scroll_into_view_if_needed()
        box = point.bounding_box()
        assert box is not None
        opened.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        hover = opened.page.locator("#chart-reward_accuracy-kl .hovertext")
        expect(hover.first).to_contain_text("dpo, beta 0")
        opened.page.get_by_role("tab", name="Runs").click()
        expect(opened.page.get_by_text("runs/dpo-beta0-seed1")).to_be_visible()
        assert opened.said == []
        assert opened.asked == [path.as_uri()]
        browser.close()
