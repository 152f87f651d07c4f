"""A method written out: its five choices, its loss in plain maths, what it needs."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from collimate import methods
from collimate._checks import BadComposition
from collimate._formula import Expression, constant, identifiers, name, read, rounded
from collimate.axes import Margin, ReferenceUpdate
from collimate.axes import Method as AnyMethod
from collimate.compose import Method, Objective, Summand

SYMBOLS: Mapping[str, str] = {
    "u": "log-ratio of the whole answer, log policy - log reference, nats",
    "t": "ratio of the whole answer, policy / reference: e^u",
    "l": "log-probability of the whole answer under the policy, nats",
    "ref": "log-probability of the whole answer under the reference, nats",
    "n": "length of the answer, tokens",
    "i": "place of a token in its answer: 0, 1, ...",
    "u_i": "log-ratio of token i, nats",
    "l_i": "log-probability of token i under the policy, nats",
    "sum": "sum over the tokens i of the answer",
    "y": "label of the answer: 1 wanted, -1 unwanted",
    "kl": "max(0, mean of u over the step's answers put under other prompts), without gradient, nats",
    "d": "half of the mean u of the step's wanted answers + that of its unwanted ones, without gradient",
    "u_k": "log-ratio of the list's k-th best answer, k = 1, 2, ..., nats",
    "ranking": "ranking(z) = sum over k of log(sum over j >= k of exp(z_j)) - z_k",
    "u_others": "mean log-ratio of the list's answers but the worst, nats",
    "u_worst": "log-ratio of the list's worst answer, nats",
    "score": "score of the answer",
    "l_gold": "log-probability of the gold answer under the policy, nats",
    "d_i": "KL(reference, policy) over the vocabulary at token i, nats",
    "m_i": "mask of token i, at least 0: learned (of the reward, where there are two)",
    "k_i": "mask of token i's divergence, at least 0, learned",
    "a_i": "mask of token i, in [0, 1]: the reference's activation there among the answer's tokens",
    "c_i": "log of the sum over the vocabulary of p^2 at token i, nats",
    "gap": "mean of u_w - u_l over the step's kept pairs, without gradient",
    "gap_0": "running mean of the gaps of earlier steps; before there are any, gap",
    "kept": "the step's pairs / its kept pairs for a kept pair, else 0",
    "noise": "a standard normal number, drawn anew for each pair in each step",
    "sort": "the values of a step's pairs in rising order: the least for the first pair",
    "where": "where(a, x, y) is x if a holds, else y",
    "s": "s(x) = 1/(1 + exp(-x)), the sigmoid",
}
"""What a formula may hold, by name without _w (of the chosen answer) and _l (of the rejected one)."""

PLAIN = ("log", "exp", "min", "max", "abs")
"""Functions that need no word; log is the natural logarithm."""

UNITS: Mapping[str, str] = {"pairs": "pair", "thumbs": "answer", "lists": "list"}
"""What has one loss, by the view that a method reads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """A method in words and formulas.

    title: its preset's in one line, "" for a method of one's own. distribution, divergence, margin,
    loss, tradeoff: name and formula of each choice. summands: name -> loss and z of what is added
    up, of the further ones h too. factor: what their sum is multiplied by, "" for nothing. formula:
    all of it, put together and tidied. symbols: what the names in it mean, with units. unit: what has
    one loss. data: the view that is read. columns: the data's columns of numbers in the formula.
    whole_step: whether a unit's loss depends on the step's others. reference: whether one is needed;
    reference_update: how it moves, "" where it does not.
    legal_divergences: with which the margins are valid. trl: what the preset says of TRL.
    """

    method: str
    title: str
    source: str
    distribution: str
    divergence: str
    margin: str
    loss: str
    tradeoff: str
    summands: Mapping[str, str]
    factor: str
    formula: str
    symbols: Mapping[str, str]
    unit: str
    data: str
    columns: tuple[str, ...]
    whole_step: bool
    reference: bool
    reference_update: str
    legal_divergences: str
    trl: str


def explain(method: AnyMethod | Objective, /) -> str:
    """A page of text about a method: five choices, its loss with its numbers, symbols, needs.

    The loss is that of ordinary numbers: where a part goes on by its tangent (some beyond 60 nats,
    as their docstrings tell), the formula does not.

    Errors: BadComposition for a method that is not made of five choices, such as a function, and for
    a part of one's own whose `formula` is none. A part without one is written by its name.

    >>> print(explain(methods.ipo(0.2)).partition("symbols")[0].strip())
    ipo: Identity preference optimisation
    source        azar:24 eq. 17
    <BLANKLINE>
    distribution  offline_pairs: drawn from the data, 2 answers per prompt
    divergence    reverse_kl: f'(t) = log(t)
    margin        log_ratio_gap: h = f'(t_w) - f'(t_l) = u_w - u_l, target 0.5
    loss          squared(0.2): (z/0.2)^2
    trade-off     fixed(0.2): beta = 0.2
    <BLANKLINE>
    loss of a pair
      (z/0.2)^2, z = 0.2·h - 0.5
      = (u_w - u_l - 2.5)^2
    """
    return page(explanation(method))


