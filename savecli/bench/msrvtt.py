"""MSR-VTT: every caption of the training videos out of one JSON, a list of videos for each split.

- `MSRVTT_data.json`: ``{"videos": [{"video_id", "split"}], "sentences": [{"video_id", "caption"}]}``; or,
  of the first release, `train_val_videodatainfo.json` and `test_videodatainfo.json` of the same shape.
- `MSRVTT_train.9k.csv` or `MSRVTT_train.7k.csv`: column `video_id`.
- `MSRVTT_JSFUSION_test.csv`, the test set known as 1k-A: columns `video_id` and `sentence`.
"""

from __future__ import annotations

from typing import Any

from savecli.bench.files import Folder, damaged
from savecli.bench.splits import Annotations, grouped, unique
from savecli.errors import DatasetError

WHOLE = "MSRVTT_data.json"
FIRST_RELEASE = ("train_val_videodatainfo.json", "test_videodatainfo.json")
TEST = "MSRVTT_JSFUSION_test.csv"
HINT = (
    f"put {WHOLE}, MSRVTT_train.9k.csv (or 7k) and {TEST} into the folder: they are in msrvtt_data.zip of "
    "the CLIP4Clip releases on GitHub; the videos (video0.mp4 ...) go into any folder below"
)


def read(folder: Folder, split: str) -> Annotations:
    """The annotations of `split`, "9k" or "7k".

    For validation: the official "validate" videos, unless the training list holds them, as both lists do.

    Raises:
        DatasetError: where a file is missing or damaged.
    """
    jsons = [folder.one(WHOLE)]
    if jsons == [None]:
        jsons = [folder.one(name) for name in FIRST_RELEASE]
    listed = {name: folder.one(name) for name in (f"MSRVTT_train.{split}.csv", TEST)}
    missing = [name for name, path in listed.items() if path is None]
    if not jsons[0]:  # the test videos' captions come with their list, so the second may be missing
        missing.insert(0, WHOLE)
    if missing:
        raise DatasetError(f"not below {folder.root}: {', '.join(missing)}", hint=HINT)
    train_csv, test_csv = (path for path in listed.values() if path)
    official: dict[str, str] = {}
    pairs: list[tuple[str, str]] = []
    for path in filter(None, jsons):
        held = folder.json(path)
        try:
            official |= {one["video_id"]: one.get("split", "") for one in held["videos"]}
            pairs += [(one["video_id"], _text(one["caption"])) for one in held["sentences"]]
        except (KeyError, TypeError, AttributeError) as error:
            raise damaged(path, f"its videos and sentences are not as expected ({error!r})") from error
    train = unique(
        folder, (row["video_id"] for row in folder.table(train_csv, ("video_id",))), train_csv.name
    )
    rows = folder.table(test_csv, ("video_id",), ("sentence",))
    test = unique(folder, (row["video_id"] for row in rows), test_csv.name)
    sentences: dict[str, str] = {}
    for row in rows:
        sentences.setdefault(row["video_id"], row["sentence"])
    return Annotations(
        train=train,
        val=_unlisted(official, {*train, *test}),
        test=test,
        captions=grouped(pairs),
        test_captions={video_id: [sentence] for video_id, sentence in sentences.items()},
    )


def _unlisted(official: dict[str, str], listed: set[str]) -> list[str]:
    return [
        video_id for video_id, split in official.items() if split == "validate" and video_id not in listed
    ]


def _text(value: Any) -> str:  # noqa: ANN401 - out of a JSON file
    if not isinstance(value, str):
        raise TypeError(f"a caption is {value!r}")
    return value
