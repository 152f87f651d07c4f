"""First-order changes against steps that were taken; products against whole Jacobians."""

from inspect import unwrap

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from collimate import methods
from collimate._checks import BadComposition, BadData
from collimate._types import PairLogProbs
from collimate.diagnostics import (
    entanglement,
    exact_gradients,
    head_gradients,
    loss_slopes,
)


class Tiny(torch.nn.Module):
    """Embedding, one tanh layer, unembedding: log-probs of answers after one prompt token."""

    def __init__(self, seed, vocab=9, width=5):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        sizes = ((vocab, width), (width, width), (vocab, width))
        self.embed, self.body, self.head = (
            torch.nn.Parameter(torch.randn(s, dtype=torch.float64, generator=generator))
            for s in sizes
        )

    def hidden(self, answer):
        before = torch.cat([torch.zeros(1, dtype=torch.long), answer[:-1]])
        return torch.tanh(self.embed[before].cumsum(0) @ self.body)

    def log_prob(self, answer):
        logits = self.hidden(answer) @ self.head.T
        return logits.log_softmax(-1).gather(1, answer[:, None]).sum()


def answers(seed, vocab=9):
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randint(vocab, (4,), generator=generator)
    rejected = torch.randint(vocab, (6,), generator=generator)
    if seed % 2:  # alike: one token differs
        rejected = chosen.clone()
        rejected[1] = (chosen[1] + 1) % vocab
    return chosen, rejected


def flat(gradients):
    return torch.cat([g.reshape(-1) for g in gradients])


def view_of(model, seed, reference=None):
    chosen, rejected = answers(seed)
    values = [model.log_prob(chosen)[None], model.log_prob(rejected)[None]]
    base = (
        [v.detach() - 0.2 * i for i, v in enumerate(values, 1)] if reference is None else reference
    )
    return PairLogProbs(
        policy_chosen=values[0],
        policy_rejected=values[1],
        reference_chosen=base[0],
        reference_rejected=base[1],
        chosen_tokens=torch.tensor([4.0]),
        rejected_tokens=torch.tensor([float(len(rejected))]),
    )


METHODS = [methods.dpo(0.5), methods.ipo(0.1), methods.simpo(2.0), methods.rpo_sft(0.5, 0.5)]


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
@pytest.mark.parametrize("seed", range(6))
def test_the_predicted_changes_are_those_of_a_small_step(method, seed):
    """Both changes to 1e-4 of the larger one, and their signs, for one plain gradient step."""
    model, eta = Tiny(seed), 1e-7
    view = view_of(model, seed)
    products = exact_gradients(view.policy_chosen, view.policy_rejected, model.parameters())
    slopes = loss_slopes(method, view)
    found = entanglement(
        products.norm_w_squared, products.norm_l_squared, products.inner, slopes.d_w, slopes.d_l
    )
    gradients = torch.autograd.grad(method(view).sum(), list(model.parameters()))
    with torch.no_grad():
        for parameter, gradient in zip(model.parameters(), gradients, strict=True):
            parameter -= eta * gradient
    after = view_of(model, seed)
    change = torch.stack(
        [after.policy_chosen - view.policy_chosen, after.policy_rejected - view.policy_rejected]
    ).detach()
    predicted = eta * torch.stack([found.change_chosen, found.change_rejected])
    assert (change - predicted).abs().max() < 1e-4 * change.abs().max()
    assert (change.sign() == predicted.sign()).all()
    assert found.as_wanted.item() == bool(change[0] > 0 and change[1] < 0)


@pytest.mark.parametrize("seed", range(4))
def test_products_are_those_of_flattened_gradients(seed):
    model = Tiny(seed)
    chosen, rejected = answers(seed)
    log_w = torch.stack([model.log_prob(chosen), model.log_prob(rejected)])
    log_l = torch.stack([model.log_prob(rejected), model.log_prob(chosen[:2])])
    found = exact_gradients(log_w, log_l, model.parameters())
    for pair in range(2):
        g_w, g_l = (
            flat(torch.autograd.grad(x[pair], list(model.parameters()), retain_graph=True))
            for x in (log_w, log_l)
        )
        torch.testing.assert_close(found.norm_w_squared[pair], g_w @ g_w)
        torch.testing.assert_close(found.norm_l_squared[pair], g_l @ g_l)
        torch.testing.assert_close(found.inner[pair], g_w @ g_l)
        cosine = torch.nn.functional.cosine_similarity(g_w, g_l, dim=0)
        torch.testing.assert_close(found.cosine[pair], cosine)


