"""`collimate demo`: a transformer aligned through the real engine, compared with exact optima."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from collimate._checks import BadRun
from collimate._types import Answer, Example
from collimate.compose import Method
from collimate.divergences import alpha, reverse_kl
from collimate.engine.evaluate import log_probs
from collimate.engine.load import Tokenizer
from collimate.engine.model import LogProbModel
from collimate.engine.run_folder import RunFolder
from collimate.engine.runtime import Runtime
from collimate.engine.tiny import tiny_llama, word_tokenizer
from collimate.jobs._console import Console
from collimate.jobs._language import (
    ANSWERS,
    PROMPTS,
    TONES,
    TOPICS,
    WORDS,
    Language,
    corpus,
    make_language,
    pretrain,
)
from collimate.jobs.train import train
from collimate.lab import Frontier, World, fit, total_variation
from collimate.methods import dpo, f_dpo, f_dpo_js
from collimate.report import write as write_report

BETA = 1.0
PAIRS = 20_000
_TABULAR_ANSWERS = 50
_CHUNK = 6  # answers per example when the language is enumerated: attended together in pairs


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One aligned policy against theory, all exact sums over the language; means over prompts.

    kl: KL(policy‖reference) in nats. reward: expected reward. share_of_gain: of the reward that the
    exact frontier gains at the same KL. outside: mass on anything but the 1728 answers. tv: total
    variation to the method's population optimum. tabular_tv: the same for a tabular policy fitted
    to the population loss on the 50 likeliest answers of each prompt.
    """

    name: str
    kl: float
    reward: float
    share_of_gain: float
    outside: float
    tv: float
    tabular_tv: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Demo:
    """What the demo found. report: the HTML page. outcomes: one per method."""

    report: Path
    outcomes: tuple[Outcome, ...]
    reference_reward: float


