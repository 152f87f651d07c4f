"""`collimate`: arguments in, exit code out."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import typer

from collimate import __version__
from collimate._checks import CollimateError, nearest
from collimate.cli import _errors
from collimate.cli._output import PIPE_CLOSED, write

COMMANDS: Mapping[str, tuple[str, str]] = {
    "train": ("train", "Align a model on preference pairs; leaves a run folder."),
    "frontier": ("frontier", "Sweep methods and betas; which settings are on the front."),
    "score": ("score", "Log-probabilities of given answers, as JSON lines."),
    "check": ("check", "What is in a data file, and what training on it would take."),
    "cache": ("cache", "Cached reference log-probs: ls, gc, verify."),
    "report": ("report", "A run's report.html again, or one page about several runs."),
    "board": ("board", "A folder of runs as a local web page, live."),
    "methods": ("methods", "List the methods and what they are made of."),
    "explain": ("explain", "Write out a method's loss with its numbers."),
    "cite": ("cite", "Print the BibTeX entries of a method."),
    "export": ("export", "A run's model, metrics, figures, model card: for other tools."),
    "demo": ("demo", "Align a tiny model and compare it with the exact optimum."),
}
"""Name -> module in `collimate.cli` (whose `command` is a function or a group) and a line of help."""

OK, BUG, USAGE, INTERRUPTED = 0, 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    0: done. 1: a bug, or damage that `cache verify` found. 2: an error the user can mend, said on
    one screen. 130: interrupted. 141: the reader of the output went away. `--debug` anywhere, or
    COLLIMATE_DEBUG=1, adds the traceback of an error.
    """
    arguments = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    debug = "--debug" in arguments or os.environ.get("COLLIMATE_DEBUG", "0") not in ("", "0")
    arguments = [argument for argument in arguments if argument != "--debug"]
    try:
        code = _run(arguments)
    except KeyboardInterrupt:
        code = INTERRUPTED
    except _errors.UsageError as error:
        _errors.say(_errors.usage(error))
        return USAGE
    except CollimateError as error:
        if debug:
            traceback.print_exc()
        _errors.say(str(error))
        return USAGE
    except OSError as error:  # a full disk, a folder that went away, missing rights
        if debug:
            traceback.print_exc()
        _errors.say(_errors.system(error))
        return USAGE
    except Exception as error:  # noqa: BLE001 - the last stop: whatever is left is a bug of ours
        if debug:
            traceback.print_exc()
        _errors.say(_errors.bug(error))
        return BUG
    if code == INTERRUPTED:
        _errors.note(
            "interrupted; a run that has begun goes on with --resume, scoring on Ray by the same command"
        )
    return code


def _run(arguments: list[str]) -> int:
    name = next((argument for argument in arguments if not argument.startswith("-")), None)
    if name is not None and name not in COMMANDS:
        raise CollimateError(
            f"there is no command '{name}'; the commands are {', '.join(COMMANDS)}"
            f"{nearest(name, COMMANDS)}"
        )
    quiet_libraries()
    try:
        result: Any = build(name)(arguments, prog_name="collimate", standalone_mode=False)
    except SystemExit as left:
        if isinstance(left.__context__, BrokenPipeError):  # in typer's own output, the help
            return PIPE_CLOSED
        raise
    return result if isinstance(result, int) else OK


def build(chosen: str | None = None) -> typer.Typer:
    """The application, with the parameters of the chosen command; the others are names only."""
    app = typer.Typer(
        name="collimate",
        help="Align, distil and match models: every method is five choices on one fast engine.",
        epilog="`collimate COMMAND --help` says more. Errors are one screen; --debug shows where.",
        add_completion=False,
        rich_markup_mode=None,  # importing rich would take as long as everything else
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    for name, (module, line) in COMMANDS.items():
        found: Callable[..., Any] | typer.Typer = _stub
        if name == chosen:
            found = importlib.import_module(f"collimate.cli.{module}").command
        if isinstance(found, typer.Typer):
            app.add_typer(found, name=name)
        else:
            app.command(name, short_help=line, help=found.__doc__)(found)
    return app


def _print_version(asked: bool) -> bool:
    if asked:
        write(f"collimate {__version__}")
        raise typer.Exit(OK)
    return asked


def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version and stop.", is_eager=True, callback=_print_version
        ),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show tracebacks; before or after the command.")
    ] = False,
) -> None:
    # `--debug` is taken out of the arguments before they get here; it is an option for the help.
    del version, debug


def _stub() -> None:
    """A command that was not asked for."""


def quiet_libraries() -> None:
    """Our own lines only: libraries show neither progress bars nor advice unless asked to."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
