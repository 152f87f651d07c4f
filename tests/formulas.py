"""Formulas as text, computed by Python itself: what the project's own reader has no part in."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from collimate._types import ListLogProbs, PairLogProbs, ThumbLogProbs

FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "log": np.log,
    "exp": np.exp,
    "s": lambda x: 1 / (1 + np.exp(-x)),
    "max": np.maximum,
    "min": np.minimum,
    "abs": np.abs,
    "where": np.where,
    "sort": np.sort,
    "sum": lambda x: np.sum(x, axis=-1),
}


def evaluate(text: str, /, **names: Any) -> Any:
    """The number that a formula says, every name given in float64.

    A sum over an answer's tokens is a function: of it, `names` has what it calls with each token's.
    """
    python = text.replace("·", "*").replace("^", "**").replace("f'", "f_prime")
    python = re.sub(
        r"\bsum_([wl])\(", r"sum_\1(lambda i, l_i, u_i, d_i, c_i, m_i, k_i, a_i, n_w, n_l: ", python
    )
    return eval(python, {"__builtins__": {}, **FUNCTIONS, **names})


def names_of(view: PairLogProbs | ThumbLogProbs | ListLogProbs) -> dict[str, Any]:
    """What the symbols are for these units; a view without a reference, or tokens, has fewer."""
    if isinstance(view, ThumbLogProbs):
        return _names_of_thumbs(view)
    return _names_of_lists(view) if isinstance(view, ListLogProbs) else _names_of_pairs(view)


def _names_of_thumbs(view: ThumbLogProbs) -> dict[str, Any]:
    u, y = view.log_ratios().numpy(), view.label.numpy()
    names = {name: column.numpy() for name, column in view.columns.items()}
    names |= {"u": u, "y": y, "d": (u[y > 0].mean() + u[y < 0].mean()) / 2}
    return names | {"kl": max(0.0, view.mismatched_log_ratios().numpy().mean())}


def _names_of_lists(view: ListLogProbs) -> dict[str, Any]:
    u, score, group = (x.numpy() for x in (view.log_ratios(), view.score, view.group))
    lists = [np.flatnonzero(group == i) for i in range(len(view))]
    ranked = [u[own[np.argsort(-score[own])]] for own in lists]
    table = np.array([np.pad(x, (0, 9 - len(x)), constant_values=np.nan) for x in ranked])
    return {
        "u": u,
        "score": score,
        "u_k": table,
        "u_worst": np.array([x[-1] for x in ranked]),
        "u_others": np.array([x[:-1].mean() for x in ranked]),
        "ranking": _ranking,
    }


def _ranking(z: Any) -> Any:
    """Of a table with a row per list, best first, NaN beyond its end."""
    rows = [row[~np.isnan(row)] for row in z]
    return np.array([sum(np.log(np.exp(x[k:]).sum()) - x[k] for k in range(len(x))) for x in rows])


def _names_of_pairs(view: PairLogProbs) -> dict[str, Any]:
    l_w, l_l = view.policy_chosen.numpy(), view.policy_rejected.numpy()
    names: dict[str, Any] = {"l_w": l_w, "l_l": l_l}
    names |= {name: column.numpy() for name, column in view.columns.items()}
    if view.chosen_tokens is not None and view.rejected_tokens is not None:
        names |= {"n_w": view.chosen_tokens.numpy(), "n_l": view.rejected_tokens.numpy()}
    if view.reference_chosen is not None and view.reference_rejected is not None:
        ref_w, ref_l = view.reference_chosen.numpy(), view.reference_rejected.numpy()
        names |= {"ref_w": ref_w, "ref_l": ref_l, "u_w": l_w - ref_w, "u_l": l_l - ref_l}
        names |= {"t_w": np.exp(l_w - ref_w), "t_l": np.exp(l_l - ref_l)}
        names |= {"d": (names["u_w"].mean() + names["u_l"].mean()) / 2}
        names |= {"gap": 1.0, "gap_0": 1.0, "kept": 1.0}  # before the first step
    if view.gold is not None:
        names |= {"l_gold": view.gold.numpy()}
    if view.tokens is not None:
        names |= {"sum_w": _token_sum(view, 0), "sum_l": _token_sum(view, 1)}
    return names


def _token_sum(view: PairLogProbs, which: int) -> Callable[..., Any]:
    """Sum over the tokens of each pair's chosen (0) or rejected (1) answer."""
    assert view.tokens is not None
    owner, policy = view.tokens.sequence.numpy(), view.tokens.log_prob.numpy()
    reference = None if view.tokens.reference is None else view.tokens.reference.numpy()
    names = ("forward_kl_to_reference", "log_collision", "mask", "kl_mask", "activation_mask")
    signals = [view.tokens.signals[name].numpy() for name in names]

    def total(summand: Callable[..., Any]) -> Any:
        sums: list[float] = []
        for pair in range(len(view)):
            mine = owner == 2 * pair + which
            lengths = [int((owner == 2 * pair + answer).sum()) for answer in (0, 1)]
            ratio = None if reference is None else policy[mine] - reference[mine]
            others = (signal[mine] for signal in signals)
            terms = summand(np.arange(mine.sum()), policy[mine], ratio, *others, *lengths)
            sums.append(float(np.sum(terms * np.ones(mine.sum()))))
        return np.array(sums)

    return total
