"""LSMDC 2016: clips of films, with sentences of their audio descriptions.

`LSMDC16_annos_training.csv`, `LSMDC16_annos_val.csv` and, the test set of 1,000 clips,
`LSMDC16_challenge_1000_publictect.csv` (spelled so): tab-separated, no heading, no quoting, and in each row
clip id, start and end aligned, start and end extracted, sentence. A training clip may have several sentences.

A clip is called `1005_Signs_00.00.51.926-00.00.54.129`, and lies in a folder for each film. A file is found
by that name, by a longer one that holds it, or by the times alone in a folder `1005_Signs`.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

from savecli.bench.files import VIDEO_SUFFIXES, Folder, damaged, without
from savecli.bench.records import PARTS, Part
from savecli.bench.splits import Annotations, grouped

TABLES: dict[Part, str] = {
    "train": "LSMDC16_annos_training.csv",
    "val": "LSMDC16_annos_val.csv",
    "test": "LSMDC16_challenge_1000_publictect.csv",
}
N_COLUMNS = 6
HEADINGS = {"clip_id", "<clip_id>", "clip", "video_id"}
TIMES = re.compile(r"\d\d\.\d\d\.\d\d\.\d{3}-\d\d\.\d\d\.\d\d\.\d{3}")
CLIP = re.compile(rf"\d{{4}}_.+?_{TIMES.pattern}")
HINT = (
    f"{', '.join(TABLES.values())} and the clips are handed out to those who sign for them on "
    "https://sites.google.com/site/describingmovies/download; all go anywhere below the folder"
)


def read(folder: Folder, parts: Collection[Part] = PARTS) -> Annotations:
    """The annotations.

    Args:
        folder: to look in; its files are found by the clip id within their names from then on.
        parts: what has to be there.

    Raises:
        DatasetError: where a file is missing or damaged.
    """
    paths = {part: folder.one(TABLES[part]) for part in PARTS if part in parts}
    if missing := [TABLES[part] for part, path in paths.items() if path is None]:
        raise folder.lacks(missing, HINT)
    folder.rename(clip_id)
    captions = {part: grouped(_rows(folder, path)) for part, path in paths.items() if path}
    return Annotations(
        train=list(captions.get("train", ())),
        val=list(captions.get("val", ())),
        test=list(captions.get("test", ())),
        captions={**captions.get("val", {}), **captions.get("train", {})},
        test_captions=captions.get("test", {}),
    )


def clip_id(path: Path) -> str | None:
    """The id of the clip in this file, by its name and its folder's; None where they tell none."""
    if match := CLIP.search(path.stem):
        return match[0]
    return f"{path.parent.name}_{match[0]}" if (match := TIMES.fullmatch(path.stem)) else None


def _rows(folder: Folder, path: Path) -> list[tuple[str, str]]:
    """(clip id, sentence) of each row."""
    rows, n_short, n_long = [], 0, 0
    for number, line in enumerate(folder.text(path).replace("\r", "\n").split("\n")):
        if not line.strip():
            continue
        clip, *cells = line.split("\t")
        if number == 0 and clip.strip().lower() in HEADINGS:
            continue
        if len(cells) < N_COLUMNS - 1 or not clip.strip():
            n_short += 1
            continue
        sentence = " ".join(cells[N_COLUMNS - 2 :]).strip()
        n_long += len(cells) > N_COLUMNS - 1
        if clip.startswith('"'):  # a program that quotes has been through the file
            clip, sentence = clip.strip('" '), sentence.removesuffix('"')
        rows.append((without(clip.strip(), VIDEO_SUFFIXES), sentence))
    if n_short and not rows:
        raise damaged(path, "none of its rows has six columns between tabs")
    folder.note_count(n_short, f"rows of {path.name} are too short: left out")
    folder.note_count(
        n_long, f"rows of {path.name} have more than six columns: the last ones are the sentence"
    )
    return rows
