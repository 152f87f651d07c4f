"""The page: a run record as one HTML file that needs nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from collimate._checks import require_extra
from collimate.report._blocks import Tab
from collimate.report._facts import data_tab, engine_tab
from collimate.report._format import duration, moment
from collimate.report._frontier import frontier_tab
from collimate.report._read import load
from collimate.report._record import RunRecord
from collimate.report._samples import samples_tab
from collimate.report._save import save
from collimate.report._summary import summary_tab
from collimate.report._training import training_tab

EXTRA = "report"


def write(run_folder: str | Path, path: str | Path | None = None) -> Path:
    """Write the report of a run folder and return its path; by default `report.html` in the folder.

    The file is written beside its place and renamed, so that a reader never meets half a page.

    Errors: BadRun where the folder cannot be read (see `load`) or the page cannot be written;
    MissingExtra without jinja2 or plotly.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "run.json").write_text('{"schema_version": 1, "status": "running"}')
    >>> write(folder).name
    'report.html'
    """
    target = Path(run_folder) / "report.html" if path is None else Path(path)
    return write_page(target, render(load(run_folder)))


def write_page(path: Path, page: str) -> Path:
    """Write a page in one move, and return its path. Errors: BadRun if it cannot be written."""
    save(path, page, what="the report", example="report.html")
    return path


def render(record: RunRecord) -> str:
    """The whole page as text: styles, script, plotly.js and data in line; nothing is fetched.

    Errors: MissingExtra without jinja2 or plotly.

    >>> page = render(RunRecord(folder=Path("one"), name="one"))
    >>> page.startswith("<!doctype html>"), page.count("<html")
    (True, 1)
    """
    return page_of(record, tabs(record))


def page_of(record: RunRecord, shown: Sequence[Tab]) -> str:
    """A page of these tabs, headed by what `record` says of name, status and time.

    Errors: MissingExtra without jinja2 or plotly.
    """
    method = [record.method.name] if record.method is not None else []
    took = [duration(record.seconds)] if record.seconds is not None else []
    started = [moment(record.created)] if record.created else []
    return assemble(
        shown,
        title=record.name,
        status=record.status,
        parts=(*method, *started, *took),
        version=record.versions.get("collimate", ""),
    )


def assemble(
    tabs: Sequence[Tab],
    *,
    title: str,
    status: str = "",
    parts: Sequence[str] = (),
    version: str = "",
) -> str:
    """A page of these tabs; parts: what stands under the title.

    Errors: MissingExtra without jinja2 or plotly.

    >>> "<title>Two &amp; two · Collimate report</title>" in assemble((), title="Two & two")
    True
    """
    require_extra("jinja2", EXTRA)
    require_extra("plotly", EXTRA)
    import jinja2
    from markupsafe import Markup

    figures = {chart.identity: chart.figure for tab in tabs for chart in tab.charts}
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(str(resources.files("collimate.report") / "templates")),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["nobreak"] = nobreak
    return environment.get_template("page.html").render(
        title=title,
        status=status,
        parts=parts,
        version=version,
        tabs=tabs,
        css=Markup(_resource("page.css")),
        script=Markup(_resource("page.js")),
        plotly=Markup(inline_script(_plotly_js()) if figures else ""),
        figures=Markup(safe_json(figures)),
    )


def tabs(record: RunRecord) -> tuple[Tab, ...]:
    """The tabs of a run's page; "Frontier" only where a world is known."""
    found = [summary_tab(record), training_tab(record), data_tab(record), engine_tab(record)]
    if record.frontier is not None:
        found.append(frontier_tab(record.frontier))
    return (*found, samples_tab(record))


def safe_json(value: Any) -> str:
    r"""JSON that may stand in a script element: nothing in it can end it or open a comment.

    Errors: ValueError for NaN or infinity, which JSON does not have.

    >>> safe_json("</script><!--")
    '"\\u003c/script\\u003e\\u003c!--"'
    """
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))  # ASCII: U+2028 is escaped too
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def inline_script(source: str) -> str:
    r"""JavaScript that may stand in a script element.

    Inside a JavaScript string or pattern, `<\/` and `\x3c!` mean what they replace.

    >>> inline_script('"</script>"')
    '"<\\/script>"'
    """
    return source.replace("</script", "<\\/script").replace("<!--", "\\x3c!--")


def nobreak(text: str) -> str:
    r"""`text` whose percentages and intervals do not break over two lines.

    >>> nobreak("in 5 % of [0.1, 0.2]") == "in 5\u00a0% of [0.1,\u00a00.2]"
    True
    """
    text = re.sub(r"(?<=\d) (?=%)", "\u00a0", text)
    return re.sub(r"(\[[^\s\]]+,) (?=[^\s\]]+\])", "\\1\u00a0", text)


def _plotly_js() -> str:
    return (resources.files("plotly") / "package_data" / "plotly.min.js").read_text("utf-8")


def _resource(name: str) -> str:
    return (resources.files("collimate.report") / "templates" / name).read_text("utf-8")
