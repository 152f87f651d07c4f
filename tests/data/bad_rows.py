"""Bad files, one per clause of the data rules: content, the reason counted, words of the message.

Read by the loader's tests and by the command line's (exit code 2, nothing half-written). Every file
holds good rows around the bad one where its format allows, so that `skip` can be tested too.
"""

from __future__ import annotations

import gzip
import io
import json
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

GOOD = {"prompt": "Where is the mill?", "chosen": " By the river.", "rejected": " No idea."}
GOOD_TOO = {"prompt": "Who owns it?", "chosen": " The otter does.", "rejected": " Nobody."}
ASK = [{"role": "user", "content": "Where is the mill?"}]
CHAT = {
    "prompt": ASK,
    "chosen": [{"role": "assistant", "content": "By the river."}],
    "rejected": [{"role": "assistant", "content": "No idea."}],
}


@dataclass(frozen=True, kw_only=True)
class BadCase:
    """A file that must be refused.

    reason: under which the row is counted by `skip`; None where the whole file is refused.
    words: all must be in the message. row: 0-based index of the bad row. column: the field of the
    record. options: lengths for `Limits`. tokenizer: fixture name, see conftest.
    """

    name: str
    file: str
    content: bytes
    reason: str | None
    words: tuple[str, ...]
    row: int | None = 1
    column: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    tokenizer: str = "plain"


def jsonl(*rows: Any) -> bytes:
    return b"".join(
        (row if isinstance(row, bytes) else json.dumps(row).encode()) + b"\n" for row in rows
    )


def between(row: Any, good: Any = GOOD) -> bytes:
    """Three lines: good, bad, good."""
    return jsonl(good, row, GOOD_TOO if good is GOOD else good)


def changed(**changes: Any) -> dict[str, Any]:
    """A good row with some fields changed; `...` removes one."""
    row = {**GOOD, "prompt": "What is it?", **changes}
    return {key: value for key, value in row.items() if value is not ...}


