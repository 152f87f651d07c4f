"""Readers of typed rows: Parquet, mappings, `datasets` data sets, the hub when it is asked for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from collimate._checks import BadData, require_extra
from collimate.data.bad_rows import BadRow, Reason, shown
from collimate.data.row import Row

_HUB = re.compile(r"hub:(?P<name>[\w.-]+(?:/[\w.-]+)?)(?::(?P<split>[^:]+))?")


def read_parquet(path: Path, file: str) -> Iterator[Row | BadRow]:
    """The rows of a Parquet file, 1024 at a time.

    Raises MissingExtra without pyarrow, BadData for a file that is not Parquet.
    """
    require_extra("pyarrow", "train")
    # pyarrow ships no types and takes half a second to import.
    from pyarrow import ArrowException  # pyright: ignore[reportMissingTypeStubs]
    from pyarrow.parquet import ParquetFile  # pyright: ignore[reportMissingTypeStubs]

    index = 0
    try:
        with ParquetFile(path) as table:
            for batch in cast("Iterator[Any]", table.iter_batches(batch_size=1024)):
                for offset in range(batch.num_rows):
                    yield _parquet_row(batch, offset, index, file)
                    index += 1
    except (ArrowException, OSError) as error:
        raise BadData(
            f"{file}: expected a Parquet file, got an error after {index} rows: {error}; write the "
            "file again, or name its format, for example --format jsonl (format='jsonl')"
        ) from None


def _parquet_row(batch: Any, offset: int, index: int, file: str) -> Row | BadRow:
    row = Row(index=index, values={}, file=file)
    values: dict[str, object] = {}
    for column, name in enumerate(cast("list[str]", batch.schema.names)):
        try:
            values[name] = batch.column(column)[offset].as_py()
        except UnicodeDecodeError as error:
            return row.bad(name, Reason.NOT_UTF8, f"expected UTF-8 text, got {error}")
    return Row(index=index, values=values, file=file)


def read_mappings(rows: Iterable[object], file: str) -> Iterator[Row | BadRow]:
    """Rows of any iterable of mappings; anything else in it is a bad row."""
    for index, values in enumerate(rows):
        if isinstance(values, Mapping):
            columns = cast(Mapping[object, object], values)
            if all(isinstance(column, str) for column in columns):
                yield Row(index=index, values=cast(Mapping[str, object], columns), file=file)
                continue
        yield Row(index=index, values={}, file=file).bad(
            None,
            Reason.WRONG_TYPE,
            f"expected a mapping of column name to value, got {shown(values)}",
        )


def is_dataset(source: object) -> bool:
    """Whether `source` comes from the `datasets` package, told without importing it."""
    return any(kind.__module__.partition(".")[0] == "datasets" for kind in type(source).__mro__)


def read_dataset(source: Any, file: str) -> Iterator[Row | BadRow]:
    """The rows of a `datasets.Dataset` or `IterableDataset`, as Python values.

    Raises BadData for a dictionary of splits: one must be chosen.
    """
    if isinstance(source, dict):
        splits = ", ".join(map(str, cast("dict[object, object]", source)))
        raise BadData(
            f"{file}: expected one data set, got a dictionary of splits ({splits}); pass one of "
            "them, for example data['train']"
        )
    # A data set formatted for torch or numpy would give tensors where rows hold numbers and text.
    return read_mappings(source.with_format(None), file)


def read_hub(source: str, file: str) -> Iterator[Row | BadRow]:
    """Stream `hub:owner/name[:split]` from the hub; the split is "train" unless given.

    Raises BadData for a malformed or unknown name and where the hub cannot be reached,
    MissingExtra without the `datasets` package.
    """
    match = _HUB.fullmatch(source)
    if match is None:
        raise BadData(
            f"expected hub:owner/name or hub:owner/name:split, got '{source}'; for example "
            "hub:trl-lib/ultrafeedback_binarized:train"
        )
    require_extra("datasets", "train")
    import datasets  # pyright: ignore[reportMissingTypeStubs]

    try:
        found: Any = cast(Any, datasets).load_dataset(
            match["name"], split=match["split"] or "train", streaming=True
        )
    except (OSError, ValueError) as error:  # not found, no network; no such split or configuration
        raise BadData(
            f"{source}: expected a data set on the hub, got {type(error).__name__}: {error}; check "
            "the name, the split and the network, or download the file and name its path"
        ) from None
    return read_dataset(found, file)
