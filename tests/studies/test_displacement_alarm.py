"""razin:25: No over Never loses No. The alarm must ring in time, and not where nothing is lost.

A small transformer learns from real persona statements what someone would answer; "Yes", "Maybe",
"No", "Never" lie on one axis of how much he agrees. DPO then prefers No to Never where he disagrees,
at ten times the default learning rate: what falls with Never is the axis, so No falls too, and what
rises, mostly Yes, nobody preferred. Healthy runs prefer Yes to No and No to Yes, as the statement
asks, at the default rate. A run is of the kind that its probabilities show, not of the intended one.

The thresholds (1 nat, a quarter, five lines) were set on seeds 0 to 9 and are held to on 10 to 19.
"""

import gzip
import json
import random
import re

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

import collimate
from collimate import methods
from collimate.engine.tiny import word_tokenizer
from collimate.optim import default_learning_rate
from collimate.report import displaced

WIDTH, STATEMENTS, STEPS = 32, 120, 50
WORDS = ("Yes", "Maybe", "No", "Never")
SEEDS = range(20)
SETTLED = 10  # seeds on which the thresholds were set

START = torch.tensor([0.45, 0.45, 0.1], dtype=torch.float64).log()  # No, Never, Yes


def rang(logits_of, weights, steps=100):
    """The step at which the alarm rings while DPO prefers No to Never, None if it does not."""
    reference = logits_of(weights).log_softmax(-1)
    lines = []
    for step in range(steps):
        weights = weights.detach().requires_grad_()
        log_p = logits_of(weights).log_softmax(-1)
        ratio = log_p - reference
        lines.append([ratio[0].item(), ratio[1].item(), reference[0].item()])
        if displaced(*np.array(lines).T):
            return step
        loss = -torch.nn.functional.logsigmoid(0.1 * (ratio[0] - ratio[1]))
        weights = weights - 5 * torch.autograd.grad(loss, weights)[0]
    return None


def test_it_rings_in_the_world_where_yes_opposes_never_and_not_where_answers_are_free():
    """razin:25: one hidden state under a frozen unembedding, or a logit for each answer."""
    unembedding = torch.tensor([[1.0, 0.1], [1.0, 1.2], [-1.0, -4.0]], dtype=torch.float64)
    gaps = unembedding[:2] - unembedding[2]
    hidden = torch.linalg.solve(gaps, START[:2] - START[2])
    torch.testing.assert_close((unembedding @ hidden).log_softmax(-1), START)
    assert rang(lambda h: unembedding @ h, hidden) < 50
    assert rang(lambda logits: logits, START) is None


@pytest.fixture
def statements(shared_data):
    lines = gzip.decompress(shared_data("personas/personas.jsonl.gz").read_bytes()).splitlines()
    return [json.loads(line) for line in lines]


def spoken(text):
    return re.findall(r"[a-z']+", text.lower())


def world(statements, seed):
    """A tokenizer, prompts, whether each is agreed with, and how likely each of the four answers is."""
    draw = random.Random(seed)
    rows = draw.sample(statements, STATEMENTS)
    vocabulary = sorted({word for row in rows for word in spoken(row["statement"])})
    prompts = [" ".join([*spoken(row["statement"]), "say:"]) for row in rows]
    agrees = [row["yes"] for row in rows]
    x = torch.tensor([(1 if yes else -1) * draw.choice((0.5, 1.0, 1.5)) for yes in agrees])
    logits = torch.stack([2 * x, 0 * x, -2 * x, -4 * x - 2.5], 1)
    return word_tokenizer(("say:", *WORDS, *vocabulary)), prompts, agrees, logits.softmax(1)


