"""Writes docs/lab.md: which presets have an exact population optimum, and what each one reaches.

python docs/lab_table.py           # rewrite the page: `make lab-table`
python docs/lab_table.py --check   # exit code 1 if the page shows other numbers

Everything is computed in one small world, without chance.
"""

from __future__ import annotations

import itertools
import math
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import lab_lengths
import numpy as np
import torch
from torch import Tensor

from collimate import methods
from collimate.compose import Method
from collimate.divergences import reverse_kl
from collimate.lab import World, descend, fit, total_variation

PAGE = Path(__file__).with_name("lab.md")
STEPS = 1000  # of descent
PAIRS = 4000  # drawn, for methods that couple pairs
CLOSE = 0.02  # numbers on another machine: two digits are shown


def world() -> World:
    """2 contexts, 8 responses of 1 to 4 tokens, both answers of a pair drawn from the reference."""
    generator = torch.Generator().manual_seed(0)
    numbers = torch.randn(2, 2, 8, dtype=torch.float64, generator=generator)
    log_q = numbers[0].log_softmax(-1)
    tokens = torch.tensor([[1, 2, 3, 4, 4, 3, 2, 1], [2, 4, 1, 3, 1, 3, 4, 2]])
    return World(log_q, numbers[1], pair_law=log_q.exp(), tokens=tokens)


def flipped() -> World:
    """A tenth of the labels turned round."""
    return replace(world(), flip_rate=0.1)


def judged() -> World:
    """Labels that always agree with the reward."""
    reward = world().reward
    gaps = reward[:, :, None] - reward[:, None, :]
    return replace(world(), preference=(gaps.sign() + 1) / 2)


def of_one_token() -> World:
    """Responses of one token each."""
    return replace(world(), tokens=None)


def of_two_responses() -> World:
    """The first two responses, of one token each."""
    log_q = world().reference_log_probs[:, :2].log_softmax(-1)
    return World(log_q, world().reward[:, :2])


def of_one_context() -> World:
    """The second context alone."""
    here = world()
    log_q = here.reference_log_probs[1:]
    return World(log_q, here.reward[1:], pair_law=log_q.exp())


def of_three_responses() -> World:
    """The first three responses, of one token each."""
    log_q = world().reference_log_probs[:, :3].log_softmax(-1)
    return World(log_q, world().reward[:, :3])


def of_single_answers() -> World:
    """Lists of one answer."""
    return replace(world(), list_size=1)


def of_gold(name: str, where: World) -> World:
    """Gold answers of the law that the pairs of another preset lead to."""
    optimum = preset(name).population_optimum(where)
    assert optimum is not None, name
    return replace(where, gold=optimum.exp())


