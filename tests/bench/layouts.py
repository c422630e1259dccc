"""Benchmarks written small, in the layouts that people have on their disks; sentences and ids are made up.

Each method writes one layout and gives the Benchmark back, so that they chain. Videos are not looked into.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from savecli.bench.datasets import Clip, Dataset

TRAIN = tuple(f"video{i}" for i in range(4))
VALIDATE = ("video4",)
TEST = ("video7", "video5", "video6")  # no list is sorted
VATEX = ("-aB.c_000001_000011", "-Ab.c_000001_000011", "xyz_000002_000012")  # train, val, test
FILM = "1005_Some_Film"
CLIPS = tuple(f"{FILM}_00.0{i}.51.926-00.0{i}.54.129" for i in range(4))


def ids(clips: Sequence[Clip]) -> list[str]:
    return [clip.video_id for clip in clips]


def noted(dataset: Dataset, *words: str) -> bool:
    return any(all(word in note for word in words) for note in dataset.notes)


def captions(video_id: str) -> list[str]:
    return [f"{k} of {video_id}" for k in ("one", "two")]


def sentence(video_id: str) -> str:
    return f"two of {video_id}"


class Benchmark:
    """A folder to put a benchmark's files into."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def text(self, name: str, text: str, encoding: str = "utf-8") -> Benchmark:
        return self.data(name, text.encode(encoding))

    def lines(self, name: str, *lines: str) -> Benchmark:
        return self.text(name, "".join(f"{line}\n" for line in lines))

    def json(self, name: str, held: object) -> Benchmark:
        return self.text(name, json.dumps(held))

    def parquet(self, name: str, columns: dict[str, list[Any]]) -> Benchmark:
        import pyarrow
        from pyarrow import parquet

        held = io.BytesIO()
        parquet.write_table(pyarrow.table(columns), held)
        return self.data(name, held.getvalue())

    def data(self, name: str, data: bytes) -> Benchmark:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return self

    def videos(self, *names: str) -> Benchmark:
        for name in names:
            self.data(name, b"not looked into")
        return self

    def without(self, *patterns: str) -> Benchmark:
        for pattern in patterns:
            for path in list(self.root.glob(pattern)):
                path.unlink()
        return self

    def msrvtt(self, *, n: int = 6, n_test: int = 2, validate: tuple[int, ...] = ()) -> Benchmark:
        """`n` training videos and `n_test` test videos after them, two captions each, as CLIP4Clip has it."""
        names = [f"video{i}" for i in range(n + n_test)]
        split = dict.fromkeys(validate, "validate")
        videos = [{"video_id": v, "split": split.get(i, "train")} for i, v in enumerate(names)]
        self._whole("MSRVTT_data.json", videos)
        self.lines(
            "MSRVTT_train.9k.csv", "video_id", *(v for i, v in enumerate(names[:n]) if i not in validate)
        )
        rows = [f"ret{i},msr{i},{v},sentence of {v}" for i, v in enumerate(names[n:])]
        self.lines("MSRVTT_JSFUSION_test.csv", "key,vid_key,video_id,sentence", *rows)
        return self.videos(*(f"videos/all/{v}.mp4" for v in names))

    # From here on MSR-VTT has the videos TRAIN, VALIDATE and TEST; sentence() is the one caption of 1k-A.

    def all_videos(self) -> Benchmark:
        return self.videos(*(f"videos/{v}.mp4" for v in (*TRAIN, *VALIDATE, *TEST)))

    def official(self, name: str = "MSRVTT_data.json", parts: Sequence[str] = ("train", "validate", "test")):
        """One JSON of all, or of some."""
        split_of = {"train": TRAIN, "validate": VALIDATE, "test": TEST}
        return self._whole(name, [{"video_id": v, "split": part} for part in parts for v in split_of[part]])

    def first_release(self) -> Benchmark:
        self.official("train_val_videodatainfo.json", ("train", "validate"))
        return self.official("test_videodatainfo.json", ("test",))

    def jsfusion(self, delimiter: str = ",", end: str = "\n", mark: str = "") -> Benchmark:
        heading = ("key", "vid_key", "video_id", "sentence")
        rows = [heading, *((f"ret{i}", f"msr{i}", v, sentence(v)) for i, v in enumerate(TEST))]
        text = mark + "".join(delimiter.join(row) + end for row in rows)
        return self.text("MSRVTT_JSFUSION_test.csv", text)

    def ruc(self) -> Benchmark:
        """As ruc-aimc-lab/TeachCLIP has it."""
        self.official("msrvtt/Annotations/MSRVTT_data.json")
        self.lines("msrvtt/VideoSet/msrvtt1k-train.txt", *TRAIN, *VALIDATE)
        self.lines("msrvtt/VideoSet/msrvtt1k-test.txt", *TEST)
        one, all_ = (f"msrvtt/QuerySet/msrvtt{k}-test-query.txt" for k in ("1k", "3k"))
        self.lines(one, *(f"{v}#enc#1\t{sentence(v)}" for v in TEST))
        self.lines(all_, *(f"{v}#enc#{i}\t{text}" for v in TEST for i, text in enumerate(captions(v))))
        return self.videos(*(f"msrvtt/VideoData/{v}.mp4" for v in (*TRAIN, *VALIDATE, *TEST)))

    def text_data(self) -> Benchmark:
        """As VisualSearch folders have it: a collection for each split."""
        for part, some in (("train", TRAIN), ("val", VALIDATE), ("test", TEST)):
            rows = [f"{v}#enc#{i} {text}" for v in some for i, text in enumerate(captions(v))]
            self.lines(f"msrvtt10k{part}/TextData/msrvtt10k{part}.caption.txt", *rows)
        rows = [f"{v}#0 {sentence(v)}" for v in TEST]
        return self.lines("msrvtt1kAtest/TextData/msrvtt1kAtest.caption.txt", *rows).all_videos()

    def mmaction2(self) -> Benchmark:
        some = {"train_9k.json": (*TRAIN, *VALIDATE), "train_7k.json": TRAIN}
        for name, videos in some.items():
            self.json(name, {f"{v}.mp4": captions(v) for v in videos})
        return self.json("test_JSFUSION.json", {f"{v}.mp4": [sentence(v)] for v in TEST}).all_videos()

    def rows(self, videos: Sequence[str], *, one: bool) -> list[dict[str, object]]:
        """Rows as friedrichor/MSR-VTT has them."""
        return [
            {
                "video_id": v,
                "video": f"{v}.mp4",
                "caption": sentence(v) if one else captions(v),
                "source": "MSR-VTT",
                "category": 3,
                "url": "https://example.org",
                "start time": 1.5,
                "end time": 11.5,
                "id": i,
            }
            for i, v in enumerate(videos)
        ]

    def hub_json(self) -> Benchmark:
        self.json("msrvtt_train_9k.json", self.rows((*TRAIN, *VALIDATE), one=False))
        self.json("msrvtt_train_7k.json", self.rows(TRAIN, one=False))
        return self.json("msrvtt_test_1k.json", self.rows(TEST, one=True)).all_videos()

    def vindlu(self) -> Benchmark:
        """As VindLU, UMT and InternVideo have it."""
        self.json(
            "anno/msrvtt_ret_train9k.json", [{"video": f"{v}.mp4", "caption": captions(v)} for v in TRAIN]
        )
        rows = [{"video": f"{v}.mp4", "caption": sentence(v)} for v in TEST]
        return self.json("anno/msrvtt_ret_test1k.json", rows).all_videos()

    def hub_parquet(self) -> Benchmark:
        """As the Hub converts friedrichor/MSR-VTT."""
        for name, videos, one in (
            ("train_9k/train", (*TRAIN, *VALIDATE), False),
            ("train_7k/train", TRAIN, False),
            ("test_1k/test", TEST, True),
        ):
            rows = self.rows(videos, one=one)
            self.parquet(f"{name}/0000.parquet", {key: [row[key] for row in rows] for key in rows[0]})
        return self.all_videos()

    def one_caption_parquet(self) -> Benchmark:
        """As AlexZigma/msr-vtt has it: the official training and validation videos, one caption each."""
        for part, some in (("train", TRAIN), ("val", VALIDATE)):
            columns = {
                "video_id": list(some),
                "caption": [sentence(v) for v in some],
                "sen_id": [1] * len(some),
            }
            self.parquet(f"data/{part}-00000-of-00001-60e50ff5fbbd1bb5.parquet", columns)
        return self.all_videos()

    def embedded_parquet(self, *videos: str, n_shards: int = 2) -> Benchmark:
        """As mteb/MSR-VTT has it: videos and sounds are within the file, and no caption comes twice."""
        for i in range(n_shards):
            some = videos[i::n_shards]
            columns = {
                "video": [{"bytes": b"not looked into", "path": f"{v}.mp4"} for v in some],
                "audio": [{"bytes": b"not looked into", "path": f"{v}.wav"} for v in some],
                "caption": [sentence(v) for v in some],
            }
            self.parquet(f"data/test-{i:05}-of-{n_shards:05}.parquet", columns)
        return self

    def oxford(self) -> Benchmark:
        """As Frozen in Time and Collaborative Experts have it."""
        annotations = [
            {"image_id": v, "caption": text} for v in (*TRAIN, *VALIDATE, *TEST) for text in captions(v)
        ]
        self.json("MSRVTT/annotation/MSR_VTT.json", {"images": [], "annotations": annotations})
        lists = "MSRVTT/high-quality/structured-symlinks"
        for name, some in (
            ("train_list_full", TRAIN),
            ("val_list_full", VALIDATE),
            ("test_list_full", TEST),
            ("train_list_jsfusion", (*TRAIN, *VALIDATE)),
            ("val_list_jsfusion", TEST),
        ):
            self.lines(f"{lists}/{name}.txt", *some)
        return self.data(f"{lists}/jsfusion_val_caption_idx.pkl", b"\x80\x02}q\x00.").all_videos()

    def _whole(self, name: str, videos: list[dict[str, str]]) -> Benchmark:
        sentences = [
            {"video_id": video["video_id"], "caption": text, "sen_id": i}
            for video in videos
            for i, text in enumerate(captions(video["video_id"]))
        ]
        return self.json(name, {"info": {}, "videos": videos, "sentences": sentences})

    def vatex_lists(self) -> Benchmark:
        for part, clip in zip(("train", "val", "test"), VATEX, strict=True):
            self.text(f"{part}_list.txt", f"\r\n{clip}.mp4\r\n{clip}\r\n")
        self.json("ref_captions.json", {clip: captions(clip) for clip in VATEX})
        return self.videos(*(f"v/{clip}.mp4" for clip in VATEX))

    def vatex_official(self) -> Benchmark:
        names = ("training_v1.0", "validation_v1.0", "public_test_english_v1.1")
        for name, clip in zip(names, VATEX, strict=True):
            self.json(f"vatex_{name}.json", vatex_rows(clip))
        self.json("vatex_private_test_without_annotations.json", ["q"])
        return self.videos(*(f"{clip}.mkv" for clip in VATEX))

    def vatex_ruc(self) -> Benchmark:
        self._whole("Annotations/VATEX_data.json", [{"video_id": clip, "split": ""} for clip in VATEX])
        for part, clip in zip(("train", "val", "test"), VATEX, strict=True):
            self.lines(f"Annotations/VATEX_{part}.csv", "video_id", clip)
        return self.videos(*(f"VideoData/{clip}.mp4" for clip in VATEX))

    def charades(self) -> Benchmark:
        train = 'id,subject,script\nAAAAA,x,"Sits, stands.\nWalks."\nAAAAA,y,again\nBBBBB,z,\n'
        self.text("Charades/Charades_v1_train.csv", train)
        self.text("Charades/Charades_v1_test.csv", "id,script\nCCCCC,Runs.\n")
        return self.videos("Charades_v1_480/CCCCC.mp4")

    def lsmdc(self) -> Benchmark:
        """Two training clips, the first with two sentences, one for validation and one for the test."""
        for name, some in (
            ("annos_training", (CLIPS[0], CLIPS[0], CLIPS[1])),
            ("annos_val", CLIPS[2:3]),
            ("challenge_1000_publictect", CLIPS[3:]),
        ):
            self.lines(f"LSMDC16_{name}.csv", *(lsmdc_row(v, f"S{i} of {v}.") for i, v in enumerate(some)))
        return self.videos(*(f"clips/{FILM}/{v}.avi" for v in CLIPS))


def vatex_rows(*clips: str) -> list[dict[str, object]]:
    return [{"videoID": clip, "enCap": captions(clip), "chCap": ["-"]} for clip in clips]


def lsmdc_row(clip: str, text: str) -> str:
    return "\t".join((clip, "00:00:51:926", "00:00:54:129", "00:00:51:800", "00:00:54:300", text))
