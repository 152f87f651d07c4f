"""Bad input, one row per clause of the data rules and per flag of the command line.

Each row makes its files in an empty folder and gives the arguments; `tests/cli/test_bad_input.py`
asserts exit code 2, the words of the message, one screen without a traceback, and that the folder
is afterwards what it was before.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cli.tiny import FORGETFUL, pairs, save_tiny, write_rows
from tests.data.bad_rows import ASK, BAD_CASES, CHAT, GOOD, BadCase, changed


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a row works: its own empty folder, and what the session made to read.

    folder: current directory of the command. tiny: see `tests/cli/conftest.py`. finished: a run.
    """

    folder: Path
    tiny: Path
    finished: Path

    def write(self, name: str, content: str | bytes) -> str:
        """A file in the folder."""
        raw = content.encode() if isinstance(content, str) else content
        (self.folder / name).write_bytes(raw)
        return name

    def rows(self, *rows: Any) -> str:
        """pairs.jsonl: a good row, these, a good row."""
        write_rows(self.folder / "pairs.jsonl", [GOOD, *rows, pairs(1)[0]])
        return "pairs.jsonl"

    def thumbs(self, *prompts: str) -> str:
        """thumbs.jsonl: a wanted answer to each prompt."""
        rows = [
            {"prompt": p, "completion": f"{p} {i}", "label": True} for i, p in enumerate(prompts)
        ]
        return str(write_rows(self.folder / "thumbs.jsonl", rows))

    def copy(self, source: Path, name: str) -> Path:
        """A copy of a model or run folder, to be spoilt."""
        return Path(shutil.copytree(source, self.folder / name))

    def train(self, *more: Any, model: Any = None, data: Any = None, out: Any = "run") -> list[Any]:
        """`collimate train` with these flags, all else good."""
        return [
            "train",
            *("--model", model or self.tiny / "model"),
            *("--data", data or self.tiny / "pairs.jsonl"),
            *("--out", out, "--max-steps", 3, "--batch-size", 4, "--no-progress"),
            *more,
        ]

    def frontier(self, *more: Any, out: Any = "sweep") -> list[Any]:
        """`collimate frontier` of one setting and one seed with these flags, all else good."""
        return [
            *("frontier", self.tiny / "model", self.tiny / "pairs.jsonl", "--out", out),
            *("--evaluation", self.tiny / "held_out.jsonl", "--beta", 0.1, "--seeds", 0),
            *("--max-steps", 3, "--batch-size", 4, "--no-progress"),
            *more,
        ]

    def unfinished(self) -> Path:
        """The finished run as if it had been killed after its second step."""
        run = self.copy(self.finished, "run")
        shutil.rmtree(run / "checkpoints" / "step-00000003")
        record = json.loads((run / "run.json").read_text())
        (run / "run.json").write_text(json.dumps({**record, "status": "running"}))
        return run


@dataclass(frozen=True, kw_only=True)
class Bad:
    """A row: its name, the arguments (made together with the files they name), and the message."""

    name: str
    argv: Callable[[Place], list[Any]]
    words: tuple[str, ...]


def bad(name: str, argv: Callable[[Place], list[Any]], *words: str) -> Bad:
    return Bad(name=name, argv=argv, words=words)


def row(name: str, value: Any, *words: str, flags: tuple[Any, ...] = ()) -> Bad:
    """A bad second line of pairs.jsonl."""
    return bad(
        name,
        lambda place: place.train(*flags, data=place.rows(value)),
        "pairs.jsonl, line 2 (row 1)",
        "--on-bad-row skip",
        *words,
    )


def case(found: BadCase) -> Bad:
    """A file of the data rules' table."""
    return bad(
        found.name,
        lambda place: place.train(data=place.write(found.file, found.content)),
        *found.words,
        *(() if found.reason is None else ("--on-bad-row skip",)),
    )


def flag(name: str, *flags: Any, words: tuple[str, ...]) -> Bad:
    """A bad value of a flag of `train`."""
    return bad(name, lambda place: place.train(*flags), *words)


def _spoilt(what: str, content: bytes | None) -> Callable[[Place], list[Any]]:
    """Train on a copy of the model one of whose files is replaced, or removed."""

    def argv(place: Place) -> list[Any]:
        model = place.copy(place.tiny / "model", "model")
        (model / what).unlink() if content is None else (model / what).write_bytes(content)
        return place.train(model="model")

    return argv


def _own(code: str, name: str = "loss") -> Callable[[Place], list[Any]]:
    return lambda place: place.train("--method", f"{place.write('own.py', code)}:{name}")


def _config(text: str) -> Callable[[Place], list[Any]]:
    return lambda place: place.train("--config", place.write("run.toml", text))


def _with_template(place: Place, template: str, value: Any) -> list[Any]:
    save_tiny(place.folder / "chat", chat_template=template)
    good = write_rows(place.folder / "pairs.jsonl", [CHAT, value])
    return place.train(model="chat", data=good)


def _resumed(*flags: Any, **more: Any) -> Callable[[Place], list[Any]]:
    def argv(place: Place) -> list[Any]:
        place.unfinished()
        return place.train("--checkpoint-every", 1, "--resume", *flags, **more)

    return argv


def _torn(place: Place) -> list[Any]:
    run = place.unfinished()
    (run / "checkpoints" / "step-00000002" / "model.safetensors").write_bytes(b"torn")
    return place.train("--checkpoint-every", 1, "--resume")


