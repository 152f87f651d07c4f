"""For docs/lab_table.py: a policy of three logits (good token, bad token, stop) and what losses make of it.

Its answers end when it says so. A table of responses has an optimum at every beta; this policy cannot
reach it, and may have none.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from collimate import methods
from collimate.compose import Method
from collimate.lab import World, every_pair

LONGEST = 12  # tokens before the stop in the data
STOP = 0.1  # its probability under the reference; a good and a bad token are as likely
QUALITY, LENGTH = 3.0, 0.1  # what labels see in the share of good tokens, and in each token


def counts() -> Tensor:
    """Good and bad tokens of each answer [response, 2]: 1 to LONGEST in all, in any order."""
    both = range(LONGEST + 1)
    return torch.tensor([(a, b) for a in both for b in both if 0 < a + b <= LONGEST]).double()


def stop_process() -> World:
    """Good or bad tokens until a stop; labels like quality, and length a little."""
    good, bad = counts().unbind(-1)
    length = good + bad
    orders = torch.lgamma(length + 1) - torch.lgamma(good + 1) - torch.lgamma(bad + 1)
    log_q = (orders + length * math.log((1 - STOP) / 2)).log_softmax(-1)[None]
    reward = (QUALITY * good / length + LENGTH * length)[None]
    return World(log_q, reward, pair_law=log_q.exp(), tokens=(length + 1)[None])


def shaped(world: World, method: Method) -> tuple[float, float]:
    """The share of good tokens, and the mean length 1/p(stop) (tokens), where the population loss is least."""
    pairs = every_pair(world)
    (log_q,) = world.reference_log_probs
    uses = torch.cat([counts(), torch.ones(len(log_q), 1).double()], -1)  # good, bad, stop
    start = torch.tensor([(1 - STOP) / 2, (1 - STOP) / 2, STOP]).double().log()
    logits = start.clone().requires_grad_()
    optimizer = torch.optim.LBFGS(
        [logits],
        max_iter=300,
        tolerance_grad=1e-9,
        tolerance_change=0,
        line_search_fn="strong_wolfe",
    )
    law = pairs.view.columns["weight"]

    def closure() -> Tensor:
        optimizer.zero_grad()
        log_p = log_q + uses @ (logits.log_softmax(-1) - start)
        loss = (law * method(pairs.under(log_p[None]))).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    good, bad, stop = logits.detach().softmax(-1).tolist()
    return good / (good + bad), 1 / stop


ENDLESS = (
    1e4  # tokens; where the stop's logit falls for ever, the minimiser leaves it here or beyond
)

SWEEP: tuple[tuple[str, dict[str, float]], ...] = (
    *(("dpo", {"beta": beta}) for beta in (0.5, 1.0, 2.0, 4.0)),
    *(("r_dpo", {"beta": beta, "alpha": LENGTH}) for beta in (1.0, 2.0, 4.0)),
    *(("ln_dpo", {"beta": beta}) for beta in (1.0, 2.0, 5.0, 10.0)),
)

TEXT = f"""## Answers that end when the policy says so

Above, a policy is a table of responses, and LN-DPO's optimum q·exp(T·(r/β + c)) is exact in it. Of a policy that writes token by token no optimum is known: it has fewer parameters than responses, so that it fits the gaps of the pairs in their mean only. The smallest one has three logits, for a good token, a bad token and the stop (probability {STOP:g} under the reference, 10 tokens in the mean). Labels are Bradley-Terry in {QUALITY:g} times the share of good tokens and {LENGTH:g} for each token; answers of up to {LONGEST} tokens are drawn from the reference and enumerated.

DPO is asked for a log-ratio of {LENGTH:g}/β per token of length, and a policy can give no more, in the mean of good and bad, than -log(1 - {STOP:g}) = {-math.log(1 - STOP):.2f}, at which it never stops: for small β the stop's logit falls without end. `r_dpo` takes the labels' length away. `ln_dpo` sees means over tokens: it reaches more quality than `dpo` at fewer tokens, and grows long only as its quality nears 1.
"""


def rows() -> list[list[str]]:
    """Preset, share of good tokens, tokens."""
    world, found = stop_process(), []
    for name, given in SWEEP:
        good, tokens = shaped(world, getattr(methods, name)(**given))
        call = ", ".join(f"{key}={value:g}" for key, value in given.items())
        found.append(
            [f"`{name}({call})`", f"{good:.2f}", "∞" if tokens > ENDLESS else f"{tokens:.2f}"]
        )
    return found