PARAMETERS: dict[str, dict[str, int | float]] = {
    "alpha_po": {"beta": 1.0, "gamma": 0.5, "alpha": 0.25},
    "aot": {"beta": 0.5},
    "aot_unpaired": {"beta": 0.5},
    "apo_down": {"beta": 0.5},
    "apo_zero": {"beta": 0.5},
    "apo_zero_unpaired": {"beta": 0.5},
    "asft": {"lam": 0.5},
    "bco": {"beta": 0.5},
    "bco_pair": {"beta": 0.5},
    "beta_dpo": {"beta": 0.5},
    "cal_dpo": {"beta": 0.5},
    "cdpo": {"beta": 0.5},
    "chi_po": {"beta": 0.5},
    "cpl": {"alpha": 0.5},
    "cpo": {"beta": 0.5},
    "d2o": {"beta": 0.5, "alpha": 0.5},
    "dco_pass_at_n": {"n": 4},
    "direct_advantage_po": {"beta": 0.5},
    "discopop": {"beta": 0.5},
    "dpo": {"beta": 0.5},
    "dpop": {"beta": 0.5},
    "exo_pair": {"beta": 0.5, "label_smoothing": 0.1},
    "f_dpo": {"beta": 0.5},
    "f_dpo_js": {"beta": 0.5},
    "hinge_norm": {"beta": 0.5},
    "ipo": {"beta": 0.5},
    "ipo_length_normalised": {"beta": 1.0},
    "kto": {"beta": 0.5},
    "ld_dpo": {"beta": 0.5},
    "ln_dpo": {"beta": 1.0},
    "madpo": {"beta": 0.5},
    "mpo": {"beta": 0.5},
    "nca_pair": {"beta": 0.5},
    "odpo": {"beta": 0.5},
    "orpo": {"lam": 0.5},
    "plackett_luce": {"beta": 0.5},
    "r_dpo": {"beta": 0.5, "alpha": 0.1},
    "rdpo": {"beta": 0.5},
    "rpo_sft": {"beta": 0.5, "eta": 0.1},
    "seppo": {"beta": 0.5},
    "sigmoid_norm": {"beta": 1.0},
    "simpo": {"beta": 1.0, "gamma": 0.5},
    "slic_hf": {"delta": 1.0, "reg": 0.1},
    "sppo_hard": {"beta": 0.5},
    "tdpo": {"beta": 0.5, "alpha": 0.5},
    "tdpo1": {"beta": 0.5},
    "tpo": {"beta": 0.5, "alpha": 0.1},
    "tpo_l": {"beta": 1.0, "gamma": 0.5, "alpha": 0.1},
    "tr_dpo": {"beta": 0.5, "alpha": 0.5, "tau": 200},
    "wpo": {"beta": 0.5},
}
"""Chosen so that the pulls are of one size; a beta per token is twice one of whole answers."""

BT, DRAWN = "Bradley-Terry labels", "any labels; pairs drawn from q, β ≤ 1"
OWN = "two responses, or a preference model of its own"

KNOWN: dict[str, tuple[str, str, Callable[[], World]]] = {
    "alpha_po": ("all gaps of R at once, R its reward", f"{OWN}; one token", of_two_responses),
    "apo_zero": (
        "none for what loses more often than it wins; else a·σ(βu)·σ(-βu) = κ·p, a its surplus",
        "any labels; β < 1",
        world,
    ),
    "apo_zero_unpaired": ("as apo_zero", "any labels; β < 1", world),
    "asft": ("(1 + λ)·won - λ·lost·p/(1 - p) = κ·p", "any labels; one token", of_one_token),
    "bco": ("won·σ(-β(u - d)) - lost·σ(β(u - d)) = κ·p, d the mean of u",
            "any labels; one context, KL(won‖lost) ≥ KL(lost‖won)", of_one_context),
    "bco_pair": ("won·σ(-βu) - lost·σ(βu) = κ·p", DRAWN, world),
    "cdpo": ("q·exp(v/β)/Z, v with gaps logit(e + (1 - 2e)·P)", OWN, of_two_responses),
    "chi_po": ("maximiser of E[r] - β·(χ²/2 + KL)", BT, world),
    "cpl": ("exp(r/α)/Z", f"{BT}; lam = 1, gamma = 1", world),
    "d2o": ("q·exp(-z·K/((K + 1)β))/Z, z = log((w - κ)/κ), w how often it is the worst of all",
            "rankings of every response; α = β", of_three_responses),
    "dco_pass_at_n": ("won·n·p·(1 - p)^(n-1)/(1 - (1 - p)^n) = κ·p", "any labels", world),
    "direct_advantage_po": ("μ·(A/β - u) = κ·p, A the advantage, μ the law of the answers",
                            "lists of one answer", of_single_answers),
    "dpo": ("q·exp(r/β)/Z", BT, world),
    "dpop": ("q itself", "lam from a critical value on", world),
    "exo_pair": ("q·exp(v/β)/Z, v with gaps (2P - 1)·log((1 - e)/e)", OWN, of_two_responses),
    "f_dpo": ("maximiser of E[r] - β·D_f", BT, world),
    "f_dpo_js": ("maximiser of E[r] - 2β·JS", BT, world),
    "ipo": ("q·exp(u)/Z, u the least squares of (2P - 1)/(2β)", "any labels", world),
    "ipo_length_normalised": ("q·exp(T·(u + c)), u as of ipo", "any labels", world),
    "kto": ("as apo_zero, a = λ_D·won - λ_U·lost: the reference point falls to 0",
            "any labels; β < 1, a < 0 for an answer that comes under other prompts", world),
    "ld_dpo": ("as dpo", f"{BT}; one length, or alpha = 1", of_one_token),
    "ln_dpo": ("q·exp(T·(r/β + c))", BT, world),
    "madpo": ("q·exp(v/β)/Z, v with gaps c(g)·g", "two responses, or two levels of reward",
              of_two_responses),
    "nca_pair": ("won·σ(-βu) - ½·(won + lost)·σ(βu) = κ·p; 2q·P at β = 1", DRAWN, world),
    "plackett_luce": ("q·exp(r/β)/Z", "rankings of Plackett-Luce", world),
    "r_dpo": ("q·exp((r - α·T)/β)/Z", BT, world),
    "rdpo": ("q·exp(r/β)/Z", f"{BT}, flipped at its rate", flipped),
    "sigmoid_norm": ("as ln_dpo", BT, world),
    "simpo": ("exp(T·(v/β + c)), v with gaps s/2 + arsinh(e^γ·sinh(s/2)), s = logit P", OWN,
              of_two_responses),
    "sppo_hard": ("2·(won + lost)·((P - ½)/β - u) = κ·p", DRAWN, world),
    "tdpo1": ("as dpo: both K are the same", f"{BT}; one token", of_one_token),
    "tpo": ("exp(r/β)/Z", f"{BT}; gold answers of that law", lambda: of_gold("cpl", world())),
    "tpo_l": ("as simpo", "where simpo's is known; gold answers of that law",
              lambda: of_gold("simpo", of_two_responses())),
    "wpo": ("as dpo: both labels of a pair have one weight", f"{BT}; one token", of_one_token),
}  # fmt: skip
"""The optimum; where it is known; a world in which it is compared with a fit."""

