"""The charts of a page as files, for papers and slides."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from collimate._checks import BadRun, one_of, require_extra
from collimate.report._blocks import Bars, Chart
from collimate.report._comparison.page import comparison_tabs, read_all
from collimate.report._read import load
from collimate.report._save import save
from collimate.report._write import tabs

FORMATS = ("svg", "png")
EXTRA = "figures"


def write_figures(
    run_folders: Sequence[str | Path], out: str | Path, *, format: str = "svg"
) -> tuple[Path, ...]:
    """Write every chart of a run's report, or of the comparison of several, and return the paths.

    One file per chart, named after what it shows (`loss.svg`); `out` is made if it is not there, and
    files of these names in it are replaced. Colours are those of the page on paper, in light.

    Errors: BadConfig for another format than svg or png; BadRun where a folder cannot be read (see
    `load`), no run has anything to draw, or a file cannot be written; MissingExtra without
    matplotlib.

    >>> write_figures(["run"], "figures", format="gif")
    Traceback (most recent call last):
    collimate._checks.BadConfig: format must be one of 'svg', 'png', got 'gif'
    """
    one_of("format", format, FORMATS)
    require_extra("matplotlib", EXTRA)
    from collimate.report._exports.plot import drawn

    charts = _charts(run_folders)
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise BadRun(f"the figures go into a folder, but {folder} is a file; name another")
    contents = {
        folder / f"{chart.identity.removeprefix('chart-')}.{format}": drawn(chart, format)
        for chart in charts
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadRun(f"cannot make the folder {folder}: {error.strerror}") from error
    for path, content in contents.items():
        save(path, content, what="a figure", example=path.name)
    return tuple(contents)


def _charts(run_folders: Sequence[str | Path]) -> tuple[Chart, ...]:
    if len(run_folders) == 1:
        pages = tabs(load(run_folders[0]))
    else:
        pages = comparison_tabs(read_all(run_folders))
    blocks = [block for tab in pages for block in tab.blocks]
    drawn = [block.chart if isinstance(block, Bars) else block for block in blocks]
    charts = tuple(chart for chart in drawn if isinstance(chart, Chart))
    if not charts:
        named = ", ".join(map(str, run_folders))
        raise BadRun(f"there is nothing to draw: {named} logged no step and no evaluation")
    return charts
