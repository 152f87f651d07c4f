"""Write the figures of benchmarks/results into the tables of README.md and benchmarks/README.md.

python benchmarks/table.py           # rewrite what stands between the markers
python benchmarks/table.py --check   # exit code 1 if a table is not that of the results

Each file is what a benchmark printed with --json; a missing one is left out.
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
STEPS = {
    "dpo": "DPO",
    "kto": "KTO-shaped",
    "reward": "reward-shaped",
    "lora": "DPO, LoRA",
}
VARIANTS = ("whole logits", "head", "no padding", "prefix", "cache", "recompute")
QUANTITIES = {"tokens": "tokens", "vocabulary": "vocabulary", "answers": "answers per prompt"}
BEGIN, END = "<!-- figures: benchmarks/table.py -->", "<!-- end of figures -->"

Result = Mapping[str, Any]
Results = Mapping[str, Result]
"""What the benchmarks printed, by the name of the file."""


def results(folder: Path = HERE / "results") -> Results:
    """Every result there is."""
    return {
        path.stem: json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(folder.glob("*.json"))
    }


def short(found: Results) -> str:
    """What the front page shows: the steps against TRL, then one line for each other benchmark."""
    rows = [
        (
            f"{STEPS[step_of(one)]}, `{one['shape']}`: {SHAPES[one['shape']]}",
            times(one, "ratio"),
            times(one, "ratio_warm"),
            part(one, "memory_ratio"),
        )
        for one in steps(found, *STEPS)
    ]
    head = ("float32, 2 CPU cores", "cold, set-up included", "reference cached", "memory")
    lines = [line for line in (head_line(found), start_line(found), size_line(found)) if line]
    blocks = [markdown(head, rows), origin(steps(found, *STEPS)), *lines]
    return "\n\n".join(block for block in blocks if block)


def long(found: Results) -> str:
    """Every figure: a table for each benchmark that has a result."""
    blocks = [
        against_trl(steps(found, "dpo")),
        against_trl(steps(found, *(step for step in STEPS if step != "dpo")), "### Other steps"),
        gain_table(several(found, "gain")),
        head_table(several(found, "head")),
        growth_table(found.get("growth")),
        start_table(found.get("start_up")),
        board_table(found.get("board")),
        size_table(found.get("install_size")),
    ]
    return "\n\n".join(block for block in blocks if block)


def steps(found: Results, *names: str) -> list[Result]:
    """The comparisons with TRL of these steps, in the order of `STEPS` and `SHAPES`."""
    wanted = (f"{step}_{shape}" for step in names for shape in SHAPES)
    return [found[name] for name in wanted if name in found]


def several(found: Results, benchmark: str) -> list[Result]:
    """The results of a benchmark that is run for several shapes."""
    return [one for name, one in found.items() if name.partition("_")[0] == benchmark]


def step_of(one: Result) -> str:
    """The step of a comparison; earlier results had DPO only."""
    return one.get("step", "dpo")


def against_trl(found: Sequence[Result], title: str = "") -> str:
    """Every figure of some comparisons, one column each."""
    if not found:
        return ""
    columns = [
        *((f"`{name}`", times, name) for name in RATIOS),
        *((f"`{name}`", part, name) for name in SHARES),
        *((f"`{name}`", tiny, name) for name in DIFFERENCES),
    ]
    rows = [(label, *(show(one, name) for one in found)) for label, show, name in columns]
    rows += [
        (label, *(side(one, name, digits) for one in found))
        for label, name, digits in (
            ("pairs per second, set-up included", "pairs_per_s_with_setup", 3),
            ("pairs per second", "pairs_per_s", 3),
            ("peak memory, 10^6 KiB", "peak_gb", 2),
        )
    ]
    rows.append(("positions shared / separate / padded", *map(positions, found)))
    rows.append(("measured at commit", *(one["commit"] for one in found)))
    rows = [row for row in rows if set(row[1:]) != {NONE}]
    named = [f"{STEPS[step_of(one)]}, " if step_of(one) != "dpo" else "" for one in found]
    head = (
        "",
        *(f"{n}`{one['shape']}`, {count_of(one)}" for n, one in zip(named, found, strict=True)),
    )
    return section(title, markdown(head, rows), origin(found), commands(found))


RATIOS = ("ratio", "ratio_without_setup", "ratio_to_precomputed", "ratio_warm")
SHARES = ("memory_ratio", "matmul_share", "matmul_share_cold")
DIFFERENCES = ("log_prob_difference", "reward_difference", "gradient_difference")
NONE = "–"


def count_of(one: Result) -> str:
    """How many pairs or answers were trained on."""
    return f"{one['pairs']} {'answers' if step_of(one) == 'kto' else 'pairs'}"


def gain_table(found: Sequence[Result]) -> str:
    """Seconds, gain and peak of every variant, a group of columns for each shape."""
    if not found:
        return ""
    head = ["each saving on top of those above"]
    for one in found:
        head += [f"`{one['shape']}`, {one['pairs']} pairs: s", "times faster", "peak, 10^6 KiB"]
    rows = []
    for name in VARIANTS:
        row = [name]
        for one in found:
            figures = one["variants"][name]
            row += [
                f"{figures['seconds']['median']:.2f}",
                times(one, f"gain_of_{name}".replace(" ", "_")),
                f"{figures['peak_gb']['median']:.2f}",
            ]
        rows.append(row)
    everything = ["all but the last"]
    for one in found:
        everything += ["", times(one, "gain_of_all"), ""]
    counted = "; ".join(f"`{one['shape']}` {positions(one)}" for one in found)
    return section(
        "### Where the gain comes from",
        markdown(head, [*rows, everything]),
        f"{measured(found)} Positions shared / separate / padded: {counted}.",
        commands(found),
    )


def head_table(found: Sequence[Result]) -> str:
    """The head alone against the others."""
    if not found:
        return ""
    others = [name for name in ("liger", "plain") if any(name in one for one in found)]
    labels = {"liger": "Liger's `chunked_loss`", "plain": "plain autograd"}
    head = ["vocabulary"]
    for name in others:
        head += [f"speed over {labels[name]}", "memory"]
    rows = []
    for one in sorted(found, key=lambda one: one["vocabulary"]):
        row = [str(one["vocabulary"])]
        for name in others:
            row += [times(one, f"speed_over_{name}"), part(one, f"memory_over_{name}")]
        rows.append(row)
    first = found[0]
    apart = max(value for one in found for value in one["differences"].values())
    versions = first["versions"].get("liger")
    other = f"; Liger {versions['liger-kernel']}, not compiled" if versions else ""
    return section(
        "### The head alone",
        markdown(head, rows),
        f"{measured(found)} {2 * first['pairs']} answers of {first['tokens']} tokens, width "
        f"{first['width']}{other}. Losses and gradients of all sides agree to {apart:.0e}.",
        commands(found),
    )


def growth_table(one: Result | None) -> str:
    """The lines, and the step in one and two processes."""
    if one is None:
        return ""
    rows = [
        (
            f"{QUANTITIES[name]}, {line['x'][0]} to {line['x'][-1]}",
            f"{line['a']:.3f} s + {line['b']:.3g} s · x",
            f"{100 * line['residual']:.1f} %",
        )
        for name, line in one["lines"].items()
    ]
    known = one["processes"]
    times_of = ", ".join(
        f"{count}: {figures['median']:.2f} s ({figures['range'][0]:.2f} to {figures['range'][1]:.2f})"
        for count, figures in known["seconds"].items()
    )
    return section(
        "### Growth",
        markdown(("a step's time over x", "fit to medians", "largest residual"), rows),
        f"{measured([one], 'the lines in one process')} Processes that share these cores, a "
        f"step of {known['examples']} pairs: {times_of}.",
        commands([one]),
    )


def start_table(one: Result | None) -> str:
    """Seconds of cold starts."""
    if one is None:
        return ""
    rows = [
        (
            f"`{name}`",
            f"{figures['median']:.2f} ({figures['range'][0]:.2f} to {figures['range'][1]:.2f})",
        )
        for name, figures in one["seconds"].items()
    ]
    return section(
        "### Start-up",
        markdown(("command", "seconds"), rows),
        measured([one], "cold starts"),
        commands([one]),
    )


def board_table(one: Result | None) -> str:
    """Seconds of the board's answers."""
    if one is None:
        return ""
    rows = [
        (
            name,
            f"{figures['first']:.3f}",
            f"{figures['again']['median']:.3f} ({figures['again']['range'][0]:.3f} to "
            f"{figures['again']['range'][1]:.3f})",
            f"{figures['bytes'] / 1000:.0f}",
        )
        for name, figures in one["questions"].items()
    ]
    return section(
        "### The board",
        markdown(("asked", "first, s", "again, s", "answer, KB"), rows),
        f"{one['runs']} runs of 2000 logged steps each, the first with {one['pairs']} pairs "
        f"({one['tokens']} tokens); start {one['start']:.2f} s, peak memory {one['peak_mib']} MiB. "
        f"{measured([one], 'answers over HTTP on one connection')}",
        commands([one]),
    )


