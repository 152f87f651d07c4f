"""What an installation weighs: bytes and packages of each extra, and of TRL, in fresh environments.

    python3 benchmarks/install_size.py --json

Every environment is made anew with `pip install -c constraints.txt`, so that both sides get the same
versions of what they share; bytes are those of the files under site-packages, compiled ones
included. pip and what a new environment holds anyway count for nothing, and torch, with what only
torch brings on some platforms (triton, nvidia-*), is counted apart: its size depends on the build
(`versions` says which). Takes some minutes, and the network.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterable
from pathlib import Path

from runs import ROOT, Figures, commit, versions_of

WHAT = {
    "collimate": (str(ROOT),),
    "collimate[train]": (f"{ROOT}[train]",),
    "collimate[train,report]": (f"{ROOT}[train,report]",),
    "trl": ("trl==1.16.0",),
}
TORCH = ("torch", "torchgen", "functorch", "triton", "nvidia", "cuda")


def installed(requirements: Iterable[str]) -> Figures:
    """Bytes and packages that the requirements add to a fresh environment."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = f"{folder}/bin/python"
        (site,) = Path(folder).glob("lib/python*/site-packages")
        before = set(site.iterdir())
        constraints = ("-c", str(ROOT / "constraints.txt"))
        pip = (python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
        done = subprocess.run([*pip, *constraints, *requirements], capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"pip install failed:\n{done.stderr[-4000:]}")
        return weighed([path for path in site.iterdir() if path not in before]) | {
            "versions": versions_of(python, ("torch",))
        }


def weighed(paths: Iterable[Path]) -> Figures:
    """Bytes with torch apart, and packages, of what lies in site-packages."""
    found = {"bytes": 0, "torch_bytes": 0, "packages": 0}
    for path in paths:
        # nvidia_cublas-13.0.dist-info, cuda_bindings and the like belong to torch.
        torchs = path.name.lower().replace("-", "_").split("_")[0].split(".")[0] in TORCH
        found["torch_bytes" if torchs else "bytes"] += size_of(path)
        found["packages"] += path.name.endswith(".dist-info")
    return found


def size_of(path: Path) -> int:
    """Bytes of a file, or of the files below a folder; links count for nothing."""
    files = [path] if path.is_file() else path.rglob("*")
    return sum(file.stat().st_size for file in files if file.is_file() and not file.is_symlink())


def main() -> None:
    """Install and print."""
    parser = argparse.ArgumentParser(
        prog="benchmarks/install_size.py", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--json", action="store_true", help="print one JSON line")
    given = parser.parse_args()
    found = {}
    for name, requirements in WHAT.items():
        found[name] = installed(requirements)
        print(f"  {name}: {found[name]}", file=sys.stderr)
    result = {
        "benchmark": "install_size",
        "installed": found,
        "commit": commit(),
        "command": "benchmarks/install_size.py --json",
    }
    if given.json:
        print(json.dumps(result))
        return
    for name, figures in found.items():
        print(f"{name:26} {figures['bytes'] / 1e6:8.0f} MB {figures['packages']:4} packages")


if __name__ == "__main__":
    main()