def test_gradients_are_read_only_and_unused_parameters_count_nothing():
    theta, unused = (torch.ones(2, requires_grad=True) for _ in range(2))
    log_p = theta.sum()[None]
    found = exact_gradients(log_p, 2 * log_p, [theta, unused])
    assert (found.norm_w_squared.item(), found.inner.item()) == (2, 4)
    assert theta.grad is None
    log_p.backward()  # the graph is still there


@pytest.mark.parametrize("seed", range(6))
def test_the_estimate_from_the_head_is_exact_for_the_head(seed):
    """And all of it where the body is frozen."""
    model = Tiny(seed)
    chosen, rejected = answers(seed)
    exact = exact_gradients(
        model.log_prob(chosen)[None], model.log_prob(rejected)[None], [model.head]
    )
    both = torch.cat([model.hidden(chosen), model.hidden(rejected)]).detach()
    found = head_gradients(
        both,
        both @ model.head.detach().T,
        torch.cat([chosen, rejected]),
        rejected=torch.arange(len(both)) >= len(chosen),
    )
    for name in ("norm_w_squared", "norm_l_squared", "inner"):
        torch.testing.assert_close(
            getattr(found, name), getattr(exact, name)[0], rtol=1e-10, atol=1e-10
        )


def test_a_vocabulary_of_several_chunks():
    """Against the [vocab, width] gradient written out."""
    generator = torch.Generator().manual_seed(0)
    vocab, tokens, width = 20_000, 5, 3
    hidden = torch.randn(tokens, width, dtype=torch.float64, generator=generator)
    logits = 3 * torch.randn(tokens, vocab, dtype=torch.float64, generator=generator)
    ids = torch.tensor([0, 8191, 8192, 19_999, 8192])
    rejected = torch.tensor([False, True, False, True, True])
    error = torch.nn.functional.one_hot(ids, vocab).double() - logits.softmax(-1)
    g_w, g_l = (error[who].T @ hidden[who] for who in (~rejected, rejected))
    found = head_gradients(hidden, logits, ids, rejected=rejected)
    torch.testing.assert_close(found.norm_w_squared, (g_w * g_w).sum())
    torch.testing.assert_close(found.norm_l_squared, (g_l * g_l).sum())
    torch.testing.assert_close(found.inner, (g_w * g_l).sum())


numbers = st.floats(0.01, 100)


@given(w=numbers, rejected=numbers, cosine=st.floats(-0.99, 0.99), d_w=numbers, d_l=numbers)
def test_the_condition_is_that_of_the_two_changes(w, rejected, cosine, d_w, d_l):
    inner = cosine * (w * rejected) ** 0.5
    found = entanglement(
        *(torch.tensor(x, dtype=torch.float64) for x in (w, rejected, inner)), d_w, d_l
    )
    bound = min(d_w / d_l * w, d_l / d_w * rejected)
    assert found.limit.item() == pytest.approx(bound)
    if abs(inner - bound) > 1e-9 * (abs(bound) + abs(inner)):
        assert found.as_wanted.item() == (inner < bound)
    raised = found.change_chosen - found.change_rejected
    gap = d_w * w - (d_l + d_w) * inner + d_l * rejected  # the margin's own change
    assert raised.item() == pytest.approx(gap, rel=1e-9, abs=1e-9)


def test_likelihood_alone_lowers_the_rejected_answer_iff_the_gradients_oppose():
    one, inner = torch.ones(2), torch.tensor([-0.1, 0.1])
    found = entanglement(one, one, inner, 1.0, 0.0)
    assert found.limit.tolist() == [0, 0]
    assert found.as_wanted.tolist() == [True, False]


def test_a_slope_of_the_wrong_sign_has_no_limit_but_has_changes():
    one = torch.ones(1)
    found = entanglement(one, one, 0 * one, -1.0, 1.0)
    assert found.limit.isnan().all()
    assert (found.change_chosen.item(), found.change_rejected.item()) == (-1, -1)


