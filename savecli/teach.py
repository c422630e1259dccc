"""Benchmark videos -> a file of the teacher's features, for training with soft-ALBEF.

A generator of events, as `index` is. Each video is one small file until all are done, so a run that was
killed goes on where it stopped; one that cannot be decoded is an event, and is tried again next time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from savecli.bench.records import Clip
from savecli.errors import DatasetError, MediaError, WeightsError
from savecli.events import Preparing, Taught, TeachingEvent
from savecli.media.footage import Timeline
from savecli.media.scan import fingerprint
from savecli.media.worker import Decoder
from savecli.model.teacher_file import Parts, TeacherFeatures, merged, read_teacher, write_teacher
from savecli.prepare import sound_file

IMAGEBIND = "imagebind-huge"
N_FRAMES = 32
SIZE_PX = 224
SAMPLE_RATE_HZ = 16_000


class Teacher(Protocol):
    """Frames or sound -> a vector; `savecli.model.teacher.ImageBind`, or a stand-in for tests.

    Attributes:
        identity: names the weights and what they are fed; features of two identities are never mixed.
    """

    identity: str

    def embed_audio(self, waveform: NDArray[np.float32] | None) -> NDArray[np.float32]:
        """(S,) float32 at 16 kHz, or None where there is no sound -> (1024,) float32."""
        ...

    def embed_video(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(N_FRAMES, SIZE_PX, SIZE_PX, 3) uint8 RGB -> (1024,) float32."""
        ...


def teach(clips: Sequence[Clip], decoder: Decoder, teacher: Teacher, out: Path) -> Iterator[TeachingEvent]:
    """Brings `out` up to date with `clips`: what is there, and comes from the same file, is left alone.

    Rows of videos that are not among `clips` stay. A video that went away keeps the row it has.

    Args:
        clips: of all splits that are trained on; of several with one id, the first counts.
        decoder: safe against the files.
        teacher: what looks and listens.
        out: the file of features, see `teacher_file`; until the end, the work is in `<out>.parts`.

    Raises:
        WeightsError: `out` or its parts are another teacher's, or this one gives numbers that are none.
        SaveError: nothing can be written there.
        DatasetError: not one of the videos could be read.
    """
    parts = Parts(out)
    known = _known(out, parts, teacher.identity)
    wanted = list({clip.video_id: clip for clip in reversed(clips)}.values())[::-1]
    n_new = n_failed = 0
    for number, clip in enumerate(wanted, 1):
        reason = ""
        try:
            if _is_missing(clip, known):
                parts.add(_features(clip, decoder, teacher))
                n_new += 1
        except MediaError as error:
            reason = error.message
            n_failed += 1
        path = clip.path if reason else None
        yield Preparing(n_done=number, n_videos=len(wanted), path=path, reason=reason)
    n_rows = _merge(out, parts)
    yield Taught(path=out, n_videos=n_rows, n_new=n_new, n_failed=n_failed)


@contextmanager
def open_teacher(
    weights: Path | None, model_dir: Path, device: str, *, stall_s: float = 60.0
) -> Iterator[tuple[Decoder, Teacher]]:
    """A decoder and ImageBind, with weights of one's own or those of `save model pull`.

    Raises:
        WeightsError: weights or a package that are not there.
    """
    from savecli.model.teacher import ImageBind
    from savecli.model.vision import choose_device
    from savecli.model.weights import locate

    if weights is None:
        (weights,) = locate(IMAGEBIND, model_dir).values()
    with Decoder(stall_s=stall_s) as decoder:
        yield decoder, ImageBind(weights, choose_device(device))


def frame_times(timeline: Timeline) -> tuple[float, ...]:
    """When the frames are shown that the teacher sees: N_FRAMES of them, evenly spread from first to last.

    A video of fewer frames has some of them more than once. () without pictures. Source: SAVE's teacher
    features (docs/save.md).
    """
    if timeline.video is None:
        return ()
    numbers = np.linspace(0, timeline.n_frames - 1, N_FRAMES).astype(int)
    # A little after a frame's stamp, which may be rounded, and long before the next one's.
    shown_s = (numbers + 0.25) / (timeline.fps or 1.0) + timeline.video.start_s
    return tuple(shown_s.tolist())


def _known(out: Path, parts: Parts, teacher: str) -> Mapping[str, str]:
    """For each video that has features, the fingerprint of the files they are from."""
    found = [*([read_teacher(out)] if out.exists() else []), *parts.read().values()]
    for features in found:
        if features.teacher != teacher:
            raise WeightsError(
                f"{out} holds features of another teacher ({features.teacher}, this is {teacher})",
                hint=f"name another file, or remove it and {out.name}.parts to begin anew",
            )
    return {
        video_id: source
        for features in found
        for video_id, source in zip(features.video_ids, features.sources, strict=True)
    }


def _is_missing(clip: Clip, known: Mapping[str, str]) -> bool:
    if clip.path is None or not clip.path.exists():
        if clip.video_id in known:
            return False
        raise MediaError(f"{clip.video_id} has no file", hint="is the benchmark complete?")
    return known.get(clip.video_id) != _source(clip)


def _source(clip: Clip) -> str:
    """The fingerprint of a clip's file, and of the file of sound that is heard in its place."""
    assert clip.path is not None  # noqa: S101 - `_is_missing` raised
    return fingerprint(clip.path) + (f" {fingerprint(clip.sound)}" if clip.sound else "")


def _features(clip: Clip, decoder: Decoder, teacher: Teacher) -> TeacherFeatures:
    assert clip.path is not None  # noqa: S101 - `_is_missing` raised
    source = _source(clip)
    timeline = decoder.probe(clip.path)
    heard = sound_file(clip.sound, decoder) if clip.sound else timeline
    frames, waveform = _frames(timeline, decoder), _waveform(heard, decoder)
    return TeacherFeatures(
        video_ids=(clip.video_id,),
        sources=(source,),
        audio=teacher.embed_audio(waveform)[None],
        video=teacher.embed_video(frames)[None],
        teacher=teacher.identity,
    )


def _frames(timeline: Timeline, decoder: Decoder) -> NDArray[np.uint8]:
    """(N_FRAMES, SIZE_PX, SIZE_PX, 3) uint8 RGB; for one that is lost, the one before it."""
    times_s = frame_times(timeline)
    stream = decoder.frames(
        timeline, times_s, resize_px=SIZE_PX, size_px=SIZE_PX, resampler="pillow", exact=True
    )
    found = {frame.index: frame.image for frame in stream} if times_s else {}
    if not found:
        raise MediaError("no picture in it can be decoded", hint="does a player show anything?")
    # A frame that answers several times is given once, with the first of them.
    shown = found[min(found)]
    return np.stack([shown := found.get(index, shown) for index in range(N_FRAMES)])


def _waveform(timeline: Timeline, decoder: Decoder) -> NDArray[np.float32] | None:
    if not timeline.has_audio:
        return None
    blocks = [block.waveform for block in decoder.waveform(timeline, sample_rate_hz=SAMPLE_RATE_HZ)]
    return np.concatenate(blocks) if blocks else None


def _merge(out: Path, parts: Parts) -> int:
    """Puts the parts into the whole, and says how many videos it holds then."""
    added = parts.read()
    found = [*([read_teacher(out)] if out.exists() else []), *added.values()]
    if not found:
        raise DatasetError(f"no video could be read, so there is no {out.name}", hint="see the reasons above")
    whole = merged(found)
    if added:
        write_teacher(out, whole)
        parts.remove(list(added))
    return len(whole.video_ids)
