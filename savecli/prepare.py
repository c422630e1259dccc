"""A benchmark's video -> what SAVE reads of it: decoded once, kept on disk.

Frames and sound are chosen and cut as in SAVE's own training (docs/save.md, section 5), not by segments: a
benchmark's clip is one piece.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from savecli.datatypes import MediaSpec
from savecli.errors import MediaError, SaveError
from savecli.media.footage import Timeline
from savecli.media.segment import sampled_frames
from savecli.media.worker import Decoder
from savecli.model.fbank import N_ROWS, log_mel

VERSION = 1
"""Of what is kept; another number makes everything anew."""
T = TypeVar("T")
Arrays = dict[str, NDArray[Any]]
FULL_SCALE = 32768
"""SAVE heard 16-bit files; what lies between their levels was never there."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prepared:
    """What SAVE reads of one video.

    Attributes:
        frames: (F, H, W, 3) uint8 RGB, F up to the spec's `n_frames`.
        fbank: (rows, M) float32 normalised log-mel filter bank; None where there is no sound.
    """

    frames: NDArray[np.uint8]
    fbank: NDArray[np.float32] | None


class Kept:
    """Arrays on disk by a key, in one file each, which is whole or not there.

    Threads, processes and machines may share the folder. Losing it costs time alone.

    Args:
        folder: made when first needed.
        needs_mb: of disk for a video, for whoever has to find room for it.

    Raises:
        SaveError: while storing, a folder that cannot be written.
    """

    def __init__(self, folder: Path, *, needs_mb: float) -> None:
        self._folder = folder
        self._needs_mb = needs_mb

    def load(self, key: str, *, needs: Sequence[str]) -> Arrays | None:
        """What was stored; None if nothing was, or if that is damaged or lacks one of the names `needs`."""
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        place = self._place(key)
        try:
            arrays: Arrays = load_file(place)
        except SafetensorError:
            arrays = {}
        except OSError:
            return None
        if all(name in arrays for name in needs):
            return arrays
        with suppress(OSError):  # another thread may have been first
            place.unlink()  # ours, and damaged: the next run makes it again
        return None

    def has(self, key: str) -> bool:
        """Whether something was stored."""
        return self._place(key).is_file()

    def store(self, key: str, arrays: Arrays) -> None:
        """Keeps these arrays, in place of what may be there."""
        from safetensors.numpy import save

        place = self._place(key)
        # A name of its own: two ids may be one file, and several processes one benchmark.
        partial = place.with_name(f"{place.name}.{uuid4().hex}.part")
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            # safetensors takes an array's memory as it lies, and would mix up a transposed one.
            partial.write_bytes(save({name: np.asarray(array, order="C") for name, array in arrays.items()}))
            partial.replace(place)
        except OSError as error:
            with suppress(OSError):
                partial.unlink()
            raise SaveError(
                f"cannot keep what was decoded in {self._folder}: {error.strerror}",
                hint=f"about {self._needs_mb:g} MB a video are needed; --cache names another folder",
            ) from error

    def _place(self, key: str) -> Path:
        name = hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()[:32]
        return self._folder / name[:2] / f"{name}.safetensors"


class Shelf:
    """Prepared videos on disk, by the file's path, size and time, and by what the model wants to be fed.

    Args:
        folder: made when first needed.
        spec: of the model.
        sounds: of videos by their path, the file to hear in place of their own sound.

    Raises:
        SaveError: while storing, a folder that cannot be written.
    """

    def __init__(self, folder: Path, spec: MediaSpec, sounds: Mapping[Path, Path] | None = None) -> None:
        self._kept = Kept(folder, needs_mb=2.5)
        self._spec = spec
        self._sounds = sounds or {}
        self._wants = json.dumps([VERSION, asdict(spec)], sort_keys=True)

    def load(self, path: Path) -> Prepared | None:
        """What is kept of this file as it is now; None if nothing is, if that is damaged, or it is gone."""
        try:
            kept = self._kept.load(self._key(path), needs=("frames",))
        except OSError:
            return None
        return None if kept is None else Prepared(frames=kept["frames"], fbank=kept.get("fbank"))

    def has(self, path: Path) -> bool:
        """Whether something is kept of this file as it is now; False also where the file is gone."""
        try:
            return self._kept.has(self._key(path))
        except OSError:
            return False

    def prepare(self, path: Path, decoder: Decoder) -> Prepared:
        """What is kept of this file, or else what is decoded of it, and then kept.

        Raises:
            MediaError: nothing in it can be seen.
        """
        kept = self.load(path)
        if kept is None:
            kept = prepare(path, self._spec, decoder, sound=self._sounds.get(path))
            self._store(path, kept)
        return kept

    def _store(self, path: Path, prepared: Prepared) -> None:
        fbank = {} if prepared.fbank is None else {"fbank": prepared.fbank}
        self._kept.store(self._key(path), {"frames": prepared.frames, **fbank})

    def _key(self, path: Path) -> str:
        sound = self._sounds.get(path)
        files = "".join(f"{_as_it_is(file)}\0" for file in (path, sound) if file is not None)
        return f"{files}{self._wants}"


