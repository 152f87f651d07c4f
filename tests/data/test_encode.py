"""Token ids: prefix, end, truncation, conversations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collimate._checks import BadConfig, BadData
from collimate._types import Example
from collimate.data import (
    BadRow,
    CharacterTokenizer,
    Encoded,
    Limits,
    Loaded,
    encode,
    load_data,
    read_rows,
)
from collimate.data.tokenizer import find_edges

Tokenizers = Callable[[str], Any]

EOS, BOS, START, END = 0, 1, 2, 3
CHARACTERS = st.characters(codec="utf-8", exclude_characters="\U0010fffe\U0010ffff")
PAIR = {"prompt": "where is the mill?", "chosen": " by the river", "rejected": " no idea"}


def encoded(row: dict[str, Any], tokenizer: Any, **options: Any) -> Encoded:
    (entry,) = encode(read_rows([row]), tokenizer, **options)
    if isinstance(entry, BadRow):
        raise entry
    return entry


def example(row: dict[str, Any], tokenizer: Any, **options: Any) -> Example:
    return encoded(row, tokenizer, **options).example


def loaded(row: dict[str, Any], tokenizer: Any, **limits: Any) -> Loaded:
    return load_data([row], tokenizer, limits=Limits(**limits))


def load(row: dict[str, Any], tokenizer: Any, **limits: Any) -> Example:
    return loaded(row, tokenizer, **limits).examples[0]


def bare(tokenizer: Any, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


CHAT = {"prompt": [user("where?")], "chosen": [assistant("by the river")],
        "rejected": [assistant("no idea")]}  # fmt: skip
TURNS = {
    "prompt": [user("where?")],
    "chosen": [assistant("the mill"), user("who owns it?"), assistant("the river")],
    "rejected": [assistant("no idea")],
}


def test_text_is_tokenised_apart_and_ended(tokenizers: Tokenizers) -> None:
    tokenizer = tokenizers("plain")
    pair = example(PAIR, tokenizer)
    assert pair.prompt.tolist() == bare(tokenizer, PAIR["prompt"])
    chosen, rejected = pair.answers
    assert chosen.ids.tolist() == [*bare(tokenizer, PAIR["chosen"]), EOS]
    assert rejected.ids.tolist() == [*bare(tokenizer, PAIR["rejected"]), EOS]
    assert (chosen.label, rejected.label) == (1, -1)
    assert chosen.token_weight is rejected.token_weight is None
    assert pair.prompt.dtype == chosen.ids.dtype == np.int32


@given(st.text(CHARACTERS, min_size=1), st.text(CHARACTERS))
def test_characters_come_back(prompt: str, rest: str) -> None:
    tokenizer = CharacterTokenizer()
    row = {"prompt": prompt, "chosen": "x" + rest, "rejected": "y" + rest}
    pair = example(row, tokenizer)
    assert tokenizer.decode(pair.prompt) == prompt
    assert tokenizer.decode(pair.answers[0].ids) == "x" + rest
    assert pair.answers[0].ids[-1] == tokenizer.eos_token_id


def test_characters_of_conversations_come_back() -> None:
    tokenizer = CharacterTokenizer()
    pair = example(CHAT, tokenizer)
    assert tokenizer.decode(pair.prompt) == "user: where?\nassistant: "
    assert tokenizer.decode(pair.answers[0].ids) == "by the river"


def test_the_tokenizers_own_prefix_begins_prompts_never_answers(tokenizers: Tokenizers) -> None:
    tokenizer = tokenizers("bos")
    pair = example(PAIR, tokenizer)
    assert pair.prompt.tolist() == tokenizer(PAIR["prompt"])["input_ids"]
    assert pair.prompt[0] == BOS
    assert all(BOS not in answer.ids for answer in pair.answers)
    # With it, even an empty prompt has a token before the first answer token.
    assert example({**PAIR, "prompt": ""}, tokenizer).prompt.tolist() == [BOS]


def test_a_template_is_the_whole_truth() -> None:
    from .conftest import CHATML, byte_level

    pair = example(CHAT, byte_level(adds_bos=True, chat_template=CHATML))
    assert BOS not in pair.prompt


def test_any_end_counts_and_none_is_doubled(tokenizers: Tokenizers) -> None:
    tokenizer = tokenizers("plain")
    row = {**PAIR, "chosen": "yes<eos>", "rejected": "no<|end|>"}
    chosen, rejected = example(row, tokenizer).answers
    assert chosen.ids.tolist() == [*bare(tokenizer, "yes"), EOS]
    assert rejected.ids.tolist() == [*bare(tokenizer, "no"), END, EOS]
    chosen, rejected = example(row, tokenizer, end_ids=[EOS, END]).answers
    assert rejected.ids.tolist() == [*bare(tokenizer, "no"), END]
    assert example(PAIR, tokenizer, end_ids=END).answers[0].ids[-1] == EOS


def test_a_tokenizer_without_end(tokenizers: Tokenizers) -> None:
    with pytest.raises(BadData, match=r"tokenizer\.eos_token, or pass end_ids"):
        example(PAIR, tokenizers("endless"))
    assert example(PAIR, tokenizers("endless"), end_ids=[END, EOS]).answers[0].ids[-1] == END


def test_pad_equal_to_end_changes_nothing() -> None:
    from .conftest import byte_level

    padded = example(PAIR, byte_level(pad_token="<eos>"))
    assert all(answer.ids[-1] == EOS and answer.token_weight is None for answer in padded.answers)


def test_conversation_with_a_template_that_ends_turns(tokenizers: Tokenizers) -> None:
    tokenizer = tokenizers("chat")
    pair = example(CHAT, tokenizer)
    assert tokenizer.decode(pair.prompt) == "<|start|>user\nwhere?<|end|>\n<|start|>assistant\n"
    # The end stands once; the line break that the template writes after it is never generated.
    assert pair.answers[0].ids.tolist() == [*bare(tokenizer, "by the river"), END]


def test_end_of_the_generation_config_ends_a_templated_turn(tokenizers: Tokenizers) -> None:
    tokenizer = tokenizers("chat_two_ends")
    text = "by the river"
    unknown_end = example(CHAT, tokenizer).answers[0].ids.tolist()
    assert unknown_end == [*bare(tokenizer, text), END, *bare(tokenizer, "\n"), EOS]
    (note,) = loaded(CHAT, tokenizer).facts.notes
    assert "one was appended" in note
    known_end = example(CHAT, tokenizer, end_ids=[EOS, END]).answers[0].ids.tolist()
    assert known_end == [*bare(tokenizer, text), END]
    assert load_data([CHAT], tokenizer, end_ids=[EOS, END]).facts.notes == ()


def test_conversation_with_a_template_without_ends(tokenizers: Tokenizers) -> None:
    tokenizer = tokenizers("bare")
    pair = example(CHAT, tokenizer)
    assert tokenizer.decode(pair.prompt) == "user: where?\nassistant: "
    assert tokenizer.decode(pair.answers[0].ids) == "by the river\n<eos>"


def test_only_the_assistants_turns_weigh(tokenizers: Tokenizers) -> None:
    tokenizer = tokenizers("chat")
    entry = encoded(TURNS, tokenizer)
    chosen, rejected = entry.example.answers
    assert entry.masked
    assert rejected.token_weight is None
    assert chosen.token_weight is not None
    assert chosen.token_weight.dtype == np.float32
    assert tokenizer.decode(chosen.ids) == (
        "the mill<|end|>\n<|start|>user\nwho owns it?<|end|>\n<|start|>assistant\nthe river<|end|>"
    )
    said = tokenizer.decode(chosen.ids[chosen.token_weight == 1])
    assert said == "the mill<|end|>the river<|end|>"
    assert set(chosen.token_weight.tolist()) == {0.0, 1.0}


def test_answers_that_begin_with_the_user(tokenizers: Tokenizers) -> None:
    tokenizer = tokenizers("chat")
    shared = [user("where?"), assistant("here")]
    row = {
        "chosen": [*shared, user("really?"), assistant("yes")],
        "rejected": [*shared, user("who?"), assistant("no")],
    }
    pair = example(row, tokenizer)
    assert tokenizer.decode(pair.prompt).endswith("<|start|>assistant\nhere<|end|>\n")
    chosen = pair.answers[0]
    assert chosen.token_weight is not None
    assert tokenizer.decode(chosen.ids[chosen.token_weight == 1]) == "yes<|end|>"


def test_implicit_and_explicit_conversations_are_the_same(tokenizers: Tokenizers) -> None:
    implicit = {key: CHAT["prompt"] + CHAT[key] for key in ("chosen", "rejected")}
    # The layout of UltraFeedback: the prompt as text beside whole conversations.
    repeated = {**implicit, "prompt": "where?"}
    tokenizer = tokenizers("chat")
    expected = example(CHAT, tokenizer)
    for row in (implicit, repeated):
        pair = example(row, tokenizer)
        assert pair.prompt.tolist() == expected.prompt.tolist()
        for answer, other in zip(pair.answers, expected.answers, strict=True):
            assert answer.ids.tolist() == other.ids.tolist()


def test_null_keys_of_tables_are_not_passed_on(tokenizers: Tokenizers) -> None:
    row = {**CHAT, "prompt": [{"role": "user", "content": "where?", "name": None}]}
    assert (
        example(row, tokenizers("chat")).prompt.tolist()
        == example(CHAT, tokenizers("chat")).prompt.tolist()
    )


def test_max_prompt_keeps_the_end(tokenizers: Tokenizers) -> None:
    row = {**PAIR, "prompt": "one two three four"}
    tokenizer = tokenizers("words")
    whole = load(row, tokenizer).prompt.tolist()
    cut = loaded(row, tokenizer, max_prompt=2)
    assert cut.examples[0].prompt.tolist() == whole[-2:]
    assert cut.facts.prompts_truncated == 1
    assert loaded(row, tokenizer, max_prompt=4).facts.prompts_truncated == 0


def test_max_prompt_keeps_the_beginning_of_sequence(tokenizers: Tokenizers) -> None:
    whole = example(PAIR, tokenizers("bos")).prompt.tolist()
    assert load(PAIR, tokenizers("bos"), max_prompt=3).prompt.tolist() == [BOS, *whole[-2:]]
    assert load(PAIR, tokenizers("bos"), max_prompt=1).prompt.tolist() == whole[-1:]


def test_max_answer_counts_the_end(tokenizers: Tokenizers) -> None:
    row = {**PAIR, "chosen": "one two three", "rejected": "four"}
    tokenizer = tokenizers("words")
    assert len(load(row, tokenizer, max_answer=4).answers[0].ids) == 4
    with pytest.raises(BadRow, match="got 4"):
        load(row, tokenizer, max_answer=3)
    truncated = loaded(row, tokenizer, max_answer=3, truncate_answers=True)
    cut, rejected = truncated.examples[0].answers
    assert tokenizer.decode(cut.ids) == "one two three"  # the end is lost, and that is counted
    assert rejected.ids[-1] == tokenizer.eos_token_id
    assert truncated.facts.answers_truncated == 1


def test_an_answer_cut_to_foreign_turns_is_bad(tokenizers: Tokenizers) -> None:
    shared = [user("where?"), assistant("here")]
    row = {
        "chosen": [*shared, user("really really really?"), assistant("yes")],
        "rejected": [*shared, user("who?"), assistant("no")],
    }
    with pytest.raises(BadRow, match="none after truncation"):
        load(row, tokenizers("chat"), max_answer=3, truncate_answers=True)


def test_text_that_the_tokenizer_drops_is_an_empty_answer() -> None:
    from .conftest import words

    row = {**PAIR, "prompt": "where", "chosen": "zzz", "rejected": "no"}
    with pytest.raises(BadRow, match="none after tokenisation"):
        load(row, words(drops=True))
    with pytest.raises(BadRow, match="at least one token"):
        load({**PAIR, "prompt": "zzz"}, words(drops=True))


def test_context_is_prompt_and_longest_answer(tokenizers: Tokenizers) -> None:
    pair = load(PAIR, tokenizers("plain"))
    size = len(pair.prompt) + max(len(answer.ids) for answer in pair.answers)
    load(PAIR, tokenizers("plain"), context=size)
    with pytest.raises(BadRow, match="context"):
        load(PAIR, tokenizers("plain"), context=size - 1)


def test_vocabulary(tokenizers: Tokenizers) -> None:
    highest = max(load(PAIR, tokenizers("plain")).prompt)
    with pytest.raises(BadRow, match="do not belong together"):
        load(PAIR, tokenizers("plain"), vocab_size=int(highest))


def test_the_first_bad_row_in_order_is_raised() -> None:
    # Row 1 is found bad after tokenisation, row 2 before it.
    rows = [PAIR, {**PAIR, "chosen": "x" * 99}, {**PAIR, "chosen": None}]
    with pytest.raises(BadRow, match="row 1"):
        load_data(rows, CharacterTokenizer(), limits=Limits(max_answer=50))


@pytest.mark.parametrize(
    "limits",
    [{"max_prompt": 0}, {"max_answer": -1}, {"vocab_size": True}, {"truncate_answers": True}],
)
def test_limits_outside_their_domain(limits: dict[str, Any]) -> None:
    with pytest.raises(BadConfig, match=r"must be|needs max_answer"):
        Limits(**limits)


@pytest.mark.parametrize("options", [{"limit": 0}, {"on_bad_row": "ignore"}])
def test_settings_outside_their_domain(options: dict[str, Any]) -> None:
    with pytest.raises(BadConfig, match="must be"):
        load_data([PAIR], CharacterTokenizer(), **options)


def test_edges_of_an_odd_tokenizer() -> None:
    from .conftest import byte_level, words

    assert find_edges(words(drops=True)).prefix == ()
    assert find_edges(byte_level(adds_bos=True)).prefix == (BOS,)
    assert find_edges(byte_level(), end_ids=[7, 8]).ends == {EOS, 7, 8}


def test_batches_do_not_matter(rows_folder: Any, tokenizers: Tokenizers, monkeypatch: Any) -> None:
    from collimate.data import encode as function

    module = __import__(function.__module__, fromlist=["BATCH"])
    path, tokenizer = rows_folder / "explicit_text.jsonl", tokenizers("plain")
    expected = load_data(path, tokenizer).facts
    monkeypatch.setattr(module, "BATCH", 7)
    assert load_data(path, tokenizer).facts == expected
