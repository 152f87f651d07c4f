"""Makes the made-up rows beside this script, 200 of each format: `python tests/rows/make.py`.

All content is invented here, from a small grammar and a seed; the files are the same on every run
(Parquet as far as pyarrow's version writes the same bytes).
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROWS = 200

ASKED = (
    "Where does the {animal} sleep?",
    "How many {things} does the {animal} own?",
    "Which colour is the {animal}'s door?",
    "Why did the {animal} sell its {things}?",
)
PLACES = ("in the mill", "under the bridge", "behind the bakery", "on the old pier", "in the café")
ANIMALS = ("otter", "heron", "badger", "hedgehog", "owl", "fox", "mole")
THINGS = ("lanterns", "umbrellas", "kites", "teapots", "boats")
COLOURS = ("green", "blue", "ochre", "grey", "scarlet")
REASONS = ("it needed room", "winter was near", "nobody used them", "the river rose")
DULL = ("I cannot say.", "No idea!", "Ask somebody else.", "That is a boring question.")
FOLLOW = ("Are you sure?", "Since when?", "Who told you?", "Thanks. And the neighbour?")


def question(rng: random.Random) -> tuple[str, str, str]:
    """(question, good answer, poor answer)."""
    kind = rng.randrange(len(ASKED))
    animal, things = rng.choice(ANIMALS), rng.choice(THINGS)
    good = (
        f"The {animal} sleeps {rng.choice(PLACES)}.",
        f"It owns {rng.randint(2, 99)} {things}.",
        f"The door is {rng.choice(COLOURS)} — freshly painted.",
        f"Because {rng.choice(REASONS)}.",
    )[kind]
    return ASKED[kind].format(animal=animal, things=things), good, rng.choice(DULL)


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def explicit_text(rng: random.Random) -> dict[str, Any]:
    asked, good, poor = question(rng)
    return {"prompt": f"\n\nHuman: {asked}\n\nAssistant:", "chosen": good, "rejected": poor}


def implicit_text(rng: random.Random) -> dict[str, Any]:
    row = explicit_text(rng)
    return {key: f"{row['prompt']} {row[key]}" for key in ("chosen", "rejected")}


def explicit_conversation(rng: random.Random) -> dict[str, Any]:
    asked, good, poor = question(rng)
    system = [{"role": "system", "content": "Answer briefly."}] if rng.random() < 0.3 else []
    return {
        "prompt": [*system, user(asked)],
        "chosen": [assistant(good)],
        "rejected": [assistant(poor)],
    }


def implicit_conversation(rng: random.Random) -> dict[str, Any]:
    """One to three turns; in some rows the two answers go on for several turns of their own."""
    asked, good, poor = question(rng)
    shared = [user(asked)]
    if rng.random() < 0.4:
        again, better, _ = question(rng)
        shared = [user(again), assistant(better), user(asked)]
    chosen, rejected = [*shared, assistant(good)], [*shared, assistant(poor)]
    if rng.random() < 0.4:
        chosen += [user(rng.choice(FOLLOW)), assistant(f"Yes: {good.lower()}")]
        rejected += [user(rng.choice(FOLLOW)), assistant(rng.choice(DULL))]
    return {"chosen": chosen, "rejected": rejected}


def with_numbers(rng: random.Random) -> dict[str, Any]:
    """A text row with a weight, a margin and a column that is no number."""
    row = explicit_text(rng)
    return {
        **row,
        "weight": rng.choice((0.5, 1.0, 2.0)),
        "margin": round(rng.uniform(0, 3), 2),
        "rater": rng.choice(("ada", "bo", "cy")),
    }


def thumb(rng: random.Random) -> dict[str, Any]:
    asked, good, poor = question(rng)
    label = rng.random() < 0.6
    return {
        "prompt": f"\n\nHuman: {asked}\n\nAssistant:",
        "completion": good if label else poor,
        "label": label,
    }


def ranked_list(rng: random.Random) -> dict[str, Any]:
    asked, good, poor = question(rng)
    return {
        "prompt": f"\n\nHuman: {asked}\n\nAssistant:",
        "responses": [good, "Perhaps.", poor],
        "scores": [2.0, 1.0, 0.0],
    }


def rows(make: Any, seed: int) -> list[dict[str, Any]]:
    """Distinct rows of one format."""
    rng, found = random.Random(seed), {}
    while len(found) < ROWS:
        row = make(rng)
        found.setdefault(json.dumps(row), row)
    return list(found.values())


def lines(values: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in values).encode()


def comma_separated(values: list[dict[str, Any]]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(values[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(values)
    return text.getvalue().encode()


def main() -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    numbers = rows(with_numbers, 5)
    files = {
        "explicit_text.jsonl": lines(rows(explicit_text, 1)),
        "implicit_text.jsonl": lines(rows(implicit_text, 2)),
        "explicit_conversation.jsonl": lines(rows(explicit_conversation, 3)),
        "implicit_conversation.jsonl": lines(rows(implicit_conversation, 4)),
        "numbers.csv": comma_separated(numbers),
        "numbers.json": (json.dumps(numbers, ensure_ascii=False, indent=1) + "\n").encode(),
        "numbers.jsonl.gz": gzip.compress(lines(numbers), mtime=0),
        "thumbs.jsonl": lines(rows(thumb, 6)),
        "lists.jsonl": lines(rows(ranked_list, 7)),
    }
    for name, content in files.items():
        (HERE / name).write_bytes(content)
    pq.write_table(pa.Table.from_pylist(numbers), HERE / "numbers.parquet", compression="zstd")


if __name__ == "__main__":
    main()
