"""Benchmarks by name -> Dataset. What files each needs stands at the head of its module."""

from __future__ import annotations

from pathlib import Path

from savecli.bench import charades, msrvtt, own, vatex
from savecli.bench.files import Folder
from savecli.bench.records import Clip, Dataset
from savecli.bench.splits import dataset, read_speech
from savecli.errors import ConfigError, DatasetError

__all__ = ["NAMES", "Clip", "Dataset", "load"]

SPLITS = {"msrvtt": ("9k", "7k"), "vatex": (), "charades": (), "csv": ()}  # the first one unless told
NAMES = tuple(SPLITS)


def load(
    name: str,
    root: Path,
    *,
    split: str | None = None,
    asr: Path | None = None,
    n_val: int | None = None,
    seed: int = 42,
    with_speech: bool = True,
) -> Dataset:
    """Read a benchmark's annotations and find its videos; none is opened.

    The reference picks its best epoch on the test set; we do not. `val` is an official validation list that
    shares no video with the training list (VATEX has one). Elsewhere it is `n_val` videos out of the training
    list, chosen by a hash of seed and id, and no longer trained on.

    Args:
        name: one of NAMES.
        root: the folder below which annotations and videos lie, in any sub-folder; for "csv" the table
            itself, or a folder that holds one.
        split: of "msrvtt": "9k" (if None) or "7k".
        asr: file with transcripts; if None, a file below `root` named `*asr*.json` or `*vad_text*.json`.
        n_val: videos to hold out where no list does; 0 turns it off, None takes a tenth, at most 500.
        seed: of that choice.
        with_speech: whether transcripts are looked for and read.

    Raises:
        ConfigError: where the name or the split is unknown.
        DatasetError: where files are missing (the message lists them, the hint says where to get them and
            how to lay them out) or damaged, or where no video has a file.
    """
    split = _checked_split(name, split)
    table = None
    if name == "csv":
        table = root if root.is_file() else _only_table(root)
        root = table.parent
    folder = Folder(root)
    if table is not None:
        found = own.read(folder, table)
    elif name == "msrvtt":
        found = msrvtt.read(folder, split)
    else:
        found = {"vatex": vatex, "charades": charades}[name].read(folder)
    speech = read_speech(folder, name, asr) if with_speech else {}
    return dataset(folder, found, name=name, split=split, speech=speech, n_val=n_val, seed=seed)


def _checked_split(name: str, split: str | None) -> str:
    if name not in SPLITS:
        raise ConfigError(f"there is no benchmark {name!r}", hint=f"take one of {', '.join(NAMES)}")
    known = SPLITS[name]
    if split is not None and split not in known:
        hint = f"take one of {', '.join(known)}" if known else "leave it out"
        raise ConfigError(f"{name} has no split {split!r}", hint=hint)
    return split or (known[0] if known else "")


def _only_table(root: Path) -> Path:
    tables = sorted(path for path in root.glob("*") if path.suffix.lower() in (".csv", ".tsv", ".jsonl"))
    if len(tables) != 1:
        problem = f"holds {len(tables)} tables" if root.is_dir() else "does not exist"
        raise DatasetError(f"{root} {problem}, one is needed", hint=f"name the file itself: {own.HINT}")
    return tables[0]