def parquet(rows: list[dict[str, Any]]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    return sink.getvalue()


def case(name: str, row: Any, reason: str, *words: str, **more: Any) -> BadCase:
    """A bad second line of a .jsonl file."""
    good = more.pop("good", GOOD)
    return BadCase(
        name=name,
        file="pairs.jsonl",
        content=between(row, good),
        reason=reason,
        words=("pairs.jsonl", "line 2", *words),
        **more,
    )


def whole(name: str, file: str, content: bytes, *words: str, **more: Any) -> BadCase:
    """A file that is refused as a whole, also under `skip`."""
    return BadCase(
        name=name, file=file, content=content, reason=None, words=(file, *words), row=None, **more
    )


def _say(*turns: str) -> list[dict[str, str]]:
    """Messages whose roles alternate, an assistant's first."""
    return [
        {"role": ("assistant", "user")[place % 2], "content": turn}
        for place, turn in enumerate(turns)
    ]


WEIGHTED = {**GOOD, "weight": 1.0}
CSV = b"prompt,chosen,rejected\nWhere?,Here.,Nowhere.\n"

FIELDS = [
    case("missing field", changed(chosen=...), "missing field", "column 'chosen'",
         column="chosen"),
    case("missing rejected", changed(rejected=...), "missing field", "add the column",
         column="rejected"),
    case("misspelt", changed(chosen=..., choosen="x"), "missing field", "did you mean 'choosen'?",
         column="chosen"),
    case("no known column", {"question": "a", "answer": "b"}, "missing field", "question, answer",
         column="chosen"),
    case("null", changed(chosen=None), "null value", "got null", column="chosen"),
    case("null prompt", changed(prompt=None), "null value", "got null", column="prompt"),
    case("number for text", changed(chosen=3), "wrong type", "got 3", column="chosen"),
    case("object for text", changed(rejected={"a": 1}), "wrong type", "{'a': 1}",
         column="rejected"),
    case("list line", [1, 2], "wrong type", "JSON object", "[1, 2]"),
    case("number line", 5, "wrong type", "JSON object"),
    case("empty chosen", changed(chosen=""), "empty answer", "visible character", "''",
         column="chosen"),
    case("blank rejected", changed(rejected=" \n\t"), "empty answer", "remove the row",
         column="rejected"),
    case("empty prompt", changed(prompt=""), "empty prompt", "at least one token",
         column="prompt"),
    case("equal", changed(rejected=" By the river."), "chosen equals rejected", "teaches nothing",
         column="rejected"),
    case("lone surrogate", b'{"prompt": "a", "chosen": "b \\ud83d", "rejected": "c"}',
         "lone surrogate", "U+D83D", "character 2", column="chosen"),
    case("invalid UTF-8", b'{"prompt": "a", "chosen": "caf\xe9", "rejected": "c"}',
         "invalid UTF-8", "0xe9", "save the file as UTF-8"),
    case("broken JSON", b'{"prompt": "a", "chosen": "b" "rejected": "c"}', "broken JSON",
         "character 30", "mend or remove the line"),
    case("cut JSON", b'{"prompt": "a", "chosen": "b', "broken JSON", "Unterminated string"),
    case("deep JSON", b"[" * 200_000, "broken JSON", "expected JSON"),
    case("key twice", b'{"prompt": "a", "chosen": "b", "chosen": "c", "rejected": "d"}',
         "broken JSON", "'chosen' more than once", column="chosen"),
]  # fmt: skip

NUMBERS = [
    case("NaN literal", b'{"prompt": "a", "chosen": "b", "rejected": "c", "margin": NaN}',
         "not a finite number", "got NaN", "not JSON", column="margin"),
    case("Infinity literal", b'{"prompt": "a", "chosen": "b", "rejected": "c", "x": -Infinity}',
         "not a finite number", "-Infinity", column="x"),
    case("number beyond float", changed(weight=10**400), "not a finite number", "finite number",
         column="weight", good=WEIGHTED),
    case("overflowing number", b'{"prompt": "a", "chosen": "b", "rejected": "c", "x": 1e999}',
         "not a finite number", "got inf", column="x"),
    case("negative weight", changed(weight=-0.5), "negative weight", "got -0.5",
         "swap chosen and rejected", column="weight", good=WEIGHTED),
    case("null weight", changed(weight=None), "null value", "in every row", column="weight",
         good=WEIGHTED),
    case("text weight", changed(weight="heavy"), "wrong type", "'heavy'", column="weight",
         good=WEIGHTED),
    case("true as weight", changed(weight=True), "wrong type", "got True", column="weight",
         good=WEIGHTED),
    BadCase(name="weight in some rows", file="pairs.jsonl", content=jsonl(GOOD, WEIGHTED),
            reason="mixed formats", words=("no 'weight'", "every row or in none"),
            column="weight"),
    BadCase(name="weight not in all rows", file="pairs.jsonl", content=jsonl(WEIGHTED, GOOD_TOO),
            reason="mixed formats", words=("a 'weight'", "every row or in none"),
            column="weight"),
    BadCase(name="NaN in Parquet", file="pairs.parquet",
            content=parquet([WEIGHTED, {**GOOD_TOO, "weight": float("nan")}]),
            reason="not a finite number", words=("row 1 (counted from 0)", "got nan"),
            column="weight"),
    whole("all weights 0", "pairs.jsonl", jsonl({**GOOD, "weight": 0}), "weight above 0"),
]  # fmt: skip

FORMATS = [
    case("thumbs among pairs", {"prompt": "a", "completion": "b", "label": True},
         "unsupported format", "thumbs", "what can be read"),
    case("list among pairs", {"prompt": "a", "responses": ["b", "c"], "scores": [1, 0]},
         "mixed formats", "row 0 (preference, explicit prompt)", "lists, explicit prompt"),
    case("supervised among pairs", {"messages": ASK}, "unsupported format", "single texts"),
    case("implicit among explicit", {"chosen": "Q: a A: b", "rejected": "Q: a A: c"},
         "mixed formats", "row 0 (preference, explicit prompt)", "implicit prompt",
         "split the file"),
    case("text among conversations", GOOD, "mixed formats", "conversational", good=CHAT,
         tokenizer="chat"),
    case("conversation among texts", CHAT, "mixed formats", "conversational", tokenizer="chat"),
    case("half a conversation", {**CHAT, "rejected": "No."}, "mixed formats", "both as messages",
         column="rejected", good=CHAT, tokenizer="chat"),
    case("text prompt of conversations", {**CHAT, "prompt": "Something else"}, "mixed formats",
         "all three as messages", column="prompt", good=CHAT, tokenizer="chat"),
    case("messages as prompt of texts", {**GOOD, "prompt": ASK}, "mixed formats",
         "write them alike", column="prompt"),
    case("nothing in common", {"chosen": "yes", "rejected": "no"}, "empty prompt",
         "begin with the same prompt", "add a column 'prompt'", column="chosen",
         good={"chosen": "Q: a A: b", "rejected": "Q: a A: c"}),
    case("one begins the other", {"chosen": "Q: a A:", "rejected": "Q: a A: c"}, "empty answer",
         "cannot be told", column="chosen", good={"chosen": "Q: a A: b", "rejected": "Q: a A: c"}),
]  # fmt: skip

CONVERSATIONS = [
    case("message without role", {**CHAT, "chosen": [{"content": "x"}]}, "wrong type",
         "text 'role'", column="chosen", good=CHAT, tokenizer="chat"),
    case("message without content", {**CHAT, "chosen": [{"role": "assistant"}]}, "wrong type",
         "text 'content'", column="chosen", good=CHAT, tokenizer="chat"),
    case("message that is text", {**CHAT, "chosen": ["x"]}, "wrong type", "messages like",
         column="chosen", good=CHAT, tokenizer="chat"),
    case("no message", {**CHAT, "chosen": []}, "empty answer", "got none", column="chosen",
         good=CHAT, tokenizer="chat"),
    case("prompt without message", {**CHAT, "prompt": []}, "empty prompt", "empty list",
         column="prompt", good=CHAT, tokenizer="chat"),
    case("empty turn", {**CHAT, "chosen": _say(" ")}, "empty answer", "empty one",
         column="chosen", good=CHAT, tokenizer="chat"),
    case("ends with the user", {**CHAT, "chosen": _say("a", "b")}, "wrong type", "role 'user'",
         column="chosen", good=CHAT, tokenizer="chat"),
    case("refused role", {**CHAT, "prompt": [{"role": "clown", "content": "x"}]},
         "refused by the chat template", "clown", "only user, assistant and system",
         good=CHAT, tokenizer="chat"),
    case("prompt rewritten", {**CHAT, "chosen": _say("a", "b", "c")},
         "prompt not a prefix after templating", "at character", column="chosen", good=CHAT,
         tokenizer="forgetful"),
    whole("no chat template", "pairs.jsonl", jsonl(CHAT), "with a chat template"),
]  # fmt: skip

TOKENS = [
    case("answer too long", changed(chosen=" word" * 50), "answer too long", "max_answer = 12",
         "--truncate-answers", column="chosen", options={"max_answer": 12}, tokenizer="words"),
    case("equal after truncation", changed(chosen=" one two three", rejected=" one two four"),
         "chosen equals rejected after truncation", "same 2 tokens", column="rejected",
         options={"max_answer": 2, "truncate_answers": True}, tokenizer="words"),
    case("equal after tokenisation", changed(chosen="zyx", rejected="xyz"),
         "chosen equals rejected after tokenisation", "both alike", column="rejected",
         tokenizer="words"),
    case("longer than the context", changed(prompt="the " * 40), "longer than the context",
         "context of 30 tokens", "--max-prompt", options={"context": 30}, tokenizer="words"),
    case("outside the vocabulary", changed(prompt="Zürich €"), "token outside the vocabulary",
         "below the model's vocabulary", column="prompt", options={"vocab_size": 128},
         tokenizer="characters"),
]  # fmt: skip

FILES = [
    whole("empty file", "pairs.jsonl", b"", "is empty"),
    whole("blank file", "pairs.jsonl", b"\n\n", "is empty"),
    whole("empty list", "pairs.json", b"[]", "is empty"),
    whole("cut gzip", "pairs.jsonl.gz", gzip.compress(jsonl(*[GOOD] * 2000), mtime=0)[:-30],
          "gzip"),
    whole("spoilt gzip", "pairs.jsonl.gz", gzip.compress(jsonl(GOOD), mtime=0)[:12] + b"spoilt",
          "gzip"),
    whole("root is an object", "pairs.json", json.dumps(GOOD).encode(), "JSON list",
          "--format jsonl"),
    whole("broken list", "pairs.json", b'[{"prompt": "a", "chosen"]', "line 1", "broken"),
    whole("cut list", "pairs.json", json.dumps([GOOD, GOOD_TOO]).encode()[:-1], "end of the file"),
    whole("list without comma", "pairs.json", b'[{"a": 1}\n{"b": 2}]', "line 2", "','"),
    whole("text after the list", "pairs.json", b"[" + json.dumps(GOOD).encode() + b"] more",
          "nothing after"),
    BadCase(name="number in a list", file="pairs.json",
            content=json.dumps([GOOD, 7, GOOD_TOO]).encode(), reason="wrong type",
            words=("row 1", "got 7")),
    BadCase(name="invalid UTF-8 in a list", file="pairs.json",
            content=json.dumps([GOOD, changed(chosen="X")]).encode().replace(b"X", b"\xff"),
            reason="invalid UTF-8", words=("row 1", "UTF-8")),
    BadCase(name="list in a .jsonl file", file="pairs.jsonl",
            content=json.dumps([GOOD]).encode(), reason="wrong type",
            words=("--format json",), row=0),
    whole("no header", "pairs.csv", b"Where?,Here.,Nowhere.\n", "line 1", "add a header line"),
    whole("header twice", "pairs.csv", b"prompt,chosen,chosen\na,b,c\n", "distinct name"),
    whole("open quote", "pairs.csv", CSV + b'a,"b,c\n', "broken CSV", "quot"),
    BadCase(name="too many cells", file="pairs.csv", content=CSV + b"a,b,c,d\n",
            reason="wrong number of columns", words=("line 3", "expected 3 cells", "got 4")),
    BadCase(name="too few cells", file="pairs.csv", content=CSV + b"a,b\n",
            reason="wrong number of columns", words=("line 3", "got 2")),
    BadCase(name="invalid UTF-8 in CSV", file="pairs.csv", content=CSV + b"a,b\xff,c\n",
            reason="invalid UTF-8", words=("line 3", "UTF-8"), column="chosen"),
    BadCase(name="NaN in CSV", file="pairs.csv",
            content=b"prompt,chosen,rejected,weight\na,b,c,1\nd,e,f,nan\n",
            reason="not a finite number", words=("line 3", "'nan'"), column="weight"),
    BadCase(name="empty weight in CSV", file="pairs.csv",
            content=b"prompt,chosen,rejected,weight\na,b,c,1\nd,e,f,\n",
            reason="null value", words=("line 3", "expected a number"), column="weight"),
    whole("not Parquet", "pairs.parquet", b"PAR1 or not", "Parquet"),
    whole("unknown ending", "pairs.xlsx", b"?", ".jsonl", "--format"),
    whole("every row bad", "pairs.jsonl", jsonl(changed(chosen=""), changed(chosen=""))),
]  # fmt: skip

BAD_CASES = [*FIELDS, *NUMBERS, *FORMATS, *CONVERSATIONS, *TOKENS, *FILES]
