"""Every preset is its publication's equation, written here naively from ratios of probabilities."""

import math
from collections.abc import Callable
from dataclasses import replace
from operator import attrgetter

import pytest
import torch
from torch.testing import assert_close

from collimate import methods
from collimate._checks import BadComposition, BadConfig
from collimate._types import Batch, PairLogProbs
from collimate.compose import Method
from collimate.divergences import alpha, forward_kl, jensen_shannon, reverse_kl
from tests.methods.answers import CASES as ANSWER_CASES
from tests.methods.answers import lists, thumbs
from tests.pairs import swapped

BETAS = (0.05, 0.1, 0.5, 2.0)


def view_of(log_prob, reference, lengths, margin=None, signals=None):
    """The view that the engine makes of two answers per example, token by token, and a gold one."""
    sequences = len(lengths)
    none = torch.zeros_like(log_prob.detach())
    if signals is None:
        names = ("log_collision", "forward_kl_to_reference", "reward_mask", "kl_mask", "mask")
        signals = {**dict.fromkeys(names, none), "activation_mask": none + 1}
    unknown = torch.full((sequences,), math.nan, dtype=log_prob.dtype)
    view = Batch(
        sequence=torch.arange(sequences).repeat_interleave(lengths),
        example=torch.arange(sequences // 2).repeat_interleave(2),
        label=unknown,
        score=unknown,
        role=torch.zeros(sequences, dtype=torch.long),
        token_weight=torch.ones_like(log_prob),
        columns={} if margin is None else {"margin": margin},
        log_prob=log_prob,
        reference=reference,
        signals=signals,
    ).pairs()
    gold = -torch.arange(1.0, sequences // 2 + 1, dtype=log_prob.dtype).sqrt()
    return replace(view, gold=gold, gold_tokens=torch.full_like(gold, 3))


def numbers_of(count=200):
    """Log-probs of tokens under policy and reference, lengths, and what else methods may read."""
    generator = torch.Generator().manual_seed(7)
    lengths = torch.randint(1, 9, (2 * count,), generator=generator)
    tokens = int(lengths.sum())
    policy, reference = -(
        torch.rand(2, tokens, dtype=torch.float64, generator=generator) * 0.9 + 0.1
    )
    margin = torch.rand(count, dtype=torch.float64, generator=generator) + 0.1
    collision, kl = torch.rand(2, tokens, dtype=torch.float64, generator=generator)
    masks = torch.rand(3, tokens, dtype=torch.float64, generator=generator)
    masks[:2] = (masks[:2] - 0.3).relu()  # a third of the tokens left out
    signals = {"log_collision": -collision, "forward_kl_to_reference": kl}
    signals |= {"reward_mask": masks[0], "kl_mask": masks[1], "mask": masks[0]}
    return policy, reference, lengths, margin, {**signals, "activation_mask": masks[2]}


def pairs():
    return view_of(*numbers_of())


def equal():
    """The same pairs under a policy that is its reference."""
    policy, _, lengths, margin, _ = numbers_of()
    return view_of(policy, policy, lengths, margin)


def per_token(view):
    """P = p(y)^(1/|y|), the geometric mean of the tokens' probabilities."""
    chosen = view.policy_chosen.exp() ** (1 / view.chosen_tokens)
    return chosen, view.policy_rejected.exp() ** (1 / view.rejected_tokens)


def ratios(view):
    chosen = view.policy_chosen.exp() / view.reference_chosen.exp()
    return chosen, view.policy_rejected.exp() / view.reference_rejected.exp()


def sigmoid(z):
    return 1 / (1 + torch.exp(-z))


def dpo(view, beta):
    w, l = ratios(view)  # noqa: E741 - the paper's letters
    return -torch.log(sigmoid(beta * torch.log(w) - beta * torch.log(l)))  # rafailov:23 eq. 7


def f_dpo(slope: Callable) -> Callable:
    def published(view, beta):
        w, l = ratios(view)  # noqa: E741
        return -torch.log(sigmoid(beta * slope(w) - beta * slope(l)))  # wang:24 eq. 8

    return published


def cdpo(view, beta, smoothing):
    w, l = ratios(view)  # noqa: E741
    z = beta * torch.log(w) - beta * torch.log(l)  # mitchell:23 eq. 6
    return -(1 - smoothing) * torch.log(sigmoid(z)) - smoothing * torch.log(sigmoid(-z))


def ipo(view, tau):
    w, l = ratios(view)  # noqa: E741
    h = torch.log(w * (1 / l))  # azar:24 eq. 17
    return (h - 1 / (2 * tau)) ** 2


def hinge_norm(view, gamma):
    w, l = ratios(view)  # noqa: E741
    gap = gamma * torch.log(w) - gamma * torch.log(l)  # liu:24 eq. 10 (RSO's hinge-norm)
    return torch.maximum(torch.zeros_like(gap), 1 - gap)


def rdpo(view, beta, e):
    w, l = ratios(view)  # noqa: E741
    z = beta * torch.log(w / l)  # chowdhury:24
    return ((1 - e) * -torch.log(sigmoid(z)) - e * -torch.log(sigmoid(-z))) / (1 - 2 * e)


def ipo_length_normalised(view, tau):
    w, l = ratios(view)  # noqa: E741
    h = torch.log(w ** (1 / view.chosen_tokens) / l ** (1 / view.rejected_tokens))
    return (h - 1 / (2 * tau)) ** 2


def ln_dpo(view, beta):
    w, l = ratios(view)  # noqa: E741
    h = torch.log(w) / view.chosen_tokens - torch.log(l) / view.rejected_tokens  # ahrabian:24
    return -torch.log(sigmoid(beta * h))


def slic_hf(view, delta, reg):
    p_w, p_l = view.policy_chosen.exp(), view.policy_rejected.exp()  # zhao:23
    gap = delta - torch.log(p_w) + torch.log(p_l)
    return torch.maximum(torch.zeros_like(gap), gap) - reg * torch.log(p_w)


def simpo(view, beta, gamma):
    p_w, p_l = per_token(view)  # meng:24
    return -torch.log(sigmoid(beta * torch.log(p_w) - beta * torch.log(p_l) - gamma))


def alpha_po(view, beta, gamma, a):
    r_w, r_l = ((1 - p**-a) / a for p in per_token(view))  # gupta:25
    return -torch.log(sigmoid(beta * r_w - beta * r_l - gamma))


def orpo(view, lam):
    p_w, p_l = per_token(view)  # hong:24
    ratio = (p_w / (1 - p_w)) / (p_l / (1 - p_l))
    return -torch.log(p_w) - lam * torch.log(sigmoid(torch.log(ratio)))


def cpo(view, beta, a):
    p_w, p_l = view.policy_chosen.exp(), view.policy_rejected.exp()  # xu:24
    return -torch.log(sigmoid(beta * torch.log(p_w / p_l))) - a * torch.log(p_w)


def asft(view, lam):
    p_w, p_l = per_token(view)  # wang:24b
    return -torch.log(p_w) - lam * (torch.log(p_w) + torch.log(1 - p_l))


def rpo_sft(view, beta, eta):
    return dpo(view, beta) - eta * beta * torch.log(view.policy_chosen.exp())  # liu:24b


def dpop(view, beta, lam):
    w, l = ratios(view)  # noqa: E741
    penalty = torch.maximum(torch.zeros_like(w), torch.log(1 / w))  # pal:24
    return -torch.log(sigmoid(beta * (torch.log(w) - torch.log(l) - lam * penalty)))


def r_dpo(view, beta, a):
    w, l = ratios(view)  # noqa: E741
    longer = view.chosen_tokens - view.rejected_tokens  # park:24
    return -torch.log(sigmoid(beta * torch.log(w) - beta * torch.log(l) + a * longer))


def odpo(view, beta, a):
    w, l = ratios(view)  # noqa: E741
    offset = a * torch.log(view.columns["margin"])  # amini:24
    return -torch.log(sigmoid(beta * torch.log(w / l) - offset))


def cal_dpo(view, beta, weight):
    w, l = ratios(view)  # noqa: E741
    held = (torch.log(w) - 1 / (2 * beta)) ** 2 + (torch.log(l) + 1 / (2 * beta)) ** 2
    return -torch.log(sigmoid(torch.log(w / l))) + weight * held  # xiao:24


def madpo(view, beta, c_max, lam, tau):
    g, c_min = view.columns["margin"], 1 / c_max  # rho:25
    c = c_min + (c_max - c_min) / (1 + (c_max - 1) / (1 - c_min) * torch.exp(lam * (g.abs() - tau)))
    weight = torch.where(g > -tau, sigmoid(c * g) / sigmoid(g), torch.ones_like(g))
    return weight * dpo(view, beta)


def sentences(view):
    """Each answer's tokens, (log p, log q), chosen first."""
    columns = torch.stack([view.tokens.log_prob, view.tokens.reference], -1)
    answers = columns.split(torch.bincount(view.tokens.sequence).tolist())
    return zip(answers[0::2], answers[1::2], strict=True)


def ld_dpo(view, beta, a):
    losses = []
    for w, l in sentences(view):  # noqa: E741
        m = min(len(w), len(l))  # liu:25
        (p_w, q_w), (p_l, q_l) = (y[:m].sum(0) + a * y[m:].sum(0) for y in (w, l))
        losses.append(-torch.log(sigmoid(beta * ((p_w - q_w) - (p_l - q_l)))))
    return torch.stack(losses)


def cpl(view, alpha, gamma, lam):
    losses = []
    for w, l in sentences(view):  # noqa: E741
        up = sum(gamma**t * alpha * x for t, x in enumerate(w[:, 0]))  # hejna:24
        down = sum(gamma**t * alpha * x for t, x in enumerate(l[:, 0]))
        losses.append(-torch.log(torch.exp(up) / (torch.exp(up) + torch.exp(lam * down))))
    return torch.stack(losses)


def aot(view, beta):
    policy = sorted((view.policy_chosen - view.policy_rejected).tolist())  # melnyk:24
    reference = sorted((view.reference_chosen - view.reference_rejected).tolist())
    d = torch.tensor(policy, dtype=torch.float64) - torch.tensor(reference, dtype=torch.float64)
    return -torch.log(sigmoid(beta * d))


def aot_unpaired(view, beta):
    up, down = (sorted(torch.log(t).tolist()) for t in ratios(view))  # melnyk:24
    d = torch.tensor(up, dtype=torch.float64) - torch.tensor(down, dtype=torch.float64)
    return -torch.log(sigmoid(beta * d))


def dco_pass_at_n(view, n):
    return -torch.log(1 - (1 - view.policy_chosen.exp()) ** n)  # chen:25


def apo_zero(view, beta):
    w, l = ratios(view)  # noqa: E741
    return -sigmoid(beta * torch.log(w)) + sigmoid(beta * torch.log(l))  # doosterlinck:25


def apo_down(view, beta):
    w, l = ratios(view)  # noqa: E741
    return sigmoid(beta * torch.log(w)) - sigmoid(beta * torch.log(w / l))


def nca_pair(view, beta):
    up, down = (beta * torch.log(t) for t in ratios(view))  # chen:24
    noise = torch.log(sigmoid(-up)) + torch.log(sigmoid(-down))
    return -torch.log(sigmoid(up)) - noise / 2


def sppo_hard(view, beta):
    w, l = ratios(view)  # noqa: E741
    return (torch.log(w) - 0.5 / beta) ** 2 + (torch.log(l) + 0.5 / beta) ** 2  # wu:25


def exo_pair(view, beta, e):
    w, l = ratios(view)  # noqa: E741
    s = w**beta / (w**beta + l**beta)  # ji:24
    return s * torch.log(s / (1 - e)) + (1 - s) * torch.log((1 - s) / e)


def discopop(view, beta, tau):
    w, l = ratios(view)  # noqa: E741
    z = beta * torch.log(w / l)  # lu:24
    m = sigmoid(z / tau)
    return (1 - m) * -torch.log(sigmoid(z)) + m * torch.exp(-z)


def bco_pair(view, beta):
    up, down = (beta * torch.log(t) for t in ratios(view))  # jung:25 without shift
    return -torch.log(sigmoid(up)) - torch.log(sigmoid(-down))


def chi_po(view, beta):
    w, l = ratios(view)  # noqa: E741
    phi_w, phi_l = w + torch.log(w), l + torch.log(l)  # huang:25, unclipped
    return -torch.log(sigmoid(beta * (phi_w - phi_l)))


def js_paper(t):
    return torch.log(2 * t / (1 + t))  # wang:24 table 1


def of_sequences(view, values, reduce):
    """`reduce` of the token values of the chosen, and of the rejected answers."""
    owner = view.tokens.sequence
    found = torch.stack([reduce(values[owner == i]) for i in range(int(owner.max()) + 1)])
    return found[0::2], found[1::2]


def wpo(view, beta):
    likelier = view.tokens.log_prob.exp() / view.tokens.signals["log_collision"].exp()
    w, l = of_sequences(view, likelier, lambda x: x.prod() ** (1 / len(x)))  # noqa: E741
    return torch.minimum(torch.ones_like(w), w * l) * dpo(
        view, beta
    )  # zhou:24, bounded as its code


def tdpo(view, beta, alpha):
    w, l = ratios(view)  # noqa: E741
    kl_w, kl_l = of_sequences(view, view.tokens.signals["forward_kl_to_reference"], torch.sum)
    return -torch.log(sigmoid(beta * torch.log(w / l) - alpha * beta * (kl_l - kl_w)))  # zeng:24


def masked(view, m, k):
    u = view.tokens.log_prob - view.tokens.reference
    return of_sequences(view, m * u + k * view.tokens.signals["forward_kl_to_reference"], torch.sum)


def sparse_po(view, beta, l1, m, k):
    w, l = masked(view, m, k)  # noqa: E741
    norms = of_sequences(view, m.abs() + (0 if k is m else k.abs()), torch.sum)
    return -torch.log(sigmoid(beta * (w - l))) + l1 * sum(norms)  # christopoulou:25


def learned(view, *names):
    return [view.tokens.signals[name] for name in names]


def mapo(view, beta):
    return sparse_po(view, beta, 0.0, *learned(view, "activation_mask") * 2)


def tpo(view, beta, alpha):
    odds = (view.policy_chosen.exp() / view.policy_rejected.exp()) ** beta
    return -torch.log(odds / (1 + odds)) - alpha * torch.log(view.gold.exp())  # saeidi:25


def tpo_l(view, beta, gamma, alpha):
    w, l = per_token(view)  # noqa: E741
    return -torch.log(sigmoid(beta * torch.log(w / l) - gamma)) - alpha * view.gold


def seppo(view, beta):
    w, l = ratios(view)  # noqa: E741
    return -torch.log(sigmoid(beta * (torch.log(w) - torch.where(w >= 1, 1, -1) * torch.log(l))))


def mpo(view, beta, w_p, w_q, w_g):
    w, l = ratios(view)  # noqa: E741
    r_w, r_l = beta * torch.log(w), beta * torch.log(l)
    d = (r_w.mean() + r_l.mean()) / 2
    quality = -torch.log(sigmoid(r_w - d)) - torch.log(sigmoid(-(r_l - d)))
    return w_p * dpo(view, beta) + w_q * quality - w_g * torch.log(per_token(view)[0])  # wang:24c


def both(preset, equation, *more):
    """A preset and its equation at further parameters."""
    return (lambda beta: preset(beta, *more), lambda view, beta: equation(view, beta, *more))


# name in the registry -> (preset, its equation), of beta and of (view, first parameter)
PUBLISHED = {
    "dpo": [(methods.dpo, dpo)],
    "f_dpo": [
        (lambda beta: methods.f_dpo(beta, reverse_kl), f_dpo(lambda t: torch.log(t) + 1)),
        (lambda beta: methods.f_dpo(beta, forward_kl), f_dpo(lambda t: -1 / t)),
        (lambda beta: methods.f_dpo(beta, alpha(0.3)), f_dpo(lambda t: (1 - t**-0.3) / 0.3)),
        (lambda beta: methods.f_dpo(beta, alpha(0.5)), f_dpo(lambda t: (1 - t**-0.5) / 0.5)),
        (lambda beta: methods.f_dpo(2 * beta, jensen_shannon), f_dpo(js_paper)),
    ],
    "f_dpo_js": [(methods.f_dpo_js, f_dpo(js_paper))],
    "cdpo": [
        (lambda beta: methods.cdpo(beta, 0.1), lambda view, beta: cdpo(view, beta, 0.1)),
        (lambda beta: methods.cdpo(beta, 0.4), lambda view, beta: cdpo(view, beta, 0.4)),
    ],
    "ipo": [(methods.ipo, ipo)],
    "hinge_norm": [(methods.hinge_norm, hinge_norm)],
    "rdpo": [both(methods.rdpo, rdpo, e) for e in (0.05, 0.4)],
    "ipo_length_normalised": [(methods.ipo_length_normalised, ipo_length_normalised)],
    "ln_dpo": [(methods.ln_dpo, ln_dpo)],
    "sigmoid_norm": [(methods.sigmoid_norm, ln_dpo)],
    "slic_hf": [both(methods.slic_hf, slic_hf, reg) for reg in (0.01, 1.0)],
    "simpo": [both(methods.simpo, simpo, gamma) for gamma in (0.5, 1.6)],
    "alpha_po": [both(methods.alpha_po, alpha_po, 1.0, a) for a in (0.25, -0.5, 2.0)],
    "orpo": [(methods.orpo, orpo)],
    "cpo": [both(methods.cpo, cpo, a) for a in (1.0, 0.3)],
    "asft": [(methods.asft, asft)],
    "rpo_sft": [both(methods.rpo_sft, rpo_sft, eta) for eta in (0.005, 1.0)],
    "dpop": [both(methods.dpop, dpop, lam) for lam in (0.0, 5.0, 50.0)],
    "r_dpo": [both(methods.r_dpo, r_dpo, a) for a in (0.01, 0.5)],
    "odpo": [both(methods.odpo, odpo, a) for a in (0.5, 1.0)],
    "cal_dpo": [both(methods.cal_dpo, cal_dpo, weight) for weight in (0.5, 1.0)],
    "madpo": [both(methods.madpo, madpo, *p) for p in ((2.0, 1.0, 6.9), (4.0, 0.5, 0.3))],
    "ld_dpo": [both(methods.ld_dpo, ld_dpo, a) for a in (0.0, 0.3, 1.0)],
    "cpl": [both(methods.cpl, cpl, *p) for p in ((1.0, 1.0), (0.9, 0.5))],
    "aot": [(methods.aot, aot)],
    "aot_unpaired": [(methods.aot_unpaired, aot_unpaired)],
    "dco_pass_at_n": [
        (lambda beta, n=n: methods.dco_pass_at_n(n), lambda view, beta, n=n: dco_pass_at_n(view, n))
        for n in (1, 4, 64)
    ],
    "apo_zero": [(methods.apo_zero, apo_zero)],
    "apo_down": [(methods.apo_down, apo_down)],
    "nca_pair": [(methods.nca_pair, nca_pair)],
    "sppo_hard": [(methods.sppo_hard, sppo_hard)],
    "exo_pair": [both(methods.exo_pair, exo_pair, e) for e in (1e-3, 0.2)],
    "discopop": [both(methods.discopop, discopop, tau) for tau in (0.05, 0.5)],
    "bco_pair": [(methods.bco_pair, bco_pair)],
    "chi_po": [(methods.chi_po, chi_po)],
    "wpo": [(methods.wpo, wpo)],
    "tdpo": [both(methods.tdpo, tdpo, a) for a in (0.5, 2.0)],
    "tdpo1": [(methods.tdpo1, lambda view, beta: tdpo(view, beta, 1.0))],
    "sparse_po": [
        both(
            methods.sparse_po,
            lambda v, beta, l1: sparse_po(v, beta, l1, *learned(v, "reward_mask", "kl_mask")),
            l1,
        )
        for l1 in (0.001, 0.5)
    ],
    "sparse_po_common": [
        both(
            methods.sparse_po_common,
            lambda v, beta, l1: sparse_po(v, beta, l1, *learned(v, "mask") * 2),
            l1,
        )
        for l1 in (0.001, 0.5)
    ],
    "mapo": [(methods.mapo, mapo)],
    "tpo": [both(methods.tpo, tpo, a) for a in (1.0, 0.1)],
    "tpo_l": [both(methods.tpo_l, tpo_l, 0.5, a) for a in (1.0, 0.1)],
    "beta_dpo": [(methods.beta_dpo, dpo)],  # at the first step
    "seppo": [(methods.seppo, seppo)],
    "tr_dpo": [(methods.tr_dpo, dpo)],
    "mpo": [both(methods.mpo, mpo, *w) for w in ((0.8, 0.2, 1.0), (1.0, 2.0, 0.5))],
}
CASES = [(name, *case) for name, cases in PUBLISHED.items() for case in cases]
PRESETS = [preset(0.1) for _, preset, _ in CASES]

every = pytest.mark.parametrize("method", PRESETS, ids=attrgetter("name"))


def test_every_registered_preset_has_its_equation_here():
    of_answers = {name for name, *_ in ANSWER_CASES}
    assert set(PUBLISHED) | of_answers == set(methods.__all__)


@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize(("name", "preset", "equation"), CASES, ids=[c[0] for c in CASES])
def test_preset_is_the_published_equation(name, preset, equation, beta):
    view = pairs()
    method = preset(beta)
    assert method.name == name
    # 1e-15: what 1 + exp(-z) rounds away in the naive form
    assert_close(method(view), equation(view, beta), rtol=1e-10, atol=1e-15)


@pytest.mark.parametrize("beta", BETAS)
def test_the_papers_jensen_shannon_is_ours_at_twice_beta(beta):
    view = pairs()
    assert torch.equal(methods.f_dpo_js(beta)(view), methods.f_dpo(2 * beta, jensen_shannon)(view))
    chosen, rejected = view.log_ratios()
    link = [math.log(2) + torch.nn.functional.logsigmoid(u) for u in (chosen, rejected)]
    published = -torch.nn.functional.logsigmoid(beta * link[0] - beta * link[1])
    assert_close(methods.f_dpo_js(beta)(view), published, rtol=1e-12, atol=0)


def test_dpo_is_f_dpo_under_the_reverse_kl_and_cdpo_tends_to_dpo():
    view = pairs()
    assert torch.equal(methods.dpo(0.3)(view), methods.f_dpo(0.3)(view))
    assert_close(methods.cdpo(0.3, 1e-12)(view), methods.dpo(0.3)(view), rtol=1e-9, atol=0)
    assert_close(methods.f_dpo(0.3, alpha(1e-10))(view), methods.dpo(0.3)(view), rtol=1e-7, atol=0)
    assert_close(
        methods.f_dpo(0.3, alpha(1.0))(view),
        methods.f_dpo(0.3, forward_kl)(view),
        rtol=1e-12,
        atol=0,
    )


OF_THE_PAIR = {"r_dpo", "odpo", "rpo_sft", "madpo", "wpo", "mpo"}  # their first loss depends on it
SAME_START = [m for m in PRESETS if m.needs.reference and m.name not in OF_THE_PAIR]


@pytest.mark.parametrize("method", SAME_START, ids=attrgetter("name"))
def test_first_loss_is_the_loss_of_equal_policies(method):
    view = equal()
    known = {  # at beta 0.1; log 2 for the logistic losses
        "ipo": 25.0,
        "ipo_length_normalised": 25.0,
        "hinge_norm": 1.0,
        "apo_zero": 0.0,
        "apo_down": 0.0,
        "nca_pair": 2 * math.log(2),
        "bco_pair": 2 * math.log(2),
        "sppo_hard": 50.0,
    }
    value = known.get(method.name, math.log(2))
    if method.name == "cal_dpo":
        value = math.log(2) + 50.0 * method.also[0].coefficient
    if method.name.startswith(("exo", "discopop")):
        value = method.loss(torch.zeros((), dtype=torch.float64)).item()
    want = torch.full_like(view.policy_chosen, value)
    assert_close(method(view), want, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(
    "method",
    [*PRESETS, methods.f_dpo(0.5, alpha(2.0)), methods.f_dpo(0.5, alpha(3.0))],
    ids=attrgetter("name"),
)
def test_loss_and_gradient_are_finite_to_a_thousand_nats(method, dtype):
    chosen = torch.tensor([1000.0, -1000.0, 1000.0, -1000.0, 0.0])
    rejected = torch.tensor([1000.0, -1000.0, -1000.0, 1000.0, -1000.0])
    u = torch.stack([chosen, rejected], -1).flatten().repeat_interleave(100).to(dtype) / 100
    lengths = torch.full((10,), 100)
    policy = u.clamp(max=0).requires_grad_()
    view = view_of(policy, (-u).clamp(max=0), lengths, torch.ones(5, dtype=dtype))
    loss = method(view)
    (slope,) = torch.autograd.grad(loss.sum(), policy)
    for numbers in (loss, slope):
        assert numbers.isfinite().all()


SORTED = {"aot", "aot_unpaired"}  # a pair's weight would go to a rank: they take equal ones


@every
def test_terms_are_the_loss_with_the_data_weights(method):
    view = pairs()
    weight = torch.linspace(0, 2, len(view), dtype=torch.float64)
    if method.name in SORTED:
        with pytest.raises(BadComposition, match="expected equal weights"):
            method.terms(replace(view, columns={"weight": weight}), method.init())
        weight = torch.full_like(weight, 0.5)
    weighted = replace(view, columns={**view.columns, "weight": weight})
    plain, terms = (method.terms(v, method.init()) for v in (view, weighted))
    assert plain.keys() == terms.keys() == {"loss", *(s.name for s in method.also)}
    assert all(torch.equal(term.weight, torch.ones_like(weight)) for term in plain.values())
    assert all(torch.equal(term.weight, weight) for term in terms.values())
    total = sum(term.coefficient * term.values for term in terms.values())
    # Statistics of a step count its weights; nothing else does.
    alike = weighted if method.needs.couples == "batch" else view
    assert_close(total, method(alike), rtol=1e-15, atol=1e-15)


@every
def test_measured_reward_gap_is_beta_times_the_margin(method):
    view = pairs()
    measured = method.measure(view, method.init())
    beta = method.tradeoff.beta(view, method.init())
    gap = beta * method.margin(view, divergence=method.divergence)
    assert_close(measured.get("reward_gap"), gap if method.margin.compares else None)
    assert not measured.get("linear_continuation", torch.zeros(())).any()


@pytest.mark.parametrize("name", sorted(set(methods.__all__) - {"dco_pass_at_n"}))
@pytest.mark.parametrize("beta", [0.0, -0.1, math.inf, math.nan])
def test_beta_outside_its_domain_is_refused(name, beta):
    with pytest.raises(BadConfig, match=r"(beta|unit|lam|delta) must be"):
        getattr(methods, name)(beta)


@pytest.mark.parametrize("name", methods.__all__)
def test_registered_presets_work_with_their_defaults_and_are_methods(name):
    method = getattr(methods, name)()
    assert isinstance(method, Method)
    assert method.name == name
    assert method.source
    view = {"pairs": pairs, "thumbs": thumbs, "lists": lists}[method.needs.view]()
    assert method(view).isfinite().all()


STOPPED = {"wpo", "mpo"}  # something of the policy is held: see below
SMOOTH = [case for case in CASES if case[0] not in STOPPED]


@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize(("name", "preset", "equation"), SMOOTH, ids=[c[0] for c in SMOOTH])
def test_gradient_is_that_of_finite_differences(name, preset, equation, beta):
    policy, *rest = numbers_of(20)
    along = torch.randn(
        len(policy), dtype=torch.float64, generator=torch.Generator().manual_seed(1)
    )

    def total(log_prob):
        return preset(beta)(view_of(log_prob, *rest)).sum()

    at = policy.clone().requires_grad_()
    (slope,) = torch.autograd.grad(total(at), at)
    step = 1e-6
    found = (total(policy + step * along) - total(policy - step * along)) / (2 * step)
    size = (slope * along).abs().sum() + total(policy).abs() * 1e-9 / step
    assert abs((slope @ along) - found) <= 1e-6 * size


def slope_of(function):
    policy, *rest = numbers_of(20)
    policy.requires_grad_()
    return torch.autograd.grad(function(view_of(policy, *rest)).sum(), policy)[0]


def test_wpo_pulls_as_dpo_does_by_a_weight_without_gradient():
    weight = wpo(view := view_of(*numbers_of(20)), 0.3) / dpo(view, 0.3)
    assert_close(
        slope_of(methods.wpo(0.3)),
        slope_of(lambda v: weight * methods.dpo(0.3)(v)),
        rtol=1e-9,
        atol=0,
    )


def test_the_shift_of_mpo_takes_no_gradient():
    chosen, rejected = view_of(*numbers_of(20)).log_ratios()
    d = (chosen.mean() + rejected.mean()) / 2

    def held(view):
        u_w, u_l = view.log_ratios()
        quality = -torch.log(sigmoid(0.3 * (u_w - d))) - torch.log(sigmoid(0.3 * (d - u_l)))
        likelihood = view.policy_chosen / view.chosen_tokens
        return 0.8 * dpo(view, 0.3) + 0.2 * quality - likelihood

    assert_close(slope_of(methods.mpo(0.3)), slope_of(held), rtol=1e-9, atol=1e-15)


def test_tdpo_holds_the_chosen_answers_kl_and_tdpo1_does_not():
    policy, reference, lengths, margin, signals = numbers_of(20)
    kl = signals["forward_kl_to_reference"].requires_grad_()
    for method, held in ((methods.tdpo(0.3, 1.0), True), (methods.tdpo1(0.3), False)):
        view = view_of(policy, reference, lengths, margin, signals)
        (slope,) = torch.autograd.grad(method(view).sum(), kl)
        chosen, rejected = of_sequences(view, slope, lambda x: x.abs().min())
        assert (rejected > 0).all()
        assert (chosen == 0).all() if held else (chosen > 0).all()


def test_masks_of_one_are_tdpo1_and_half_a_mask_is_half_a_beta():
    policy, reference, lengths, margin, signals = numbers_of(20)
    for mask, beta in ((1.0, 0.3), (0.5, 0.15)):
        even = dict.fromkeys(
            ("reward_mask", "kl_mask", "mask", "activation_mask"), torch.full_like(policy, mask)
        )
        view = view_of(policy, reference, lengths, margin, {**signals, **even})
        want = methods.tdpo1(beta)(view)
        for preset in (methods.sparse_po, methods.sparse_po_common):
            assert_close(preset(0.3, l1=0.0)(view), want, rtol=1e-12, atol=0)
        assert_close(methods.mapo(0.3)(view), want, rtol=1e-12, atol=0)


def test_a_mask_of_zero_takes_its_token_out_of_the_gradient():
    policy, reference, lengths, margin, signals = numbers_of(20)
    policy.requires_grad_()
    view = view_of(policy, reference, lengths, margin, signals)
    (slope,) = torch.autograd.grad(methods.sparse_po(0.3)(view).sum(), policy)
    assert ((slope == 0) == (signals["reward_mask"] == 0)).all()
    facts = methods.sparse_po(0.3).measure(view, {})
    left_out = (signals["reward_mask"] == 0).double()
    share = sum(of_sequences(view, left_out, torch.sum)) / lengths.view(-1, 2).sum(1)
    assert_close(facts["reward_mask_zero"], share, rtol=1e-12, atol=0)


def test_beta_dpo_follows_the_gaps_of_the_kept_pairs():
    view, method = pairs(), methods.beta_dpo(0.3, 0.6, share=0.8, momentum=0.9)
    u_w, u_l = view.log_ratios()
    gap = u_w - u_l
    state = method.update(view, method.init())
    assert state == pytest.approx(
        {
            "steps": 1.0,
            "mean": gap.mean().item(),
            "deviation": gap.std(correction=0).item(),
            "seed": 0.0,
        },
        rel=1e-12,
    )
    term = method.terms(view, state)["loss"]
    kept = term.values != 0
    assert kept.sum() == 160
    beta = 0.3 * (1 + 0.6 * (gap[kept].mean() - gap.mean()))
    assert_close(term.values[kept], dpo(view, beta)[kept] / 0.8, rtol=1e-10, atol=0)
    assert method.measure(view, state)["beta"].unique().item() == pytest.approx(beta.item())
    later = method.update(replace(view, policy_chosen=view.policy_chosen - 1), state)
    assert later["mean"] == pytest.approx(gap.mean().item() - 0.1)
    assert later["deviation"] == pytest.approx(state["deviation"])
    far = {**state, "mean": 1e4}  # a step far below its past: beta stays above 0
    assert method.measure(view, far)["beta"].max() == 1e-3


def test_beta_dpo_counts_pairs_by_their_weight():
    """Whole weights are as many pairs: of the mean gap, its spread, beta, and the mean of the loss."""
    view, method = pairs(), methods.beta_dpo(0.3, 0.6, share=1.0)
    times = torch.arange(len(view)) % 3
    weighted = replace(view, columns={**view.columns, "weight": times.double()})
    names = ("policy_chosen", "policy_rejected", "reference_chosen", "reference_rejected")
    many = PairLogProbs(**{name: getattr(view, name).repeat_interleave(times) for name in names})
    states = [method.update(one, method.init()) for one in (weighted, many)]
    assert states[0] == pytest.approx(states[1], rel=1e-12)
    later = [replace(one, policy_chosen=one.policy_chosen - 1) for one in (weighted, many)]
    betas = [method.measure(one, states[0])["beta"].unique().item() for one in later]
    assert betas[0] == pytest.approx(betas[1], rel=1e-12)
    means = [
        (term.values * term.weight).sum() / term.weight.sum()
        for term in (method.terms(one, states[0])["loss"] for one in later)
    ]
    assert_close(means[0], means[1], rtol=1e-12, atol=0)


def test_beta_dpo_keeps_pairs_near_the_running_mean_more_often():
    view, method = pairs(), methods.beta_dpo(share=0.5)
    u_w, u_l = view.log_ratios()
    state = {"mean": 0.0, "deviation": 1.0}
    kept = torch.stack(
        [method.tradeoff.kept(view, {"steps": float(i), **state}) for i in range(1, 99)]
    )
    often, distance = kept.double().mean(0), (u_w - u_l).abs()
    assert often[distance < 0.5].mean() > 2 * often[distance > 2].mean()
    assert kept[0].sum() == kept[50].sum() == 100
    assert not torch.equal(kept[0], kept[1])
    seeds = [{"steps": 1.0, "seed": seed, **state} for seed in (0.0, 0.0, 1.0)]
    first, again, other = (method.tradeoff.kept(view, one) for one in seeds)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


SWAPPED = {"dpo", "f_dpo", "f_dpo_js", "chi_po", "ln_dpo", "sigmoid_norm"}


@pytest.mark.parametrize(
    "method", [m for m in PRESETS if m.name in SWAPPED], ids=attrgetter("name")
)
def test_a_swapped_pair_obeys_the_law_of_its_loss(method):
    """Of a gap alone: z changes its sign, and L(z) - L(-z) = -z for the logistic loss."""
    view = pairs()
    turned = swapped(view)
    z = method.measure(view, method.init())["reward_gap"]
    assert_close(method.measure(turned, method.init())["reward_gap"], -z, rtol=1e-12, atol=0)
    assert_close(method(view) - method(turned), -z, rtol=1e-9, atol=1e-12)


# A single loss of a gap that turns its sign with the pair; CPL's lam and DPOP's penalty do not.
TURNED = [
    m
    for m in PRESETS
    if m.margin.compares
    and not (m.also or m.factor)
    and not m.margin.name.startswith(("penalised", "sorted_gap"))
    and not (m.margin.name.startswith("discounted") and not m.margin.name.endswith(" 1)"))
]


@pytest.mark.parametrize("method", TURNED, ids=attrgetter("name"))
def test_a_turned_pair_costs_the_loss_of_minus_its_gap(method):
    """L(-beta·h - target), tokens and lengths turned too: what the data said is all that changed."""
    policy, reference, lengths, margin, signals = numbers_of()
    owner = torch.arange(len(lengths)).repeat_interleave(lengths)
    order = torch.argsort(owner ^ 1, stable=True)
    turned = view_of(
        policy[order],
        reference[order],
        lengths.view(-1, 2).flip(1).flatten(),
        margin,
        {name: signal[order] for name, signal in signals.items()},
    )
    gap = method.measure(pairs(), method.init())["reward_gap"]
    want = method.loss(-gap - method.margin.target(turned))
    assert_close(method(turned), want, rtol=1e-9, atol=1e-12)


def test_madpo_asks_labels_of_a_reward_model_for_a_bounded_margin():
    """Labels drawn from sigmoid(g): the minimiser of the weighted loss is beta·h = c(g)·g."""
    method = methods.madpo(1.0, 2.0, 1.0, 3.0)
    for g in (-2.0, -0.5, 0.4, 1.5, 2.9):
        h = torch.linspace(-8, 8, 160001, dtype=torch.float64)
        zero = torch.zeros_like(h)

        def loss(gap: float, z: torch.Tensor, zero: torch.Tensor = zero) -> torch.Tensor:
            view = PairLogProbs(
                policy_chosen=z,
                policy_rejected=zero,
                reference_chosen=zero,
                reference_rejected=zero,
                columns={"margin": torch.full_like(z, gap)},
            )
            return method(view)

        share = 1 / (1 + math.exp(-g))
        expected = share * loss(g, h) + (1 - share) * loss(-g, -h)
        c = 0.5 + 1.5 / (1 + 1.0 / 0.5 * math.exp(abs(g) - 3.0))
        assert h[expected.argmin()].item() == pytest.approx(c * g, abs=1e-3)


def test_a_step_of_one_pair_is_dpo_to_the_sorted_ones():
    policy, reference, lengths, *_ = numbers_of(1)
    view = view_of(policy, reference, lengths)
    for method in (methods.aot(0.3), methods.aot_unpaired(0.3)):
        assert_close(method(view), methods.dpo(0.3)(view), rtol=1e-12, atol=0)


@pytest.mark.parametrize("n", [1, 2, 16, 1000])
def test_coverage_pulls_by_the_published_factor(n):
    p = torch.tensor([1e-18, 1e-9, 1e-4, 0.1, 0.5, 0.9], dtype=torch.float64)
    log_p = p.log().requires_grad_()
    view = PairLogProbs(policy_chosen=log_p, policy_rejected=torch.zeros_like(p))
    (slope,) = torch.autograd.grad(methods.dco_pass_at_n(n)(view).sum(), log_p)
    factor = n * p * (1 - p) ** (n - 1) / -torch.expm1(n * torch.log1p(-p))
    assert_close(-slope, factor, rtol=1e-6, atol=1e-30)
