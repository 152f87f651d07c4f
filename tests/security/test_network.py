"""No telemetry, and no network that nobody asked for."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from collimate._checks import BadModel
from collimate.engine.load import add_lora, load_model
from collimate.engine.shape import empty_model
from collimate.engine.tokenizer import load_tokenizer
from tests.cli.tiny import pairs, save_tiny, write_rows
from tests.equivalence.runs import saved

# Names resolved, internet sockets made or used: by Python's own account, written down at the end.
WATCH = """
import atexit, json, os, sys
seen = []
def hook(event, given):
    if event == "socket.__new__" and given[1] in (2, 10):
        seen.append([event, given[1]])
    elif event.startswith(("socket.getaddrinfo", "socket.gethostby", "socket.send")):
        seen.append([event, str(given)])
    elif event in ("socket.connect", "socket.bind") and isinstance(given[1], tuple):
        seen.append([event, str(given[1])])
sys.addaudithook(hook)
atexit.register(lambda: open(os.environ["SEEN"], "w").write(json.dumps(seen)))
"""
MAIN = """
from collimate.cli.main import main
sys.exit(max(main(command) for command in json.loads(sys.argv[1])))
"""
# A demo that learns less, by the same code.
SHORT = """
from collimate.jobs import demo
demo.PAIRS, whole = 1000, demo.pretrain
demo.pretrain = lambda *given, **named: whole(*given, **{**named, "steps": 60})
"""


def watched(code: str, *argv: object, folder: Path) -> tuple[list[object], str]:
    """What a process of its own, allowed to go online, did with sockets: by Python, and by the kernel.

    The second is what strace saw of internet addresses, where it is there and may trace.
    """
    offline = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    environment = {k: v for k, v in os.environ.items() if k not in offline}
    environment |= {"SEEN": str(folder / "seen"), "COLLIMATE_CACHE": str(folder / "cache")}
    trace = folder / "trace"
    done = subprocess.run(
        [*_tracer(trace), sys.executable, "-c", code, *map(str, argv)],
        cwd=folder, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = trace.read_text().splitlines() if trace.exists() else []
    return json.loads((folder / "seen").read_text()), "\n".join(x for x in lines if "AF_INET" in x)


def _tracer(trace: Path) -> list[str]:
    if not shutil.which("strace"):
        return []
    for quick in (["--seccomp-bpf"], []):  # the first, where it is known, stops at these calls only
        strace = ["strace", "-f", *quick, "-qq", "-e", "trace=socket,connect,sendto,bind", "-o"]
        if subprocess.run([*strace, os.devnull, "true"], stderr=subprocess.DEVNULL).returncode == 0:
            return [*strace, str(trace)]
    return []


def test_the_watch_sees_a_socket(tmp_path: Path) -> None:
    code = WATCH + (
        "import socket\n"
        "with socket.socket() as s: s.connect_ex(('127.0.0.1', 9))\n"
        "socket.getaddrinfo('localhost', 80)\n"
    )
    seen, traced = watched(code, folder=tmp_path)
    assert [event for event, _ in seen][:2] == ["socket.__new__", "socket.connect"]  # type: ignore[misc]
    assert "socket.getaddrinfo" in str(seen)
    assert "AF_INET" in traced or not _tracer(tmp_path / "none")


@pytest.mark.slow
def test_train_export_score_and_check_open_no_socket(tmp_path: Path) -> None:
    save_tiny(tmp_path / "model")
    write_rows(tmp_path / "pairs.jsonl", pairs(12))
    train = ["train", "--model", "model", "--data", "pairs.jsonl", "--out", "run"]
    train += ["--max-steps", "3", "--batch-size", "4", "--lora-rank", "2", "--no-progress"]
    commands = [
        train,
        ["export", "run", "--out", "merged", "--merge"],
        ["score", "--model", "model", "--data", "pairs.jsonl", "--out", "scores.jsonl"],
        ["check", "pairs.jsonl", "--model", "model"],
    ]
    assert watched(WATCH + MAIN, json.dumps(commands), folder=tmp_path) == ([], "")
    for name in ("run/report.html", "merged/config.json", "scores.jsonl"):
        assert (tmp_path / name).exists()


@pytest.mark.slow
def test_a_sweep_opens_no_socket(tmp_path: Path) -> None:
    """Optuna has storages and dashboards that would."""
    save_tiny(tmp_path / "model")
    write_rows(tmp_path / "pairs.jsonl", pairs(12))
    command = ["frontier", "model", "pairs.jsonl", "--out", "sweep", "--evaluation", "pairs.jsonl"]
    command += ["--beta", "0.1,1", "--seeds", "0", "--max-steps", "1", "--no-progress"]
    command += ["--sampler", "nsga2", "--objectives", "reward_accuracy,kl", "--kl-samples", "2"]
    assert watched(WATCH + MAIN, json.dumps([command]), folder=tmp_path) == ([], "")
    assert (tmp_path / "sweep" / "frontier.html").exists()


@pytest.mark.slow
def test_the_demo_opens_no_socket(tmp_path: Path) -> None:
    commands = [["demo", "--out", "demo", "--no-progress"]]
    assert watched(WATCH + SHORT + MAIN, json.dumps(commands), folder=tmp_path) == ([], "")
    assert (tmp_path / "demo" / "report.html").exists()


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a user's machine: an attempt to go online then fails the test (see conftest.py)."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.delenv("TRANSFORMERS_OFFLINE")


@pytest.mark.usefixtures("online")
def test_a_name_with_hub_would_go_online() -> None:
    """Else what follows would show nothing."""
    with pytest.raises(pytest.fail.Exception, match="over the network"):
        load_model("hub:nobody/nothing")


@pytest.mark.usefixtures("online")
@pytest.mark.parametrize("name", ["nobody/nothing", "gpt2", "../nothing", "https://example.org/x"])
def test_what_an_adapter_names_is_not_looked_for_online(name: str, tmp_path: Path) -> None:
    adapter = tmp_path / "adapter"
    add_lora(load_model(saved(tmp_path / "model")), rank=2).save_pretrained(adapter)
    config = json.loads((adapter / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = name
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    for load in (load_model, empty_model):
        with pytest.raises(BadModel, match=f"belongs to the model '{name}', which is not there"):
            load(adapter)


@pytest.mark.usefixtures("online")
def test_a_folder_is_loaded_without_the_network(tmp_path: Path) -> None:
    folder = saved(tmp_path / "model")
    for path in (folder / "generation_config.json", folder / "tokenizer_config.json"):
        path.unlink()  # what is not there is not looked for elsewhere
    load_model(folder)
    empty_model(folder)
    load_tokenizer(None, folder)


@pytest.mark.parametrize(("given", "disabled"), [(None, "True"), ("0", "False"), ("1", "True")])
def test_telemetry_of_libraries_is_off_unless_the_user_says_otherwise(
    given: str | None, disabled: str
) -> None:
    name = "HF_HUB_DISABLE_TELEMETRY"
    environment = {key: value for key, value in os.environ.items() if key != name}
    if given is not None:
        environment[name] = given
    code = f"import collimate.engine, huggingface_hub.constants as c; print(c.{name})"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == disabled
