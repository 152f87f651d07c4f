"""The house rules: what the repository promises about itself."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "collimate"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def tracked() -> list[Path]:
    """Files of the repository, ignored ones left out."""
    git = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(git, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [path for name in names.splitlines() if (path := ROOT / name).is_file()]


def public_modules() -> list[Path]:
    return sorted(
        path
        for path in SOURCE.rglob("*.py")
        if not any(part.startswith("_") for part in path.relative_to(SOURCE).with_suffix("").parts)
        or path.name == "__init__.py"
    )


def requirements() -> list[str]:
    project = PROJECT["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    lines = [line for group in groups for line in group]
    names = [re.split(r"[\[<>=!~; ]", line)[0].lower() for line in lines]
    return sorted({name for name in names if name != "collimate"})


def test_a_preset_is_a_file_of_at_most_sixty_lines() -> None:
    files = sorted((SOURCE / "methods" / "preference").glob("[a-z]*.py"))
    lengths = {path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    assert len(lengths) > 50
    assert {name: lines for name, lines in lengths.items() if lines > 60} == {}


@pytest.mark.parametrize("name", ["common.py", "trl_dpo.py"])
def test_the_other_side_of_the_benchmark_is_as_it_was_given(
    name: str, shared_data: Callable[[str], Path]
) -> None:
    given = shared_data("INDEX.md").parents[1] / "tools" / "trl_baseline" / name
    assert (ROOT / "benchmarks" / "trl_side" / name).read_bytes() == given.read_bytes()


def test_the_benchmark_has_help_and_says_what_it_needs() -> None:
    script = [sys.executable, str(ROOT / "benchmarks" / "dpo_vs_trl.py")]
    helped = subprocess.run([*script, "--help"], capture_output=True, text=True)
    assert helped.returncode == 0
    assert "--shape {bigvocab,body,small}" in helped.stdout
    refused = subprocess.run(script, capture_output=True, text=True, env={})
    assert refused.returncode == 1
    assert "TRL_PYTHON is not set" in refused.stderr


@pytest.mark.parametrize("requirement", requirements())
def test_every_dependency_is_pinned_and_explained(requirement: str) -> None:
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert any(re.fullmatch(rf"{re.escape(requirement)}==[\w.]+", pin) for pin in pins)
    reasons = (ROOT / "docs" / "decisions" / "0002-dependencies.md").read_text(encoding="utf-8")
    assert re.search(rf"(?m)^\| [^|]*\b{re.escape(requirement)}\b", reasons)


@pytest.mark.parametrize(
    "target", ["help", "demo", "test", "slow", "chaos", "parity", "bench", "format", "clean"]
)
def test_the_makefile_has_the_target(target: str) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(rf"(?m)^{target}:.*## ", makefile)


def test_the_makefile_refuses_an_old_python(tmp_path: Path) -> None:
    old = tmp_path / "python"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "Python 3.8.1" || exit 1\n')
    old.chmod(0o755)
    command = ["make", "-C", str(ROOT), f"PYTHON={old}", f"VENV={tmp_path}/v", "demo"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert "needs Python 3.11 or newer" in done.stderr
    assert "Python 3.8.1" in done.stderr


@pytest.mark.parametrize("path", public_modules(), ids=lambda p: str(p.relative_to(SOURCE)))
def test_a_public_module_has_a_docstring(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


def test_no_file_names_a_machine_or_a_package_index() -> None:
    words = ["/" + "work/", "/" + "root/", "/" + "opt/", "py" + "pi.org", "pythonhosted" + ".org"]
    words += ["registry." + "npmjs", "deb." + "debian.org"]
    found = [
        f"{path.relative_to(ROOT)}: {word}"
        for path in tracked()
        for word in words
        if word.encode() in path.read_bytes()
    ]
    assert not found


@pytest.mark.slow
def test_the_wheel_holds_its_data_files(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--quiet", "-w", str(tmp_path)]
    done = subprocess.run([*command, str(ROOT)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    packed = set(zipfile.ZipFile(wheel).namelist())
    data = [p for p in SOURCE.rglob("*") if p.is_file() and p.suffix not in (".py", ".pyc")]
    assert SOURCE / "references.bib" in data
    missing = [str(p) for p in data if p.relative_to(SOURCE.parent).as_posix() not in packed]
    assert not missing


@pytest.mark.slow
def test_a_skip_that_need_not_be_is_a_failure(tmp_path: Path) -> None:
    """The hooks of conftest.py, on a small project whose browser test skips."""
    folder = tmp_path / "project" / "tests"
    folder.mkdir(parents=True)
    (tmp_path / "shared" / "data").mkdir(parents=True)
    (folder / "conftest.py").write_bytes((ROOT / "tests" / "conftest.py").read_bytes())
    (folder / "pytest.ini").write_text("[pytest]\nmarkers =\n  browser\n  shared_data\n")
    (folder / "test_it.py").write_text(
        "import pytest, socket\n"
        "def test_data(shared_data): shared_data('missing.jsonl')\n"
        "def test_plain(): pytest.skip('a reason')\n"
        "def test_network():\n"
        "    try: socket.create_connection(('192.0.2.1', 80), timeout=1)\n"
        "    except Exception: pass\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(folder)]
    counts = {}
    for value in ("0", "1"):
        environment = {"COLLIMATE_NO_SKIPS": value, "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        counts[value] = done.stdout.strip().splitlines()[-1].split(" in ")[0]
    assert counts == {"0": "1 failed, 2 skipped", "1": "2 failed, 1 skipped"}
