"""Parquet files as they are pushed to Hugging Face: rows in shards, the split in a file's or folder's name.

Columns are read by name; the bytes in a `video` column are not. Since 14.0.1 pyarrow unpickles nothing.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from savecli.bench.files import Folder, damaged
from savecli.bench.records import Part
from savecli.errors import DatasetError

WORDS: dict[str, Part] = {
    "train": "train", "training": "train",
    "val": "val", "validate": "val", "validation": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
SIZES = ("1k", "7k", "9k")
SHARD = re.compile(r"-?(?P<number>\d+)(?:-of-(?P<total>\d+).*)?$")
WORD = re.compile(r"[a-z]+|\d+k")


def shards(folder: Folder, part: Part, sizes: Collection[str]) -> list[Path]:
    """The files of one split, in order; of several copies the least deep one, which is noted.

    Args:
        folder: to look in.
        part: the split, as a word of the path below the folder: `data/test-00000-of-00001.parquet`.
        sizes: what may stand beside it: "1k" as in `test_1k/test/0000.parquet`, "" for nothing of that sort.

    Raises:
        DatasetError: where a shard is not there.
    """
    copies: dict[tuple[Path, str], list[Path]] = {}
    for path in folder.named("*.parquet"):
        words = WORD.findall(path.relative_to(folder.root).as_posix().lower())
        parts = [WORDS[word] for word in words if word in WORDS]
        size = next((word for word in words if word in SIZES), "")
        if parts[-1:] == [part] and size in sizes:
            copies.setdefault((path.parent, SHARD.sub("", path.stem)), []).append(path)
    if not copies:
        return []
    first, *others = copies.values()
    if others:
        folder.notes.append(f"{first[0]} is read, not {', '.join(str(some[0]) for some in others)}")
    found = sorted(first)
    total = (shard := SHARD.search(found[0].stem)) and shard["total"]
    if total and int(total) != len(found):
        raise DatasetError(
            f"{found[0].parent} holds {len(found)} of the {int(total)} parts of {found[0].name}",
            hint="fetch the others",
        )
    return found


def rows(
    folder: Folder, paths: Sequence[Path], names: Sequence[str], texts: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """The rows of some files, with two of their columns.

    Args:
        folder: is told of videos that are embedded in a file.
        paths: of the files.
        names: the columns that may name a video, best first: of text, or a struct with a `path`.
        texts: the columns that may hold its captions, best first: of text, or lists of it.

    Raises:
        DatasetError: where a file is damaged or lacks a column, or where pyarrow is not installed.
    """
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        message = f"{paths[0].name} is a Parquet file, which takes pyarrow to read"
        hint = "pip install 'savecli[parquet]', or fetch the benchmark's CSV or JSON files"
        raise DatasetError(message, hint=hint) from error
    for path in paths:
        try:
            with ParquetFile(path) as file:
                columns = _columns(folder, path, file.schema_arrow, names, texts)
                for batch in file.iter_batches(columns=columns):
                    yield from batch.to_pylist()
        except (ArrowException, OSError, ValueError) as error:
            raise damaged(path, str(error)) from error


def _columns(
    folder: Folder,
    path: Path,
    schema: Any,  # noqa: ANN401 - pyarrow has no types
    names: Sequence[str],
    texts: Sequence[str],
) -> list[str]:
    import pyarrow

    name = next((name for name in names if name in schema.names), None)
    text = next((name for name in texts if name in schema.names), None)
    if name is None or text is None:
        wanted = " or ".join(names if name is None else texts)
        raise damaged(path, f"it has no column {wanted}, only {', '.join(schema.names)}")
    kind = schema.field(name).type
    if not pyarrow.types.is_struct(kind):
        return [name, text]
    within = {kind.field(i).name for i in range(kind.num_fields)}
    if "bytes" in within:
        folder.packed(path)
    if "path" not in within:
        raise damaged(path, f"its column {name} does not name the videos")
    return [f"{name}.path", text]
