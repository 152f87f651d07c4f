"""The tables of docs/trl.md, from the cases.

python -m tests.parity.page     # writes what stands between the markers
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from tests.parity.case import Case
from tests.parity.cases import ABSENT, CASES, NOT_OF_THE_LOSS, SECTIONS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "trl.md"
BEGIN, END = "<!-- tables: tests/parity/page.py -->", "<!-- end of tables -->"
VERDICTS = {
    "equal": "equal",
    "differs": "**differs**",
    "refused": "**refused here**",
    "none": "**none**",
}


def row(case: Case) -> str:
    """One line of a table."""
    ours = f"`{case.ours}`" if case.ours else "–"
    why = case.why.replace("|", r"\|")
    verdict = VERDICTS[case.kind] + (f": {why}" if why else "")
    return f"| `{case.theirs}` | {ours} | {verdict} |"


def table(heading: str, cases: Iterable[Case]) -> str:
    """A section: the options of one trainer's config."""
    cases = list(cases)
    head = f"| `{cases[0].trainer}Config` | here | |\n| --- | --- | --- |"
    return "\n".join([f"### {heading}\n", head, *map(row, cases)])


def tables() -> str:
    """What stands between the markers."""
    counted = Counter(case.kind for case in CASES)
    summary = (
        f"{len(CASES)} rows: {counted['equal']} equal, {counted['differs']} differ, "
        f"{counted['refused']} are refused here, "
        f"{counted['none']} have no counterpart."
    )
    absent = "\n".join(f"| `{name}` | {why} |" for name, why in ABSENT.items())
    rest = ", ".join(f"`{name}`" for name in sorted(NOT_OF_THE_LOSS))
    return "\n\n".join(
        [
            summary,
            *(table(heading, cases) for heading, cases in SECTIONS.items()),
            f"### Options that change what is trained, and have no counterpart\n\n"
            f"| option | |\n| --- | --- |\n{absent}",
            f"### Options that leave the loss of a batch as it is\n\n{rest}.",
        ]
    )


def replaced(text: str) -> str:
    """The page with its tables written anew. Errors: ValueError unless the markers are there once."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end) or BEGIN in after or END in after:
        raise ValueError(f"expected the markers {BEGIN} and {END} once each")
    return f"{before}{BEGIN}\n{tables()}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(replaced(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
