"""Code that comes with a model runs on request only, and none of ours is there to run text."""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from transformers.integrations import hub_kernels

import collimate
from collimate._checks import BadModel
from collimate.data.bad_rows import BadRow
from collimate.engine.load import add_lora, load_model
from collimate.engine.shape import empty_model
from collimate.engine.tokenizer import load_tokenizer
from collimate.jobs._examples import load_examples

pytestmark = pytest.mark.slow

SOURCE = Path(collimate.__file__).parent


def change(path: Path, **fields: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def plant(folder: Path, mark: Path) -> None:
    """Code beside the model, and configs that name it."""
    code = f"import os\nos.path.exists({str(mark)!r}) or os.mkdir({str(mark)!r})\n"
    (folder / "code.py").write_text(f"{code}class Model: pass\n")
    names = ("AutoConfig", "AutoModelForCausalLM")
    change(
        folder / "config.json",
        model_type="unheard",
        auto_map=dict.fromkeys(names, "code.Model"),
    )
    change(
        folder / "tokenizer_config.json",
        tokenizer_class="Model",
        auto_map={"AutoTokenizer": ["code.Model", "code.Model"]},
    )


LOADS: dict[str, Callable[..., object]] = {
    "model": load_model,
    "shape": empty_model,
    "tokenizer": lambda folder, **named: load_tokenizer(None, folder, **named),
}


@pytest.mark.parametrize("load", LOADS.values(), ids=LOADS)
def test_code_in_a_folder_runs_on_request_only(
    load: Callable[..., object], folder: Path, mark: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(folder, mark)
    with suppress(BadModel):  # a tokenizer of a known kind loads without the code beside it
        load(folder)
    assert not mark.exists()
    modules = folder.parent / "modules"
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(modules))
    monkeypatch.setattr(sys, "path", [*sys.path])
    with suppress(BadModel):
        load(folder, trust_remote_code=True)
    assert mark.exists(), "the payload would run, else this test would show nothing"


@pytest.mark.parametrize("load", [load_model, empty_model])
@pytest.mark.parametrize("named", ["kernels-community/any", "who/ever:attend", "flash_attention_2"])
def test_a_config_does_not_fetch_attention_code(
    named: str, load: Callable[..., object], folder: Path, mark: Path, monkeypatch: Any
) -> None:
    """Where the package kernels is installed, transformers would download and run it."""
    monkeypatch.setattr(hub_kernels, "is_kernels_available", lambda: True)
    monkeypatch.setattr(hub_kernels, "get_kernel", lambda *_, **__: mark.mkdir())
    change(folder / "config.json", attn_implementation=named)
    with pytest.raises(BadModel, match=rf"attention code '{named}'.*--trust-remote-code"):
        load(folder)
    assert not mark.exists()


@pytest.mark.parametrize("named", ["eager", "sdpa"])
def test_attention_that_transformers_brings_is_taken(named: str, folder: Path) -> None:
    change(folder / "config.json", attn_implementation=named)
    assert load_model(folder).config._attn_implementation == named


def test_an_adapter_does_not_name_a_module_to_import(
    folder: Path, tmp_path: Path, mark: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = tmp_path / "adapter"
    add_lora(load_model(folder), rank=2).save_pretrained(adapter)
    (adapter / "evil.py").write_text(f"import os\nos.mkdir({str(mark)!r})\n")
    monkeypatch.syspath_prepend(adapter)
    change(adapter / "adapter_config.json", megatron_config={"a": 1}, megatron_core="evil")
    with pytest.raises(BadModel, match="cannot load the adapter"):
        load_model(adapter)
    assert not mark.exists()


def test_an_adapter_on_an_adapter_is_refused(folder: Path, tmp_path: Path) -> None:
    """Itself, most of all: its base would be looked for without end."""
    adapter = tmp_path / "adapter"
    add_lora(load_model(folder), rank=2).save_pretrained(adapter)
    change(adapter / "adapter_config.json", base_model_name_or_path=str(adapter))
    with pytest.raises(BadModel, match="which is an adapter itself"):
        load_model(adapter)
    with pytest.raises(BadModel, match="which is an adapter itself"):
        empty_model(adapter)


ESCAPES = (
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ cycler.__init__.__globals__.os.mkdir(mark) }}",
    "{{ self.__init__.__globals__.__builtins__.open(mark, 'w') }}",
    "{% for m in messages %}{{ m.content.format.__globals__ }}{% endfor %}",
)


