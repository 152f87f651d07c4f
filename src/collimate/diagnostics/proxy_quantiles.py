"""How a proxy reward agrees with the true one, along the proxy's range."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from collimate._checks import BadConfig, BadData


class ProxyBin(NamedTuple):
    """Answers whose proxy reward lies between two quantiles of it.

    from_quantile, to_quantile: of the proxy. answers: how many. proxy, true: means.
    correlation: of proxy and true reward among them, NaN where one of them is constant.

    >>> ProxyBin(from_quantile=0, to_quantile=1, answers=2, proxy=1, true=0, correlation=1).answers
    2
    """

    from_quantile: float
    to_quantile: float
    answers: int
    proxy: float
    true: float
    correlation: float


def proxy_by_quantile(
    proxy: Float[np.ndarray, " answer"], true: Float[np.ndarray, " answer"], *, bins: int = 5
) -> list[ProxyBin]:
    """Mean rewards and their correlation in bins of the proxy's quantiles, lowest first.

    What is optimised lives in the last bins: a proxy that is hacked agrees with the truth overall and
    not there, so that the true mean turns while the proxy's rises. Within a bin the range is narrow
    and a correlation lower than overall even for an honest proxy: compare bins with each other.
    Answers of one proxy reward stay together, so that a bin may be empty: it is left out.

    Errors: BadData unless both are finite and of one length, at least 1; BadConfig unless bins >= 1.
    Source: gao:23.

    >>> proxy = np.arange(6.0)
    >>> [(x.true, x.correlation) for x in proxy_by_quantile(proxy, -abs(proxy - 3), bins=2)]
    [(-2.0, 1.0), (-1.0, -1.0)]
    """
    if isinstance(bins, bool) or bins < 1:
        raise BadConfig(f"bins must be a whole number of at least 1, got {bins!r}")
    if not 0 < len(proxy) == len(true):
        raise BadData(f"give two rewards per answer, got {len(proxy)} and {len(true)}")
    if not (np.isfinite(proxy).all() and np.isfinite(true).all()):
        raise BadData("rewards must be finite")
    edges = np.quantile(proxy, np.arange(1, bins) / bins)
    which = np.searchsorted(edges, proxy, side="left")
    found: list[ProxyBin] = []
    for number in np.unique(which).tolist():
        here = which == number
        found.append(
            ProxyBin(
                from_quantile=number / bins,
                to_quantile=(number + 1) / bins,
                answers=int(here.sum()),
                proxy=float(proxy[here].mean()),
                true=float(true[here].mean()),
                correlation=_pearson(proxy[here], true[here]),
            )
        )
    return found


def _pearson(x: Float[np.ndarray, " answer"], y: Float[np.ndarray, " answer"]) -> float:
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    x, y = x - x.mean(), y - y.mean()
    return float(np.clip((x @ y) / np.sqrt((x @ x) * (y @ y)), -1, 1))
