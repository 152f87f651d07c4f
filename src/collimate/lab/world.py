"""Worlds small enough to enumerate: contexts, responses, rewards and preferences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from collimate._checks import BadConfig, positive, within
from collimate.divergences import FDivergence
from collimate.lab._fields import (
    ROUNDING,
    checked,
    checked_law,
    checked_list_size,
    checked_preference,
    checked_tokens,
)
from collimate.lab.frontier import Frontier, trace
from collimate.lab.regression import least_squares_scores
from collimate.lab.tilt import tilt

_CONSISTENT = 1e-7  # relative; sigmoid and its inverse lose half the digits at a gap of 18


class SampledPairs(NamedTuple):
    """Labelled pairs drawn from a world: indices of the context and of its two responses."""

    context: Int[np.ndarray, " pair"]
    chosen: Int[np.ndarray, " pair"]
    rejected: Int[np.ndarray, " pair"]


@dataclass(frozen=True, slots=True, eq=False)
class World:
    """Finitely many contexts, weighted equally, each with the same number of responses.

    reference_log_probs: log q (nats), finite, each context's probabilities sum to 1.
    reward: r, finite.
    pair_law: probability that responses (y, y') are compared, in this order, [context, response,
    response], or [context, response] for two independent draws; None: uniform over y ≠ y'. A
    response may meet itself: its label is a coin, and most methods learn nothing from it.
    flip_rate: in [0, ½), share of labels that are turned round.
    preference: P(y ≻ y') before flips, [context, response, response] with P + Pᵀ = 1; None:
    Bradley-Terry, sigmoid(r(y) - r(y')).
    tokens: whole number of tokens of each response, at least 1; None: one each.
    gold: law of the answers to imitate; None: those of the best reward.
    list_size: answers of each list, at least 1; where there are fewer responses, all of them.

    Everything is stored and computed in float64; rounding of at most 1e-5 in a sum is removed.

    Errors: BadConfig, naming the field, for anything else.

    >>> world = World(torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[1.0, 0.0]]))
    >>> world.is_bradley_terry
    True
    """

    reference_log_probs: Float[Tensor, "context response"]
    reward: Float[Tensor, "context response"]
    pair_law: (
        Float[Tensor, "context response response"] | Float[Tensor, "context response"] | None
    ) = None
    flip_rate: float = 0.0
    preference: Float[Tensor, "context response response"] | None = None
    tokens: Float[Tensor, "context response"] | Int[Tensor, "context response"] | None = None
    gold: Float[Tensor, "context response"] | None = None
    list_size: int = 3

    def __post_init__(self) -> None:
        within("flip_rate", self.flip_rate, 0.0, 0.5)
        log_q = checked("reference_log_probs", self.reference_log_probs, None)
        contexts, responses = log_q.shape
        total = log_q.logsumexp(-1, keepdim=True)
        if (total.abs() > ROUNDING).any():
            context = int(total.abs().argmax())
            raise BadConfig(
                f"reference_log_probs: the probabilities of context {context} sum to "
                f"{total[context].exp().item():.6g}, not 1; apply log_softmax(-1), or add a last "
                "response for everything else"
            )
        object.__setattr__(self, "reference_log_probs", log_q - total)
        object.__setattr__(self, "reward", checked("reward", self.reward, (contexts, responses)))
        if self.pair_law is not None:
            law = self.pair_law
            shape = (contexts, responses) if law.dim() == 2 else (contexts, responses, responses)
            object.__setattr__(
                self, "pair_law", checked_law("pair_law", checked("pair_law", law, shape))
            )
        if self.preference is not None:
            square = (contexts, responses, responses)
            matrix = checked_preference(checked("preference", self.preference, square))
            object.__setattr__(self, "preference", matrix)
        if self.tokens is not None:
            tokens = checked_tokens(checked("tokens", self.tokens, (contexts, responses)))
            object.__setattr__(self, "tokens", tokens)
        if self.gold is not None:
            gold = checked("gold", self.gold, (contexts, responses))
            object.__setattr__(self, "gold", checked_law("gold", gold))
        object.__setattr__(self, "list_size", min(checked_list_size(self.list_size), responses))

    @property
    def is_bradley_terry(self) -> bool:
        """Whether labels follow sigmoid(r(y) - r(y')): no flips and no preference of their own."""
        return self.flip_rate == 0 and self.preference is None

    def pairs(self) -> Float[Tensor, "context response response"]:
        """Probability that (y, y') is compared, in this order; each context sums to 1."""
        contexts, responses = self.reward.shape
        if self.pair_law is None:
            apart = 1 - torch.eye(responses, dtype=torch.float64)
            return (apart / apart.sum()).expand(contexts, -1, -1)
        if self.pair_law.dim() == 2:
            return self.pair_law[:, :, None] * self.pair_law[:, None, :]
        return self.pair_law

    def preferences(self) -> Float[Tensor, "context response response"]:
        """Probability that y is labelled preferred to y', flips included."""
        if self.preference is None:
            clean = torch.sigmoid(self.reward[:, :, None] - self.reward[:, None, :])
        else:
            clean = self.preference
        return self._flipped(clean)

    def lengths(self) -> Float[Tensor, "context response"]:
        """Tokens of each response."""
        return torch.ones_like(self.reward) if self.tokens is None else self.tokens.double()

    def labels(self) -> Float[Tensor, "context response response"]:
        """Probability that (y, y') are compared, in either order, and y is chosen.

        Each context sums to 1: over the last dimension that of y being the chosen response, over
        the one before that of y' being the rejected one.
        """
        law = self.pairs()
        return (law + law.mT) * self.preferences()

    def strengths(self) -> Float[Tensor, "context response"] | None:
        """v with P(y ≻ y') = sigmoid(v(y) - v(y')) on all pairs that are drawn, flips included.

        The reward where labels follow it; None where no v does. Source: bradley:52.
        """
        return self.reward if self.is_bradley_terry else self.scores(self.preferences().logit())

    def scores(
        self, gaps: Float[Tensor, "context response response"]
    ) -> Float[Tensor, "context response"] | None:
        """v with v(y) - v(y') = gap(y, y') on all pairs that are drawn, or None: there may be none.

        Each pair by itself would have its loss least at a gap of its own. Where one v has all those
        gaps, no policy does better; of two responses it always exists.

        Errors: BadConfig if the drawn pairs do not connect all responses of a context.

        >>> world = World(torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[1.0, 0.0]]), flip_rate=0.1)
        >>> world.scores(world.preferences().logit())
        tensor([[ 0.3881, -0.3881]], dtype=torch.float64)
        """
        law = self.pairs()
        wanted = torch.where(law + law.mT > 0, gaps, torch.zeros_like(law))
        if not torch.isfinite(wanted).all():
            return None
        v = least_squares_scores(law, wanted)
        miss = (v[:, :, None] - v[:, None, :] - wanted).abs()
        miss = torch.where(law + law.mT > 0, miss, torch.zeros_like(miss))
        return v if miss.max() <= _CONSISTENT * (1 + wanted.abs().max()) else None

    def optimum(
        self,
        divergence: FDivergence,
        beta: float,
        reward: Float[Tensor, "context response"] | None = None,
    ) -> Float[Tensor, "context response"]:
        """Log-probs of the maximiser of E_p[r] - beta·D_f(p‖q) in each context (nats).

        p*(y) = q(y)·max(0, (f')^-1((r(y) - λ)/beta)); the normaliser is exact to 1e-12. Responses
        get probability 0, log-prob -inf, only where f'(0+) is finite. reward: another r than the
        world's own.

        Errors: BadConfig unless beta is finite and above 0. Source: wang:24 theorem 1.

        >>> from collimate.divergences import reverse_kl
        >>> world = World(torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[1.0, 0.0]]))
        >>> world.optimum(reverse_kl, 1.0).exp()
        tensor([[0.7311, 0.2689]], dtype=torch.float64)
        """
        r = self.reward if reward is None else reward
        return tilt(self.reference_log_probs, r, divergence, positive("beta", beta))

    def regression_optimum(self, tau: float) -> Float[Tensor, "context response"]:
        """Log-probs of the minimiser of IPO's population loss (nats), for any pair law and labels.

        log p = log q + u - log Z; u fits (2P - 1)/(2·tau) by u(y) - u(y') in least squares over
        the pairs that are drawn, P with flips. With y, y' drawn independently from mu,
        u = E_{y'~mu} P(y ≻ y')/tau.

        Errors: BadConfig unless tau is finite and above 0, and unless the drawn pairs connect all
        responses of a context. Source: azar:24 eq. 17.

        >>> world = World(torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[1.0, 0.0]]))
        >>> world.regression_optimum(0.5).exp()
        tensor([[0.6135, 0.3865]], dtype=torch.float64)
        """
        return torch.log_softmax(self.reference_log_probs + self.regression(tau), dim=-1)

    def regression(self, tau: float) -> Float[Tensor, "context response"]:
        """v that minimises Σ law·[P·(h - m)² + (1-P)·(-h - m)²], h = v(y) - v(y'), m = 1/(2·tau).

        Up to constants Σ law·(h - (2P - 1)·m)²: any margin of which h is a gap has its least squares
        here. Errors as in `regression_optimum`. Source: azar:24 eq. 17.
        """
        gaps = (2 * self.preferences() - 1) / (2 * positive("tau", tau))
        return least_squares_scores(self.pairs(), gaps)

    def expected_reward(self, log_probs: Float[Tensor, "context response"]) -> float:
        """E_p[r], mean over contexts, in units of the reward."""
        return (log_probs.double().exp() * self.reward).sum(-1).mean().item()

    def divergence(
        self, log_probs: Float[Tensor, "context response"], divergence: FDivergence
    ) -> float:
        """D_f(p‖q) from the reference, mean over contexts (nats)."""
        return divergence.exact(log_probs.double(), self.reference_log_probs).mean().item()

    def frontier(
        self, divergence: FDivergence, betas: Float[Tensor, " point"] | None = None
    ) -> Frontier:
        """The best expected reward at each divergence from the reference.

        betas: prices of divergence at which to stand (default: 1e3 to 1e-3 standard deviations of
        the reward under the reference); the reference itself comes first. Contexts share beta.

        Errors: BadConfig for a beta that is not finite and above 0.
        """

        def solve(beta: float) -> tuple[float, float]:
            best = self.optimum(divergence, beta)
            return self.divergence(best, divergence), self.expected_reward(best)

        q = self.reference_log_probs.exp()
        mean = (q * self.reward).sum(-1, keepdim=True)
        spread = (q * (self.reward - mean).square()).sum(-1).mean().sqrt().item()
        return trace(solve, mean.mean().item(), spread or 1.0, betas)

    def sample_pairs(self, n: int, generator: np.random.Generator) -> SampledPairs:
        """n labelled pairs: a context at random, two responses by the pair law, a label.

        The same generator state gives the same pairs.
        """
        contexts, responses = self.reward.shape
        context = generator.integers(contexts, size=n)
        if self.pair_law is None:  # no [response, response] table: worlds may have 1e4 responses
            first = generator.integers(responses, size=n)
            second = (first + generator.integers(1, responses, size=n)) % responses
        else:
            first, second = self._draw(self.pair_law.numpy(), context, generator)
        wins = generator.random(n) < self._preference_of(context, first, second)
        return SampledPairs(context, np.where(wins, first, second), np.where(wins, second, first))

    def _draw(
        self, law: np.ndarray, context: Int[np.ndarray, " pair"], generator: np.random.Generator
    ) -> tuple[Int[np.ndarray, " pair"], Int[np.ndarray, " pair"]]:
        first, second = np.empty_like(context), np.empty_like(context)
        for c in range(len(law)):
            (here,) = np.nonzero(context == c)
            if law.ndim == 2:
                first[here], second[here] = generator.choice(len(law[c]), (2, len(here)), p=law[c])
            else:
                cells = generator.choice(law[c].size, len(here), p=law[c].ravel())
                first[here], second[here] = np.divmod(cells, len(law[c]))
        return first, second

    def _preference_of(
        self,
        context: Int[np.ndarray, " pair"],
        first: Int[np.ndarray, " pair"],
        second: Int[np.ndarray, " pair"],
    ) -> Float[np.ndarray, " pair"]:
        if self.preference is None:
            clean = torch.sigmoid(self.reward[context, first] - self.reward[context, second])
        else:
            clean = self.preference[context, first, second]
        return self._flipped(clean).numpy()

    def _flipped(self, clean: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
        return self.flip_rate + (1 - 2 * self.flip_rate) * clean


def total_variation(
    log_p: Float[Tensor, "context response"], log_r: Float[Tensor, "context response"]
) -> Float[Tensor, " context"]:
    """½·Σ_y |p(y) - r(y)| of each context, in [0, 1]; symmetric.

    >>> total_variation(torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[0.25, 0.75]]).log())
    tensor([0.2500])
    """
    return (log_p.exp() - log_r.exp()).abs().sum(-1) / 2


__all__ = ["SampledPairs", "World", "total_variation"]
