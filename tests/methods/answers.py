"""Labelled answers and scored lists, and the published equations of what reads them, naively."""

import math

import torch

from collimate import methods
from collimate._types import ListLogProbs, ThumbLogProbs

COUNT = 60


def thumbs(policy=None):
    generator = torch.Generator().manual_seed(3)
    p, q, m_p, m_q = -torch.rand(4, COUNT, dtype=torch.float64, generator=generator) * 6 - 0.1
    ratio = torch.rand(COUNT, dtype=torch.float64, generator=generator) * 3
    return ThumbLogProbs(
        policy=p if policy is None else policy,
        reference=q,
        label=torch.where(torch.arange(COUNT) % 3 == 0, -1.0, 1.0).double(),
        mismatched_policy=m_p + 2,
        mismatched_reference=m_q,
        columns={"density_ratio": ratio},
    )


def lists(policy=None):
    """Lists of 2 to 5 answers, in mixed order."""
    generator = torch.Generator().manual_seed(4)
    sizes = torch.arange(COUNT) % 4 + 2
    group = torch.arange(COUNT).repeat_interleave(sizes)
    p, q, score = torch.rand(3, len(group), dtype=torch.float64, generator=generator)
    return ListLogProbs(
        policy=-6 * p if policy is None else policy, reference=-6 * q, score=score, group=group
    )


def sigmoid(z):
    return 1 / (1 + math.exp(-z))


def answers_of(view):
    """(label, density ratio, p/q) of each answer, as numbers."""
    ratio = view.policy.exp() / view.reference.exp()
    columns = (view.label, view.columns["density_ratio"], ratio)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def lists_of(view):
    """(score, p/q) of the answers of each list, best first."""
    ratio = (view.policy.exp() / view.reference.exp()).tolist()
    rows = list(zip(view.group.tolist(), view.score.tolist(), ratio, strict=True))
    return [sorted(((s, r) for g, s, r in rows if g == i), reverse=True) for i in range(COUNT)]


def kto(view, beta, lam_D, lam_U):
    kl = (view.mismatched_policy.exp() / view.mismatched_reference.exp()).log().mean().item()
    z = max(0.0, kl)  # ethayarajh:24
    return [
        lam_D - lam_D * sigmoid(beta * (math.log(r) - z))
        if label > 0
        else lam_U - lam_U * sigmoid(beta * (z - math.log(r)))
        for label, _, r in answers_of(view)
    ]


def bco(view, beta):
    rewards = [(label, w, beta * math.log(r)) for label, w, r in answers_of(view)]
    means = [[r for label, _, r in rewards if label == sign] for sign in (1, -1)]
    d = sum(sum(part) / len(part) for part in means) / 2  # jung:25
    return [
        -math.log(sigmoid(r - d))
        if label > 0
        else -min(max(w, 0.5), 10.0) * math.log(sigmoid(-(r - d)))
        for label, w, r in rewards
    ]


def apo_zero_unpaired(view, beta):
    return [
        1 - sigmoid(beta * math.log(r)) if label > 0 else sigmoid(beta * math.log(r))
        for label, _, r in answers_of(view)
    ]


def plackett_luce(view, beta):
    losses = []
    for ranked in lists_of(view):
        odds = [r**beta for _, r in ranked]
        likelihood = math.prod(odds[k] / sum(odds[k:]) for k in range(len(odds)))
        losses.append(-math.log(likelihood))
    return losses


def d2o(view, beta, alpha):
    losses = []
    for ranked in lists_of(view):
        *kept, (_, worst) = ranked
        mean = sum(math.log(r) for _, r in kept) / len(kept)
        losses.append(-math.log(sigmoid(beta * mean - alpha * math.log(worst))))
    return losses


def direct_advantage_po(view, beta):
    ratio = (view.policy.exp() / view.reference.exp()).tolist()
    rows = zip(view.score.tolist(), ratio, strict=True)
    return [0.5 * (score / beta - math.log(r)) ** 2 for score, r in rows]


# name, view, preset of beta, equation of (view, beta)
CASES = [
    *(
        (
            "kto",
            thumbs,
            lambda beta, w=w: methods.kto(beta, *w),
            lambda v, beta, w=w: kto(v, beta, *w),
        )
        for w in ((1.0, 1.0), (1.3, 0.4))
    ),
    ("bco", thumbs, methods.bco, bco),
    ("apo_zero_unpaired", thumbs, methods.apo_zero_unpaired, apo_zero_unpaired),
    ("plackett_luce", lists, methods.plackett_luce, plackett_luce),
    *(
        ("d2o", lists, lambda beta, a=a: methods.d2o(beta, a), lambda v, beta, a=a: d2o(v, beta, a))
        for a in (0.1, 1.0)
    ),
    ("direct_advantage_po", lists, methods.direct_advantage_po, direct_advantage_po),
]
