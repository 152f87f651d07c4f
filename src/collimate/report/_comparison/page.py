"""The page of several runs: records in, one HTML file out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from collimate._checks import BadRun
from collimate.report._blocks import Tab
from collimate.report._comparison.curves import curves_tab
from collimate.report._comparison.differences import differences_tab
from collimate.report._comparison.others import frontiers_tab, samples_tab
from collimate.report._comparison.overview import overview_tab
from collimate.report._comparison.runs import compared
from collimate.report._read import load
from collimate.report._record import RunRecord
from collimate.report._write import assemble, write_page


def write_comparison(
    run_folders: Sequence[str | Path], path: str | Path = "comparison.html"
) -> Path:
    """Write one page about several runs and return its path.

    Every folder is read before anything is written.

    Errors: BadRun for fewer than two folders, one named twice, one that cannot be read (see `load`)
    or a page that cannot be written; MissingExtra without jinja2 or plotly.

    >>> import tempfile
    >>> place = Path(tempfile.mkdtemp())
    >>> for name in ("one", "two"):
    ...     (place / name).mkdir()
    ...     _ = (place / name / "run.json").write_text('{"schema_version": 1, "status": "running"}')
    >>> write_comparison([place / "one", place / "two"], place / "page.html").name
    'page.html'
    """
    return write_page(Path(path), render_comparison(read_all(run_folders)))


def read_all(run_folders: Sequence[str | Path]) -> tuple[RunRecord, ...]:
    """The records of two or more folders, each named once. Errors: BadRun."""
    folders = [Path(folder) for folder in run_folders]
    if len(folders) < 2:
        raise BadRun(f"expected two runs or more to compare, got {len(folders)}")
    seen: dict[Path, Path] = {}
    for folder in folders:
        if (place := folder.resolve()) in seen:
            raise BadRun(f"{folder} and {seen[place]} are the same run: name it once")
        seen[place] = folder
    return tuple(map(load, folders))


def render_comparison(records: Sequence[RunRecord]) -> str:
    """The page of several runs as text, which needs nothing else; see `render`.

    Errors: MissingExtra without jinja2 or plotly.

    >>> page = render_comparison([RunRecord(folder=Path(x), name=x) for x in ("one", "two")])
    >>> "<title>2 runs compared" in page
    True
    """
    return assemble(
        comparison_tabs(records),
        title=f"{len(records)} runs compared",
        parts=tuple(dict.fromkeys(r.method.name for r in records if r.method is not None))[:6],
    )


def comparison_tabs(records: Sequence[RunRecord]) -> tuple[Tab, ...]:
    """The tabs of the page; "Frontier" only where a run has one."""
    runs = compared(records)
    frontier = frontiers_tab(runs)
    return (
        overview_tab(runs),
        curves_tab(runs),
        differences_tab(runs),
        *(() if frontier is None else (frontier,)),
        samples_tab(runs),
    )