def _full_folder(place: Place) -> list[Any]:
    (place.folder / "run").mkdir()
    place.write("run/notes.txt", "mine")
    return place.train()


def _spoilt_record(content: bytes | None) -> Callable[[Place], list[Any]]:
    def argv(place: Place) -> list[Any]:
        run = place.copy(place.finished, "run")
        (run / "run.json").unlink() if content is None else (run / "run.json").write_bytes(content)
        return ["report", "run"]

    return argv


def _score(*flags: Any) -> Callable[[Place], list[Any]]:
    return lambda place: [
        "score", "--model", place.tiny / "model", "--data", place.tiny / "pairs.jsonl",
        "--no-progress", *flags,
    ]  # fmt: skip


DATA = [
    *(case(found) for found in BAD_CASES if found.tokenizer == "plain" and not found.options),
    row("equal after truncation", changed(chosen=" aaab", rejected=" aaac"),
        "after truncation", "--max-answer", flags=("--max-answer", 4, "--truncate-answers")),
    row("prompt and answer too long", changed(prompt="long " * 40), "context of 160 tokens",
        "--max-prompt"),
    row("answer too long", changed(chosen=" word" * 12), "max_answer = 40", "got 61",
        "--truncate-answers", flags=("--max-answer", 40)),
    bad("prompt not a prefix after templating",
        lambda place: _with_template(place, FORGETFUL, {**CHAT, "chosen": [
            {"role": "assistant", "content": "a"}, *ASK, {"role": "assistant", "content": "b"}]}),
        "line 2 (row 1)", "begin with the templated prompt"),
    bad("refused by the template",
        lambda place: _with_template(
            place, "{{ raise_exception('no clowns') }}", {**CHAT, "prompt": ASK}),
        "no clowns"),
    bad("ids out of vocabulary",
        lambda place: place.train(model=_small_vocabulary(place), data=place.rows()),
        "below the model's vocabulary of 50"),
    bad("tokenizer without an end",
        lambda place: place.train("--tokenizer", _endless(place), model=_endless(place)),
        "end-of-sequence token"),
    bad("missing file", lambda place: place.train(data="nowhere.jsonl"), "nowhere.jsonl",
        "expected a file"),
    bad("folder for a file", lambda place: place.train(data=place.tiny), "got a folder"),
    bad("all rows bad, skipped",
        lambda place: place.train("--on-bad-row", "skip", data=str(write_rows(
            place.folder / "pairs.jsonl", [changed(chosen="")] * 3))),
        "at least one good row", "empty answer 3"),
    bad("bad evaluation file",
        lambda place: place.train("--evaluation", place.rows(changed(chosen=""))),
        "pairs.jsonl, line 2", "field 'chosen'"),
]  # fmt: skip


def _small_vocabulary(place: Place) -> str:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig.from_pretrained(place.tiny / "model", vocab_size=50)
    LlamaForCausalLM(config).save_pretrained(place.folder / "small")
    for path in (place.tiny / "model").glob("tokenizer*"):
        shutil.copy(path, place.folder / "small")
    return "small"


def _endless(place: Place) -> str:
    """The model without any end-of-sequence token, in its tokenizer or its configs."""
    model = place.folder / "endless"
    if model.exists():
        return "endless"
    place.copy(place.tiny / "model", "endless")
    for name, keys in {
        "config.json": ("eos_token_id", "pad_token_id"),
        "generation_config.json": ("eos_token_id", "pad_token_id"),
        "tokenizer_config.json": ("eos_token", "pad_token"),
    }.items():
        content = json.loads((model / name).read_text())
        for key in keys:
            content.pop(key, None)
        (model / name).write_text(json.dumps(content))
    return "endless"