NONE: dict[str, str] = {
    "aot": "a pair's loss depends on the others' ranks; descended on drawn pairs",
    "aot_unpaired": "as `aot`; where chosen answers dominate, the loss falls for ever",
    "apo_down": "bounded, and couples u_w with u_w - u_l: many minima, at the border",
    "beta_dpo": "its beta and its pairs follow the steps (`dpo` at the first); pairs are kept by their gap, "
                "label and all, so that their labels are no longer Bradley-Terry; descended on drawn pairs",
    "cal_dpo": "the logistic of the gap and the squares of its answers have different minima",
    "cpo": "the likelihood and the comparison have different minima; their sum is convex",
    "discopop": "not convex: a minimum on either side of z = 0.07",
    "hinge_norm": "a linear programme: β·u is a staircase of whole numbers",
    "mpo": "the comparison, the classification and the likelihood have different minima",
    "odpo": "no minimum: labels that always agree with the scores can all be met, and the loss falls "
            "for ever; the limit is shown",
    "orpo": "the likelihood and the odds ratio have different minima",
    "rpo_sft": "the likelihood and the comparison have different minima; their sum is convex",
    "seppo": "the loss jumps where u_w changes its sign: each pattern of signs is another problem",
    "slic_hf": "a kink, and a likelihood beside it; convex",
    "tdpo": "no loss: the KL pull on the rejected side alone adds αβ·E[σ(-z)]·(q - p) to that of `dpo`, back "
            "towards q, in proportion to what is left to learn",
    "tr_dpo": "its reference follows: after k moves of a policy that has converged "
              "q·exp((1 + k·alpha)·r/β)/Z, in the end the best answer; descended, four moves",
}  # fmt: skip
"""Why no optimum is known."""