@pytest.mark.parametrize("template", ESCAPES)
def test_a_chat_template_stays_in_its_sandbox(template: str, folder: Path, mark: Path) -> None:
    tokenizer = load_tokenizer(None, folder)
    tokenizer.chat_template = template.replace("mark", repr(str(mark)))
    turn = {"role": "user", "content": "w1"}
    row = {
        "prompt": [turn],
        "chosen": [{"role": "assistant", "content": "w2"}],
        "rejected": [{"role": "assistant", "content": "w3"}],
    }
    given = {"max_prompt": None, "max_answer": None, "truncate_answers": False, "limit": None}
    with pytest.raises(BadRow, match=r"chat template|at least one token"):
        load_examples([row], tokenizer, load_model(folder), on_bad_row="stop", **given)
    assert not mark.exists()


# Our own source


PICKLERS = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
NAMES = {"eval", "exec", "compile", "__import__"}
ATTRIBUTES = {
    ("torch", "load"), ("np", "load"), ("numpy", "load"), ("yaml", "load"), ("os", "system"),
    ("os", "popen"), ("pd", "read_pickle"),
}  # fmt: skip
ALONE = {"exec_module", "import_module", "Markup"}
WHERE = {  # who may, and for what
    "exec_module": {"cli/_method.py"},  # the user's own file, named with --method FILE.py:NAME
    "import_module": {"__init__.py", "cli/main.py", "cli/_values.py"},  # names of our own modules
    "Markup": {"report/_write.py"},  # our own style and scripts, and JSON made safe
}


def _our_own(tree: ast.Module) -> set[str]:
    """Names that the module takes from Collimate: `logic.compile` is not the builtin."""
    return {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "collimate"
        for alias in node.names
    }


def _refuses_pickles(call: ast.Call) -> bool:
    """np.load(..., allow_pickle=False), written out."""
    return isinstance(call.func, ast.Attribute) and (
        getattr(call.func.value, "id", "") in ("np", "numpy")
        and any(
            keyword.arg == "allow_pickle" and getattr(keyword.value, "value", None) is False
            for keyword in call.keywords
        )
    )


def dangers(source: str) -> set[str]:
    """Names in the source that read pickles, run text, or pass escaping by."""
    found: set[str] = set()
    tree = ast.parse(source)
    ours = _our_own(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names} & {*PICKLERS, "subprocess"}
        elif isinstance(node, ast.ImportFrom):
            found |= {(node.module or "").split(".")[0]} & {*PICKLERS, "subprocess"}
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            found |= {node.func.id} & (NAMES | ALONE) - ours
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = node.func.value.id if isinstance(node.func.value, ast.Name) else ""
            if (owner, node.func.attr) in ATTRIBUTES and not _refuses_pickles(node):
                found.add(f"{owner}.{node.func.attr}")
            found |= {node.func.attr} & ALONE
        elif isinstance(node, ast.keyword) and getattr(node.value, "value", None) is True:
            found |= {node.arg or ""} & {"trust_remote_code", "allow_pickle", "shell"}
    return found


@pytest.mark.parametrize(
    ("code", "danger"),
    [
        ("import pickle", "pickle"),
        ("from joblib import load", "joblib"),
        ("import subprocess as s", "subprocess"),
        ("torch.load(path, weights_only=True)", "torch.load"),
        ("np.load(path)", "np.load"),
        ("np.load(path, allow_pickle=asked)", "np.load"),
        ("torch.load(path, allow_pickle=False)", "torch.load"),
        ("yaml.load(text)", "yaml.load"),
        ("eval(text)", "eval"),
        ("exec(text)", "exec"),
        ("from re import compile\ncompile(text, name, 'exec')", "compile"),
        ("__import__(name)", "__import__"),
        ("importlib.import_module(name)", "import_module"),
        ("load(name, trust_remote_code=True)", "trust_remote_code"),
        ("f(allow_pickle=True)", "allow_pickle"),
        ("Markup(text)", "Markup"),
    ],
)
def test_the_scan_finds_what_it_is_to_find(code: str, danger: str) -> None:
    assert dangers(code) == {danger}


@pytest.mark.parametrize(
    "code",
    [
        "model.eval()",
        "f(trust_remote_code=False)",
        "json.load(file)",
        "np.load(path, allow_pickle=False)",
        "from collimate.logic.compiler import compile\ncompile(structure)",
    ],
)
def test_the_scan_lets_honest_code_be(code: str) -> None:
    assert dangers(code) == set()


def test_our_source_has_none() -> None:
    found = {
        (danger, path.relative_to(SOURCE).as_posix())
        for path in SOURCE.rglob("*.py")
        for danger in dangers(path.read_text(encoding="utf-8"))
    }
    assert {pair for pair in found if pair[1] not in WHERE.get(pair[0], ())} == set()
    assert found, "the exceptions are there, so the scan has read the files"
