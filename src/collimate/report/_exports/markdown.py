"""Texts from files and users in Markdown: shown as they are, never read as markup."""

from __future__ import annotations

import re

_SPECIAL = re.compile(r"([\\`*_\[\]<>#+|~&$@=:.-])")
_UNSEEN = re.compile(
    r"[\x00-\x1f\x7f-\xa0\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]+"
)


def text(value: str) -> str:
    r"""`value` on one line, with a backslash before whatever Markdown or HTML could read.

    Full stops and colons too, where a bare address would become a link.

    >>> print(text("In 0.5 of them, see <b>www.example.org</b>."))
    In 0.5 of them, see \<b\>www\.example\.org\</b\>\.
    """
    marked = _SPECIAL.sub(r"\\\1", one_line(value))
    # These are harmless: inside a number or a word, and where a sentence or its first half ends.
    marked = re.sub(r"(?<=\d)\\\.(?=\d)|(?<=[^\W\d])\\\.(?=\s|$)|\\:(?=\s|$)", _unmarked, marked)
    marked = re.sub(r"(?<=\w)\\-(?=\w)", "-", marked)
    return re.sub(r"^(\d+)\)", r"\1\\)", marked)  # which would begin a list


def code(value: str) -> str:
    """`value` on one line in fixed-width type, in which nothing is markup; for no table.

    >>> code("a_b"), code("tick ` tock")
    ('`a_b`', '`` tick ` tock ``')
    """
    flat = one_line(value)
    longest = max((len(run) for run in re.findall("`+", flat)), default=0)
    if not longest:
        return f"`{flat}`" if flat else "–"
    fence = "`" * (longest + 1)
    return f"{fence} {flat} {fence}"


def one_line(value: str) -> str:
    r"""`value` without line breaks, control characters or signs that turn the direction of writing.

    >>> one_line("two\n\x1blines")
    'two lines'
    """
    return " ".join(_UNSEEN.sub(" ", value).split())


def _unmarked(found: re.Match[str]) -> str:
    return found[0].removeprefix("\\")
