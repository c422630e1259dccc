"""VATEX: ten English captions a video.

- `train_list.txt`, `val_list.txt`, `test_list.txt`: an id (`videoID`, the clip's seconds included) a line; or
  RUC's `VATEX_train.csv`, `VATEX_val.csv`, `VATEX_test.csv` with a column `video_id`. Papers on retrieval
  split the official validation videos into 1,500 for validation and 1,500 for the test.
- `ref_captions.json`: ``{id: [captions]}``; or RUC's `VATEX_data.json`, in the shape of `MSRVTT_data.json`;
  or the official files, ``[{"videoID", "enCap"}]``: `vatex_training_v1.0.json`,
  `vatex_validation_v1.0.json`, `vatex_public_test_english_v1.1.json`.

Without lists the official files are the splits, and a gallery of another size is noted.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from savecli.bench.files import VIDEO_SUFFIXES, Folder, damaged, without
from savecli.bench.lists import whole
from savecli.bench.records import PARTS, Part
from savecli.bench.splits import Annotations, unique
from savecli.errors import DatasetError

LISTS: dict[Part, tuple[str, str]] = {
    part: (f"{part}_list.txt", f"VATEX_{part}.csv") for part in PARTS
}  # fmt: skip
CAPTIONS = "ref_captions.json"
RUC = "VATEX_data.json"
OFFICIAL: dict[Part, str] = {
    "train": "vatex*train*.json",
    "val": "vatex*val*.json",
    "test": "vatex*public*test*.json",
}
HINT = (
    f"train_list.txt, val_list.txt, test_list.txt and {CAPTIONS}, or the official vatex_*.json of "
    "https://eric-xw.github.io/vatex-website/, go anywhere below the folder, and so do the videos, named by "
    "videoID; docs/benchmarks.md names the other layouts"
)


def read(folder: Folder, parts: Collection[Part] = PARTS) -> Annotations:
    """The annotations.

    Args:
        folder: to look in.
        parts: what has to be there.

    Raises:
        DatasetError: where a file is missing or damaged.
    """
    wanted = [part for part in PARTS if part in parts]
    lists = {part: folder.first(LISTS[part]) for part in wanted}
    absent = [LISTS[part][0] for part, path in lists.items() if path is None]
    held = folder.first((CAPTIONS, RUC))
    official = _official(folder)
    if not held and not official:
        raise folder.lacks([*absent, CAPTIONS], HINT)
    by_part = {} if held else {part: _captions(folder, path) for part, path in official.items()}
    if held or any(lists.values()):
        if absent:
            raise folder.lacks(absent, HINT)
        ids = {part: _ids(folder, path) for part, path in lists.items() if path}
    elif all(part in official for part in wanted):
        ids = {part: list(by_part[part]) for part in wanted}
        folder.notes.append("no lists: the official files are the splits")
    else:
        have = ", ".join(path.name for path in official.values())
        message = f"not below {folder.root}: {', '.join(absent)}; {have} alone give no such split"
        raise DatasetError(message, hint=HINT + folder.unread())
    captions = _captions(folder, held) if held else {}
    for some in by_part.values():
        captions |= some
    return Annotations(
        train=ids.get("train", []), val=ids.get("val", []), test=ids.get("test", []), captions=captions
    )


def _official(folder: Folder) -> dict[Part, Path]:
    found: dict[Part, Path] = {}
    for part, pattern in OFFICIAL.items():
        # Not the transcripts, which may bear such a name too.
        captions = [path for path in folder.named(pattern) if "asr" not in path.name.lower()]
        if captions:
            found[part] = captions[0]
    return found


def _ids(folder: Folder, path: Path) -> list[str]:
    if path.suffix.lower() == ".csv":
        lines = [row["video_id"] for row in folder.table(path, ("video_id",))]
    else:
        lines = folder.lines(path)
    return unique(folder, (without(line, VIDEO_SUFFIXES) for line in lines), path.name)


def _captions(folder: Folder, path: Path) -> dict[str, list[str]]:
    if path.name.lower() == RUC.lower():
        return whole(folder, [path]).captions
    held: Any = folder.json(path)
    try:
        pairs = held.items() if isinstance(held, dict) else [(one["videoID"], one["enCap"]) for one in held]
        captions: dict[str, list[str]] = {}
        n_doubles = 0
        for video_id, listed in pairs:
            if not isinstance(listed, list) or not all(isinstance(caption, str) for caption in listed):
                raise TypeError(f"the captions of {video_id!r} are no list of texts")
            n_doubles += video_id in captions
            captions.setdefault(video_id, listed)
    except (KeyError, TypeError) as error:
        raise damaged(path, f"its captions are not as expected ({error!r})") from error
    folder.note_count(n_doubles, f"entries of {path.name} repeat an id: the first one counts")
    return captions
