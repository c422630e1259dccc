"""How well `save dupes` finds clips again in other forms, and how long it takes on many segments.

    python benchmarks/dupes.py ../shared/media [--work DIR] [--scale 100000]

Every clip is written anew in nine forms (smaller and coarser, in another container and codec, without its
beginning and end, ...); all of them and the clips are one library. A pair of videos of one clip is right, any
other is wrong. `s_long.mp4`, a reel of other clips, and `s32.wmv`, the same scene as `s01.mp4`, are told
apart from the rest. The forms are kept in DIR; nothing of them belongs into a repository.
"""

from __future__ import annotations

import argparse
import csv
import resource
import tempfile
import time
from collections.abc import Iterator
from fractions import Fraction
from itertools import combinations
from pathlib import Path

import av
import numpy as np
from report import table

from savecli import config, pipeline
from savecli.datatypes import Embedding, Segment, Transcript, Video
from savecli.dupes.run import candidates, find
from savecli.index import Options as IndexOptions
from savecli.index import index
from savecli.store import Store
from savecli.twins import Dupes, Options

FORMS = {
    "smaller": "240 px, x264 at crf 36",
    "container": "MPEG-4 part 2 in Matroska, q 6",
    "trimmed": "without the first quarter and the last fifth",
    "shifted": "starts up to 5.3 s later",
    "brighter": "a quarter brighter, plus 20",
    "cropped": "a tenth off every side",
    "logo": "a red box in a corner",
    "mirrored": "left is right",
    "grey": "without colour",
}
REEL, TWIN = "s_long", {"s32": "s01"}
RATE_HZ = 44_100


def main() -> None:
    """Print Markdown."""
    parser = argparse.ArgumentParser()
    parser.add_argument("media", type=Path)
    parser.add_argument("--work", type=Path, help="where the forms and the store are kept")
    parser.add_argument(
        "--scale", type=int, default=100_000, help="segments of the made-up library; 0 for none"
    )
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = given.work or Path(temporary)
        clips = [path for path in sorted(given.media.glob("s*.*")) if path.suffix != ".csv"]
        write_forms(clips, work / "forms")
        home = fill(clips, work)
        quality(home)
        reel(home, given.media / "s_long_sections.csv")
    if given.scale:
        with tempfile.TemporaryDirectory() as temporary:
            scale(Path(temporary), given.scale)


def write_forms(clips: list[Path], folder: Path) -> None:
    """All forms of all clips that have pictures, without those that are there."""
    folder.mkdir(parents=True, exist_ok=True)
    for clip in clips:
        for form in FORMS:
            target = folder / f"{clip.stem}.{form}{'.mkv' if form == 'container' else '.mp4'}"
            if clip.stem != REEL and not target.exists() and has_pictures(clip):
                aside = target.with_name(f"part-{target.name}")
                write_form(clip, aside, form)
                aside.replace(target)


def has_pictures(clip: Path) -> bool:
    """Whether there is a picture stream."""
    with av.open(str(clip)) as source:
        return bool(source.streams.video)


def write_form(clip: Path, target: Path, form: str) -> None:
    """One clip in another form; the sound comes along."""
    with av.open(str(clip)) as source, av.open(str(target), "w") as out:
        seen, heard = source.streams.best("video"), source.streams.best("audio")
        begins_s, length_s = (source.start_time or 0) / 1e6, (source.duration or 0) / 1e6
        first_s, last_s = {
            "trimmed": (length_s / 4, 0.8 * length_s),
            "shifted": (min(5.3, 0.3 * length_s), length_s),
        }.get(form, (0.0, length_s))
        rate = Fraction(min(seen.guessed_rate or 25, 30)).limit_denominator(1001)
        pictures, sound = None, None
        if heard is not None:
            sound = out.add_stream("libmp3lame" if target.suffix == ".mkv" else "aac", rate=RATE_HZ)
            sound.layout = "mono"
            resampler = av.AudioResampler(format="fltp", layout="mono", rate=RATE_HZ)
        waiting, n_samples, n_pictures = [], 0, 0
        for frame in source.decode(*(stream for stream in (seen, heard) if stream is not None)):
            time_s = (frame.time or 0.0) - begins_s
            if not first_s <= time_s < last_s:
                continue
            if isinstance(frame, av.AudioFrame):
                for block in resampler.resample(frame):
                    block.pts, block.time_base = n_samples, Fraction(1, RATE_HZ)
                    n_samples += block.samples
                    waiting += sound.encode(block)
            else:
                image = edited(np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90)), form)
                pictures = pictures or add_pictures(out, image, form, rate)
                while n_pictures <= int((time_s - first_s) * rate):
                    picture = av.VideoFrame.from_ndarray(image, format="rgb24")
                    picture = picture.reformat(pictures.width, pictures.height, "yuv420p")
                    picture.pts, picture.time_base = n_pictures, 1 / rate
                    n_pictures += 1
                    out.mux(pictures.encode(picture))
            if pictures is not None:
                out.mux(waiting)
                waiting = []
        out.mux([*waiting, *pictures.encode(None), *(sound.encode(None) if sound else [])])


