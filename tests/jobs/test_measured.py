"""KL and entropy from a policy's own samples, against sums over all its answers."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from transformers import GenerationConfig, PreTrainedModel

from collimate._checks import TrainingFailed
from collimate._types import Example
from collimate.engine.generate import drawn_answers
from collimate.engine.runtime import Runtime
from collimate.jobs._measured import policy_samples
from tests.engine.tiny import model_of
from tests.equivalence.runs import word_tokenizer

END, VOCABULARY, LONGEST = 2, 6, 3
PROMPTS = [Example(prompt=np.array(ids), answers=(), row=i) for i, ids in enumerate(([4, 5], [3]))]


def small(seed: int, name: str = "llama") -> PreTrainedModel:
    model = model_of(name, seed=seed, factor=4.0, vocab_size=VOCABULARY)
    model.generation_config = GenerationConfig(eos_token_id=END, pad_token_id=0)
    return model


def answers() -> list[tuple[int, ...]]:
    """Every answer: its end, or `LONGEST` tokens."""
    found = []
    for length in range(1, LONGEST + 1):
        for ids in itertools.product(range(VOCABULARY), repeat=length):
            if END not in ids[:-1] and (ids[-1] == END or length == LONGEST):
                found.append(ids)
    return found


def log_law(model: PreTrainedModel, prompt: np.ndarray) -> torch.Tensor:
    """log p of every answer, in float64, by the model's own logits."""
    sums = []
    for ids in answers():
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([[*prompt, *ids]]), use_cache=False).logits[0]
        log_p = logits[len(prompt) - 1 : -1].double().log_softmax(-1)
        sums.append(log_p.gather(1, torch.tensor(ids)[:, None]).sum())
    return torch.stack(sums)


def test_the_answers_are_all_there_are() -> None:
    assert log_law(small(0), PROMPTS[0].prompt).exp().sum().item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("name", ["llama", "mamba"])
def test_answers_are_drawn_from_the_model_itself(name: str) -> None:
    """Whatever its generation config would do: here the likeliest token alone."""
    model = small(0, name)
    greedy = GenerationConfig(do_sample=True, top_k=1, temperature=0.1, suppress_tokens=[3])
    model.generation_config = greedy
    model.generation_config.eos_token_id = END
    count = 4000
    drawn = drawn_answers(
        model, word_tokenizer(), PROMPTS[0], count=count, seed=0, max_tokens=LONGEST
    )
    assert model.generation_config is greedy
    law = log_law(model, PROMPTS[0].prompt).exp()
    index = {ids: i for i, ids in enumerate(answers())}
    seen = np.bincount([index[tuple(a.ids.tolist())] for a in drawn.answers], minlength=len(law))
    error = (law * (1 - law) / count).sqrt().numpy() + 1 / count
    assert (np.abs(seen / count - law.numpy()) < 5 * error).all()
    assert seen.sum() == count


def test_a_model_that_diverged_is_told() -> None:
    model = small(0)
    torch.nn.init.constant_(model.get_output_embeddings().weight, float("nan"))
    with pytest.raises(TrainingFailed, match="has diverged"):
        drawn_answers(model, word_tokenizer(), PROMPTS[0], count=2, seed=0, max_tokens=LONGEST)


def test_one_seed_draws_one_set_of_answers() -> None:
    def ids(seed: int) -> list[list[int]]:
        drawn = drawn_answers(
            small(0), word_tokenizer(), PROMPTS[0], count=20, seed=seed, max_tokens=LONGEST
        )
        return [answer.ids.tolist() for answer in drawn.answers]

    assert ids(0) == ids(0) != ids(1)


@pytest.mark.slow
def test_kl_and_entropy_are_the_sums_over_all_answers_within_their_errors() -> None:
    policy, reference = small(0), small(1)
    laws = [[log_law(model, p.prompt) for p in PROMPTS] for model in (policy, reference)]
    kl = np.mean([float((p.exp() * (p - q)).sum()) for p, q in zip(*laws, strict=True)])
    entropy = np.mean([float(-(p.exp() * p).sum()) for p in laws[0]])
    found = policy_samples(
        policy, reference, word_tokenizer(), PROMPTS, count=2000, seed=0, budget=4096,
        runtime=Runtime(device="cpu", precision="fp32"), most_tokens=LONGEST,
    )  # fmt: skip
    assert kl > 0.1
    for name in ("k1", "k3"):
        one = found["kl"][name]
        assert abs(one["mean"] - kl) < 4 * one["standard_error"], name
        assert one["standard_error"] < 0.2 * kl, name
    assert abs(found["entropy"]["mean"] - entropy) < 4 * found["entropy"]["standard_error"]
    assert (found["samples_per_prompt"], found["prompts"]) == (2000, 2)


def test_a_policy_that_is_its_reference_has_no_kl() -> None:
    found = policy_samples(
        small(0), small(0), word_tokenizer(), PROMPTS, count=20, seed=0, budget=4096,
        runtime=Runtime(device="cpu", precision="fp32"), most_tokens=LONGEST,
    )  # fmt: skip
    assert [found["kl"][name]["mean"] for name in ("k1", "k2", "k3")] == [0.0, 0.0, 0.0]