def size_table(one: Result | None) -> str:
    """Bytes and packages of installations."""
    if one is None:
        return ""
    rows = [
        (
            f"`{name}`",
            f"{figures['bytes'] / 1e6:.0f}",
            f"{figures['torch_bytes'] / 1e6:.0f}",
            str(figures["packages"]),
        )
        for name, figures in one["installed"].items()
    ]
    head = ("installed", "MB without torch", "MB of torch", "packages, torch among them")
    torch = next(iter(one["installed"].values()))["versions"]["torch"]
    return section("### Install size", markdown(head, rows), f"torch {torch}.", commands([one]))


def head_line(found: Results) -> str:
    """The head against Liger's, in a sentence."""
    known = [one for one in several(found, "head") if "liger" in one]
    each = ", ".join(
        f"{times(one, 'speed_over_liger')} at {one['memory_over_liger']:.2f} of the memory with a "
        f"vocabulary of {one['vocabulary']}"
        for one in sorted(known, key=lambda one: one["vocabulary"])
    )
    return f"The head alone against Liger's `chunked_loss`, not compiled: {each}." if known else ""


def start_line(found: Results) -> str:
    """The time to an answer, in a sentence."""
    if "start_up" not in found:
        return ""
    first = "collimate --help"
    return f"`{first}` answers in {found['start_up']['seconds'][first]['median']:.2f} s."