def pretrained(tokenizer, prompts, likely, seed):
    torch.manual_seed(seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=WIDTH,
            intermediate_size=4 * WIDTH,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=64,
            pad_token_id=0,
            bos_token_id=None,
            eos_token_id=1,
            tie_word_embeddings=False,
        )
    )
    tokenizer.padding_side = "left"
    encoded = tokenizer(prompts, add_special_tokens=False, padding=True, return_tensors="pt")
    ids, mask = encoded["input_ids"], encoded["attention_mask"]
    said = torch.tensor(tokenizer.convert_tokens_to_ids(list(WORDS)))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(150):
        some = torch.randint(len(prompts), (64,))
        answer = said[likely[some].multinomial(1)]
        end = torch.ones_like(answer)
        rows = torch.cat([ids[some], answer, end], 1)
        seen = torch.cat([mask[some], end, end], 1)
        logits = model(input_ids=rows, attention_mask=seen).logits[:, -3:-1].flatten(0, 1)
        loss = torch.nn.functional.cross_entropy(logits, rows[:, -2:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def chosen_probability(model, tokenizer, pairs):
    """Mean probability of the chosen word, and of the two that agree."""
    found = []
    for pair in pairs[:40]:
        ids = tokenizer(pair["prompt"], add_special_tokens=False, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            p = model(input_ids=ids).logits[0, -1].softmax(-1)
        chosen, yes, maybe = p[tokenizer.convert_tokens_to_ids([pair["chosen"], "Yes", "Maybe"])]
        found.append(torch.stack([chosen, yes + maybe]))
    return torch.stack(found).mean(0).tolist()


def aligned(folder, model, tokenizer, pairs, seed, rate):
    """Chosen probability and agreement, before and after, and the step of the alarm (None: silent)."""
    before = chosen_probability(model, tokenizer, pairs)
    run = collimate.train(
        model,
        pairs,
        method=methods.dpo(0.1),
        out=folder,
        cache=folder.parent / "cache",
        tokenizer=tokenizer,
        max_steps=STEPS,
        batch_size=16,
        learning_rate=rate * default_learning_rate(WIDTH, adapter=False),
        seed=seed,
        samples=0,
        device="cpu",
        progress=False,
        report=False,
    )
    after = chosen_probability(run.model, tokenizer, pairs)
    alarms = run.record["alarms"]
    assert len(alarms) <= 1
    return before, after, alarms[0]["step"] if alarms else None


@pytest.mark.slow
def test_it_rings_in_time_and_only_where_answers_are_lost(statements, tmp_path):
    """Measured: 10 of 10 rang and then 9 of 10, between steps 13 and 42; no healthy one did.

    A seed or two may end elsewhere on another machine, where rounding is another: of each ten runs
    nine must be of their kind, and of those the alarm may miss, or accuse, one.
    """
    rung, false, agreement = [], [], []
    for seed in SEEDS:
        tokenizer, prompts, agrees, likely = world(statements, seed)
        start = pretrained(tokenizer, prompts, likely, seed)
        weights = {name: value.clone() for name, value in start.state_dict().items()}
        both = list(zip(prompts, agrees, strict=True))
        sick = [{"prompt": p, "chosen": "No", "rejected": "Never"} for p, yes in both if not yes]
        answers = {True: ("Yes", "No"), False: ("No", "Yes")}
        healthy = [
            {"prompt": p, "chosen": answers[yes][0], "rejected": answers[yes][1]} for p, yes in both
        ]
        before, after, step = aligned(tmp_path / f"sick{seed}", start, tokenizer, sick, seed, 10)
        agreement.append(after[1] > before[1] + 0.1)
        rung.append((after[0] < 0.6 * before[0], step is not None and step < STEPS))
        start.load_state_dict(weights)
        before, after, step = aligned(
            tmp_path / f"healthy{seed}", start, tokenizer, healthy, seed, 1
        )
        false.append((after[0] > 0.9 * before[0], step is not None))
    assert sum(agreement) > len(SEEDS) / 2
    for part in (slice(SETTLED), slice(SETTLED, None)):
        found = [rang for is_sick, rang in rung[part] if is_sick]
        assert len(found) >= 9
        assert len(found) - sum(found) <= 1
        spared = [not rang for is_healthy, rang in false[part] if is_healthy]
        assert len(spared) >= 9
        assert len(spared) - sum(spared) <= 1
