"""Damaged videos of every container, through the whole of `index`: the worker, the pipeline, the store.

    python fuzz.py FOLDER --n 2000 [--media ../shared/media] [--real 36] [--seed 0]

A mutant is a clip with bits flipped, ranges cut, zeroed, swapped or repeated, sizes made huge, or another
clip's tail. Each ends as indexed, partial, or refused with a reason, within the time and memory that the
decoder is given; the process that indexes does not die, and does not grow. Prints one line of JSON for each
container, one for all, and exit code 1 where something was wrong. `--real` of them are seen and heard by the
model itself, the others by a cheap encoder.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import shutil
import sys
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
import clips

from savecli import config, pipeline
from savecli.datatypes import Embedding, Media, MediaSpec, Sound
from savecli.errors import SaveError
from savecli.events import Indexed, Skipped
from savecli.index import Options, index
from savecli.media.signature import HEAD_BYTES, kind_of
from savecli.media.worker import Decoder
from savecli.pipeline import Pipeline
from savecli.store import Store

STALL_S = 20.0
TOGETHER = 50
MEDIA = ("s13.mp4", "s04.webm", "s11.mkv", "s14.mpg", "s15.ts", "s32.wmv", "s18.avi")
"""Real clips of up to half a minute."""
GROWTH_MB = 40
SETTLED = 0.25
"""What has grown after a quarter of all mutants is a leak; before, it is what Python keeps for good."""


class Cheap:
    """An encoder that knows how bright a picture and how loud a sound is."""

    name = "cheap"
    batch_size = 1
    spec = MediaSpec(n_frames=4, resize_px=64, size_px=56, window_s=4.0)
    identity: ClassVar = {"model": "cheap", "weights": "none", "dim": "2"}

    def hear(self, waveform: np.ndarray) -> Sound:
        assert waveform.dtype == np.float32
        assert np.isfinite(waveform).all()
        row = self._rows([float(np.abs(waveform).mean())])
        return Sound(rows=row, tokens=row)

    def embed(self, media: Sequence[Media]) -> list[Embedding]:
        return [self._embed(one) for one in media]

    def notes(self) -> tuple[str, ...]:
        return ()

    def _embed(self, media: Media) -> Embedding:
        assert np.isfinite(media.frame_times_s).all()
        assert (np.diff(media.frame_times_s) >= 0).all()
        frames = self._rows([float(image.mean()) / 255 for image in media.frames])
        heard = media.sound.rows if media.sound else None
        return Embedding(seen=frames[:1], frames=frames, said=self._rows([]), heard=heard)

    def _rows(self, levels: list[float]) -> np.ndarray:
        angles = np.array(levels, np.float32)
        return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32).reshape(-1, 2)


# Ways to damage the bytes of a file. Each gets a copy, random numbers, and all clips.


def flip(data: bytearray, rng: np.random.Generator, others: Sequence[bytes]) -> bytearray:
    """1 to 60 bits anywhere."""
    for place in rng.integers(len(data), size=int(rng.integers(1, 61))):
        data[place] ^= 1 << int(rng.integers(8))
    return data


def flip_head(data: bytearray, rng: np.random.Generator, others: Sequence[bytes]) -> bytearray:
    """1 to 8 bits of the first KiB."""
    for place in rng.integers(min(1024, len(data)), size=int(rng.integers(1, 9))):
        data[place] ^= 1 << int(rng.integers(8))
    return data


def cut(data: bytearray, rng: np.random.Generator, others: Sequence[bytes]) -> bytearray:
    """Its end is missing."""
    return data[: int(rng.integers(1, len(data)))]


def cut_out(data: bytearray, rng: np.random.Generator, others: Sequence[bytes]) -> bytearray:
    """Something in between is missing."""
    start, end = span(data, rng)
    del data[start:end]
    return data


def zero(data: bytearray, rng: np.random.Generator, others: Sequence[bytes]) -> bytearray:
    """A range is zeros, as after a crash of the file system."""
    start, end = span(data, rng)
    data[start:end] = bytes(end - start)
    return data


def swap(data: bytearray, rng: np.random.Generator, others: Sequence[bytes]) -> bytearray:
    """Blocks of 512 bytes have changed places."""
    n_blocks = len(data) // 512
    for _ in range(int(rng.integers(1, 6))):
        a, b = (512 * int(i) for i in rng.integers(max(1, n_blocks), size=2))
        data[a : a + 512], data[b : b + 512] = data[b : b + 512], data[a : a + 512]
    return data


def repeat(data: bytearray, rng: np.random.Generator, others: Sequence[bytes]) -> bytearray:
    """A range comes twice or oftener."""
    start, end = span(data, rng)
    return data[:end] + data[start:end] * int(rng.integers(1, 5)) + data[end:]


def splice(data: bytearray, rng: np.random.Generator, others: Sequence[bytes]) -> bytearray:
    """The beginning of one file and the end of another."""
    other = others[int(rng.integers(len(others)))]
    return data[: int(rng.integers(1, len(data)))] + other[int(rng.integers(len(other))) :]


def enlarge(data: bytearray, rng: np.random.Generator, others: Sequence[bytes]) -> bytearray:
    """Sizes near the names of boxes and chunks, or any number of the head, are huge."""
    huge = [b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x01\xff\xff\xff", b"\0\0\0\x01"]
    names = [m.start() for m in re.finditer(rb"[a-zA-Z]{3}[a-zA-Z0-9 ]", bytes(data[:65536]))]
    for _ in range(int(rng.integers(1, 4))):
        value = huge[int(rng.integers(len(huge)))]
        if names and rng.random() < 0.6:  # before the name in MP4, after it in RIFF
            place = names[int(rng.integers(len(names)))] + int(rng.choice([-4, 4, 8, 12]))
        else:
            place = int(rng.integers(min(len(data), 4096)))
        if 0 <= place <= len(data) - 4:
            data[place : place + 4] = value
    return data


def enlarge_ebml(data: bytearray, rng: np.random.Generator, others: Sequence[bytes]) -> bytearray:
    """A size of EBML that is eight bytes long and huge, where any element may begin."""
    place = int(rng.integers(min(len(data), 8192)))
    data[place : place + 8] = b"\x01" + rng.bytes(7) if rng.random() < 0.5 else b"\x01" + b"\xff" * 7
    return data


WAYS = (flip, flip_head, cut, cut_out, zero, swap, repeat, splice, enlarge, enlarge_ebml)


def span(data: bytes | bytearray, rng: np.random.Generator) -> tuple[int, int]:
    """A range of up to a third of a file."""
    start = int(rng.integers(len(data)))
    return start, min(len(data), start + int(rng.integers(1, max(2, len(data) // 3))))


def mutant(number: int, seed: int, sources: Sequence[tuple[str, bytes]]) -> tuple[str, str, bytes]:
    """Container, way, and content of a mutant; the same for the same number and seed."""
    rng = np.random.default_rng([seed, number])
    suffix, content = sources[number % len(sources)]
    way = WAYS[int(rng.integers(len(WAYS)))]
    return suffix, way.__name__, bytes(way(bytearray(content), rng, [other for _, other in sources]))


def status(pid: int | str) -> dict[str, int]:
    """Memory of a process, MB; empty where it is gone."""
    with contextlib.suppress(OSError):
        text = Path(f"/proc/{pid}/status").read_text()
        return {key: int(kb) // 1024 for key, kb in re.findall(r"(VmHWM|RssAnon):\s+(\d+) kB", text)}
    return {}


class Trial:
    """All mutants into one store, and what came of them."""

    def __init__(self, folder: Path, sources: Sequence[tuple[str, bytes]], seed: int) -> None:
        self.folder, self.sources, self.seed = folder, sources, seed
        self.ends: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.ways: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.reasons: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.slow: list[tuple[float, str]] = []
        self.large: list[tuple[int, str]] = []
        self.own_mb: list[int] = []

    def run(self, numbers: Sequence[int], store: Store, encoder: pipeline.Encoder, asr: object) -> None:
        """Mutants of these numbers, a few at a time; one decoder for all, as in a run of the program."""
        with Decoder(stall_s=STALL_S) as decoder:
            line = Pipeline(decoder, encoder, asr)
            for first in range(0, len(numbers), TOGETHER):
                some = self.folder / f"{numbers[first]:06}"
                some.mkdir(parents=True)
                made = {}
                for number in numbers[first : first + TOGETHER]:
                    suffix, way, content = mutant(number, self.seed, self.sources)
                    path = some / f"{number:06}.{way}.{suffix}"
                    path.write_bytes(content)
                    made[path] = (suffix, way)
                try:
                    self._index(some, store, line, decoder, made)
                except Exception:  # noqa: BLE001 - what is looked for
                    self.wrong.append(f"{some.name}: {traceback.format_exc()}")
                for path, (suffix, way) in made.items():
                    # "ts" may be TypeScript: without the look of a video it is passed over in silence.
                    if kind_of(path.read_bytes()[:HEAD_BYTES]):
                        self.wrong.append(f"{path.name}: no word of it")
                    self._count(suffix, way, "passed over")
                self.own_mb.append(status("self")["RssAnon"])
                shutil.rmtree(some)

    def _index(
        self, some: Path, store: Store, line: Pipeline, decoder: Decoder, made: dict[Path, tuple[str, str]]
    ) -> None:
        @contextlib.contextmanager
        def opened() -> Iterator[Pipeline]:
            yield line

        started = time.monotonic()
        for event in index(Options(paths=(some,), force=True), store, opened):
            if not isinstance(event, Indexed | Skipped):
                continue
            took_s, started = time.monotonic() - started, time.monotonic()
            suffix, way = made.pop(event.path)
            self._note(event, suffix, way, took_s)
            self._weigh(decoder, event.path.name)

    def _note(self, event: Indexed | Skipped, suffix: str, way: str, took_s: float) -> None:
        name = event.path.name
        if isinstance(event, Indexed):
            end = "partial" if event.partial else "indexed"
        elif "crashed" in event.reason:
            end = "crash"
        elif "no headway" in event.reason:
            end = "stalled"
        else:
            end = "refused"
            self.reasons[re.sub(r"[\d.]+", "#", event.reason)] += 1
            if "process failed" in event.reason or not event.hint:
                self.wrong.append(f"{name}: {event.reason}")
        self._count(suffix, way, end)
        self.slow = sorted([*self.slow, (round(took_s, 1), name)])[-3:]

    def _count(self, suffix: str, way: str, end: str) -> None:
        self.ends[suffix][end] += 1
        self.ways[way][end] += 1

    def _weigh(self, decoder: Decoder, name: str) -> None:
        """What the decoder's process held for this file at most; then its mark is set back."""
        child = decoder._child
        if child is None:
            return
        pid = child._process.pid
        self.large = sorted([*self.large, (status(pid).get("VmHWM", 0), name)])[-3:]
        with contextlib.suppress(OSError):
            Path(f"/proc/{pid}/clear_refs").write_text("5")

    def records(self) -> Iterator[dict[str, object]]:
        """One for each container, and one for all."""
        for suffix, counts in sorted(self.ends.items()):
            yield {"container": suffix, "n": counts.total(), "counts": counts}
        settled = self.own_mb[int(SETTLED * len(self.own_mb))]
        if self.own_mb[-1] - settled > GROWTH_MB:
            self.wrong.append(f"grew from {settled} to {self.own_mb[-1]} MB: {self.own_mb}")
        yield {
            "ways": self.ways,
            "reasons": self.reasons.most_common(12),
            "slowest": sorted(self.slow)[::-1],
            "largest_mb": sorted(self.large)[::-1],
            "own_mb": [self.own_mb[0], settled, self.own_mb[-1]],
            "wrong": self.wrong,
        }


