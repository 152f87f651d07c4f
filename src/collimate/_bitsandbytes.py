"""bitsandbytes, the optional package of 4-bit weights and 8-bit optimisers: imported when asked for.

Nothing is fetched with it: on some CPUs it would run kernels from the hub where the package `kernels`
is installed, and on Apple's GPUs it has no others.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from collimate._checks import BadConfig, require_extra

DEVICES = ("cuda", "cpu")
"""Kinds of devices whose kernels come with the package itself."""


def load_bitsandbytes() -> Any:
    """The package. Errors: MissingExtra if it is not installed."""
    require_extra("bitsandbytes", "quantize")
    # It warns where it falls back on what comes with it, which is what we ask of it.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    with hidden("kernels"):
        import bitsandbytes

        return bitsandbytes


@contextmanager
def hidden(package: str) -> Generator[None]:
    """Within the context a package cannot be imported, as if it were not installed."""
    before = sys.modules.pop(package, None)  # transformers has imported what it found
    sys.modules[package] = None  # pyright: ignore[reportArgumentType]
    try:
        yield
    finally:
        del sys.modules[package]
        if before is not None:
            sys.modules[package] = before


def require_runs(what: str, device: str, attempt: Callable[[], object], way_out: str) -> None:
    """Make an attempt before anything long begins: what cannot run is told by running it.

    what: the setting that asks for it. Errors: BadConfig where it fails, or the device has no kernels.
    """
    if device not in DEVICES:
        raise BadConfig(
            f"{what} cannot run on '{device}': bitsandbytes comes with kernels for "
            f"{' and '.join(DEVICES)} only; use one of them, or {way_out}"
        )
    try:
        attempt()
    except Exception as error:  # a library without kernels for this GPU raises what it likes
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise BadConfig(
            f"{what} cannot run on this machine's '{device}' with the installed bitsandbytes "
            f"({reason}): install one that serves it, or {way_out}"
        ) from error
