"""Our side of the KTO-shaped and the reward-shaped step, one fresh process per call, at engine level.

    our_engine.py train STEP SHAPE PAIRS BATCH THREADS CACHE   # CACHE is not read
    our_engine.py check STEP SHAPE PAIRS BATCH THREADS         # against a plain transformers forward

STEP: kto or reward. There is no public preset for either yet: the loss and the scalar readout stand
here, and the loop is that of `collimate.train` less its log lines, metrics, checkpoints and cache
file: AdamW, the same clipping, schedule, packing and start-up check. Prints one JSON line.
"""

from __future__ import annotations

import contextlib
import copy
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent / "trl_side"))

import torch
import torch.nn.functional as F
from common import SHAPES, model, pairs, tokenizer
from our_side import (
    BETA,
    CHECKED,
    LEARNING_RATE,
    Ids,
    encode,
    examples_of,
    forward_flops,
    gradient_check,
    largest,
    peak_gb,
    perturbed,
    plain_log_probs,
    relative,
    taken,
    thumb,
    work_shares,
)
from shaped import classifier, thumbs
from torch import Tensor, nn

from collimate._types import Example, ThumbLogProbs
from collimate.axes import Needs, State, Term
from collimate.compose import Objective
from collimate.engine.check import check_layout
from collimate.engine.evaluate import Rows, log_probs, pack
from collimate.engine.load import load_model
from collimate.engine.loop import clip_gradients
from collimate.engine.model import LogProbModel, width_of
from collimate.engine.objective import initial_states
from collimate.engine.packing import Packed
from collimate.engine.plan import Plan, micro_batches
from collimate.engine.step import gradient_step
from collimate.jobs.settings import TrainSettings
from collimate.optim import adamw, learning_rate

BUDGET = TrainSettings().tokens_per_micro_batch
CLIPPED = TrainSettings().max_gradient_norm
ENGINE: dict[str, Any] = {"budget": BUDGET, "autocast": contextlib.nullcontext}


class KtoShaped:
    """APO-zero's unpaired loss: 1 - sigmoid(beta·u) of a wanted answer, sigmoid(beta·u) of another.

    u: the answer's log-ratio (nats). A method of its own: `compose.Method` reads pairs today.
    """

    name, needs = "apo_zero_unpaired", Needs(view="thumbs")

    def __call__(self, view: ThumbLogProbs) -> Tensor:
        """One loss per answer."""
        assert view.reference is not None
        return torch.sigmoid(-BETA * view.label * (view.policy - view.reference))

    def init(self) -> dict[str, float]:
        """No state."""
        return {}

    def terms(self, view: ThumbLogProbs, state: State) -> dict[str, Term]:
        """One term, every answer weighing the same."""
        values = self(view)
        return {"loss": Term(1.0, values, torch.ones_like(values))}

    def update(self, view: ThumbLogProbs, state: State) -> State:
        """No state."""
        return state

    def measure(self, view: ThumbLogProbs, state: State) -> dict[str, Tensor]:
        """Nothing beyond the loss."""
        return {}


class Rewards(LogProbModel):
    """The engine's backbone pass under a linear scalar readout at each answer's last token."""

    def __init__(self, net: nn.Module, weight: Tensor) -> None:
        super().__init__(net, shared=True)
        self.score = nn.Linear(width_of(net), 1, bias=False)
        self.score.weight.data.copy_(weight)

    def forward(self, packed: Packed, signals: Any = ()) -> Tensor:
        """One reward per answer, in order."""
        hidden = self._read(packed).last_hidden_state.flatten(0, 1)
        spans = packed.spans or ()
        ends = torch.tensor([at + size - 1 for span in spans for at, size in span.answers])
        return self.score(hidden.index_select(0, ends)).squeeze(-1)


def reward_gradient(engine: Rewards, some: Sequence[Example]) -> float:
    """Add the gradient of the step's mean -log sigmoid(r_chosen - r_rejected); returns that mean."""
    total = 0.0
    for batch in micro_batches(some, BUDGET, shared=True):
        chosen, rejected = engine(pack(engine, [some[i] for i in batch])).view(-1, 2).T
        loss = -F.logsigmoid(chosen - rejected).sum() / len(some)
        loss.backward()
        total += loss.item()
    return total


