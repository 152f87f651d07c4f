"""Facts in plain sentences: what a user should know before spending hours on this data."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace

from collimate.data.facts import Facts

LENGTH_BIAS = 0.65  # a longer answer wins by chance in half of the pairs


def write_notes(facts: Facts, counts: Mapping[str, int]) -> Facts:
    """`facts` with its notes. counts: further counts by name, as `Tally` keeps them."""
    sentences = (
        *_rows(facts),
        *_columns(facts),
        *_length_bias(facts),
        *_texts(facts, counts),
        *_tokens(facts, counts),
    )
    return replace(facts, notes=sentences)


def _rows(facts: Facts) -> Iterator[str]:
    if facts.skipped:
        reasons = ", ".join(f"{reason} {n}" for reason, n in facts.skipped.items())
        left_out = facts.rows - facts.used
        yield f"Bad and left out: {_of(left_out, facts.rows)}: {reasons}."
    if facts.duplicates:
        yield f"Word-for-word repeats of an earlier row: {_of(facts.duplicates, facts.used)}."
    if facts.contradictions:
        yield (
            f"Contradictions of an earlier row: {_of(facts.contradictions, facts.used)}, the same "
            "answers judged the other way round."
        )
    if facts.ties:
        yield (
            f"Ties: {_of(facts.ties, facts.rows)}, where the two answers are equal or differ only "
            "in case and white space."
        )


def _columns(facts: Facts) -> Iterator[str]:
    if facts.columns:
        yield f"Numbers that come with each row: {', '.join(facts.columns)}."
    if facts.ignored:
        yield f"Columns that are not used: {', '.join(facts.ignored)}."


def _length_bias(facts: Facts) -> Iterator[str]:
    share = facts.chosen_longer
    if share is None or max(share, 1 - share) < LENGTH_BIAS:
        return
    if abs(share - 0.5) * math.sqrt(facts.used) <= 1:  # within two standard errors of a coin
        return
    way = "longer" if share > 0.5 else "shorter"
    yield (
        f"The chosen answer is the {way} one in {max(share, 1 - share):.0%} of the pairs: a method "
        "without length control may learn length."
    )


def _texts(facts: Facts, counts: Mapping[str, int]) -> Iterator[str]:
    if counts["repeats_prompt"]:
        yield (
            f"In {_of(counts['repeats_prompt'], facts.used)} the answers begin with the prompt "
            "itself: if it was meant once, remove the column 'prompt', and it is read from the "
            "answers."
        )
    if counts["masked"]:
        yield (
            f"In {_of(counts['masked'], facts.used)} the answers have turns that are not the "
            "assistant's: their tokens are read but weigh 0."
        )


def _tokens(facts: Facts, counts: Mapping[str, int]) -> Iterator[str]:
    if facts.prompts_truncated:
        yield f"In {_of(facts.prompts_truncated, facts.used)} the prompt lost its beginning."
    if facts.answers_truncated:
        yield (
            f"Answers cut to max_answer: {facts.answers_truncated}. They lost their end, so the "
            "model does not learn from them where to stop."
        )
    if facts.joint_tokenisation_differs:
        yield (
            f"In {_of(facts.joint_tokenisation_differs, facts.used)} prompt and answer would be "
            "tokenised otherwise if they were joined; they are tokenised apart, as in generation."
        )
    if counts["end_added"] and "conversational" in facts.format:
        yield (
            f"In {_of(counts['end_added'], facts.used)} the chat template does not end the answer "
            "with a known end-of-sequence token, and one was appended: if the template ends turns "
            "with a token of its own, add it to the generation config's eos_token_id."
        )
    if counts["end_inside"]:
        yield (
            f"In {_of(counts['end_inside'], facts.used)} an answer has an end-of-sequence token "
            "before its end."
        )
    if counts["unknown"]:
        yield f"In {_of(counts['unknown'], facts.used)} there is text the tokenizer does not know."


def _of(count: int, total: int) -> str:
    """A count with its share.

    >>> _of(3, 12)
    '3 rows (25.0%)'
    """
    return f"{count} row{'' if count == 1 else 's'} ({count / total:.1%})"