def size_line(found: Results) -> str:
    """The sizes, in a sentence."""
    if "install_size" not in found:
        return ""
    each = ", ".join(
        f"`{name}` {figures['bytes'] / 1e6:.0f} MB in {figures['packages']} packages"
        for name, figures in found["install_size"]["installed"].items()
    )
    return f"Installed, torch's own files not counted: {each}."


def section(title: str, table: str, origin: str, commands: str) -> str:
    """A table with its title and what it rests on."""
    return "\n\n".join(block for block in (title, table, f"{origin} Commands:", commands) if block)


def commands(found: Sequence[Result]) -> str:
    """What was run."""
    return "\n".join(f"    {one['command']}" for one in found)


def times(one: Result, name: str) -> str:
    """A ratio with its range."""
    if name not in one:
        return NONE
    low, high = one[f"{name}_range"]
    return f"**{one[name]:.1f}×** ({low:.1f} to {high:.1f})"


def part(one: Result, name: str) -> str:
    """A share with its range."""
    if name not in one:
        return NONE
    low, high = one[f"{name}_range"]
    return f"{one[name]:.2f} ({low:.2f} to {high:.2f})"


def tiny(one: Result, name: str) -> str:
    """A difference."""
    return f"{one[name]:.1e}" if name in one else NONE


def side(one: Result, name: str, digits: int) -> str:
    """Median of ours, and of TRL's default."""
    ours, theirs = (
        one[who][how][name]["median"] for who, how in (("collimate", "cold"), ("trl", "default"))
    )
    return f"{ours:.{digits}f} against {theirs:.{digits}f}"


def positions(one: Result) -> str:
    """Token positions computed: prompts once, once per answer, padded."""
    return " / ".join(str(one["positions"][name]) for name in ("shared", "separate", "padded"))


def origin(found: Sequence[Result]) -> str:
    """Where the figures of comparisons with TRL come from."""
    if not found:
        return ""
    ours, theirs = (found[0]["versions"][who] for who in ("collimate", "trl"))
    return (
        f"{measured(found)[:-1]}; TRL {theirs['trl']}, torch {ours['torch']}, "
        f"transformers {ours['transformers']}."
    )


def measured(found: Sequence[Result], how: str = "each side in fresh processes") -> str:
    """How often, how and where, of results that may differ in it."""

    def each(values: Sequence[Any]) -> str:
        return " or ".join(map(str, sorted(set(values))))

    machines = [one["machine"] for one in found]
    return (
        f"Medians of {each([one['repeats'] for one in found])} interleaved runs (smallest to "
        f"largest), {how} with {each([one['threads'] for one in found])} threads; "
        f"{each([machine['cores'] for machine in machines])} CPU cores, "
        f"{each([machine['memory_gib'] for machine in machines])} GiB."
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
