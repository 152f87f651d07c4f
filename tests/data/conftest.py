"""Tokenizers built here, from made-up text: nothing is downloaded."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, processors, trainers
from tokenizers import Tokenizer as Backend
from transformers import PreTrainedTokenizerFast

from collimate.data import CharacterTokenizer
from tests.cli.tiny import FORGETFUL

ROWS = Path(__file__).parents[1] / "rows"
TEXT = "where is the mill who owns it by river no idea one two three four A word what Where"
WORDS = TEXT.split()

CHATML = (
    "{% for m in messages %}"
    "{% if m.role not in ['user', 'assistant', 'system'] %}"
    "{{ raise_exception('only user, assistant and system') }}{% endif %}"
    "{{ '<|start|>' + m.role + '\n' + m.content + '<|end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|start|>assistant\n' }}{% endif %}"
)
BARE = (  # ends no turn; the header is opened by the generation prompt
    "{% for m in messages %}{{ m.role + ': ' + m.content + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
)


@cache
def _byte_level() -> str:
    rng = random.Random(3)
    text = [" ".join(rng.choices(WORDS, k=8)) for _ in range(300)]
    text += ["\n\nHuman: the otter is here — in the café.\n\nAssistant: yes."] * 20
    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<eos>", "<bos>", "<|start|>", "<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(text, trainer)
    return backend.to_str()


def byte_level(**settings: Any) -> Any:
    """A byte-level BPE tokenizer; id 0 <eos>, 1 <bos>, 2 <|start|>, 3 <|end|>."""
    backend = Backend.from_str(_byte_level())
    if settings.pop("adds_bos", False):
        backend.post_processor = processors.TemplateProcessing(
            single="<bos> $A", special_tokens=[("<bos>", 1)]
        )
        settings["bos_token"] = "<bos>"
    template = settings.pop("chat_template", None)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        **{"eos_token": "<eos>", **settings},
        extra_special_tokens=["<|start|>", "<|end|>"],
    )
    tokenizer.chat_template = template
    return tokenizer


def words(drops: bool = False) -> Any:
    """One token per known word, all others one unknown token; or a tokenizer that drops words."""
    vocabulary = {word: i for i, word in enumerate(["<unk>", "<eos>", *WORDS, ".", "?"])}
    backend = Backend(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    if drops:
        backend.normalizer = normalizers.Replace(Regex("z+|^(a|the|0)$"), "")
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>", unk_token="<unk>")


MAKERS: dict[str, Callable[[], Any]] = {
    "plain": byte_level,
    "bos": lambda: byte_level(adds_bos=True),
    "chat": lambda: byte_level(chat_template=CHATML, eos_token="<|end|>"),
    "bare": lambda: byte_level(chat_template=BARE),
    "forgetful": lambda: byte_level(chat_template=FORGETFUL),
    "chat_two_ends": lambda: byte_level(chat_template=CHATML),
    "endless": lambda: byte_level(eos_token=None),
    "words": words,
    "characters": lambda: CharacterTokenizer(bos_token_id=1, eos_token_id=0),
}


@pytest.fixture(scope="session")
def tokenizers() -> Callable[[str], Any]:
    """A tokenizer by name; each is built once."""
    return cache(lambda name: MAKERS[name]())


@pytest.fixture
def rows_folder() -> Path:
    """The made-up rows of each format."""
    return ROWS
