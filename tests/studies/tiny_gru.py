"""A small GRU language model, and what studies of pairs need of it."""

import torch

from collimate._types import PairLogProbs

VOCAB, PROMPT = 12, 3


class TinyGRU(torch.nn.Module):
    """Embedding, GRU, unembedding without bias; float64."""

    def __init__(self, seed, width=16):
        super().__init__()
        torch.manual_seed(seed)
        self.embed = torch.nn.Embedding(VOCAB, width)
        self.body = torch.nn.GRU(width, width, batch_first=True)
        self.head = torch.nn.Linear(width, VOCAB, bias=False)
        self.double()

    def hidden(self, prompt, answer):
        """States at the positions that predict the answer's tokens, [row, token, width]."""
        states, _ = self.body(self.embed(torch.cat([prompt, answer[:, :-1]], 1)))
        return states[:, prompt.shape[1] - 1 :]

    def log_probs(self, prompt, answer):
        """Of each token of the answer, [row, token]."""
        scores = self.head(self.hidden(prompt, answer)).log_softmax(-1)
        return scores.gather(-1, answer[..., None]).squeeze(-1)

    @torch.no_grad()
    def sample(self, prompt, tokens, generator):
        """Answers of so many tokens, drawn from the model."""
        text = prompt
        for _ in range(tokens):
            states, _ = self.body(self.embed(text))
            p = self.head(states[:, -1]).softmax(-1)
            text = torch.cat([text, torch.multinomial(p, 1, generator=generator)], 1)
        return text[:, prompt.shape[1] :]


def text(seed, rows, tokens):
    """Rows of a Markov chain with few likely successors."""
    generator = torch.Generator().manual_seed(1000 + seed)
    chain = (2 * torch.randn(VOCAB, VOCAB, generator=generator)).softmax(-1)
    rows = torch.randint(VOCAB, (rows, 1), generator=generator)
    for _ in range(tokens - 1):
        step = torch.multinomial(chain[rows[:, -1]], 1, generator=generator)
        rows = torch.cat([rows, step], 1)
    return rows


def pretrained(seed, steps=150):
    """A model that has read the chain."""
    model = TinyGRU(seed)
    rows = text(seed, 256, PROMPT + 8)
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = -model.log_probs(rows[:, :1], rows[:, 1:]).mean()
        loss.backward()
        optimizer.step()
    return model


def edited(answer, count, generator):
    """The answer with `count` of its tokens replaced by others."""
    answer = answer.clone()
    where = torch.randperm(len(answer), generator=generator)[:count]
    shift = torch.randint(1, VOCAB, (count,), generator=generator)
    answer[where] = (answer[where] + shift) % VOCAB
    return answer


def pair_view(model, prompt, chosen, rejected, reference):
    """Of pairs whose answers have one length; reference: their log-probs [2, pair]."""
    w = model.log_probs(prompt, chosen).sum(-1)
    rejected_log_p = model.log_probs(prompt, rejected).sum(-1)
    return PairLogProbs(
        policy_chosen=w,
        policy_rejected=rejected_log_p,
        reference_chosen=w.detach() if reference is None else reference[0],
        reference_rejected=rejected_log_p.detach() if reference is None else reference[1],
    )
