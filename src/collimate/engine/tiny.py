"""Models small enough to train from nothing, for demos and examples."""

from __future__ import annotations

from collections.abc import Sequence

from tokenizers import Tokenizer as Tokens
from tokenizers import models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from collimate.engine.runtime import seeded

PAD, END = "<pad>", "<end>"


def word_tokenizer(words: Sequence[str]) -> PreTrainedTokenizerFast:
    """One word, one token; `<pad>` is 0 and `<end>`, the end of a sequence, is 1."""
    ids = {word: i for i, word in enumerate((PAD, END, *words))}
    tokens = Tokens(models.WordLevel(ids, unk_token=PAD))
    tokens.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokens, pad_token=PAD, eos_token=END)


def tiny_llama(seed: int, *, vocabulary: int, context: int) -> LlamaForCausalLM:
    """A transformer of about 0.1 M parameters with random weights, for `word_tokenizer`'s ids."""
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=256,
        max_position_embeddings=context,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=1,
        tie_word_embeddings=False,
    )
    with seeded(seed):
        return LlamaForCausalLM(config)
