"""VATEX: ten English captions a video.

- `train_list.txt`, `val_list.txt`, `test_list.txt`: an id (`videoID`, the clip's seconds included) a line.
  Papers on retrieval split the official validation videos into 1,500 for validation and 1,500 for the test.
- `ref_captions.json`: ``{id: [captions]}``; or the official files, ``[{"videoID", "enCap"}]``:
  `vatex_training_v1.0.json`, `vatex_validation_v1.0.json`, `vatex_public_test_english_v1.1.json`.

Without lists the official files are the splits, and a gallery of another size is noted.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from savecli.bench.files import VIDEO_SUFFIXES, Folder, damaged, without
from savecli.bench.splits import Annotations, unique
from savecli.errors import DatasetError

LISTS = ("train_list.txt", "val_list.txt", "test_list.txt")
CAPTIONS = "ref_captions.json"
OFFICIAL = ("vatex*train*.json", "vatex*val*.json", "vatex*public*test*.json")
HINT = (
    f"put {', '.join(LISTS)} and {CAPTIONS} into the folder, or the official vatex_*.json of "
    "https://eric-xw.github.io/vatex-website/; the videos, named by videoID, go into any folder below"
)


def read(folder: Folder) -> Annotations:
    """The annotations.

    Raises:
        DatasetError: where a file is missing or damaged.
    """
    lists = [folder.one(name) for name in LISTS]
    whole = folder.one(CAPTIONS)
    official = [path for pattern in OFFICIAL for path in folder.named(pattern)[:1]]
    if not whole and not official:
        absent = [name for name, path in zip(LISTS, lists, strict=True) if path is None]
        raise DatasetError(f"not below {folder.root}: {', '.join([*absent, CAPTIONS])}", hint=HINT)
    by_file = [_captions(folder, path) for path in ([whole] if whole else official)]
    captions: dict[str, list[str]] = {}
    for some in by_file:
        captions |= some
    if whole or any(lists):
        absent = [name for name, path in zip(LISTS, lists, strict=True) if path is None]
        if absent:
            raise DatasetError(f"not below {folder.root}: {', '.join(absent)}", hint=HINT)
        ids = [_ids(folder, path) for path in lists if path]
    elif len(official) == len(OFFICIAL):
        ids = [list(some) for some in by_file]
        folder.notes.append(f"no lists: the test set is the official one of {len(ids[2])} videos, not 1,500")
    else:
        have = ", ".join(path.name for path in official)
        raise DatasetError(
            f"not below {folder.root}: {', '.join(LISTS)}; {have} alone give no splits", hint=HINT
        )
    return Annotations(train=ids[0], val=ids[1], test=ids[2], captions=captions)


def _ids(folder: Folder, path: Path) -> list[str]:
    return unique(folder, (without(line, VIDEO_SUFFIXES) for line in folder.lines(path)), path.name)


def _captions(folder: Folder, path: Path) -> dict[str, list[str]]:
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