SETTINGS = [
    flag("epochs 0", "--epochs", 0, words=("epochs", "above 0", "got 0")),
    flag("epochs infinite", "--epochs", "inf", words=("epochs", "finite")),
    flag("max steps 0", "--max-steps", 0, words=("max_steps", "at least 1")),
    flag("batch size 0", "--batch-size", 0, words=("batch_size", "at least 1", "got 0")),
    flag("batch size a word", "--batch-size", "many", words=("--batch-size", "many")),
    flag("limit -1", "--limit", -1, words=("limit", "at least 1")),
    flag("unknown optimizer", "--optimizer", "adam_8bit",
         words=("optimizer", "did you mean 'adamw_8bit'?")),
    flag("8-bit moments in shards", "--optimizer", "adamw_8bit", "--parallel", "fsdp2",
         words=("fsdp2", "adamw_8bit", "use ddp")),
    flag("learning rate negative", "--learning-rate", -1e-5, words=("learning_rate", "above 0")),
    flag("learning rate NaN", "--learning-rate", "nan", words=("learning_rate", "finite", "nan")),
    flag("unknown schedule", "--schedule", "cosin", words=("schedule", "did you mean 'cosine'?")),
    flag("warmup 1.5", "--warmup", 1.5, words=("warmup", "[0.0, 1.0)", "got 1.5")),
    flag("weight decay negative", "--weight-decay", -0.1, words=("weight_decay", "got -0.1")),
    flag("gradient norm 0", "--max-gradient-norm", 0, words=("max_gradient_norm", "above 0")),
    flag("skipped steps negative", "--max-skipped-steps", -1,
         words=("max_skipped_steps", "at least 0", "got -1")),
    flag("unknown precision", "--precision", "fp16", words=("precision", "fp32, bf16")),
    flag("unknown device", "--device", "gpu", words=("device", "auto, cuda, mps, cpu")),
    flag("LoRA rank 0", "--lora-rank", 0, words=("lora_rank", "at least 1")),
    flag("LoRA alpha without a rank", "--lora-alpha", 4, words=("lora_alpha needs lora_rank",)),
    flag("unknown quantisation", "--lora-rank", 2, "--quantize", "nf3",
         words=("--quantize", "nf4", "'nf3'")),
    flag("quantisation without an adapter", "--quantize", "nf4", words=("give lora_rank",)),
    flag("quantisation in shards", "--lora-rank", 2, "--quantize", "nf4", "--parallel", "fsdp2",
         words=("fsdp2", "nf4", "use ddp")),
    flag("evaluation of nothing", "--evaluate-every", 1, words=("held-out data", "evaluation")),
    flag("unknown format", "--format", "xml", words=("jsonl", "parquet", "'xml'")),
    flag("LoRA alpha NaN", "--lora-rank", 2, "--lora-alpha", "nan", words=("alpha", "nan")),
    flag("max prompt 0", "--max-prompt", 0, words=("max_prompt", "at least 1")),
    flag("max answer 0", "--max-answer", 0, words=("max_answer", "at least 1")),
    flag("truncation to nothing", "--truncate-answers", words=("truncate_answers", "max_answer")),
    flag("unknown treatment of bad rows", "--on-bad-row", "ignore", words=("stop, skip",)),
    flag("seed negative", "--seed", -1, words=("seed", "at least 0")),
    flag("log every 0", "--log-every", 0, words=("log_every", "at least 1")),
    flag("evaluate every 0", "--evaluate-every", 0, words=("evaluate_every", "at least 1")),
    flag("checkpoint every 0", "--checkpoint-every", 0, words=("checkpoint_every",)),
    flag("keep 0", "--keep", 0, words=("keep", "at least 1", "got 0")),
    flag("samples negative", "--samples", -1, words=("samples", "at least 0")),
    flag("recorded pairs negative", "--recorded-pairs", -1, words=("recorded_pairs", "at least 0")),
    flag("tokens 0", "--tokens-per-micro-batch", 0, words=("tokens_per_micro_batch",)),
    flag("unknown parallel", "--parallel", "fsdp", words=("parallel", "did you mean 'fsdp2'?")),
    flag("no DeepSpeed config", "--deepspeed", "nowhere.json", words=("nowhere.json",)),
    flag("memory budget 0", "--memory-budget", 0, words=("memory_budget", "above 0")),
    flag("memory budget too small", "--memory-budget", 0.001, words=("0.001 GB", "lora_rank")),
    flag("recomputing with a value", "--activation-checkpointing=3",
         words=("--activation-checkpointing",)),
    flag("unknown tracker", "--trackers", "wandbb", words=("wandbb",)),
    flag("tracker without its package", "--trackers", "wandb", words=("pip install wandb",)),
    flag("dropout with a value", "--dropout=3", words=("--dropout",)),
    flag("no such flag", "--leraning-rate", 1, words=("did you mean '--learning-rate'?",)),
    flag("progress with a value", "--progress=maybe", words=("--progress",)),
    flag("report with a value", "--report=maybe", words=("--report",)),
    flag("remote code with a value", "--trust-remote-code=1", words=("--trust-remote-code",)),
    bad("cache that is a file",
        lambda place: place.train("--cache", place.write("cache", "?")), "cache"),
    flag("cache bound negative", "--cache-gb", -1, words=("cache_gb", "[0.0, inf)", "got -1")),
    flag("cache bound a word", "--cache-gb", "all", words=("--cache-gb", "a number", "'all'")),
]  # fmt: skip