def sources_in(folder: Path, media: Path | None) -> list[tuple[str, bytes]]:
    """(container, content) of clips made up, and of real ones where they are."""
    folder.mkdir(parents=True)
    made = [clips.write_clip(folder / f"clip.{suffix}", seed=i) for i, suffix in enumerate(clips.CONTAINERS)]
    real = [media / name for name in MEDIA if (media / name).exists()] if media else []
    return [(path.suffix[1:], path.read_bytes()) for path in [*made, *real]]


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--n", type=int, default=2000)
    parser.add_argument("--media", type=Path)
    parser.add_argument("--real", type=int, default=0, help="so many more through the model itself")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="one mutant, to look at it closely; its file is kept")
    given = parser.parse_args()
    sources = sources_in(given.folder / "clips", given.media)
    trial = Trial(given.folder / "mutants", sources, given.seed)
    if given.only is not None:
        suffix, way, content = mutant(given.only, given.seed, sources)
        (given.folder / f"{given.only:06}.{way}.{suffix}").write_bytes(content)
        return 0
    home, encoder = given.folder / "cheap", Cheap()
    with Store.open(home, identity=encoder.identity, mode="write") as store:
        trial.run(range(given.n), store, encoder, None)
        trial.wrong += [f"{problem.subject}: {problem.message}" for problem in store.check()]
    if given.real:
        settings = config.load(home=given.folder / "real", asr="tiny.en")
        model, asr = pipeline.make_encoder(settings), pipeline.make_transcriber(settings)
        real = Trial(given.folder / "mutants", sources, given.seed)
        with Store.open(settings.store_dir, identity=model.identity, mode="write") as store:
            try:
                real.run(range(given.n, given.n + given.real), store, model, asr)
            except SaveError:
                real.wrong.append(traceback.format_exc())
            real.wrong += [f"{problem.subject}: {problem.message}" for problem in store.check()]
        for counts in real.ends.values():
            trial.ends["through the model"].update(counts)
        trial.wrong += real.wrong
        trial.slow, trial.large = trial.slow + real.slow, trial.large + real.large
    for record in trial.records():
        print(json.dumps(record), flush=True)
    return 1 if trial.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