def take_steps(
    engine: LogProbModel, count: int, batch: int, gradient: Callable[[Sequence[int]], float]
) -> float:
    """One epoch; gradient: numbers of a step's examples -> its loss. Returns the mean loss."""
    plan = Plan(examples=count, batch_size=batch, steps=-(-count // batch), seed=0)
    optimizer = adamw(engine, learning_rate=LEARNING_RATE)
    trained = [p for p in engine.parameters() if p.requires_grad]
    losses = []
    for step in range(plan.steps):
        losses.append(gradient([int(i) for i in plan.step(step)]))
        clip_gradients(trained, CLIPPED)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(
                step, steps=plan.steps, peak=LEARNING_RATE, warmup=0, schedule="linear"
            )
        optimizer.step()
        engine.clear_gradients()
    return sum(losses) / len(losses)


def train(step: str, shape: str, n: int, batch: int) -> dict[str, Any]:
    """Examples per second, peak memory, and the share of the machine's matrix products."""
    tok, rows = tokenizer(SHAPES[shape]["vocab_size"]), data(step, shape, n)
    with tempfile.TemporaryDirectory() as folder:
        model(shape).save_pretrained(folder)
        readout = classifier(shape).score.weight.data.clone()
        start = time.perf_counter()
        net = load_model(folder).eval()
        ids = ids_of(step, tok, rows)
        examples = examples_of(ids, thumb) if step == "kto" else examples_of(ids)
        layout = check_layout(net, longest=max(example.tokens for example in examples))
        assert layout.shared, layout.reason
        begun = time.perf_counter()
        if step == "reward":
            engine: LogProbModel = Rewards(net, readout)
            held: Rows = []
            loss_of = reward_of(engine, examples)
        else:
            engine = LogProbModel(net, shared=True)
            held = log_probs(engine, examples, **ENGINE)
            loss_of = kto_of(engine, examples, held)
        referred = time.perf_counter()
        loss = take_steps(engine, n, batch, loss_of)
        done = time.perf_counter()
    reference, training = referred - begun, done - referred
    peak = peak_gb()
    forward = forward_flops(shape, ids, scalar=step == "reward")
    return {
        "side": "collimate",
        "step": step,
        "shape": shape,
        "pairs_per_s": n / (done - begun),
        "pairs_per_s_cached_reference": n / training,
        "pairs_per_s_with_setup": n / (done - start),
        "loss": loss,
        "peak_gb": peak,
        "trainable": sum(p.numel() for p in engine.parameters() if p.requires_grad),
        **work_shares(forward, reference, training, 3),
    }


def reward_of(engine: Any, examples: Sequence[Example]) -> Callable[[Sequence[int]], float]:
    """The reward-shaped gradient of examples by number."""
    return lambda chosen: reward_gradient(engine, [examples[i] for i in chosen])


def kto_of(
    engine: LogProbModel, examples: Sequence[Example], held: Rows
) -> Callable[[Sequence[int]], float]:
    """The KTO-shaped gradient of examples by number."""
    objective = Objective.of(KtoShaped())
    states = initial_states(objective)

    def gradient(chosen: Sequence[int]) -> float:
        some, rows = [examples[i] for i in chosen], [held[i] for i in chosen]
        return gradient_step(engine, objective, some, rows, states, **ENGINE).loss.item()

    return gradient


def data(step: str, shape: str, n: int) -> list[dict[str, Any]]:
    """The rows of a step."""
    return (thumbs if step == "kto" else pairs)(n, SHAPES[shape]["vocab_size"])


def ids_of(step: str, tok: Any, rows: Sequence[dict[str, Any]]) -> list[Ids]:
    """Token ids of a step's rows."""
    return encode(tok, rows, ("completion",)) if step == "kto" else encode(tok, rows)


def check(step: str, shape: str, n: int, batch: int) -> dict[str, Any]:
    """Largest differences from a plain transformers forward, at weights moved off their start."""
    ids = ids_of(step, tokenizer(SHAPES[shape]["vocab_size"]), data(step, shape, n))
    if step == "reward":
        return check_rewards(shape, ids[:batch]) | {"pairs_checked": min(n, batch)}
    reference = model(shape).eval()
    policy = perturbed(reference)
    exact = copy.deepcopy(policy).double()
    found = log_probs(
        LogProbModel(policy, shared=True), examples_of(ids, thumb)[:CHECKED], **ENGINE
    )
    difference, rounding = 0.0, 0.0
    for (row,), (prompt, answer) in zip(found, ids[:CHECKED], strict=True):
        with torch.no_grad():
            plain, truth = (plain_log_probs(net, prompt, answer) for net in (policy, exact))
        difference = max(difference, largest(torch.from_numpy(row) - plain))
        rounding = max(rounding, largest(plain - truth))

    def loss(ratios: Tensor, i: int) -> Tensor:
        wanted = torch.sigmoid(BETA * ratios[0])
        return wanted if i % 2 else 1 - wanted

    return {
        "log_prob_difference": difference,
        "log_prob_rounding": rounding,
        **gradient_check(policy, reference, KtoShaped(), ids[:batch], loss),
        "pairs_checked": min(n, CHECKED),
    }


def check_rewards(shape: str, step: Sequence[Ids]) -> dict[str, Any]:
    """Rewards and gradient of a step against transformers' own classifier, alone and unpadded."""
    plain = perturbed(classifier(shape).eval())
    net = model(shape).eval()
    net.model.load_state_dict(plain.model.state_dict())
    engine = Rewards(net, plain.score.weight.data)
    examples = examples_of(step)
    with torch.no_grad():
        found = engine(pack(engine, examples))

    def rewards(whole: Any, ids: Ids) -> Tensor:
        rows = [torch.tensor([[*ids[0], *answer]]) for answer in ids[1:]]
        return torch.cat([whole(input_ids=row, use_cache=False).logits[0] for row in rows])

    def gradient(whole: Any) -> tuple[Tensor, list[Tensor]]:
        values = []
        for ids in step:
            values.append(rewards(whole, ids))
            (-F.logsigmoid(values[-1][0] - values[-1][1]) / len(step)).backward()
        return torch.cat(values).detach(), taken(whole)

    expected, slope = gradient(plain)
    exact, exact_slope = gradient(copy.deepcopy(plain).double())
    reward_gradient(engine, examples)
    # The same order on both sides: the layers, then the readout.
    return {
        "reward_difference": largest(found - expected),
        "reward_rounding": largest(expected - exact),
        "gradient_difference": relative(taken(engine), slope),
        "gradient_rounding": relative(slope, exact_slope),
    }


def main() -> None:
    """Run what the command line asks for."""
    what, step, shape, n, batch, threads, *_ = sys.argv[1:]
    torch.set_num_threads(int(threads))
    run = train if what == "train" else check
    print(json.dumps(run(step, shape, int(n), int(batch))))


if __name__ == "__main__":
    main()
