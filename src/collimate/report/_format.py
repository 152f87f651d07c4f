"""Numbers as people read them. None is a dash; NaN and infinities are called "not finite"."""

from __future__ import annotations

import math
from datetime import datetime

Number = int | float  # spelled out, because beartype does not take an int for a float
ABSENT = "–"
MINUS = "\u2212"
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def number(value: Number | None, digits: int = 3) -> str:
    """`value` to `digits` significant digits; powers of ten below 0.001 and from a million on.

    >>> number(0.12345), number(2.5e-06), number(12345.6), number(None)
    ('0.123', '2.5 × 10⁻⁶', '12,346', '–')
    >>> number(-3.0) == f"{MINUS}3"
    True
    """
    if value is None:
        return ABSENT
    if not math.isfinite(value):
        return "not finite"
    if value == 0:
        return "0"
    if abs(value) < 1e-3 or abs(value) >= 1e6:
        mantissa, exponent = f"{value:.{max(digits - 2, 0)}e}".split("e")
        power = str(int(exponent)).translate(_SUPERSCRIPT)
        return f"{mantissa.removesuffix('.0')} × 10{power}".replace("-", MINUS)
    decimals = max(digits - 1 - math.floor(math.log10(abs(value))), 0)
    text = f"{value:,.{decimals}f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return text.replace("-", MINUS)


def decimal(value: Number | None, places: int) -> str:
    """`value` with a fixed number of decimals, so that a column lines up.

    >>> decimal(0.5, 2), decimal(-0.001, 2), decimal(None, 2)
    ('0.50', '0.00', '–')
    """
    if value is None:
        return ABSENT
    if not math.isfinite(value):
        return "not finite"
    text = f"{value:,.{places}f}"
    if not text.strip("-0.,"):
        text = text.removeprefix("-")  # no minus zero
    return text.replace("-", MINUS)


def signed(value: Number | None, places: int = 1) -> str:
    """`decimal` with a plus sign on positive values.

    >>> signed(3.14), signed(0.01)
    ('+3.1', '0.0')
    """
    text = decimal(value, places)
    positive = value is not None and math.isfinite(value) and value > 0 and text.strip("0.") != ""
    return f"+{text}" if positive else text


def count(value: Number | None) -> str:
    """A whole number with thousands set apart.

    >>> count(1234567), count(None)
    ('1,234,567', '–')
    """
    if value is None:
        return ABSENT
    return f"{value:,.0f}" if math.isfinite(value) else "not finite"


def share(value: Number | None) -> str:
    """A share as a percentage.

    >>> share(0.534), share(0.00012), share(0.0)
    ('53.4 %', '0.012 %', '0 %')
    """
    if value is None:
        return ABSENT
    if not math.isfinite(value):
        return "not finite"
    percent = 100 * value
    return f"{decimal(percent, 1) if abs(percent) >= 1 else number(percent, 2)} %"


def accuracy(value: Number | None, interval: tuple[float, float] | None) -> str:
    """An accuracy with its interval: two decimals, three where the interval is narrow.

    >>> accuracy(0.52, (0.49, 0.55)), accuracy(0.5204, (0.5164, 0.5244)), accuracy(0.5, None)
    ('0.52 [0.49, 0.55]', '0.520 [0.516, 0.524]', '0.50')
    """
    if interval is None:
        return decimal(value, 2)
    low, high = interval
    places = 3 if high - low < 0.02 else 2
    return f"{decimal(value, places)} [{decimal(low, places)}, {decimal(high, places)}]"


def duration(seconds: Number | None) -> str:
    """Wall time.

    >>> duration(12.34), duration(200), duration(7500), duration(None)
    ('12.3 s', '3 min 20 s', '2 h 05 min', '–')
    """
    if seconds is None or not math.isfinite(seconds):
        return ABSENT
    if seconds < 60:
        return f"{number(seconds)} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60:,} h {minutes % 60:02d} min"


def size(size_bytes: Number | None) -> str:
    """Bytes in the largest binary unit below them.

    >>> size(512), size(3 * 2**20), size(1.5 * 2**30)
    ('512 B', '3 MiB', '1.5 GiB')
    """
    if size_bytes is None:
        return ABSENT
    power = 0 if size_bytes < 1 else min(int(math.log2(size_bytes)) // 10, 4)
    return f"{number(size_bytes / 1024**power)} {('B', 'KiB', 'MiB', 'GiB', 'TiB')[power]}"


def moment(text: str) -> str:
    """An ISO time as a date; anything else as it stands.

    >>> moment("2026-01-31T12:00:00Z"), moment("yesterday")
    ('31 January 2026, 12:00 UTC', 'yesterday')
    """
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        return text
    zone = f" {when.tzname()}" if when.tzinfo else ""
    return f"{when.day} {when:%B %Y, %H:%M}{zone}"


def clip(text: str, limit: int) -> str:
    """`text`, cut to `limit` characters with a word on what is missing.

    >>> clip("abcdef", 3)
    'abc… (3 more characters)'
    """
    if len(text) <= limit:
        return text
    return f"{text[:limit]}… ({len(text) - limit:,} more characters)"


def plural(n: Number, word: str) -> str:
    """A count and its noun.

    >>> plural(1, "pair"), plural(1200, "pair")
    ('1 pair', '1,200 pairs')
    """
    return f"{count(n)} {word}{'' if n == 1 else 's'}"
