"""`collimate export model|metrics|figures|card`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
import typer.core

from collimate._checks import require_extra
from collimate.cli._output import write, write_json
from collimate.cli.train import PACKAGES

_Run = Annotated[Path, typer.Argument(metavar="RUN", help="run folder", show_default=False)]


class _ModelUnlessNamed(typer.core.TyperGroup):
    """`collimate export RUN --out DIR` exports the model: the first word that is no command is RUN."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        asked = args[:1] in (["--help"], ["-h"])
        if args and not asked and args[0] not in self.commands:
            args = ["model", *args]
        return super().parse_args(ctx, args)


command = typer.Typer(
    help="What a run leaves behind, for other tools: its model, metrics, figures, model card. "
    "`collimate export RUN --out DIR` is `collimate export model RUN --out DIR`.",
    cls=_ModelUnlessNamed,
)


@command.command("model")
def model(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="run or model folder", show_default=False)
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="a new folder")],
    merge: Annotated[
        bool, typer.Option("--merge", help="merge a LoRA adapter into its base model")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="the path as JSON")] = False,
) -> None:
    """Copy a run's model and tokenizer to a plain transformers folder, and print its path."""
    for package in PACKAGES:
        require_extra(package, "train")

    from collimate.jobs.export import export

    folder = str(export(run, out, merge=merge))
    if json:
        write_json({"folder": folder})
    else:
        write(folder)


@command.command("metrics")
def metrics(
    run: _Run,
    out: Annotated[Path, typer.Option(metavar="FILE", help="a .csv or .parquet file")],
    json: Annotated[bool, typer.Option("--json", help="the path as JSON")] = False,
) -> None:
    """Write all lines of a run's metrics.jsonl as one typed table, and print its path.

    Training and evaluation lines, told apart by the column `kind`; docs/report.md lists the columns.
    """
    from collimate.report import write_metrics

    _say({"metrics": str(write_metrics(run, out))}, as_json=json)


@command.command("figures")
def figures(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="run folders", show_default=False)
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="folder; made if it is not there")],
    format: Annotated[str, typer.Option(metavar="FORMAT", help="svg or png")] = "svg",
    json: Annotated[bool, typer.Option("--json", help="the paths as JSON")] = False,
) -> None:
    """Write the charts of a run's report, or of the comparison of several, one file each."""
    from collimate.report import write_figures

    paths = list(map(str, write_figures(runs, out, format=format)))
    if json:
        write_json({"figures": paths})
    else:
        write("\n".join(paths))


@command.command("card")
def card(
    run: _Run,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE.md", help="unset: README.md beside the run's model"),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="the path as JSON")] = False,
) -> None:
    """Write a model card from the run's record, for the Hugging Face hub, and print its path.

    It says how the model was made, on what data, what was measured, and what is doubtful or unknown.
    Read it, and add what no record can know: the licence, and what the model is for.
    """
    from collimate.report import write_card

    _say({"card": str(write_card(run, out))}, as_json=json)


def _say(found: dict[str, str], *, as_json: bool) -> None:
    if as_json:
        write_json(found)
    else:
        write("\n".join(found.values()))