ELSEWHERE: dict[str, str] = {
    "mapo": "its masks are read from hidden states, which a world has none of; both 1, it is `tdpo1`",
    "sparse_po": "its masks are learned from hidden states, which a world has none of "
                 "(`tests/studies/test_token_masks.py`); both 1, it is `tdpo1`",
    "sparse_po_common": "as `sparse_po`",
}  # fmt: skip
"""What the lab cannot fit, and why."""

PLACED = tuple(name for name in methods.__all__ if name not in ELSEWHERE)

SIGNALS = dict.fromkeys(("tdpo", "tdpo1", "wpo"), of_one_token)
WORLDS = {
    "rdpo": flipped,
    "odpo": judged,
    "direct_advantage_po": of_single_answers,
    **SIGNALS,
}
DESCENDED = {
    "aot", "aot_unpaired", "apo_down", "beta_dpo", "discopop", "hinge_norm", "seppo", "slic_hf", "tr_dpo",
}  # fmt: skip

HEAD = """# What the presets reach in the lab

Written by `docs/lab_table.py` (`make lab-table`); do not edit.

The population loss of a preset is its mean over contexts, over what it reads (pairs, labelled answers, lists) and over labels; in an enumerable world it is a sum, and `collimate.lab.fit` minimises it over all policies. Where theory has the minimiser, `Method.population_optimum` states it, and the fit must end there.

| read | in the world |
| --- | --- |
| pairs | two answers by the pair law, the label by their preference |
| labelled answers | both answers of each pair, the winner wanted: drawn from q, an answer is wanted with its win rate against q |
| mismatched answers | of another row, the context drawn anew |
| lists | three different answers, ranked by Plackett-Luce; a list of one answer has its advantage r - E_q[r] as score |
| gold answers | of a given law; here the best answers, but for the optima of `tpo` and `tpo_l` |
| signals | of answers of one token, where the responses are the vocabulary |
| gradients that are stopped | the fit rests where what is left of the gradient vanishes |
"""

EXACT = """## Exact optima

Each optimum is compared with fits from the reference and from three policies far from it. TV: the largest total variation between an end and the optimum. u = log p - log q; won and lost: how often an answer is the chosen and the rejected one; P: preference (of a pair, or of one answer against the law of the others); T: tokens; c and κ: one number for each context, such that p sums to 1.

For the losses of a gap alone a pair by itself is best at some z(P). Where one score per response has all those gaps, no policy does better. DPO's z is the logit, so that Bradley-Terry labels are its preference model; the others have models of their own, and under Bradley-Terry labels of three responses or more none of their optima is exact.
"""

REACHED = """## What each preset reaches

One world: {world} The reference has E[r] {reference:.2f} and {tokens:.2f} tokens; the best responses have E[r] {best:.2f}. Labels are Bradley-Terry in r, but for `rdpo`, a tenth of whose labels are flipped, and `odpo`, whose labels always agree with r. `tdpo`, `tdpo1` and `wpo` see responses of one token each. A response's log-prob is shared out evenly among its tokens. Parameters are chosen so that the pulls are of one size; those not named have their defaults.

| column | meaning |
| --- | --- |
| E[r] | expected reward of the policy reached from the reference |
| frontier | the largest E[r] of any policy at the same KL |
| KL | KL(policy‖reference), nats |
| moved | probability moved to answers that win more often than they lose against q |
| chosen, rejected | mean change of the log-prob of chosen and of rejected answers, nats: the displacement |
| tokens | expected length |
| ends | largest TV between the ends of fits from four starts (descents: three); 0.00 is one minimum |
"""


