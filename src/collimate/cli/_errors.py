"""Errors as one screen of plain text on standard error."""

from __future__ import annotations

import shutil
import sys
import textwrap
from typing import Any, cast

import typer

from collimate._checks import nearest

UsageError = cast(type[Exception], typer.BadParameter.__mro__[2])
"""The base of what typer raises about arguments; it has no public name of its own."""

LONGEST_WORD = 1000  # characters; what is longer is no path
LINES = 22  # of a screen of 24, the prompt's line and one to spare


def say(message: str) -> None:
    """`error: message` on standard error, wrapped, and cut to one screen."""
    note(screen(f"error: {message}", width=shutil.get_terminal_size((100, 24)).columns))


def note(line: str) -> None:
    """A text on standard error; a closed one is no reason to fail again."""
    try:
        sys.stderr.write(line + "\n")
        sys.stderr.flush()
    except OSError:
        return


def screen(text: str, *, width: int) -> str:
    """`text` wrapped to `width` (40 to 100) columns, at most `LINES` lines; paths are not broken.

    >>> print(screen("error: expected one thing, got another; do this", width=40))
    error: expected one thing, got another;
      do this
    """
    width = min(max(width, 40), 100)
    # Widths count printable characters only: a file may say anything.
    plain = "".join(
        c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text
    )
    lines = [
        line
        for number, paragraph in enumerate(plain.splitlines())
        for line in textwrap.wrap(
            paragraph,
            width,
            initial_indent="  " if number else "",
            subsequent_indent="  ",
            break_long_words=max(map(len, paragraph.split())) > LONGEST_WORD,
            break_on_hyphens=False,
        )
    ]
    if len(lines) > LINES:
        lines = [*lines[: LINES - 1], "  ... (the rest: --debug)"]
    return "\n".join(lines)


def usage(error: Any) -> str:
    """What typer found wrong with the arguments, the nearest option, and where help is."""
    message = str(error.format_message()).rstrip(".")
    context = getattr(error, "ctx", None)
    option = getattr(error, "option_name", None)
    if context is None:
        return message
    if option is not None and "No such option" in message:
        known = [opt for parameter in context.command.params for opt in _spellings(parameter)]
        message = f"there is no option '{option}'{nearest(option, known)}"
    return f"{message}\nall options: {context.command_path} --help"


def system(error: OSError) -> str:
    """What the system refused, and where."""
    place = "" if error.filename is None else f"{error.filename}: "
    return f"{place}{error.strerror or error}; free space or mend the rights there, then try again"


def bug(error: Exception) -> str:
    """One line for an error that nobody foresaw."""
    words = " ".join(str(error).split())
    return (
        f"this is a bug in collimate, please report it: {type(error).__name__}: {words[:300]}\n"
        "run the same command with --debug to see where"
    )


def _spellings(parameter: Any) -> list[str]:
    return [*parameter.opts, *parameter.secondary_opts]
