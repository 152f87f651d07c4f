"""Write the figures of benchmarks/results into the tables of README.md and benchmarks/README.md.

python benchmarks/table.py           # rewrite what stands between the markers
python benchmarks/table.py --check   # exit code 1 if a table is not that of the results
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SHAPES = {
    "body": "110 M, vocabulary 32 k",
    "small": "14 M, vocabulary 32 k",
    "bigvocab": "93 M, vocabulary 152 k",
}
BEGIN, END = "<!-- figures: benchmarks/table.py -->", "<!-- end of figures -->"


def results(folder: Path = HERE / "results") -> list[dict[str, Any]]:
    """What `dpo_vs_trl.py --json` printed, in the order of `SHAPES`."""
    return [
        json.loads(path.read_text(encoding="utf-8"))
        for path in (folder / f"dpo_{shape}.json" for shape in SHAPES)
        if path.exists()
    ]


def short(found: Sequence[Mapping[str, Any]]) -> str:
    """Speed and memory over TRL's, one row per shape."""
    rows = [
        (
            f"`{one['shape']}`: {SHAPES[one['shape']]}",
            times(one, "ratio"),
            times(one, "ratio_warm"),
            part(one, "memory_ratio"),
        )
        for one in found
    ]
    head = ("DPO, float32, 2 CPU cores", "cold, set-up included", "reference cached", "memory")
    return markdown(head, rows) + "\n\n" + origin(found)


def long(found: Sequence[Mapping[str, Any]]) -> str:
    """Every figure, one column per shape."""
    columns = [
        ("`ratio`", lambda one: times(one, "ratio")),
        ("`ratio_without_setup`", lambda one: times(one, "ratio_without_setup")),
        ("`ratio_to_precomputed`", lambda one: times(one, "ratio_to_precomputed")),
        ("`ratio_warm`", lambda one: times(one, "ratio_warm")),
        ("`memory_ratio`", lambda one: part(one, "memory_ratio")),
        ("`matmul_share`", lambda one: part(one, "matmul_share")),
        ("`matmul_share_cold`", lambda one: part(one, "matmul_share_cold")),
        ("`log_prob_difference`", lambda one: f"{one['log_prob_difference']:.1e}"),
        ("`gradient_difference`", lambda one: f"{one['gradient_difference']:.1e}"),
        ("pairs per second, set-up included", lambda one: side(one, "pairs_per_s_with_setup", 3)),
        ("pairs per second", lambda one: side(one, "pairs_per_s", 3)),
        ("peak memory, 10^6 KiB", lambda one: side(one, "peak_gb", 2)),
        ("positions shared / separate / padded", positions),
        ("measured at commit", lambda one: one["commit"]),
    ]
    head = ("", *(f"`{one['shape']}`, {one['pairs']} pairs" for one in found))
    rows = [(name, *(show(one) for one in found)) for name, show in columns]
    commands = "\n".join(f"    {one['command']}" for one in found)
    return f"{markdown(head, rows)}\n\n{origin(found)} Commands:\n\n{commands}"


def times(one: Mapping[str, Any], name: str) -> str:
    """A ratio with its range."""
    low, high = one[f"{name}_range"]
    return f"**{one[name]:.1f}×** ({low:.1f} to {high:.1f})"


def part(one: Mapping[str, Any], name: str) -> str:
    """A share with its range."""
    low, high = one[f"{name}_range"]
    return f"{one[name]:.2f} ({low:.2f} to {high:.2f})"


def side(one: Mapping[str, Any], name: str, digits: int) -> str:
    """Median of ours, and of TRL's default."""
    ours, theirs = (
        one[who][how][name]["median"] for who, how in (("collimate", "cold"), ("trl", "default"))
    )
    return f"{ours:.{digits}f} against {theirs:.{digits}f}"


def positions(one: Mapping[str, Any]) -> str:
    """Token positions computed: prompts once, once per answer, padded."""
    return " / ".join(str(one["positions"][name]) for name in ("shared", "separate", "padded"))


def origin(found: Sequence[Mapping[str, Any]]) -> str:
    """Where the figures come from."""
    ours, theirs = (found[0]["versions"][who] for who in ("collimate", "trl"))
    machine = found[0]["machine"]
    return (
        f"Medians of {found[0]['repeats']} interleaved runs (smallest to largest), each side in fresh "
        f"processes with {found[0]['threads']} threads; {machine['cores']} CPU cores, "
        f"{machine['memory_gib']} GiB; TRL {theirs['trl']}, torch {ours['torch']}, "
        f"transformers {ours['transformers']}."
    )


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def replaced(text: str, table: str) -> str:
    """The text with the table between its markers. Errors: ValueError if they are not there once."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end) or BEGIN in after:
        raise ValueError(f"expected the markers {BEGIN} and {END} once each")
    return f"{before}{BEGIN}\n{table}\n{END}{after}"


def main() -> int:
    """Rewrite, or compare."""
    found, check = results(), "--check" in sys.argv[1:]
    stale = 0
    for path, table in ((HERE.parent / "README.md", short), (HERE / "README.md", long)):
        text = path.read_text(encoding="utf-8")
        new = replaced(text, table(found))
        if check and new != text:
            print(f"{path.name} does not show benchmarks/results: run benchmarks/table.py")
            stale = 1
        elif not check:
            path.write_text(new, encoding="utf-8")
    return stale


if __name__ == "__main__":
    sys.exit(main())