UNEXPECTED = """## What a reader of the publications may not expect

Each is asserted in `tests/lab/test_population_optima.py`, `tests/lab/test_answer_optima.py` or `tests/lab/test_table.py`, but where another file is named.

- **DPO lowers the chosen answers at its exact optimum** (`dpo`, column chosen): their displacement is no failure of the optimiser. Every answer is chosen now and then, and mass goes to the few best.
- **DPOP learns nothing from labels that contradict each other.** From lam = 2·(max P - min P)/min P on, P the win rates against q (here its default 50 is enough), the reference itself is the optimum.
- **DiscoPOP first moves the wrong way.** At z = 0 its loss rises with z (slope +0.78 at tau = 0.05): from the reference it descends to a minimum with less reward than the reference has.
- **APO-zero lowers the mean log-prob of chosen answers without bound.** Answers that lose more often than they win lose all probability, however often they were chosen; it stays far below the frontier.
- **SPPO does not reach its target (P - ½)/β**, which is not normalised: the publication puts a constant in the place of log Z.
- **NCA's optimum on pairs tilts by win rates, not by exp(r/β)**; but the chosen answers are held as it promises.
- **EXO on pairs of hard labels is not at the reward's optimum**: it fits gaps linear in P. It ends close to the frontier, not on it.
- **MADPO spreads hard pairs and pulls none together.** Above tau the weights of both labels are almost 1: at the defaults no pair's optimal gap is below DPO's by more than 0.01 (`tests/studies/test_margin_adaptation.py`).
- **KTO is APO-zero in the population.** Answers that are unwanted more often than wanted vanish; they also come under other prompts, so that the estimate of the KL falls to 0 and stays there.
- **TDPO is held far back.** In answers of one token both KL terms are equal and `tdpo1` is DPO; `tdpo`, which stops one of them, is pulled to the reference by the other.
- **WPO's weights change nothing that can be fitted**: both labels of a pair have the same one, so that its optimum under Bradley-Terry labels is DPO's.
- **BCO's optimum tilts by the logit of win rates**, not by r; its shift centres it and leaves a multiplier.
- **TR-DPO ends far from DPO at its β**: its reference follows, and each move tilts anew.
- **Losses without a reference shorten answers**: SimPO, AlphaPO, ORPO and ASFT go from {tokens:.2f} tokens to about 2, and end far below the frontier of their KL. At equal log-prob per token the shorter answer is the likelier one.
"""


def preset(name: str) -> Method:
    """The preset with the table's parameters."""
    return getattr(methods, name)(**PARAMETERS.get(name, {}))


def call(name: str) -> str:
    """The preset as one would call it."""
    given = ", ".join(f"{key}={value:g}" for key, value in PARAMETERS.get(name, {}).items())
    return f"`{name}({given})`"


def starts(where: World, count: int) -> Iterable[Tensor]:
    """The reference, and policies far from it."""
    generator = torch.Generator().manual_seed(1)
    shape = (count - 1, *where.reward.shape)
    far = 1.5 * torch.randn(shape, dtype=torch.float64, generator=generator)
    return [where.reference_log_probs, *far.log_softmax(-1)]


def exactness(name: str) -> float:
    """Largest TV between the stated optimum and the ends of fits."""
    where, method = KNOWN[name][2](), preset(name)
    optimum = method.population_optimum(where)
    assert optimum is not None, name
    if name == "dpop":  # its optimum is a kink, and the start: nothing descends from there
        ends = [descend(where, method, initial=s, steps=STEPS) for s in starts(where, 3)]
    else:
        ends = [fit(where, method, initial=s).log_probs for s in starts(where, 4)]
    return max(total_variation(end, optimum).max().item() for end in ends)


def ends_of(name: str, where: World) -> Sequence[Tensor]:
    """Policies reached from several starts, the reference first."""
    method = preset(name)
    if name == "odpo":
        best = where.reward == where.reward.amax(-1, keepdim=True)
        return [torch.where(best, 0.0, -math.inf).double()]
    if name in DESCENDED or name == "dpop":
        coupled = method.needs.couples == "batch"
        pairs = where.sample_pairs(PAIRS, np.random.default_rng(0)) if coupled else None
        return [descend(where, method, pairs, initial=s, steps=STEPS) for s in starts(where, 3)]
    return [fit(where, method, initial=s).log_probs for s in starts(where, 4)]


