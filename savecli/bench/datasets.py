"""Benchmarks by name -> Dataset. What files each needs stands at the head of its module."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from savecli.bench import charades, lsmdc, msrvtt, own, vatex
from savecli.bench.files import Folder
from savecli.bench.records import PARTS, Clip, Dataset, Part
from savecli.bench.splits import Annotations, dataset, read_speech
from savecli.errors import ConfigError, DatasetError

__all__ = ["NAMES", "PARTS", "Clip", "Dataset", "Part", "load"]

SPLITS = {  # the first one unless told
    "msrvtt": ("9k", "7k", "full"),
    "vatex": (),
    "charades": (),
    "lsmdc": (),
    "csv": (),
}
NAMES = tuple(SPLITS)
# Videos and captions of the test set that published results are of.
PUBLISHED = {
    ("msrvtt", "9k"): (1000, 1000),
    ("msrvtt", "7k"): (1000, 1000),
    ("msrvtt", "full"): (2990, 59_800),
    ("vatex", ""): (1500, 15_000),
    ("charades", ""): (1863, 1863),
    ("lsmdc", ""): (1000, 1000),
}
READERS = {"vatex": vatex.read, "charades": charades.read, "lsmdc": lsmdc.read}
TOY = "toy_queries.csv"  # lies in the made-up benchmark of `savecli.toy`, of which nothing is published
HINTS = {"msrvtt": msrvtt.HINT, "vatex": vatex.HINT, "charades": charades.HINT, "lsmdc": lsmdc.HINT}
"""What each consists of, where that is published and where it goes."""
OFFICIAL_VAL = (("msrvtt", "full"), ("vatex", ""), ("lsmdc", ""))  # have a validation list of their own


def load(
    name: str,
    root: Path,
    *,
    split: str | None = None,
    asr: Path | None = None,
    n_val: int | None = None,
    seed: int = 42,
    with_speech: bool = True,
    parts: Collection[Part] = PARTS,
) -> Dataset:
    """Read a benchmark's annotations and find its videos; none is opened.

    The reference picks its best epoch on the test set; we do not. `val` is an official validation list that
    shares no video with the training list (VATEX, LSMDC and the full MSR-VTT have one). Elsewhere it is
    `n_val` videos out of the training list, chosen by a hash of seed and id, and no longer trained on.

    Args:
        name: one of NAMES; "msrvtt" for the made-up benchmark too.
        root: the folder below which annotations and videos lie, in any sub-folder; for "csv" the table
            itself, or a folder that holds one.
        split: of "msrvtt": "9k" (if None), "7k" or "full".
        asr: file with transcripts; if None, a file below `root` named `*asr*.json` or `*vad_text*.json`.
        n_val: videos to hold out where no list does; 0 turns it off, None takes a tenth, at most 500.
        seed: of that choice.
        with_speech: whether transcripts are looked for and read.
        parts: what is asked for. With ("test",) only the test list and the test videos have to be there, with
            ("val",) likewise where there is an official list; anything else takes all files.

    Raises:
        ConfigError: where the name or the split is unknown.
        DatasetError: where files are missing (the message lists them, the hint says where to get them and
            how to lay them out) or damaged, or where no video has a file.
    """
    split = _checked_split(name, split)
    folder, found = _read(name, root, split, parts)
    transcripts, speech = read_speech(folder, name, asr) if with_speech else (None, {})
    return dataset(
        folder,
        found,
        name=name,
        split=split,
        speech=speech,
        transcripts=transcripts,
        n_val=n_val,
        seed=seed,
        parts=parts,
        published=None if folder.named(TOY) else PUBLISHED.get((name, split)),
    )


def _read(name: str, root: Path, split: str, parts: Collection[Part]) -> tuple[Folder, Annotations]:
    if name == "csv":
        table = root if root.is_file() else _only_table(root)
        folder = Folder(table.parent)
        return folder, own.read(folder, table)
    folder = Folder(root)
    alone = set(parts) == {"test"} or (set(parts) == {"val"} and (name, split) in OFFICIAL_VAL)
    needed = parts if alone else PARTS
    if name == "msrvtt":
        return folder, msrvtt.read(folder, split, needed)
    return folder, READERS[name](folder, needed)


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