@pytest.mark.parametrize("beta", [0.1, 1.0])
def test_slopes_of_dpo_are_equal_and_those_of_the_equation(beta):
    """beta·sigmoid(-beta·h) on both sides."""
    generator = torch.Generator().manual_seed(0)
    chosen, rejected, a, b = -5 * torch.rand(4, 6, dtype=torch.float64, generator=generator)
    view = PairLogProbs(
        policy_chosen=chosen, policy_rejected=rejected, reference_chosen=a, reference_rejected=b
    )
    found = loss_slopes(methods.dpo(beta), view)
    expected = beta * torch.sigmoid(-beta * (chosen - a - rejected + b))
    torch.testing.assert_close(found.d_w, expected)
    torch.testing.assert_close(found.d_l, expected)


def test_slopes_of_ipo_past_its_target_push_back():
    """(h - 1/(2·tau))²: at h = 2/(2·tau) the chosen answer is lowered. |slopes| would hide it."""
    tau = 0.5
    at = torch.tensor([0.0, 2.0], dtype=torch.float64)
    zero = torch.zeros_like(at)
    view = PairLogProbs(
        policy_chosen=at, policy_rejected=zero, reference_chosen=zero, reference_rejected=zero
    )
    found = loss_slopes(methods.ipo(tau), view)
    torch.testing.assert_close(found.d_w, -2 * (at - 1 / (2 * tau)))
    torch.testing.assert_close(found.d_l, found.d_w)


def test_slopes_of_a_loss_of_the_chosen_answer_alone_and_of_none():
    view = PairLogProbs(policy_chosen=torch.tensor([-1.0]), policy_rejected=torch.tensor([-2.0]))
    assert loss_slopes(lambda pair: -pair.policy_chosen, view).d_l.item() == 0
    with pytest.raises(BadComposition, match="depends on neither log-prob"):
        loss_slopes(lambda pair: torch.ones(1), view)
    with pytest.raises(BadComposition, match="depends on neither log-prob"):
        loss_slopes(lambda pair: torch.ones(1, requires_grad=True), view)


def test_slopes_leave_the_view_alone():
    log_p = torch.tensor([-1.0], requires_grad=True)
    view = PairLogProbs(policy_chosen=log_p, policy_rejected=2 * log_p)
    with torch.no_grad():
        loss_slopes(lambda pair: pair.policy_rejected - pair.policy_chosen, view)
    assert log_p.grad is None
    assert view.policy_chosen is log_p


THETA = torch.ones(1, requires_grad=True)
IDS = torch.tensor([0, 1])
WHICH = torch.tensor([False, True])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: unwrap(entanglement)(torch.ones(2), torch.ones(1), torch.ones(2)),
            "norm_l_squared must",
        ),
        (lambda: unwrap(entanglement)(*torch.ones(3, 2), torch.ones(3)), "d_w must have shape"),
        (lambda: exact_gradients(THETA, THETA, []), "at least one parameter"),
        (lambda: exact_gradients(THETA, THETA, [torch.ones(1)]), "require a gradient"),
        (lambda: exact_gradients(THETA.detach(), THETA, [THETA]), "carry no graph"),
        (lambda: exact_gradients(THETA[:0], THETA[:0], [THETA]), "log_prob_chosen is empty"),
        (
            lambda: head_gradients(torch.ones(2, 1), torch.ones(2, 2), IDS, rejected=WHICH | True),
            "both answers need tokens",
        ),
        (
            lambda: head_gradients(torch.ones(2, 1), torch.ones(2, 2), IDS + 1, rejected=WHICH),
            "ids must be in 0 to 1, got 1 to 2",
        ),
        (
            lambda: unwrap(head_gradients)(torch.ones(3, 1), torch.ones(2, 2), IDS, rejected=WHICH),
            r"hidden must have shape \[2, 1\]",
        ),
    ],
    ids=[
        "norms",
        "slope",
        "no parameter",
        "frozen",
        "graph",
        "none",
        "one answer",
        "ids",
        "hidden",
    ],
)
def test_what_cannot_be(call, message):
    with pytest.raises(BadData, match=message):
        call()