def _as_it_is(file: Path) -> str:
    stat = file.stat()
    return f"{file.absolute()}\0{stat.st_size}\0{stat.st_mtime_ns}"


def prepare(path: Path, spec: MediaSpec, decoder: Decoder, *, sound: Path | None = None) -> Prepared:
    """Decodes one video.

    Args:
        path: of the video.
        spec: of the model.
        decoder: safe against the files.
        sound: a file to hear in place of the video's own sound.

    Raises:
        MediaError: nothing in it can be seen, or there is no sound in `sound`.
    """
    timeline = decoder.probe(path)
    stream = decoder.frames(
        timeline,
        frame_times(timeline, spec.n_frames, per_s=spec.frames_per_s),
        resize_px=spec.resize_px,
        size_px=spec.size_px,
        resampler=spec.resampler,
        exact=True,
    )
    frames = [frame.image for frame in stream]
    if not frames:
        raise MediaError("no picture in it can be decoded", hint="does a player show anything?")
    heard = timeline if sound is None else sound_file(sound, decoder)
    blocks = (
        [block.waveform for block in decoder.waveform(heard, sample_rate_hz=spec.sample_rate_hz)]
        if heard.has_audio
        else []
    )
    return Prepared(frames=np.stack(frames), fbank=_fbank(blocks))


def sound_file(path: Path, decoder: Decoder) -> Timeline:
    """A file that is heard in place of a video's own sound.

    Raises:
        MediaError: it cannot be read, or holds no sound.
    """
    try:
        heard = decoder.probe(path, to_hear=True)
    except MediaError as error:
        raise MediaError(f"its sound {path.name}: {error.message}", hint=error.hint) from error
    if not heard.has_audio:
        raise MediaError(f"its sound {path.name} holds none", hint="without that file its own is heard")
    return heard


def frame_times(timeline: Timeline, n_frames: int, *, per_s: int = 1) -> tuple[float, ...]:
    """When the frames are shown that SAVE reads of a file: so many a second, thinned to `n_frames`."""
    if timeline.video is None:
        return ()
    start_s = timeline.video.start_s
    # Less than a frame a second has no answer in SAVE: then every frame is one of the second it is shown in.
    fps = max(timeline.fps, 1.0)
    n_shown = timeline.n_frames if timeline.fps >= 1 else max(1, int(timeline.video_end_s - start_s))
    # A little after its stamp, which may be rounded, and long before the next frame's.
    taken = sampled_frames(n_shown, fps, n_frames, per_s=per_s)
    return tuple(start_s + (i + 0.25) / fps for i in taken)


def _fbank(blocks: Sequence[NDArray[np.float32]]) -> NDArray[np.float32] | None:
    if sum(map(len, blocks)) < N_ROWS:  # not a sample for each row: too short to hear
        return None
    waveform = np.concatenate(blocks)
    levels = np.clip(np.round(waveform * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1) / FULL_SCALE
    return log_mel(levels.astype(np.float32))


def prepare_all(
    paths: Sequence[Path], shelf: Shelf, *, n_workers: int, stall_s: float = 60.0
) -> Iterator[tuple[Path, MediaError | None]]:
    """Puts videos on the shelf, several at once; yields each when it is there, or why it cannot be.

    Each worker has a decoder of its own, so a file that hangs or crashes one holds up no other.
    """

    def one(path: Path, decoder: Decoder) -> None:
        if not shelf.has(path):
            shelf.prepare(path, decoder)

    return each(paths, one, n_workers=n_workers, stall_s=stall_s)


def each(
    items: Sequence[T], work: Callable[[T, Decoder], object], *, n_workers: int, stall_s: float
) -> Iterator[tuple[T, MediaError | None]]:
    """Works on items, several at once; yields each in its turn when it is done, or why it cannot be."""
    with _decoders(n_workers, stall_s) as borrow, threads(n_workers) as pool:

        def one(item: T) -> MediaError | None:
            try:
                with borrow() as decoder:
                    work(item, decoder)
            except MediaError as error:
                return error
            except OSError as error:
                return MediaError(f"cannot read it: {error.strerror}", hint="is its drive still there?")
            return None

        yield from zip(items, pool.map(one, items), strict=True)


@contextmanager
def threads(n: int) -> Iterator[ThreadPoolExecutor]:
    """A pool that, left early, ends what it has begun and begins nothing more."""
    pool = ThreadPoolExecutor(n)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _decoders(n: int, stall_s: float) -> Iterator[Callable[[], AbstractContextManager[Decoder]]]:
    idle: SimpleQueue[Decoder] = SimpleQueue()
    made = [Decoder(stall_s=stall_s) for _ in range(n)]
    for decoder in made:
        idle.put(decoder)

    @contextmanager
    def borrow() -> Iterator[Decoder]:
        decoder = idle.get()
        try:
            yield decoder
        finally:
            idle.put(decoder)

    try:
        yield borrow
    finally:
        for decoder in made:
            decoder.close()