METHODS = [
    flag("unknown method", "--method", "dpoo", words=("'dpoo'", "did you mean 'dpo'?", "ipo")),
    flag("unknown parameter", "--param", "bta=1", words=("'bta'", "did you mean 'beta'?")),
    flag("beta 0", "--beta", 0, words=("beta", "above 0", "got 0")),
    flag("beta negative", "--beta", -1, words=("beta", "above 0", "got -1")),
    flag("beta NaN", "--beta", "nan", words=("beta", "finite", "nan")),
    flag("beta a word", "--beta", "small", words=("beta", "number", "'small'")),
    flag("beta twice", "--beta", 1, "--param", "beta=2", words=("keep one",)),
    flag("parameter without a value", "--param", "beta", words=("NAME=VALUE", "'beta'")),
    flag("label smoothing 0.7", "--method", "cdpo", "--param", "label_smoothing=0.7",
         words=("label_smoothing", "0.7")),
    bad("thumbs for a method of pairs", lambda place: place.train(data=place.thumbs("a", "b")),
        "look like thumbs", "kto, bco"),
    bad("lists for kto", lambda place: place.train("--method", "kto", data=str(write_rows(
        place.folder / "a.jsonl", [{"prompt": "a", "completions": ["b", "c"], "scores": [1, 0]}]))),
        "those of lists (plackett_luce"),
    bad("one prompt for kto", lambda place: place.train("--method", "kto",
        data=place.thumbs("a", "a")), "all rows have the same prompt"),
    bad("one label for a list", lambda place: place.train("--method", "plackett_luce", data=str(
        write_rows(place.folder / "a.jsonl", [{"prompt": "a", "ranking": "b"}]))),
        "a list with one answer or more"),
    bad("equal scores for a ranking", lambda place: place.train("--method", "plackett_luce",
        data=str(write_rows(place.folder / "a.jsonl",
        [{"prompt": "a", "completions": ["b", "c"], "scores": [i % 9, 1]} for i in range(2, 12)]))),
        "row 8", "two are equal"),
    flag("pairs without gold for tpo", "--method", "tpo", words=("a column 'gold'",)),
    bad("check for an unknown method", lambda place: ["check", place.tiny / "pairs.jsonl",
        "--method", "dpoo"], "unknown method 'dpoo'", "did you mean 'dpo'?"),
    bad("check with a parameter of no method", lambda place: ["check", place.tiny / "pairs.jsonl",
        "--beta", 0.1], "--beta and --param are a method's"),
    bad("check with a wrong parameter", lambda place: ["check", place.tiny / "pairs.jsonl",
        "--method", "dpo", "--param", "gamma=1"], "gamma"),
    bad("check for a method that other rows are for", lambda place: ["check",
        place.thumbs("a", "b"), "--method", "dpo"], "look like thumbs", "kto, bco"),
    bad("check for a method whose column is missing", lambda place: ["check",
        place.tiny / "pairs.jsonl", "--method", "odpo"], "'margin'"),
    bad("check with one prompt for kto", lambda place: ["check", place.thumbs("a", "a"),
        "--method", "kto"], "all rows have the same prompt"),
    bad("weights for sorted gaps", lambda place: place.train("--method", "aot", data=str(write_rows(
        place.folder / "a.jsonl", [{**row, "weight": i + 1} for i, row in enumerate(pairs(4))]))),
        "expected equal weights, got 1 to 4", "leave out the column 'weight'"),
    flag("lora for a reference that moves", "--method", "tr_dpo", "--lora-rank", 2,
         words=("needs all of its weights trained", "use dpo")),
    flag("weight below 0 for kto", "--method", "kto", "--param", "lam_D=-1", words=("lam_D",)),
    flag("unknown divergence", "--method", "f_dpo", "--param", "divergence=jensen",
         words=("unknown divergence 'jensen'", "jensen_shannon")),
    flag("divergence without its number", "--method", "f_dpo", "--param", "divergence=alpha",
         words=("alpha(a)",)),
    flag("divergence with two numbers", "--method", "f_dpo", "--param", "divergence=alpha(1,2)",
         words=("alpha(1,2)", "too many")),
    flag("divergence that is code", "--method", "f_dpo", "--param",
         "divergence=__import__('os').system('true')", words=("must be a name",)),
    flag("illegal composition", "--method", "f_dpo", "--param", "divergence=alpha(-0.5)",
         words=("f'(0+)", "use reverse_kl")),
    flag("method file missing", "--method", "nowhere.py:f", words=("no method file nowhere.py",)),
    bad("method file without a name",
        lambda place: place.train("--method", place.write("own.py", "x = 1\n")), "FILE.py:NAME"),
    bad("method not in the file", _own("def lose(view): return 0\n"), "no 'loss'",
        "did you mean 'lose'?"),
    bad("method not callable", _own("loss = 3\n"), "must be a function", "got int"),
    bad("syntax error in the file", _own("def loss(view)\n    return 1\n"), "own.py, line 1",
        "def loss(view)"),
    bad("file that fails", _own("import nothing_of_the_kind\n"), "nothing_of_the_kind", "line 1"),
    bad("mean instead of values", _own("def loss(view): return view.policy_chosen.mean()\n"),
        "one value per pair", "leave the mean to the engine"),
    bad("method that fails", _own("def loss(view):\n    return 1 / 0\n"), "ZeroDivisionError",
        "line 2: return 1 / 0"),
    bad("method with a misspelling", _own("def loss(view):\n    return view.policy_chosn\n"),
        "AttributeError", "policy_chosn", "line 2"),
    bad("method that reads a column the data lack",
        _own("def loss(view): return view.policy_chosen * view.columns['margin']\n"),
        "fails on the rows of", "KeyError: 'margin'", "own.py, line 1", "none"),
    bad("method that reads a column held-out data lack",
        lambda place: place.train(
            "--method", _own("def loss(view): return view.columns['x'] - view.policy_chosen\n")
            (place)[-1],
            "--evaluation", place.tiny / "held_out.jsonl",
            data=write_rows(place.folder / "pairs.jsonl", [{**GOOD, "x": 1.0}] * 2)),
        "fails on the rows of", "held_out.jsonl", "KeyError: 'x'"),
    bad("method of no pairs", _own("def loss(): return 3\n"), "must return a Method", "got int"),
]  # fmt: skip

