"""wortsman:24 in miniature: what QK-norm and a z-penalty do to learning-rate sensitivity."""

import math

import pytest
import torch

from collimate.diagnostics import lr_sensitivity

VOCAB, TOKENS, WIDTH = 16, 16, 32
RATES = [3e-3, 3e-2, 3e-1]


class Block(torch.nn.Module):
    """Causal attention of one head and an MLP, before each a layer norm."""

    def __init__(self, qk_norm):
        super().__init__()
        self.qk_norm = qk_norm
        self.qkv = torch.nn.Linear(WIDTH, 3 * WIDTH, bias=False)
        self.out = torch.nn.Linear(WIDTH, WIDTH, bias=False)
        self.norms = torch.nn.ModuleList([torch.nn.LayerNorm(WIDTH) for _ in range(2)])
        self.mlp = torch.nn.Sequential(
            torch.nn.Linear(WIDTH, 2 * WIDTH), torch.nn.GELU(), torch.nn.Linear(2 * WIDTH, WIDTH)
        )
        self.largest = 0.0  # attention logit of the last pass

    def forward(self, x):
        q, k, v = self.qkv(self.norms[0](x)).chunk(3, -1)
        if self.qk_norm:
            q, k = (torch.nn.functional.layer_norm(t, (WIDTH,)) for t in (q, k))
        logits = q @ k.mT / math.sqrt(WIDTH)
        self.largest = logits.detach().abs().max().item()
        future = torch.ones(TOKENS, TOKENS, dtype=torch.bool).triu(1)
        x = x + self.out(logits.masked_fill(future, -math.inf).softmax(-1) @ v)
        return x + self.mlp(self.norms[1](x))


def trained(seed, rate, *, stable, steps=60):
    """Loss at the start and the end (nats per token), and the largest attention logit at the end."""
    torch.manual_seed(seed)
    chain = (2 * torch.randn(VOCAB, VOCAB)).softmax(-1)
    embed = torch.nn.Embedding(VOCAB, WIDTH)
    place = torch.nn.Parameter(0.1 * torch.randn(TOKENS, WIDTH))
    blocks = torch.nn.Sequential(Block(stable), Block(stable))
    norm, head = torch.nn.LayerNorm(WIDTH), torch.nn.Linear(WIDTH, VOCAB, bias=False)
    parts = torch.nn.ModuleList([embed, blocks, norm, head])
    optimizer = torch.optim.AdamW([*parts.parameters(), place], rate, weight_decay=0.0)
    losses = []
    for _ in range(steps):
        rows = torch.randint(VOCAB, (16, 1))
        for _ in range(TOKENS):
            rows = torch.cat([rows, torch.multinomial(chain[rows[:, -1]], 1)], 1)
        scores = head(norm(blocks(embed(rows[:, :-1]) + place)))
        loss = torch.nn.functional.cross_entropy(scores.flatten(0, 1), rows[:, 1:].flatten())
        losses.append(loss.item())
        penalty = 1e-4 * scores.logsumexp(-1).square().mean() if stable else 0.0
        optimizer.zero_grad()
        (loss + penalty).backward()
        optimizer.step()
    largest = max(block.largest for block in blocks)
    return losses[0], sum(losses[-10:]) / 10, largest


@pytest.mark.slow
def test_a_stable_net_is_less_sensitive_at_no_cost_of_its_best_loss():
    """3 seeds. Measured with 100 steps at six rates, 1e-3 to 3e-1: sensitivity 0.21 to 0.25, with
    both remedies 0.09 to 0.13; best loss equal to 0.01; largest attention logit at the highest rate
    5e4 to 7e4 and 5.5. No run of so small a net ends above its start: what diverges is attention.
    """
    for seed in range(3):
        found, best, worst = {}, {}, {}
        for stable in (False, True):
            runs = [trained(seed, rate, stable=stable) for rate in RATES]
            sweep = {rate: end for rate, (_, end, _) in zip(RATES, runs, strict=True)}
            found[stable] = lr_sensitivity(sweep, runs[0][0])
            best[stable], worst[stable] = min(sweep.values()), runs[-1][2]
        assert found[True] < found[False]
        assert best[True] < best[False] + 0.03
        assert worst[True] < 20
        assert worst[False] > 500