@contextmanager
def one_thread() -> Iterator[None]:
    """A model this small runs no faster on more threads, and far slower on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@one_thread()
def demo(out: str | Path = "runs/demo", *, seed: int = 0, progress: bool = True) -> Demo:
    """Pretrain, prefer, align with three divergences, and compare with the exact frontier.

    A tiny transformer learns a language of 16 prompts and 1728 answers; noisy Bradley-Terry labels
    come from a known reward; DPO (beta 1), its Jensen-Shannon and its alpha-½ form align it. The
    last response of the world is "anything else" (mass 1 - Σ, the lowest reward); nothing is
    renormalised. Offline; under 90 seconds on two cores.

    Errors: BadRun if `out` is not empty or cannot be written.
    """
    folder = Path(out)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BadRun(f"{folder} is not an empty folder: choose a new one for the demo")
    console = Console(enabled=progress)
    language, tokenizer = make_language(seed), word_tokenizer((*TOPICS, *TONES, *WORDS))
    model = tiny_llama(seed, vocabulary=len(tokenizer), context=16)
    console.say("pretraining a tiny transformer on a language of 16 prompts x 1728 answers")
    pretrain(model, corpus(language, tokenizer, 100_000, seed), steps=300, batch=256, seed=seed)
    model.eval()
    runtime = Runtime(device="cpu", precision="fp32")
    world = _world(_enumerate(model, tokenizer, runtime), language)
    rows = _preferences(world, seed)
    frontier = world.frontier(reverse_kl)
    outcomes: list[Outcome] = []
    for method in (dpo(BETA), f_dpo_js(2 * BETA), f_dpo(2 * BETA, alpha(0.5))):
        name = method.name if method.name != "f_dpo" else f"f_dpo {method.divergence.name}"
        console.say(f"aligning with {name}, {method.tradeoff.name}: {len(rows)} noisy preferences")
        policy = copy.deepcopy(model)
        train(
            policy,
            rows,
            method=method,
            tokenizer=tokenizer,
            out=folder / _slug(name),
            batch_size=128,
            epochs=1,
            learning_rate=2e-3,
            device="cpu",
            seed=seed,
            cache=folder / "cache",
            log_every=5,
            progress=False,
            report=False,
        )
        outcomes.append(
            _outcome(name, _enumerate(policy, tokenizer, runtime), world, frontier, method)
        )
    for line in _table(outcomes):
        console.say(line)
    report = _write(folder, frontier, outcomes)
    return Demo(
        report=report,
        outcomes=tuple(outcomes),
        reference_reward=world.expected_reward(world.reference_log_probs),
    )


def _enumerate(
    model: nn.Module, tokenizer: Tokenizer, runtime: Runtime
) -> Float[Tensor, "prompt response"]:
    """log p of every answer (end included) and of anything else, by the engine."""
    end = tokenizer.eos_token_id
    answers = [
        Answer(ids=np.array([*ids, end]))
        for ids in tokenizer(list(ANSWERS), add_special_tokens=False)["input_ids"]
    ]
    prompts = tokenizer(list(PROMPTS), add_special_tokens=False)["input_ids"]
    examples = [
        Example(prompt=np.array(prompt), answers=tuple(answers[i : i + _CHUNK]), row=row)
        for row, prompt in enumerate(prompts)
        for i in range(0, len(answers), _CHUNK)
    ]
    rows = log_probs(
        LogProbModel(model, shared=True), examples, budget=8192, autocast=runtime.autocast
    )
    sums = np.array([row.astype(np.float64).sum() for answers in rows for row in answers])
    inside = torch.from_numpy(sums).view(len(PROMPTS), len(ANSWERS))
    outside = torch.log(-torch.expm1(inside.logsumexp(-1, keepdim=True)))
    return torch.cat((inside, outside), dim=1)


def _world(reference: Float[Tensor, "prompt response"], language: Language) -> World:
    """Answers and, last, anything else; pairs are two independent answers of the reference."""
    lowest = language.reward.min(-1, keepdim=True).values
    law = reference.exp()
    law[:, -1] = 0  # labellers compare answers
    return World(
        reference,
        torch.cat((language.reward, lowest), dim=1),
        pair_law=law / law.sum(-1, keepdim=True),
    )


def _preferences(world: World, seed: int) -> list[dict[str, str]]:
    pairs = world.sample_pairs(2 * PAIRS, np.random.default_rng(seed))
    rows = [
        {"prompt": PROMPTS[context], "chosen": ANSWERS[chosen], "rejected": ANSWERS[rejected]}
        for context, chosen, rejected in zip(*pairs, strict=True)
        if chosen != rejected
    ]
    return rows[:PAIRS]


def _outcome(
    name: str,
    policy: Float[Tensor, "prompt response"],
    world: World,
    frontier: Frontier,
    method: Method,
) -> Outcome:
    kl = world.divergence(policy, reverse_kl)
    start = world.expected_reward(world.reference_log_probs)
    gain = world.expected_reward(policy) - start
    optimum = method.population_optimum(world)
    assert optimum is not None  # the labels are Bradley-Terry without flips
    return Outcome(
        name=name,
        kl=kl,
        reward=world.expected_reward(policy),
        share_of_gain=gain / (frontier.reward_at(kl) - start),
        outside=policy[:, -1].exp().mean().item(),
        tv=total_variation(policy, optimum).mean().item(),
        tabular_tv=_tabular(world, method),
    )


def _tabular(world: World, method: Method) -> float:
    """TV of a tabular policy, fitted to the population loss, to its optimum: the exact claim."""
    likeliest = world.reference_log_probs[:, :-1].topk(_TABULAR_ANSWERS, dim=-1).indices
    small = World(
        world.reference_log_probs.gather(1, likeliest).log_softmax(-1),
        world.reward.gather(1, likeliest),
    )
    optimum = method.population_optimum(small)
    assert optimum is not None
    return total_variation(fit(small, method).log_probs, optimum).mean().item()


def _table(outcomes: Sequence[Outcome]) -> list[str]:
    head = (
        f"{'method':<18}{'KL':>8}{'reward':>9}{'of frontier gain':>18}{'outside':>10}"
        f"{'TV':>8}{'tabular TV':>12}"
    )
    return [head] + [
        f"{o.name:<18}{o.kl:>8.3f}{o.reward:>9.3f}{o.share_of_gain:>18.3f}{o.outside:>10.4f}"
        f"{o.tv:>8.3f}{o.tabular_tv:>12.1e}"
        for o in outcomes
    ]


def _write(folder: Path, frontier: Frontier, outcomes: Sequence[Outcome]) -> Path:
    """The first run's report, with the frontier and every method's point."""
    shown: Mapping[str, Any] = {
        "world": "16 prompts, 1728 answers and anything else; every number is an exact sum",
        "curves": [
            {
                "name": "exact frontier",
                "kl": frontier.divergence.tolist(),
                "reward": frontier.reward.tolist(),
            }
        ],
        "points": [asdict(outcome) for outcome in outcomes],
    }
    run = RunFolder(folder / _slug(outcomes[0].name))
    record = run.read_record()
    run.write_record({**record, "kind": "demo", "frontier": shown})
    return write_report(run.path, folder / "report.html")


def _slug(name: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in name).strip("-")