PLACES = [
    bad("nothing given", lambda place: ["train"], "--model, --data, --out"),
    bad("model folder missing", lambda place: place.train(model="nowhere"), "no model folder",
        "hub:owner/name"),
    bad("model without weights", _spoilt("model.safetensors", None), "cannot load", "'model'"),
    bad("corrupt weights", _spoilt("model.safetensors", b"\x08" + b"\0" * 20), "cannot load"),
    bad("corrupt config", _spoilt("config.json", b"{"), "cannot load", "'model'"),
    bad("corrupt tokenizer", _spoilt("tokenizer.json", b"{"), "cannot load a tokenizer"),
    bad("no tokenizer", lambda place: place.train(
        "--tokenizer", place.copy(place.tiny / "model", "t").rename(place.folder / "u")
        .joinpath("nowhere")), "nowhere"),
    bad("reference missing", lambda place: place.train("--reference", "nowhere"),
        "no model folder"),
    bad("folder not empty", _full_folder, "not an empty folder"),
    bad("out is a file", lambda place: place.train(out=place.write("run", "?")),
        "not an empty folder"),
    bad("out below a file",
        lambda place: place.train(out=f"{place.write('file', '?')}/run"), "file/run"),
    bad("run already there",
        lambda place: place.train(out=place.copy(place.finished, "run")), "already holds a run",
        "--resume"),
    bad("resume of nothing", lambda place: place.train("--resume"), "holds no run"),
    bad("resume of a finished run",
        lambda place: place.train("--resume", out=place.copy(place.finished, "run")),
        "is finished", "another folder"),
    bad("resume with another seed", _resumed("--seed", 7), "belongs to another run"),
    bad("resume with another method", _resumed("--beta", 0.7), "belongs to another run"),
    bad("resume with a torn checkpoint", _torn, "damaged", "the one before"),
    bad("config missing", lambda place: place.train("--config", "no.toml"), "no.toml"),
    bad("config with an unknown key", _config("batchsize = 2\n"), "run.toml", "'batchsize'",
        "did you mean 'batch_size'?"),
    bad("config with dashes", _config("batch-size = 2\n"), "underscores"),
    bad("config with a wrong type", _config('batch_size = "2"\n'), "run.toml, key 'batch_size'",
        "whole number", "'2'"),
    bad("config with a fraction", _config("keep = 1.5\n"), "'keep'", "whole number"),
    bad("config with a number for a flag", _config("dropout = 1\n"), "true or false"),
    bad("config that is no TOML", _config("batch_size: 2\n"), "run.toml", "line 1"),
    bad("config with an unknown parameter", _config('[method]\nname = "dpo"\ntemp = 2\n'),
        "method 'dpo' has no parameter 'temp'"),
    bad("config without a method name", _config("[method]\nbeta = 2\n"), "name ="),
    bad("config with an unknown choice", _config('device = "gpu"\n'), "run.toml, key 'device'",
        "one of auto, cuda, mps, cpu", "'gpu'"),
    bad("config with a bad value", _config("warmup = 2.0\n"), "warmup", "got 2.0"),
]  # fmt: skip

LOSS = "def loss(view): return view.policy_chosen - view.policy_rejected\n"
OBJECTIVE = """
from collimate import Objective, methods
from collimate.compose import Part

part = Part(source=methods.dpo().distribution, method=methods.dpo())
both = Objective(name="both", parts=(part, part))
"""
UNREADABLE = """
from dataclasses import replace
from collimate import losses, methods

mine = replace(methods.dpo(), loss=replace(losses.hinge, formula="max(0; z)"))
"""

