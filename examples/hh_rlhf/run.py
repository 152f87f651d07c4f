"""Align a small language model on real human preferences, from nothing to numbers.

    python examples/hh_rlhf/run.py --data ../shared/data/hh_harmless_base/test.jsonl.gz --out
    runs/hh

A byte-level BPE tokenizer and a Llama-shaped model (about 4 M parameters) are trained for a few
minutes on the prompts and chosen answers of folds 0-3, then aligned with DPO on the same folds;
fold 4, whose prompts appear nowhere else, is held out. Content warning: the prompts are red-teaming
conversations.
"""

from __future__ import annotations

import argparse
import gzip
import json
import platform
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import collimate
from collimate import methods

VOCABULARY, CONTEXT = 4096, 1024


def read(path: Path) -> list[dict]:
    """The rows of a gzipped JSON-lines file."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def train_tokenizer(texts: Sequence[str]) -> PreTrainedTokenizerFast:
    """Byte-level BPE: any text round-trips."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<pad>", "<eos>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>")


def make_model(width: int) -> LlamaForCausalLM:
    """Random weights, 3.9 M of them at width 256; heads of 64."""
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=width,
        num_hidden_layers=4,
        num_attention_heads=width // 64,
        intermediate_size=width * 5 // 2,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=1,
    )
    return LlamaForCausalLM(config)


def pretrain(
    model: LlamaForCausalLM,
    tokens: torch.Tensor,
    *,
    steps: int,
    length: int = 256,
    batch: int = 16,
) -> float:
    """Next-token training on random windows; returns a running mean of the loss (nats)."""
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.01, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=2e-3, total_steps=steps, pct_start=0.1
    )
    began, smooth = time.time(), float("nan")
    for step in range(1, steps + 1):
        starts = torch.randint(len(tokens) - length - 1, (batch,), generator=generator)
        windows = torch.stack([tokens[start : start + length] for start in starts])
        loss = model(input_ids=windows, labels=windows).loss
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        smooth = loss.item() if step == 1 else 0.95 * smooth + 0.05 * loss.item()
        if step % 50 == 0:
            left = (time.time() - began) / step * (steps - step)
            print(f"pretraining: step {step} of {steps}, loss {smooth:.3f}, {left:.0f} s left")
    return smooth


def results(run: collimate.Run, command: str, pretrained: str) -> str:
    """RESULTS.md: what was measured, before and after, with intervals."""
    record = run.record
    before, after = record["evaluation"]["before"], record["evaluation"]["after"]

    def accuracy(measured: dict, name: str) -> str:
        low, high = measured[f"{name}_interval"]
        return f"{measured[name]:.3f} [{low:.3f}, {high:.3f}]"

    rows = [
        ("likelihood accuracy", *(accuracy(m, "likelihood_accuracy") for m in (before, after))),
        ("implicit-reward accuracy", *(accuracy(m, "reward_accuracy") for m in (before, after))),
    ]
    for name in (
        "loss",
        "log_ratio_chosen",
        "log_ratio_rejected",
        "log_prob_chosen",
        "log_prob_rejected",
    ):
        rows.append((name.replace("_", " "), f"{before[name]:.3f}", f"{after[name]:.3f}"))
    table = "\n".join(f"| {name} | {b} | {a} |" for name, b, a in rows)
    versions = ", ".join(f"{k} {v}" for k, v in record["versions"].items())
    return f"""# HH-RLHF (harmless-base, test split): DPO on a model made from nothing

    {command}

Held out: fold 4, {before["rows"]} pairs whose prompts appear nowhere in training. Intervals: 95 %
bootstrap by prompt. Before training every implicit reward is 0, so its accuracy is ½ by ties.

| held out | before | after |
|---|---|---|
{table}

Log-probs and log-ratios are means of whole-answer sums in nats; a mean log-ratio on given answers
is not a KL. Pretraining: {pretrained} nats per token. DPO:
beta 0.1, {record["steps"]} steps of {record["config"]["batch_size"]}, learning rate
{record["config"]["learning_rate"]:g}, {record["phases"]["train"]:.0f} s. Layout:
{record["model"]["layout"]} ({record["model"]["layout_reason"]}).

{versions}; {platform.machine()}, {record["machine"]["threads"]} threads, seed {record["seed"]}.
"""


def main() -> None:
    """Tokenizer, pretraining, DPO, results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="hh_harmless_base/test.jsonl.gz")
    parser.add_argument("--out", type=Path, required=True, help="a new folder")
    parser.add_argument("--pretrain-steps", type=int, default=400)
    parser.add_argument("--width", type=int, default=256, help="of the model, a multiple of 64")
    parser.add_argument("--epochs", type=float, default=1)
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument("--results", type=Path, help="also write RESULTS.md here")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True)
    rows = read(arguments.data)
    train, held_out = [r for r in rows if r["fold"] != 4], [r for r in rows if r["fold"] == 4]
    for name, part in (("train", train), ("held_out", held_out)):  # to use with `collimate train`
        lines = "".join(json.dumps(row) + "\n" for row in part)
        (arguments.out / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    texts = [row["prompt"] + row["chosen"] for row in train]
    torch.manual_seed(0)
    tokenizer, model = train_tokenizer(texts), make_model(arguments.width)
    lines = tokenizer([f"{text}<eos>" for text in texts], add_special_tokens=False)["input_ids"]
    tokens = torch.tensor([token for line in lines for token in line])
    print(f"{len(tokens)} tokens, {sum(p.numel() for p in model.parameters()):,} parameters")
    loss = pretrain(model, tokens, steps=arguments.pretrain_steps)
    model.save_pretrained(arguments.out / "base")
    tokenizer.save_pretrained(arguments.out / "base")
    run = collimate.train(
        arguments.out / "base",
        arguments.out / "train.jsonl",
        evaluation=arguments.out / "held_out.jsonl",
        method=methods.dpo(beta=0.1),
        out=arguments.out / "dpo",
        epochs=arguments.epochs,
        learning_rate=arguments.learning_rate,
        batch_size=32,
        max_prompt=512,
        max_answer=512,
        truncate_answers=True,
    )
    command = (
        "python examples/hh_rlhf/run.py --out runs/hh"
        " --data ../shared/data/hh_harmless_base/test.jsonl.gz"
        f" --width {arguments.width} --pretrain-steps {arguments.pretrain_steps}"
        f" --epochs {arguments.epochs:g}"
        f" --learning-rate {arguments.learning_rate:g}"
    )
    text = results(run, command, f"{arguments.pretrain_steps} steps, last loss {loss:.2f}")
    (arguments.out / "RESULTS.md").write_text(text, encoding="utf-8")
    if arguments.results is not None:
        arguments.results.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
