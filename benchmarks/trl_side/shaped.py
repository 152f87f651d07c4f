"""Data and models of the other steps (the same for every side); see common.py for the rest."""

import torch
from common import SHAPES, model, pairs
from transformers import Qwen2Config, Qwen2ForSequenceClassification

LORA = dict(r=8, lora_alpha=16, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM")


def thumbs(n, vocab_size):
    """n answers with a label, each under a prompt of its own: by turns wanted and unwanted."""
    return [
        dict(prompt=row["prompt"], completion=row["rejected" if i % 2 else "chosen"], label=i % 2 == 0)
        for i, row in enumerate(pairs(n, vocab_size))
    ]


def classifier(shape):
    """The layers of `model(shape)` under a made-up scalar head without bias."""
    layers = model(shape).model.state_dict()
    config = Qwen2Config(**SHAPES[shape], max_position_embeddings=2048, num_labels=1, pad_token_id=0,
                         eos_token_id=1, bos_token_id=1)
    net = Qwen2ForSequenceClassification(config)
    net.model.load_state_dict(layers)
    with torch.no_grad():
        net.score.weight.copy_(0.02 * torch.randn(net.score.weight.shape, generator=torch.Generator().manual_seed(0)))
    return net
