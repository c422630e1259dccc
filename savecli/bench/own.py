"""One's own benchmark: a CSV, TSV or JSON-lines file with a caption a line.

Columns `video` (or `video_id`), `caption` (or `sentence`) and, if wanted, `split`: "train", "val" or "test",
which is also what an empty one means. A video may have several lines. It is the path of a file, absolute or
from the table's folder, or the name of one anywhere below, with its suffix or without.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from savecli.bench.files import Folder, damaged
from savecli.bench.splits import Annotations, grouped
from savecli.errors import DatasetError

SPLITS = {"train": "train", "val": "val", "validate": "val", "validation": "val", "test": "test", "": "test"}
HINT = 'a CSV with the heading "video,caption", or a JSON object with these keys a line'


def read(folder: Folder, path: Path) -> Annotations:
    """The annotations in the file at `path`; the first split that a video is given is its split.

    Raises:
        DatasetError: where the file is damaged.
    """
    wanted = (("video", "video_id"), ("caption", "sentence"))
    is_table = path.suffix.lower() != ".jsonl"
    rows = folder.table(path, *wanted, hint=HINT) if is_table else _objects(folder, path)
    _one_name_a_file(folder, path, rows)
    ids: dict[str, dict[str, None]] = {"train": {}, "val": {}, "test": {}}
    split_of: dict[str, str] = {}
    n_nameless = n_doubles = 0
    for row in rows:
        if not row["video"]:
            n_nameless += 1
            continue
        given = row.get("split", "").lower()
        if given not in SPLITS:
            raise damaged(path, f"{given!r} is no split", hint="use train, val or test, or nothing")
        split = split_of.setdefault(row["video"], SPLITS[given])
        n_doubles += split != SPLITS[given]
        ids[split][row["video"]] = None
    folder.note_count(n_nameless, f"rows of {path.name} name no video: left out")
    folder.note_count(n_doubles, f"rows of {path.name} put a video into a second split: the first one counts")
    return Annotations(
        train=list(ids["train"]),
        val=list(ids["val"]),
        test=list(ids["test"]),
        captions=grouped((row["video"], row["caption"]) for row in rows),
    )


def _one_name_a_file(folder: Folder, path: Path, rows: list[dict[str, str]]) -> None:
    """Spells each video as its first row does: two of one file would tie, and count against the model."""
    spelled: dict[str, str] = {}
    n_others = 0
    for row in rows:
        found = folder.video(row["video"]) if row["video"] else None
        if found is None:
            continue
        first = spelled.setdefault(os.path.realpath(found), row["video"])
        n_others += first != row["video"]
        row["video"] = first
    folder.note_count(n_others, f"rows of {path.name} name a video otherwise than a row before: the same")


def _objects(folder: Folder, path: Path) -> list[dict[str, str]]:
    rows = []
    for number, line in enumerate(folder.text(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            held = json.loads(line)
            video = held["video"] if "video" in held else held["video_id"]
            caption = held["caption"] if "caption" in held else held["sentence"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise DatasetError(f"cannot use line {number} of {path}: {error!r}", hint=HINT) from error
        given = {"video": video, "caption": caption, "split": held.get("split") or ""}
        if not all(isinstance(value, str) for value in given.values()):
            raise DatasetError(f"cannot use line {number} of {path}: its values are no texts", hint=HINT)
        rows.append({name: value.strip() for name, value in given.items()})
    return rows
