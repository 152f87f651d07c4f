"""Enumerable worlds with exact optima."""

from collimate.lab.world import World as World

__all__ = ["World"]
