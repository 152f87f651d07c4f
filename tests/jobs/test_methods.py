"""The list of methods that is read without importing torch."""

from __future__ import annotations

from collimate.jobs.methods import catalogue, computed_catalogue


def test_the_file_says_what_the_presets_are() -> None:
    assert catalogue() == computed_catalogue(), "a preset changed: run `make catalogue`"
