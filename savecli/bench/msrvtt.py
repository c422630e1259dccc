"""MSR-VTT: 10,000 videos with some twenty captions each, split in three ways.

"9k" and "7k" are tested on the 1,000 videos known as 1k-A, one caption each; "full" on the official 2,990
with all their captions. Of each line the first file that is there is read:

- captions of all: `MSRVTT_data.json`; the first release's `train_val_videodatainfo.json` and
  `test_videodatainfo.json`; the Oxford copy's `MSR_VTT.json`.
- 1k-A: `MSRVTT_JSFUSION_test.csv` with columns `video_id` and `sentence`, and the others of ONE_K.
- training lists: `MSRVTT_train.9k.csv` or `MSRVTT_train.7k.csv` with a column `video_id`, and the others of
  TRAIN. Those that hold captions need no JSON.
- "full": the splits that the JSON names, else the lists of FULL.

Their forms are told in `lists`.
"""

from __future__ import annotations

from collections.abc import Collection

from savecli.bench.files import Folder
from savecli.bench.lists import Listing, Whole, find, whole
from savecli.bench.records import PARTS, Part
from savecli.bench.splits import Annotations

WHOLE = "MSRVTT_data.json"
FIRST_RELEASE = ("train_val_videodatainfo.json", "test_videodatainfo.json")
OXFORD = "MSR_VTT.json"
ONE_K = (
    "MSRVTT_JSFUSION_test.csv",
    "test_JSFUSION.json",
    "msrvtt_test_1k.json",
    "msrvtt_ret_test1k.json",
    "msrvtt1k-test-query.txt",
    "msrvtt1kAtest.caption.txt",
)
TRAIN = {
    "9k": (
        "MSRVTT_train.9k.csv",
        "train_9k.json",
        "msrvtt_train_9k.json",
        "msrvtt_ret_train9k.json",
        "train_list_jsfusion.txt",
        "train_list_9k.txt",
        "msrvtt1k-train.txt",
    ),
    "7k": (
        "MSRVTT_train.7k.csv",
        "train_7k.json",
        "msrvtt_train_7k.json",
        "msrvtt_ret_train7k.json",
        "train_list_7k.txt",
    ),
}
FULL: dict[Part, tuple[str, ...]] = {
    "train": ("msrvtt10ktrain.caption.txt", "train_list_full.txt"),
    "val": ("msrvtt10kval.caption.txt", "MSRVTT_full_split_val.csv", "val_list_full.txt"),
    "test": (
        "msrvtt3k-test-query.txt",
        "msrvtt10ktest.caption.txt",
        "MSRVTT_full_split_test.csv",
        "test_list_full.txt",
    ),
}
OFFICIAL: dict[Part, str] = {"train": "train", "val": "validate", "test": "test"}
HINT = (
    f"{WHOLE}, MSRVTT_train.9k.csv, MSRVTT_train.7k.csv and {ONE_K[0]} are in msrvtt_data.zip of the "
    "CLIP4Clip releases on GitHub, the videos (video0.mp4 ...) in MSRVTT_Videos.zip of friedrichor/MSR-VTT "
    "on Hugging Face; both go anywhere below the folder; docs/benchmarks.md names the other layouts"
)


def read(folder: Folder, split: str, parts: Collection[Part] = PARTS) -> Annotations:
    """The annotations of `split`: "9k", "7k" or "full".

    Of "9k" and "7k", `val` is the official "validate" videos, unless they are trained on, as both lists do.

    Args:
        folder: to look in.
        split: which one.
        parts: what has to be there; of "9k" and "7k" all three, or the test set alone.

    Raises:
        DatasetError: where a file is missing or damaged.
    """
    return _full(folder, parts) if split == "full" else _one_k(folder, split, parts)


def _one_k(folder: Folder, split: str, parts: Collection[Part]) -> Annotations:
    trains = "train" in parts
    test = find(folder, ONE_K, "test", ("1k", ""), captioned=True)
    train = find(folder, TRAIN[split], "train", (split,), captioned=False) if trains else Listing(ids=[])
    everything = _whole(folder) if trains else Whole(split_of={}, captions={})
    missing = []
    if trains and not everything.captions and not (train and train.captions):
        missing.append(WHOLE)
    if train is None:
        missing.append(TRAIN[split][0])
    if test is None:
        missing.append(ONE_K[0])
    if train is None or test is None or missing:
        raise folder.lacks(missing, HINT)
    listed = {*train.ids, *test.ids}
    return Annotations(
        train=train.ids,
        val=[video_id for video_id in everything.of("validate") if video_id not in listed],
        test=test.ids,
        captions={**everything.captions, **train.captions},
        test_captions=test.captions,
    )


def _full(folder: Folder, parts: Collection[Part]) -> Annotations:
    everything = _whole(folder)
    captions = dict(everything.captions)
    ids: dict[Part, list[str]] = {}
    missing = []
    for part in parts:
        listed = everything.of(OFFICIAL[part])
        found = Listing(ids=listed) if listed else find(folder, FULL[part], part, ("",), captioned=False)
        ids[part] = found.ids if found else []
        captions |= found.captions if found else {}
        if not any(video_id in captions for video_id in ids[part]):
            missing.append(f"the official {OFFICIAL[part]} videos and their captions ({WHOLE})")
    if missing:
        raise folder.lacks(missing, HINT)
    return Annotations(
        train=ids.get("train", []), val=ids.get("val", []), test=ids.get("test", []), captions=captions
    )


def _whole(folder: Folder) -> Whole:
    path = folder.one(WHOLE)
    paths = [path] if path else [folder.one(name) for name in FIRST_RELEASE]
    if not any(paths):
        paths = [folder.one(OXFORD)]
    return whole(folder, filter(None, paths))