OTHERS = [
    bad("no such command", lambda place: ["trian"], "did you mean 'train'?"),
    bad("report on no run", lambda place: ["report", place.tiny], "no run.json"),
    bad("report on nothing", lambda place: ["report", "nowhere"], "not a folder"),
    bad("corrupt record", _spoilt_record(b'{"schema_version": 1,'), "must be JSON"),
    bad("record of the future", _spoilt_record(b'{"schema_version": 99}'), "schema_version", "99"),
    bad("record lost", _spoilt_record(None), "no run.json"),
    bad("report without a run", lambda place: ["report"], "RUN"),
    bad("report of a run that is missing", lambda place: ["report", place.finished, "nowhere"],
        "nowhere is not a folder"),
    bad("report of one run twice", lambda place: ["report", place.finished, place.finished],
        "are the same run: name it once"),
    bad("board of nothing", lambda place: ["board", "nowhere"], "nowhere is not a folder"),
    bad("board without a folder", lambda place: ["board"], "RUNS"),
    bad("board of a run", lambda place: ["board", place.finished], "is a run itself",
        "collimate board"),
    bad("board on no port", lambda place: ["board", ".", "--port", 99999], "port", "65535"),
    bad("board on a word", lambda place: ["board", ".", "--port", "web"], "--port", "integer"),
    bad("board on another machine", lambda place: ["board", ".", "--host", "192.0.2.7"],
        "cannot listen on host 192.0.2.7", "address of this machine"),
    bad("board by a name", lambda place: ["board", ".", "--host", "board.example"],
        "host must be an address in numbers or localhost", "'board.example'"),
    bad("board with a short token", lambda place: ["board", ".", "--token", "1234"],
        "token must be 16 or more", "leave it out"),
    bad("export of nothing", lambda place: ["export", place.folder, "--out", "x"],
        "holds no model"),
    bad("export over a folder",
        lambda place: ["export", "model", place.finished, "--out", _full_folder(place) and "run"],
        "not an empty folder"),
    bad("export merge without an adapter",
        lambda place: ["export", "model", place.finished, "--out", "x", "--merge"],
        "no adapter to merge"),
    bad("export without a word", lambda place: ["export"], "collimate export --help"),
    bad("export metrics of nothing",
        lambda place: ["export", "metrics", place.folder, "--out", "m.csv"], "no run.json"),
    bad("export metrics as a sheet",
        lambda place: ["export", "metrics", place.finished, "--out", "m.xlsx"],
        ".csv or a .parquet", "m.xlsx"),
    bad("export metrics into nowhere",
        lambda place: ["export", "metrics", place.finished, "--out", "a/m.csv"], "does not exist"),
    bad("export figures of nothing",
        lambda place: ["export", "figures", "nowhere", "--out", "x"], "nowhere is not a folder"),
    bad("export figures as a photograph",
        lambda place: ["export", "figures", place.finished, "--out", "x", "--format", "jpg"],
        "'svg', 'png'", "'jpg'"),
    bad("export figures over a file",
        lambda place: ["export", "figures", place.finished, "--out", place.write("f", "mine")],
        "a folder, but f is a file"),
    bad("export card of nothing", lambda place: ["export", "card", place.folder], "no run.json"),
    bad("export card into nowhere",
        lambda place: ["export", "card", place.finished, "--out", "a/card.md"], "does not exist"),
    bad("cache without a word", lambda place: ["cache"], "collimate cache --help"),
    bad("cache with another word", lambda place: ["cache", "lst"], "lst",
        "collimate cache --help"),
    *(
        bad(f"cache {word} in a folder that is not there",
            lambda _, w=word: ["cache", w, "--cache", "nowhere"], "no such folder", "nowhere")
        for word in ("ls", "gc", "verify")
    ),
    bad("cache gc in a file",
        lambda place: ["cache", "gc", "--cache", place.write("file", "mine")], "no such folder"),
    bad("cache gc to a negative size", lambda place: ["cache", "gc", "--max-gb", -1], "--max-gb",
        "[0.0, inf)", "got -1"),
    bad("cache gc to no number", lambda place: ["cache", "gc", "--max-gb", "nan"], "--max-gb",
        "nan"),
    bad("cache gc to a word", lambda place: ["cache", "gc", "--max-gb", "half"], "--max-gb",
        "half"),
    bad("explain unknown", lambda place: ["explain", "dpoo"], "did you mean 'dpo'?"),
    bad("explain without a name", lambda place: ["explain"], "NAME"),
    bad("explain with beta 0", lambda place: ["explain", "ipo", "--beta", 0], "beta", "above 0"),
    bad("explain with beta twice",
        lambda place: ["explain", "ipo", "--beta", 1, "--param", "beta=2"], "keep one"),
    bad("explain with an unknown parameter",
        lambda place: ["explain", "ipo", "--param", "bta=1"], "'bta'", "did you mean 'beta'?"),
    bad("explain a plain function",
        lambda place: ["explain", f"{place.write('own.py', LOSS)}:loss"],
        "'loss'", "not made of five choices", "its own code"),
    bad("explain an objective",
        lambda place: ["explain", f"{place.write('own.py', OBJECTIVE)}:both"],
        "'both'", "not made of five choices", "each part's method"),
    bad("explain a formula that is none",
        lambda place: ["explain", f"{place.write('own.py', UNREADABLE)}:mine"],
        "cannot read the formula 'max(0; z)'", "calls such as log(x)"),
    bad("cite unknown", lambda place: ["cite", "dpoo"], "did you mean 'dpo'?"),
    bad("score without a model", lambda place: ["score", "--data", "x"], "--model"),
    bad("score over a file",
        lambda place: _score("--out", place.write("s.jsonl", "mine"))(place), "--force"),
    bad("score into nowhere", _score("--out", "a/b/s.jsonl"), "does not exist"),
    bad("score over a file of bad rows",
        lambda place: _score("--out", "s.jsonl")(place)
        + place.write("s.bad_rows.jsonl", "mine")[:0].split(),
        "s.bad_rows.jsonl", "--force"),
    bad("score with an unknown format", _score("--format", "xml"), "jsonl", "'xml'"),
    bad("check with an unknown format",
        lambda place: ["check", place.rows(), "--format", "xml"], "jsonl", "'xml'"),
    bad("score with an unknown device", _score("--device", "gpu"), "auto, cuda, mps, cpu"),
    bad("score with an unknown quantisation", _score("--quantize", "int3"), "nf4", "'int3'"),
    bad("score with limit 0", _score("--limit", 0), "limit", "at least 1"),
    bad("score against nothing", _score("--reference", "nowhere", "--out", "s.jsonl"), "nowhere"),
    bad("score with a config of another command",
        lambda place: _score("--config", place.write("s.toml", "batch_size = 2\n"))(place),
        "s.toml", "unknown key 'batch_size'"),
    bad("score with a config of a wrong type",
        lambda place: _score("--config", place.write("s.toml", 'limit = "2"\n'))(place),
        "s.toml, key 'limit'", "whole number"),
    bad("check with a broken config",
        lambda place: ["check", place.rows(), "--config", place.write("c.toml", "limit: 2")],
        "c.toml", "TOML"),
    bad("score of a bad row",
        lambda place: _score("--data", place.rows(changed(chosen="")), "--out", "s.jsonl")(place),
        "line 2"),
    bad("check of nothing", lambda place: ["check", "nowhere.jsonl"], "nowhere.jsonl"),
    bad("check with tokens but no model",
        lambda place: ["check", place.rows(), "--max-prompt", 3], "--model"),
    bad("check with a model that is none",
        lambda place: ["check", place.rows(), "--model", place.folder], "tokenizer"),
    bad("check with epochs 0", lambda place: ["check", place.rows(), "--epochs", 0], "epochs"),
    bad("check with a corrupt config",
        lambda place: ["check", place.rows(), "--model",
                       _spoilt("config.json", b"{")(place)[2]], "cannot"),
]  # fmt: skip