def add_pictures(out: av.container.OutputContainer, image: np.ndarray, form: str, rate: Fraction):
    """The picture stream that a form wants."""
    codec, options = {
        "smaller": ("libx264", {"crf": "36", "preset": "veryfast"}),
        "container": ("mpeg4", {"qscale": "6"}),
    }.get(form, ("libx264", {"crf": "23", "preset": "veryfast"}))
    stream = out.add_stream(codec, rate=rate, options=options)
    height, width = image.shape[:2]
    scale = min(1.0, (240 if form == "smaller" else 480) / min(height, width))
    stream.width, stream.height = 2 * round(width * scale / 2), 2 * round(height * scale / 2)
    stream.pix_fmt = "yuv420p"
    return stream


def edited(image: np.ndarray, form: str) -> np.ndarray:
    """One picture in another form."""
    height, width = image.shape[:2]
    match form:
        case "brighter":
            image = (image.astype(np.int16) * 5 // 4 + 20).clip(0, 255).astype(np.uint8)
        case "cropped":
            image = image[height // 10 : height - height // 10, width // 10 : width - width // 10]
        case "logo":
            image = image.copy()
            image[height // 20 : height // 8, width - width // 5 : width - width // 20] = (230, 40, 40)
        case "mirrored":
            image = image[:, ::-1]
        case "grey":
            image = np.repeat(image.mean(axis=2).astype(np.uint8)[..., None], 3, axis=2)
    return np.ascontiguousarray(image)


def fill(clips: list[Path], work: Path) -> Path:
    """A home with clips and forms in its store."""
    home = work / "home"
    settings = config.load(home=home, asr="off")
    identity = pipeline.make_encoder(settings).identity
    with Store.open(settings.store_dir, identity=identity, mode="write") as store:
        paths = (*clips, work / "forms")
        for _ in index(IndexOptions(paths=paths), store, lambda: pipeline.open_pipeline(settings)):
            pass
    return home


def run(stages: Iterator[object]) -> Dupes:
    """What a search for duplicates returns."""
    while True:
        try:
            next(stages)
        except StopIteration as end:
            return end.value


def quality(home: Path) -> None:
    """Recall by form, and precision: by the pictures, and by rows alone."""
    with Store.open(config.load(home=home).store_dir, identity=None, mode="read") as store:
        names = [v.paths[0].name for v in store.videos() if v.has_video and v.paths[0].stem != REEL]
        lines = []
        for title, n_looks in (("pictures decide", 1_000_000), ("rows alone (`--looks 0`)", 0)):
            started = time.perf_counter()
            found = run(find(store, Options(n_looks=n_looks)))
            took_s = time.perf_counter() - started
            together = {
                frozenset((a, b))
                for twins in found.twins
                for a, b in combinations([m.paths[0].name for m in twins.members], 2)
                if not {a, b} & {f"{REEL}.mp4"}
            }
            recalls = []
            for form in FORMS:
                wanted = [
                    frozenset((a, b))
                    for a, b in combinations(names, 2)
                    if clip_of(a) == clip_of(b) and sorted((form_of(a), form_of(b))) == sorted(("", form))
                ]
                recalls.append(f"{np.mean([pair in together for pair in wanted]):.2f}")
            right = sum(len({clip_of(name) for name in pair}) == 1 for pair in together)
            total = sum(clip_of(a) == clip_of(b) for a, b in combinations(names, 2))
            lines.append((title, *recalls, f"{right}/{total}", f"{right}/{len(together)}", f"{took_s:.0f} s"))
        n_wrong = sum(clip_of(a) != clip_of(b) for a, b in combinations(names, 2))
        print(f"{len(names)} videos; {n_wrong} pairs of them show different things\n")
        print(table(("judged by", *FORMS, "all pairs found", "of those told, right", "took"), lines))
        print("\n" + "; ".join(f"{name}: {what}" for name, what in FORMS.items()) + ".\n")


def clip_of(name: str) -> str:
    """The clip that a file is a form of."""
    stem = name.split(".")[0]
    return TWIN.get(stem, stem)


def form_of(name: str) -> str:
    """Which form a file is; empty for the clip itself."""
    return name.split(".")[1] if name.count(".") == 2 else ""


def reel(home: Path, sections: Path) -> None:
    """Which sections of the reel are found in the clips that they come from, and how well their times fit."""
    with sections.open(newline="") as file:
        wanted = [(r["picture_from"], float(r["start_s"]), float(r["end_s"])) for r in csv.DictReader(file)]
    with Store.open(config.load(home=home).store_dir, identity=None, mode="read") as store:
        found = run(find(store, Options(n_looks=1_000_000)))
    shared = []
    for clip, start_s, end_s in wanted:
        best = 0.0
        for twins in found.twins:
            names = {member.paths[0].name for member in twins.members}
            for member in twins.members:
                if member.paths[0].stem == REEL and clip in names:
                    inside = min(end_s, member.end_s) - max(start_s, member.start_s)
                    whole = max(end_s, member.end_s) - min(start_s, member.start_s)
                    best = max(best, inside / whole)
        shared.append(best)
    n_found = sum(share > 0 for share in shared)
    told = [m for t in found.twins for m in t.members if m.paths[0].stem == REEL]
    print(f"Of the reel's {len(wanted)} sections {n_found} are found, in {len(told)} groups; ", end="")
    print(f"intersection over union of their times: mean {np.mean(shared):.2f}, least {min(shared):.2f}.\n")


def scale(home: Path, n: int) -> None:
    """Time and memory of what comes before the look at pictures, on a made-up library."""
    rng = np.random.default_rng(0)
    dim, n_each, n_frames = 384, 10, 12
    # Scenes of a few hundred kinds, nearly as alike within a kind as two pictures of one thing.
    kinds = rng.standard_normal((300, dim)) + 0.7 * rng.standard_normal(dim)
    rows = np.zeros(0)
    with Store.open(home / "store", identity={"model": "made", "dim": str(dim)}, mode="write") as store:
        for number in range(n // n_each):
            if number % 100 == 1:  # each hundredth video is the one before it in another form
                rows = rows + 0.5 * rng.standard_normal(rows.shape)
            else:
                scenes = kinds[rng.integers(0, 300, n_each)] + 1.1 * rng.standard_normal((n_each, dim))
                rows = scenes[:, None] + 0.5 * rng.standard_normal((n_each, n_frames, dim))
            spans = [Segment(start_s=12.0 * i, end_s=12.0 * i + 12) for i in range(n_each)]
            store.add(
                Video(
                    path=Path(f"/videos/{number}.mp4"),
                    fingerprint=f"{number:032x}",
                    size_bytes=1,
                    mtime_ns=1,
                    duration_s=12.0 * n_each,
                    has_video=True,
                    has_audio=False,
                ),
                spans,
                [embedding(own) for own in rows],
                Transcript(),
                asr="off",
                frame_times=[s.start_s + 0.5 + np.arange(float(n_frames)) for s in spans],
            )
    before_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    with Store.open(home / "store", identity=None, mode="read") as store, store.snapshot():
        videos = {video.video_id: video for video in store.videos()}
        began, ended, matches = {}, {}, []
        stages = candidates(store, videos, set(videos), least_s=3.0)
        last_s = time.perf_counter()
        while True:
            try:
                name = next(stages).name
            except StopIteration as end:
                matches = end.value
                break
            began.setdefault(name, last_s)
            ended[name] = last_s = time.perf_counter()
    after_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    pairs = {(int(m.first.video_id, 16), int(m.second.video_id, 16)) for m in matches}
    wanted = {(number - 1, number) for number in range(1, n // n_each, 100)}
    took = ", ".join(f"{name} {ends - began[name]:.0f} s" for name, ends in ended.items())
    print(f"{n} made-up segments in {n // n_each} videos: {took}; {after_mb:.0f} MB at most, ", end="")
    print(f"{before_mb:.0f} MB before. Of {len(wanted)} videos in another form ", end="")
    print(f"{len(wanted & pairs)} are proposed, and {len(pairs)} pairs in all.")


def embedding(frames: np.ndarray) -> Embedding:
    """The rows of a segment with these frames, (F, D) of any norm."""
    rows = (frames / np.linalg.norm(frames, axis=1, keepdims=True)).astype(np.float32)
    mean = rows.mean(axis=0, keepdims=True)
    return Embedding(
        seen=(mean / np.linalg.norm(mean)).astype(np.float32),
        frames=rows,
        said=np.zeros((0, rows.shape[1]), np.float32),
    )


if __name__ == "__main__":
    main()
