"""`collimate export`: a trained model as a plain transformers folder."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from collimate._checks import BadRun
from collimate._files import is_inside
from collimate.engine.load import load_model, quiet, save_model
from collimate.engine.quantize import is_quantized
from collimate.engine.tokenizer import load_tokenizer


def export(source: str | Path, out: str | Path, *, merge: bool = False) -> Path:
    """Copy a run's (or folder's) model to `out`; with `merge` an adapter is merged into its base.

    Errors: BadRun if there is no model, `out` is not empty, a link leads out of the source, or there
    is no adapter to merge; BadModel if the model cannot be loaded.
    """
    folder, target = Path(source), Path(out)
    if (folder / "model").is_dir():
        folder = folder / "model"
    if not (folder / "config.json").exists() and not (folder / "adapter_config.json").exists():
        raise BadRun(f"{source} holds no model: give a finished run or a model folder")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise BadRun(f"{target} is not an empty folder: choose a new one for the export")
    is_adapter = (folder / "adapter_config.json").exists()
    if merge and not is_adapter:
        raise BadRun(f"{folder} is a whole model, there is no adapter to merge: leave out --merge")
    if not merge:
        _require_inside(folder, Path(source))
        partial = target.with_name(f".{target.name}.partial")
        try:
            shutil.rmtree(partial, ignore_errors=True)
            shutil.copytree(folder, partial)
            partial.replace(target)  # an empty folder that is there gives way
        except (OSError, shutil.Error) as error:
            raise BadRun(f"cannot write the model to {target}: {error}") from error
        return target
    quiet()
    model: Any = load_model(folder)
    if is_quantized(model):
        raise BadRun(
            f"the base model of {folder} is quantised, and merging would round it once more: name the "
            "plain one as base_model_name_or_path in adapter_config.json, or leave out --merge"
        )
    save_model(model.merge_and_unload(), load_tokenizer(None, folder), target)
    return target


def _require_inside(folder: Path, source: Path) -> None:
    """A copy follows links: one that leads elsewhere would carry a file that nobody named along."""
    for path in (folder, *folder.rglob("*")):
        if not is_inside(path, source):
            raise BadRun(
                f"{path} is a link out of {source}, to {path.resolve()}: put the file itself there, or "
                "export the folder that it is in"
            )