def reached(name: str) -> list[float]:
    """The numbers of a preset's row."""
    where = WORLDS.get(name, world)()
    ends = ends_of(name, where)
    policy, log_q = ends[0], where.reference_log_probs
    p, q, labels = policy.exp(), log_q.exp(), where.labels()
    u = policy - log_q
    kl = where.divergence(policy, reverse_kl)
    wins = (where.preferences() * q[:, None, :]).sum(-1) > 0.5
    won, lost = labels.sum(-1), labels.sum(-2)
    return [
        where.expected_reward(policy),
        where.frontier(reverse_kl).reward_at(kl),
        kl,
        ((p - q) * wins).sum(-1).mean().item(),
        torch.where(won > 0, won * u, 0.0).sum(-1).mean().item(),
        torch.where(lost > 0, lost * u, 0.0).sum(-1).mean().item(),
        (p * where.lengths()).sum(-1).mean().item(),
        max(total_variation(ends[0], end).max().item() for end in ends),
    ]


def shown(number: float) -> str:
    """Two digits, a minus that is one, and no -0.00."""
    if number < -10:
        return "below -10"
    return f"{number + 0.0:.2f}".replace("-0.00", "0.00").replace("-", "\N{MINUS SIGN}")


def lines(head: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    rows = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def exact_row(name: str) -> list[str]:
    """A line of the first table."""
    formula, where, _ = KNOWN[name]
    tv = exactness(name)
    size = "< 1e-8" if tv < 1e-8 else f"{tv:.0e}"
    return [call(name), formula, where, size]


def reached_row(name: str) -> list[str]:
    """A line of the second table."""
    return [call(name), *(shown(number) for number in reached(name))]


def page(names: Sequence[str] = PLACED) -> str:
    """The whole of docs/lab.md."""
    here = world()
    facts = {
        "world": (world.__doc__ or "").lower(),
        "reference": here.expected_reward(here.reference_log_probs),
        "tokens": (here.reference_log_probs.exp() * here.lengths()).sum(-1).mean().item(),
        "best": here.reward.amax(-1).mean().item(),
    }
    exact = lines(
        ("preset", "optimum", "known for", "TV"), [exact_row(n) for n in names if n in KNOWN]
    )
    none = lines(
        ("preset", "why none is known"), [(f"`{n}`", NONE[n]) for n in names if n not in KNOWN]
    )
    columns = ("E[r]", "frontier", "KL", "moved", "chosen", "rejected", "tokens", "ends")
    rows = lines(("preset", *columns), [reached_row(n) for n in names])
    others = lines(("preset", "why"), [(f"`{n}`", why) for n, why in sorted(ELSEWHERE.items())])
    texts = [HEAD, EXACT, exact, none, REACHED.format(**facts), rows]
    texts += [lab_lengths.TEXT, lines(("preset", "good", "tokens"), lab_lengths.rows())]
    texts += [UNEXPECTED.format(**facts)]
    if ELSEWHERE:
        texts += ["## Not shown here", others]
    return "\n\n".join(text.strip() for text in texts) + "\n"


def differing(old: str, new: str) -> list[str]:
    """Lines of `old` that are not those of `new`, numbers compared with a tolerance."""
    number = re.compile(r"(?<![\w.])\N{MINUS SIGN}?\d+\.\d\d(?![\w.])")

    def value(text: str) -> float:
        return float(text.replace("\N{MINUS SIGN}", "-"))

    def same(a: str, b: str) -> bool:
        if number.split(a) != number.split(b):
            return False
        found = zip(number.findall(a), number.findall(b), strict=True)
        return all(abs(value(x) - value(y)) <= CLOSE for x, y in found)

    ours, theirs = old.splitlines(), new.splitlines()
    pairs = itertools.zip_longest(ours, theirs, fillvalue="")
    return [a or b for a, b in pairs if not same(a, b)]


def main() -> int:
    """Write the page, or with --check compare it."""
    if sys.argv[1:] == ["--check"]:
        lines = differing(PAGE.read_text(encoding="utf-8"), page())
        print("".join(f"docs/lab.md differs: {line}\n" for line in lines), end="")
        return 1 if lines else 0
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
