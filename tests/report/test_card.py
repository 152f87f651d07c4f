"""The model card: what the record says, what it does not, and no text of it as markup."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt

from collimate import report
from collimate._bibliography import bibliography
from collimate._checks import BadRun
from collimate.report._exports.limits import NOT_JUDGED, limits
from collimate.report._exports.markdown import code, text
from tests.report.example_run import evaluation, make_old_run, make_run, run_fields

EXAMPLE = run_fields("example", 60)


def card(folder: Path, **changes: Any) -> str:
    return report.model_card(report.load(make_run(folder / "run", **{"steps": 60, **changes})))


def front_matter(found: str) -> dict[str, Any]:
    return yaml.safe_load(found.split("---\n")[1])


def sections(found: str) -> dict[str, str]:
    parts = re.split(r"(?m)^## (.*)$", found)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def limits_of(folder: Path, **changes: Any) -> str:
    record = report.load(make_run(folder / "run", **{"steps": 60, **changes}))
    return " | ".join(limits(record))


def data(**changes: Any) -> dict[str, Any]:
    train, held = (EXAMPLE["data"][name] for name in ("train", "evaluation"))
    return {"train": {**train, **changes}, "evaluation": {**held, "hash": "another"}}


def test_the_card_says_what_was_done(tmp_path: Path) -> None:
    found = card(tmp_path)
    assert list(sections(found)) == [
        *("Method", "Data", "Held-out figures", "Training", "Limits", "Citation")
    ]
    for part, words in {
        "Method": (
            *("`offline_pairs`", "`reverse_kl`", "`log_ratio_gap`", "`logistic`", "`fixed(0.1)`"),
            *("`-log(s(0.1·(u_w - u_l)))`", "`rafailov:23 eq. 7`"),
        ),
        "Data": (
            "`harmless_train.jsonl.gz`",
            "6,412 rows, 6,400 used",
            "`sha256:6f1d0c7be2a94b0d`",
        ),
        "Held-out figures": (
            "| reward accuracy | 0.50 [0.47, 0.53] | 0.63 [0.60, 0.66] |",
            "| likelihood accuracy | 0.52 [0.49, 0.55] | 0.57 [0.54, 0.60] |",
            "| pairs | 1,000 | 1,000 |",
        ),
        "Training": (
            *("`learning_rate`: `5e-05`", "`seed`: `0`", "60 steps", "a CPU (2 threads)"),
            *("`torch` `2.13.0`", "all 8,392,704 parameters were trained"),
        ),
    }.items():
        for word in words:
            assert word in sections(found)[part], word


def test_a_card_names_no_place_on_anybodys_disk(tmp_path: Path) -> None:
    places = {name: f"/home/somebody/{name}" for name in ("model", "data", "evaluation", "cache")}
    config = {**EXAMPLE["config"], **places, "reference": "/home/somebody/ref"}
    model = {**EXAMPLE["model"], "path": "/home/somebody/base/"}
    found = card(tmp_path, config=config, model=model, data=data(file="C:\\Users\\me\\a.jsonl"))
    assert "somebody" not in found
    assert "Users" not in found
    assert "`base`" in found
    assert "`a.jsonl`" in found


def test_the_front_matter_is_what_the_hub_reads(tmp_path: Path) -> None:
    model = {**EXAMPLE["model"], "path": "hub:owner/base-1.5"}
    config = {**EXAMPLE["config"], "lora_rank": 8}
    found = card(tmp_path, model=model, config=config, data=data(file="hub:owner/pairs:train"))
    known = front_matter(found)
    assert known == {
        "library_name": "peft",
        "pipeline_tag": "text-generation",
        "base_model": "owner/base-1.5",
        "datasets": ["owner/pairs"],
        "tags": ["collimate", "alignment", "dpo"],
    }
    assert ModelCard(found).data.to_dict() == known
    plain = front_matter(card(tmp_path))
    assert plain["library_name"] == "transformers"
    assert not {"base_model", "datasets"} & set(plain)


def test_every_known_source_is_cited_once_and_no_other(tmp_path: Path) -> None:
    method = {
        **EXAMPLE["method"],
        "source": "rafailov:23 eq. 7; nobody:99",
        "sources": ["rafailov:23", "azar:24", "nobody:99"],
    }
    found = sections(card(tmp_path, method=method))["Citation"]
    assert re.findall(r"(?m)^@\w+\{([^,]+),", found) == ["rafailov:23", "azar:24"]
    assert bibliography()["azar:24"] in found
    assert "Citation" not in sections(
        card(tmp_path, method={**method, "source": "", "sources": []})
    )


LIMITS: dict[str, tuple[dict[str, Any], str]] = {
    "still going": ({"status": "running"}, "The run is not finished (running)"),
    "no evaluation": (
        {"evaluation": {"before": None, "after": None}},
        "There is no held-out evaluation after training",
    ),
    "chance": (
        {"evaluation": {"before": None, "after": evaluation(0.9, 0.51, 1, 0)}},
        "cannot be told from the 0.5 of chance",
    ),
    "evaluated on its training data": (
        {"data": {"train": EXAMPLE["data"]["train"], "evaluation": EXAMPLE["data"]["train"]}},
        "The held-out data are the training data",
    ),
    "cut prompts": ({"data": data(prompts_truncated=1)}, "1 training prompt lost its beginning"),
    "cut answers": ({"data": data(answers_truncated=4)}, "4 training answers lost their end"),
    "ties": ({"data": data(ties=3)}, "3 training rows are ties"),
    "contradictions": ({"data": data(contradictions=1)}, "1 training row prefers the other way"),
    "repeated rows": ({"data": data(duplicates=7)}, "7 training rows repeat an earlier one"),
    "left out": ({"data": data(skipped={"empty answer": 2})}, "2 training rows were left out"),
    "length": ({"data": data(chosen_longer=0.8)}, "In 80.0 % of the training pairs the chosen"),
    "skipped steps": (
        {"metrics": [{"step": 1, "loss": 1.0, "skipped_steps": 2}]},
        "2 steps were skipped",
    ),
    "chosen fell": ({}, "The chosen answers became less probable too (by 3.1 nats"),
    "wrong way": (
        {"evaluation": {"before": None, "after": evaluation(0.5, 0.5, -5, -1)}},
        "training went the wrong way",
    ),
    "quantised": (
        {"model": {**EXAMPLE["model"], "quantization": "nf4"}},
        "The base model was quantised to nf4",
    ),
}


@pytest.mark.parametrize("name", sorted(LIMITS))
def test_each_limit_is_said_where_it_is_one(name: str, tmp_path: Path) -> None:
    clean = dict.fromkeys(
        ("prompts_truncated", "answers_truncated", "ties", "contradictions", "duplicates"), 0
    )
    nothing = {**clean, "skipped": {}, "chosen_longer": 0.5}
    facts = {name: {**EXAMPLE["data"][name], **nothing} for name in ("train", "evaluation")}
    facts["evaluation"]["hash"] = "another"
    best = {"before": evaluation(0.5, 0.5, 0, 0), "after": evaluation(0.9, 0.9, 2, -2)}
    assert limits_of(tmp_path / "clean", data=facts, evaluation=best) == NOT_JUDGED
    changes, sentence = LIMITS[name]
    assert sentence in limits_of(tmp_path, **changes)


def test_what_was_not_judged_is_in_every_card(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"schema_version": 1, "status": "running"}')
    found = report.model_card(report.load(tmp_path))
    assert text(NOT_JUDGED) in found
    assert front_matter(found)["tags"] == ["collimate", "alignment"]
    assert text(NOT_JUDGED) in report.model_card(report.load(make_old_run(tmp_path / "old")))


# Texts as they are


def paragraph(markdown: str) -> str:
    """What a reader sees of some Markdown, when it is one paragraph without markup."""
    tokens = MarkdownIt("commonmark").parse(markdown)
    assert [t.type for t in tokens] == ["paragraph_open", "inline", "paragraph_close"], markdown
    children = tokens[1].children or []
    assert {child.type for child in children} <= {"text", "text_special"}, markdown
    return "".join(child.content for child in children)


@pytest.mark.parametrize(
    "value",
    [
        *("a *b* _c_ **d**", "[x](http://e.org)", "<b>x</b>", "![x](y)", "`x`", "a\\", "a\\*b"),
        *("# x", "- x", "+ x", "> x", "* x", "1) x", "1. x", "| a | b |", "a ~~b~~", "&lt;", "$x$"),
        *("---", "===", "http://e.org", "www.e.org", "a@b.org", "@someone", ":smile: x", "x: 0.5."),
        *("```", "~~~", "[x]: http://e.org", "<http://e.org>", "a_b-c 'd' \"e\"", "end."),
    ],
)
def test_a_text_is_read_as_it_stands(value: str) -> None:
    assert paragraph(text(value)) == value
    shown = MarkdownIt("commonmark").render(f"- {code(value)}")
    assert shown.count("<code>") == 1
    assert not re.search(r"<(?!/?(ul|li|code)>)", shown)


def test_lines_and_controls_are_taken_out() -> None:
    assert text("a\n\n# b\x1b[2J\u202ec\u2028d") == r"a \# b \[2J c d"
    assert code("a\n```\nb") == "```` a ``` b ````"


# Where it is written


def test_the_card_lies_beside_the_model_or_where_asked(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", steps=60)
    with pytest.raises(BadRun, match=r"has no model folder for the card: name a file with --out"):
        report.write_card(folder)
    (folder / "model").mkdir()
    assert report.write_card(folder) == folder / "model" / "README.md"
    assert report.write_card(folder, tmp_path / "card.md").read_text("utf-8") == (
        folder / "model" / "README.md"
    ).read_text("utf-8")


def test_a_card_is_not_written_through_a_link_out_of_the_run(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", steps=60)
    (tmp_path / "elsewhere").mkdir()
    (folder / "model").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BadRun, match="is a link out of the run folder"):
        report.write_card(folder)
    assert not list((tmp_path / "elsewhere").iterdir())
