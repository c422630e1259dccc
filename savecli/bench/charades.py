"""Charades: one script a video, of several sentences, as its caption.

`Charades_v1_train.csv` and `Charades_v1_test.csv`, columns `id` and `script`.
"""

from __future__ import annotations

from savecli.bench.files import Folder
from savecli.bench.splits import Annotations, unique
from savecli.errors import DatasetError

TABLES = ("Charades_v1_train.csv", "Charades_v1_test.csv")
HINT = (
    f"put {' and '.join(TABLES)} into the folder: they are in Charades.zip on "
    "https://prior.allenai.org/projects/charades; the videos, named by id, go into any folder below"
)


def read(folder: Folder) -> Annotations:
    """The annotations; nobody published a list for validation.

    Raises:
        DatasetError: where a file is missing or damaged.
    """
    paths = [folder.one(name) for name in TABLES]
    if missing := [name for name, path in zip(TABLES, paths, strict=True) if path is None]:
        raise DatasetError(f"not below {folder.root}: {', '.join(missing)}", hint=HINT)
    ids: list[list[str]] = []
    captions: list[dict[str, list[str]]] = []
    for path in filter(None, paths):
        rows = folder.table(path, ("id",), ("script",))
        ids.append(unique(folder, (row["id"] for row in rows), path.name))
        scripts: dict[str, list[str]] = {}
        for row in rows:
            scripts.setdefault(row["id"], [row["script"]])
        captions.append(scripts)
    return Annotations(train=ids[0], val=[], test=ids[1], captions=captions[0], test_captions=captions[1])
