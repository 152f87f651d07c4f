"""The tab "Differences": every fact in which the runs differ, and those in which they agree."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from collimate.report._blocks import Block, Fact, Facts, Prose, Tab, Table
from collimate.report._comparison.runs import Compared
from collimate.report._format import ABSENT, count, plural
from collimate.report._record import DataFacts, RunRecord

Known = Mapping[str, str]


def differences_tab(runs: Sequence[Compared]) -> Tab:
    """A table for each kind of fact in which runs differ, then what is the same in all."""
    blocks: list[Block] = []
    same: list[Fact] = []
    for title, read in (
        ("Method", _method),
        ("Settings", _settings),
        ("Training data", lambda record: _data(record.train_data)),
        ("Held-out data", lambda record: _data(record.evaluation_data)),
        ("Model and reference", _models),
        ("Versions and machine", _versions),
    ):
        found = [read(run.record) for run in runs]
        names = dict.fromkeys(name for facts in found for name in facts)
        values = {name: tuple(facts.get(name, ABSENT) for facts in found) for name in names}
        rows = tuple((name, *cells) for name, cells in values.items() if len(set(cells)) > 1)
        if rows:
            columns = ("", *(run.label for run in runs))
            blocks.append(Table(title=title, columns=columns, rows=_readable(rows)))
        same += [
            Fact(label=f"{title}: {name}", value=cells[0])
            for name, cells in values.items()
            if len(set(cells)) == 1 and cells[0] != ABSENT
        ]
    if not blocks:
        blocks.append(
            Prose(tone="empty", sentences=("The runs differ in nothing that was recorded.",))
        )
    title = f"{plural(len(same), 'fact')} in which all runs agree"
    blocks.append(Facts(title=title, rows=tuple(same), folded=True, code=True))
    return Tab(identity="differences", title="Differences", blocks=tuple(blocks))


def _readable(rows: Sequence[tuple[str, ...]]) -> tuple[tuple[str, ...], ...]:
    """Long values cut in the middle, where that does not make different ones look alike."""
    found: list[tuple[str, ...]] = []
    for name, *cells in rows:
        short = {cell: middle_cut(cell) for cell in cells}
        alike = len(set(short.values())) < len(short)
        found.append((name, *(cells if alike else (short[cell] for cell in cells))))
    return tuple(found)


def middle_cut(text: str, limit: int = 44) -> str:
    """`text` on one line, its middle left out beyond `limit` characters.

    >>> middle_cut("runs/a-very-long-folder/name.jsonl", limit=15)
    'runs/a-…e.jsonl'
    """
    flat = " ".join(text.split())
    half = limit // 2
    return flat if len(flat) <= limit else f"{flat[:half]}…{flat[-(limit - half - 1) :]}"


def _text(value: object) -> str:
    if value is None:
        return "none"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _method(record: RunRecord) -> Known:
    method = record.method
    if method is None:
        return {}
    return {
        "Name": method.name,
        "Distribution": method.distribution,
        "Divergence": method.divergence,
        "Margin": method.margin,
        "Loss": method.loss,
        "Trade-off": method.tradeoff,
        "Formula": " + ".join(method.formulas) or ABSENT,
        **{f"Parameter {name}": _text(value) for name, value in method.parameters.items()},
    }


def _settings(record: RunRecord) -> Known:
    return {name: _text(value) for name, value in record.config.items()}


def _data(facts: DataFacts | None) -> Known:
    if facts is None:
        return {}
    return {
        "File": facts.file or ABSENT,
        "Hash": facts.hash or ABSENT,
        "Format": facts.format or ABSENT,
        "Rows": count(facts.rows),
        "Rows used": count(facts.used),
        "Prompts truncated": count(facts.prompts_truncated),
        "Answers truncated": count(facts.answers_truncated),
        "Duplicates": count(facts.duplicates),
    }


def _models(record: RunRecord) -> Known:
    model, reference = record.model, record.reference
    found: dict[str, str] = {}
    if model is not None:
        found |= {
            "Model": model.path or ABSENT,
            "Architecture": model.architecture or ABSENT,
            "Parameters": count(model.parameters),
            "Trained parameters": count(model.trainable),
            "Quantisation": model.quantization or "none",
            "Layout": model.layout or ABSENT,
            "Model hash": model.hash or ABSENT,
        }
    if reference is not None:
        found |= {
            "Reference is the policy at its start": "yes" if reference.is_policy else "no",
            "Reference hash": reference.hash or ABSENT,
        }
    return found


def _versions(record: RunRecord) -> Known:
    return {**record.versions, **{name: _text(value) for name, value in record.machine.items()}}