def _check(*flags: Any) -> Callable[[Place], list[Any]]:
    return lambda place: ["check", place.rows(), "--model", place.tiny / "model", *flags]


FLAGS = [
    *(
        bad(f"{command} {flag} with a value",
            lambda _, c=command, f=flag: [*c.split(), f"{f}=3"], flag)
        for command, flags in {
            "train": ("--json",),
            "score": ("--force", "--tokens", "--truncate-answers", "--trust-remote-code",
                      "--progress"),
            "check": ("--truncate-answers", "--trust-remote-code", "--json"),
            "cache ls": ("--json",),
            "cache gc": ("--dry-run", "--json"),
            "cache verify": ("--delete", "--json"),
            "report": ("--json",),
            "board": ("--open",),
            "methods": ("--json", "--wide"),
            "explain": ("--json",),
            "cite": ("--json",),
            "export model": ("--merge", "--json"),
            "export metrics": ("--json",),
            "export figures": ("--json",),
            "export card": ("--json",),
            "demo": ("--progress", "--json"),
        }.items()
        for flag in flags
    ),
    bad("score by another engine", _score("--engine", "rya"), "local, ray", "did you mean 'ray'?"),
    bad("score on Ray to nowhere", _score("--engine", "ray"), "--out", "--fill-cache"),
    bad("score on Ray with no worker", _score("--engine", "ray", "--out", "s.jsonl", "--workers", 0),
        "workers", "at least 1"),
    bad("score on Ray through a client",
        _score("--engine", "ray", "--out", "s.jsonl", "--ray-address", "ray://a:1"), "host:port"),
    bad("score on Ray over a file", lambda place: _score(
        "--engine", "ray", "--out", place.write("s.jsonl", "mine"))(place), "--force"),
    bad("score on Ray with training's settings", lambda place: [
        *_score("--engine", "ray", "--out", "s.jsonl")(place), "--config",
        place.write("s.toml", "seed = 1\n")], "unknown key 'seed'"),
    bad("score at an address without Ray", _score("--ray-address", "a:1"), "--engine ray"),
    bad("score with workers without Ray", _score("--workers", 2), "--engine ray"),
    bad("score with workers that are no number", _score("--workers", "two"), "--workers", "two"),
    bad("score with a cache not to fill", _score("--cache", "c"), "--fill-cache"),
    bad("score that fills the cache with two models", lambda place: _score(
        "--fill-cache", "--cache", "c", "--reference", place.tiny / "other")(place), "one model"),
    bad("score that fills the cache token by token", _score("--fill-cache", "--tokens"), "--out"),
    bad("score without data", lambda place: ["score", "--model", place.tiny / "model"], "--data"),
    bad("score without a tokenizer", _score("--tokenizer", "nowhere"), "nowhere"),
    bad("score with max prompt 0", _score("--max-prompt", 0), "max_prompt", "at least 1"),
    bad("score with max answer 0", _score("--max-answer", 0), "max_answer", "at least 1"),
    bad("score with another treatment", _score("--on-bad-row", "ignore"), "--on-bad-row", "skip"),
    bad("score with an unknown precision", _score("--precision", "fp8"), "fp32, bf16"),
    bad("score with tokens 0", _score("--tokens-per-micro-batch", 0), "tokens_per_micro_batch"),
    bad("check without a tokenizer", _check("--tokenizer", "nowhere"), "nowhere"),
    bad("check with max prompt 0", _check("--max-prompt", 0), "max_prompt", "at least 1"),
    bad("check with max answer 0", _check("--max-answer", 0), "max_answer", "at least 1"),
    bad("check with limit 0", _check("--limit", 0), "limit", "at least 1"),
    bad("check with batch size 0", _check("--batch-size", 0), "batch_size", "at least 1"),
    bad("check with LoRA rank 0", _check("--lora-rank", 0), "lora_rank", "at least 1"),
    bad("check with an unknown optimizer", _check("--optimizer", "adam_8bit"), "adamw_8bit"),
    bad("check of quantisation without an adapter", _check("--quantize", "nf4"), "give lora_rank"),
    bad("check recomputing with a value", _check("--activation-checkpointing=3"),
        "--activation-checkpointing"),
    bad("check with tokens 0", _check("--tokens-per-micro-batch", 0), "tokens_per_micro_batch"),
    bad("report into nowhere",
        lambda place: ["report", place.finished, "--out", "a/b/page.html"], "a/b"),
    bad("demo over a file",
        lambda place: ["demo", "--out", place.write("demo", "mine"), "--no-progress"], "demo"),
]  # fmt: skip


def _swept(found: Bad) -> Bad:
    """A row of train's settings as one of a sweep's."""

    def argv(place: Place) -> list[Any]:
        train = found.argv(place)
        return [*place.frontier(*train[train.index("--no-progress") + 1 :])]

    return bad(f"frontier: {found.name}", argv, *found.words)


def sweep(name: str, *flags: Any, words: tuple[str, ...]) -> Bad:
    """A bad value of a flag of `frontier`."""
    return bad(f"frontier: {name}", lambda place: place.frontier(*flags), *words)


