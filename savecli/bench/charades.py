"""Charades: one script a video, of several sentences, as its caption.

`Charades_v1_train.csv` and `Charades_v1_test.csv`, columns `id` and `script`.
"""

from __future__ import annotations

from collections.abc import Collection

from savecli.bench.files import Folder
from savecli.bench.records import PARTS, Part
from savecli.bench.splits import Annotations, unique

TABLES: dict[Part, str] = {"train": "Charades_v1_train.csv", "test": "Charades_v1_test.csv"}
HINT = (
    f"{' and '.join(TABLES.values())} are in Charades.zip on https://prior.allenai.org/projects/charades, "
    "the videos (AB12C.mp4 ...) in Charades_v1_480.zip there; both go anywhere below the folder"
)


def read(folder: Folder, parts: Collection[Part] = PARTS) -> Annotations:
    """The annotations; nobody published a list for validation.

    Args:
        folder: to look in.
        parts: what has to be there.

    Raises:
        DatasetError: where a file is missing or damaged.
    """
    paths = {part: folder.one(name) for part, name in TABLES.items() if part in parts}
    if missing := [TABLES[part] for part, path in paths.items() if path is None]:
        raise folder.lacks(missing, HINT)
    ids: dict[Part, list[str]] = {}
    scripts: dict[Part, dict[str, list[str]]] = {"train": {}, "test": {}}
    for part, path in paths.items():
        if path is None:
            continue
        rows = folder.table(path, ("id",), ("script",))
        ids[part] = unique(folder, (row["id"] for row in rows), path.name)
        for row in rows:
            scripts[part].setdefault(row["id"], [row["script"]])
    return Annotations(
        train=ids.get("train", []),
        val=[],
        test=ids.get("test", []),
        captions=scripts["train"],
        test_captions=scripts["test"],
    )
