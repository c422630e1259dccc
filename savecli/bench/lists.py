"""A list of videos, with captions or without, in the forms that people hand round.

- `.csv`, `.tsv`: columns `video_id` and, with captions, `sentence`.
- `.json`: ``{"video0.mp4": ["a caption"]}``, as mmaction2 writes it; or ``[{"video_id": "video0",
  "video": "video0.mp4", "caption": "a caption" or ["a caption"]}]``, as on Hugging Face.
- `.parquet`: such rows.
- `.txt`: an id a line; or, in RUC's files named `*query*.txt` and `*.caption.txt`, `video0#enc#0 a caption`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from savecli.bench.files import VIDEO_SUFFIXES, Folder, damaged, without
from savecli.bench.parquet import rows, shards
from savecli.bench.records import Part
from savecli.bench.splits import grouped, unique

NAMES = ("video_id", "videoID", "video_name", "clip_name", "video")
TEXTS = ("caption", "captions", "sentence", "sentences", "sen", "enCap")
CAPTION_LINE = re.compile(r"(?P<id>[^#\s]+)#\S*(?:\s+(?P<caption>.*))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """Some videos.

    Attributes:
        ids: in the order of the file, none twice.
        captions: of each; empty where the file has ids only.
    """

    ids: list[str]
    captions: dict[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """One JSON with all that a benchmark has.

    Attributes:
        split_of: what each video is said to be for, as the file spells it.
        captions: of each video.
    """

    split_of: dict[str, str]
    captions: dict[str, list[str]]

    def of(self, split: str) -> list[str]:
        """The videos that are said to be for this."""
        return [video_id for video_id, given in self.split_of.items() if given == split]


def find(
    folder: Folder, names: Sequence[str], part: Part, sizes: Collection[str], *, captioned: bool
) -> Listing | None:
    """The first of these files that is there, else the Parquet files of this split.

    Args:
        folder: to look in.
        names: of the files, best first.
        part: the split.
        sizes: of the split, as Parquet files may name it.
        captioned: whether a CSV must hold captions, one a video; the other forms show it themselves.

    Raises:
        DatasetError: where the file is damaged.
    """
    path = folder.first(names)
    if path is not None:
        return _read(folder, path, captioned=captioned)
    if paths := shards(folder, part, sizes):
        return _records(folder, paths[0], rows(folder, paths, NAMES, TEXTS))
    return None


def whole(folder: Folder, paths: Iterable[Path]) -> Whole:
    """What such files hold together.

    They are ``{"videos": [{"video_id", "split"}], "sentences": [{"video_id", "caption"}]}``, or, as the
    Oxford copy of MSR-VTT has it, ``{"annotations": [{"image_id", "caption"}]}``.

    Raises:
        DatasetError: where one is damaged.
    """
    split_of: dict[str, str] = {}
    pairs: list[tuple[str, str]] = []
    for path in paths:
        held = folder.json(path)
        try:
            if "annotations" in held:
                pairs += [(_text(one["image_id"]), _text(one["caption"])) for one in held["annotations"]]
            else:
                split_of |= {one["video_id"]: one.get("split", "") for one in held["videos"]}
                pairs += [(_text(one["video_id"]), _text(one["caption"])) for one in held["sentences"]]
        except (KeyError, TypeError, AttributeError) as error:
            raise damaged(path, f"its videos and sentences are not as expected ({error!r})") from error
    return Whole(split_of=split_of, captions=grouped(pairs))


def _read(folder: Folder, path: Path, *, captioned: bool) -> Listing:
    if path.suffix.lower() == ".json":
        held = folder.json(path)
        if isinstance(held, dict):
            held = [{"video": name, "caption": texts} for name, texts in held.items()]
        if not isinstance(held, list) or not all(isinstance(row, dict) for row in held):
            raise damaged(path, "it is neither a list of rows nor captions by video")
        return _records(folder, path, held)
    if path.suffix.lower() != ".txt":
        return _table(folder, path, captioned=captioned)
    if path.name.lower().endswith(".caption.txt") or "query" in path.name.lower():
        return _caption_lines(folder, path)
    ids = [without(line, VIDEO_SUFFIXES) for line in folder.lines(path)]
    return Listing(ids=unique(folder, ids, path.name))


def _table(folder: Folder, path: Path, *, captioned: bool) -> Listing:
    table = folder.table(path, ("video_id",), *((("sentence",),) if captioned else ()))
    captions: dict[str, list[str]] = {}
    for row in table if captioned else ():
        captions.setdefault(row["video_id"], [row["sentence"]])
    return Listing(ids=unique(folder, (row["video_id"] for row in table), path.name), captions=captions)


def _caption_lines(folder: Folder, path: Path) -> Listing:
    pairs = []
    for number, line in enumerate(folder.lines(path), 1):
        match = CAPTION_LINE.fullmatch(line)
        if match is None:
            raise damaged(path, f"its line {number} does not begin as video0#enc#0 does")
        pairs.append((without(match["id"], VIDEO_SUFFIXES), match["caption"] or ""))
    captions = grouped(pairs)
    return Listing(ids=list(captions), captions=captions)


def _records(folder: Folder, path: Path, found: Iterable[Mapping[str, Any]]) -> Listing:
    captions: dict[str, list[str]] = {}
    n_nameless = 0
    for number, row in enumerate(found, 1):
        where = f"its row {number}"
        name, texts = (_value(path, where, row, keys) for keys in (NAMES, TEXTS))
        if isinstance(name, dict):  # a Parquet column with the video itself
            name = name.get("path")
        texts = texts if isinstance(texts, list) else [texts]
        if not all(isinstance(value, str | None) for value in (name, *texts)):
            raise damaged(path, f"{where} holds other things than text")
        video_id = without(PurePosixPath(name or "").name, VIDEO_SUFFIXES).strip()
        n_nameless += not video_id
        if video_id:
            captions.setdefault(video_id, []).extend(text or "" for text in texts)
    folder.note_count(n_nameless, f"rows of {path.name} name no video: left out")
    return Listing(ids=list(captions), captions=captions)


def _value(path: Path, where: str, row: Mapping[str, Any], keys: Sequence[str]) -> Any:  # noqa: ANN401
    key = next((key for key in keys if key in row), None)
    if key is None:
        raise damaged(path, f"{where} has no {' or '.join(keys)}")
    return row[key]


def _text(value: Any) -> str:  # noqa: ANN401 - out of a JSON file
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value