def _full_sweep(place: Place) -> list[Any]:
    (place.folder / "sweep").mkdir()
    place.write("sweep/notes.txt", "mine")
    return place.frontier()


def _spoilt_sweep(content: str, *flags: Any) -> Callable[[Place], list[Any]]:
    def argv(place: Place) -> list[Any]:
        (place.folder / "sweep").mkdir()
        place.write("sweep/frontier.json", content)
        return place.frontier(*flags)

    return argv


NO_SWEEP = {"seed negative", "evaluation of nothing", "no such flag", "memory budget too small"}
SWEEPS = [
    *(_swept(found) for found in SETTINGS if found.name not in NO_SWEEP),
    sweep("one seed", "--seed", 1, words=("did you mean '--seeds'?",)),
    sweep("unknown method", "--methods", "dpo,ipoo", words=("'ipoo'", "did you mean 'ipo'?")),
    sweep("no method", "--methods", "", words=("--methods must be a list",)),
    sweep("a method between two commas", "--methods", "dpo,,ipo", words=("--methods", "list")),
    sweep("a method twice", "--methods", "dpo,dpo", words=("each method once",)),
    sweep("a method file that is not there", "--methods", "no.py:loss", words=("no.py",)),
    sweep("beta a word", "--beta", "0.1,small", words=("--beta must be a number", "'small'")),
    sweep("beta 0", "--beta", "0.1,0", words=("beta", "above 0", "got 0")),
    sweep("beta twice", "--beta", "0.1,0.1", words=("beta must hold each value once",)),
    sweep("no beta", "--beta", "", words=("--beta must be a list",)),
    sweep("seeds twice", "--seeds", "0,1,0", words=("seeds must hold each value once",)),
    sweep("seed a fraction", "--seeds", "0.5", words=("--seeds must be a whole number", "'0.5'")),
    sweep("seeds negative", "--seeds", "0,-1", words=("seeds must be whole numbers",)),
    sweep("unknown objective", "--objectives", "reward_acuracy,cost",
          words=("unknown objective", "did you mean 'reward_accuracy'?")),
    sweep("one objective", "--objectives", "cost", words=("two to 5 objectives", "got cost")),
    sweep("an objective's direction", "--objectives", "cost:up,kl", words=("NAME:max", "'cost:up'")),
    sweep("kl without samples", "--objectives", "reward_accuracy,kl", words=("--kl-samples",)),
    bad("frontier: objectives without held-out data", lambda place: [
        "frontier", place.tiny / "model", place.tiny / "pairs.jsonl", "--out", "sweep"],
        "reward_accuracy", "held-out data", "--evaluation"),
    sweep("held-out data that are not there", "--evaluation", "nowhere.jsonl",
          words=("nowhere.jsonl",)),
    sweep("worst of no objective", "--worst", "cost=1", words=("'cost'", "no objective")),
    sweep("worst a word", "--worst", "mean_log_ratio=low", words=("must be a number", "'low'")),
    sweep("worst without a name", "--worst", "1", words=("--worst must be NAME=NUMBER",)),
    sweep("unknown sampler", "--sampler", "nsga", words=("sampler", "did you mean 'nsga2'?")),
    sweep("a range without ends", "--sampler", "random", words=("give its two ends",)),
    sweep("no trial", "--trials", 0, words=("trials", "at least 1", "got 0")),
    sweep("trials a word", "--trials", "many", words=("--trials must be a whole number",)),
    sweep("fewer samples than none", "--kl-samples", -1, words=("kl_samples", "at least 0")),
    sweep("samples of a quantised policy", "--kl-samples", 2, "--lora-rank", 2, "--quantize", "nf4",
          words=("kl_samples of a quantised policy",)),
    sweep("a reference that is none", "--reference", "nowhere", words=("nowhere",)),
    sweep("a tokenizer that is none", "--tokenizer", "nowhere", words=("nowhere",)),
    sweep("json with a value", "--json=3", words=("--json",)),
    sweep("a config that is not there", "--config", "no.toml", words=("no.toml",)),
    bad("frontier: a config with a seed",
        lambda place: place.frontier("--config", place.write("s.toml", "seed = 1\n")),
        "s.toml", "unknown key 'seed'"),
    bad("frontier: a model that is none",
        lambda place: ["frontier", "nowhere", *place.frontier()[2:]], "nowhere"),
    bad("frontier: without data", lambda place: ["frontier", place.tiny / "model"], "DATA"),
    bad("frontier: without a folder", lambda place: [
        "frontier", place.tiny / "model", place.tiny / "pairs.jsonl"], "--out"),
    bad("frontier: over a folder", _full_sweep, "not an empty folder"),
    bad("frontier: over a sweep", _spoilt_sweep("{}"), "already holds a sweep", "--resume"),
    sweep("resume of nothing", "--resume", words=("holds no sweep",)),
    bad("frontier: resume of a damaged sweep", _spoilt_sweep("{", "--resume"), "frontier.json"),
    bad("frontier: resume of another version's", _spoilt_sweep('{"schema_version": 2}', "--resume"),
        "schema_version 1"),
]  # fmt: skip

BAD_INPUT = [*DATA, *SETTINGS, *METHODS, *PLACES, *OTHERS, *FLAGS, *SWEEPS]