def explanation(method: AnyMethod | Objective, /) -> Explanation:
    """What `explain` prints, as a record. Errors: as `explain`."""
    if not isinstance(method, Method):
        raise BadComposition(
            f"'{method.name}' is not made of five choices, so there is no formula to write out: a "
            "function's is its own code, and of an objective each part's method is explained by "
            "itself; give a preset or a collimate.Method"
        )
    formula, needs = str(_whole(method)), method.needs
    others = [x for x in identifiers(formula) if x not in PLAIN and _stem(x) is None]
    unwritten = [x for x in others if x in _unwritten(method)]
    columns = tuple(x for x in others if x not in unwritten)
    title, trl = _preset_says(method.name)
    first, *more = method.summands
    further = {x.name: f"{_summand(method, x)}, h = {_h(method, x.margin)}" for x in more}
    return Explanation(
        method=method.name,
        title=title,
        source=method.source,
        distribution=(
            f"{method.distribution.name}: drawn from the {method.distribution.draw}, "
            f"{_answers(method.distribution.per_prompt)} per prompt"
        ),
        divergence=f"{method.divergence.name}: {_divergence(method)}",
        margin=f"{method.margin.name}: {_margin(method)}",
        loss=f"{method.loss.name}: {_loss(first)}",
        tradeoff=f"{method.tradeoff.name}: beta = {_beta(method)}",
        summands={first.name: _summand(method, first), **further},
        factor="" if method.factor is None else str(_factor(method)),
        formula=formula,
        symbols={
            **_symbols(formula),
            **{column: f"the data's column `{column}`" for column in columns},
            **dict.fromkeys(unwritten, "a part of your own, whose `formula` is empty"),
        },
        unit="answer" if "u" in identifiers(formula) else UNITS.get(needs.view, "unit"),
        data="triples" if needs.gold else needs.view,
        columns=columns,
        whole_step=needs.couples == "batch",
        reference=needs.reference,
        reference_update=_moving(needs.reference_update),
        legal_divergences=(
            "any f-divergence with f'(0+) = -inf" if _reads_slope(method) else "none read"
        ),
        trl=trl,
    )


def _moving(update: ReferenceUpdate | None) -> str:
    if update is None:
        return ""
    alpha = constant(update.alpha)
    return f"; every {update.every} steps it becomes {alpha}·p + (1 - {alpha})·q, weight by weight"


def _answers(per_prompt: int) -> str:
    return "1 answer" if per_prompt == 1 else f"{per_prompt or 'all'} answers"


def page(found: Explanation, /, width: int = 100) -> str:
    """An explanation as text of at most `width` columns, if no word is longer."""
    first, *others = found.summands.items()
    losses = [first[1], *(f"+ {summand}: {text}" for summand, text in others)]
    losses += [f"all times {found.factor}"] if found.factor else []
    reads = ", ".join([found.data, *(f"column `{column}`" for column in found.columns)])
    step = ", the whole step together" if found.whole_step else ""
    choices = {
        "distribution": found.distribution,
        "divergence": found.divergence,
        "margin": found.margin,
        "loss": found.loss,
        "trade-off": found.tradeoff,
    }
    needs = {
        "data": f"{reads}{step}; if there is a column `weight`, it weighs the {found.unit}s",
        "reference": f"needed{found.reference_update}" if found.reference else "not needed",
        "legal divergences": found.legal_divergences,
        **({"TRL": found.trl} if found.trl else {}),
    }
    return "\n".join(
        [
            *_wrapped(": ".join(filter(None, [found.method, found.title])), "", " " * 4, width),
            *_rows({"source": found.source or "none"}, width, pad=len("distribution")),
            *("", *_rows(choices, width)),
            *("", f"loss of {'an' if found.unit == 'answer' else 'a'} {found.unit}"),
            *(line for text in losses for line in _wrapped(text, "  ", " " * 6, width)),
            *_wrapped(f"= {found.formula}", "  ", " " * 6, width),
            *("", "symbols", *_rows(found.symbols, width, indent="  ")),
            *("", *_rows(needs, width)),
        ]
    )


def _whole(method: Method) -> Expression:
    """The loss of a unit: Σ coefficient · loss(beta·h - target), times the factor."""
    total = constant(0.0)
    for summand in method.summands:
        z = _z(method, summand, _h(method, summand.margin))
        total += constant(summand.coefficient) * read(_loss(summand), {"z": z})
    return total if method.factor is None else _factor(method) * total


def _factor(method: Method) -> Expression:
    return read(_formula(method.factor, "factor"))


def _h(method: Method, margin: Margin) -> Expression:
    """h, with f' of the method's divergence written out."""
    slope = getattr(method.divergence, "formula", "")

    def f_prime(t: Expression) -> Expression:
        return read(slope, {"t": t})

    return read(_formula(margin, _word(margin.name)), {}, {"f'": f_prime} if slope else {})


def _z(method: Method, summand: Summand, h: Expression) -> Expression:
    beta = _beta(method) if summand.beta is None else constant(summand.beta)
    return beta * h - _target(summand.margin)


def _beta(method: Method) -> Expression:
    return read(_formula(method.tradeoff, "beta"))


def _target(margin: Margin) -> Expression:
    of_data, fixed = getattr(margin, "target_of", None), getattr(margin, "constant", None)
    if of_data is not None or fixed is None:
        return read(_formula(of_data, "target"))
    return constant(fixed)


def _loss(summand: Summand) -> str:
    return rounded(_formula(summand.loss, f"{_word(summand.loss.name)}(z)"))


def _summand(method: Method, summand: Summand) -> str:
    loss = _loss(summand)
    if summand.coefficient != 1:
        alone = len(read(loss).terms) == 1 and not loss.startswith("-")
        loss = f"{constant(summand.coefficient)}·{loss if alone else f'({loss})'}"
    return f"{loss}, z = {_z(method, summand, name('h'))}"


def _margin(method: Method) -> str:
    written = rounded(_formula(method.margin, _word(method.margin.name)))
    expanded = f" = {_h(method, method.margin)}" if method.margin.closed_form else ""
    target = str(_target(method.margin))
    return f"h = {written}{expanded}{'' if target == '0' else f', target {target}'}"


def _divergence(method: Method) -> str:
    formula = getattr(method.divergence, "formula", "")
    if not _reads_slope(method):
        return "no margin reads it"
    return f"f'(t) = {read(formula)}" if formula else "f' of one's own"


def _reads_slope(method: Method) -> bool:
    return any(summand.margin.closed_form for summand in method.summands)


def _formula(part: Any, otherwise: str) -> str:
    """A part's formula; of a part of one's own that has none, a name."""
    return getattr(part, "formula", "") or otherwise


def _unwritten(method: Method) -> set[str]:
    """The names that stand for parts without a formula."""
    parts = [("beta", method.tradeoff), ("factor", method.factor), ("f'", method.divergence)]
    for summand in method.summands:
        parts += [(_word(part.name), part) for part in (summand.margin, summand.loss)]
        parts += [("target", getattr(summand.margin, "target_of", None))]
    return {name for name, part in parts if part and not getattr(part, "formula", "")}


def _word(part: str) -> str:
    """`bent_log_prob_gap(0.25)` without its numbers, as a name in a formula."""
    return re.sub(r"\W.*", "", part) or "own"


def _symbols(formula: str) -> dict[str, str]:
    """Meaning of each known name in a formula, those of both answers together."""
    found: dict[str, list[str]] = {}
    for identifier in identifiers(formula):
        if (stem := _stem(identifier)) is not None:
            found.setdefault(stem, []).append(identifier)
    return {", ".join(found[stem]): text for stem, text in SYMBOLS.items() if stem in found}


def _stem(identifier: str) -> str | None:
    stem = identifier if identifier in SYMBOLS else re.sub(r"_[wl]$", "", identifier)
    return stem if stem in SYMBOLS else None


def _preset_says(method: str) -> tuple[str, str]:
    """Title of a preset's module, and the sentences of its docstring about TRL; "" for no preset."""
    if method not in methods.__all__:
        return "", ""
    preset = getattr(methods, method)
    title = (inspect.getdoc(inspect.getmodule(preset)) or "").partition("\n")[0].rstrip(".")
    words = " ".join((inspect.getdoc(preset) or "").partition(">>>")[0].split())
    sentences = re.split(r"(?<=\.)\s+(?=[A-Z`])", words)
    return title, " ".join(sentence for sentence in sentences if "TRL" in sentence)


def _rows(rows: Mapping[str, str], width: int, *, indent: str = "", pad: int = 0) -> list[str]:
    """`head  text` lines, the texts one below another."""
    pad = max([pad, *map(len, rows)]) + 2
    return [
        line
        for head, text in rows.items()
        for line in _wrapped(text, f"{indent}{head:<{pad}}", f"{indent}{'':<{pad}}", width)
    ]


def _wrapped(text: str, first: str, then: str, width: int) -> list[str]:
    return textwrap.wrap(
        text,
        width,
        initial_indent=first,
        subsequent_indent=then,
        break_long_words=False,
        break_on_hyphens=False,
    )
