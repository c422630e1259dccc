"""A picture, a sound, or a stretch of video as a query: FILE or FILE@START-END -> its rows.

A video that is stored and unchanged is not read again. Any other file goes through the decoder's process, the
encoder, and where something is said, the transcriber. What a file is, its content tells and not its name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from savecli.config import Config
from savecli.datatypes import Embedding, Media, MediaSpec, Sound, Transcript, WaveformBlock
from savecli.errors import MediaError, NoPictureError, QueryError
from savecli.events import ended
from savecli.media.footage import Timeline
from savecli.media.scan import fingerprint, whole
from savecli.media.segment import frame_times, segments
from savecli.media.signature import HEAD_BYTES, describe, kind_of
from savecli.media.sound import Cutter
from savecli.media.worker import Decoder
from savecli.model.likeness import Example
from savecli.model.score import Term
from savecli.pipeline import make_transcriber
from savecli.senses import Encoder, Transcriber, as_media, hearing, listened
from savecli.store import Store, StoredVideo
from savecli.when import seconds

Rows = NDArray[np.float32]

N_MOST = 256
"""Rows of one kind that are kept of a long video, spread over all of it."""
_KINDS: tuple[tuple[Term, str], ...] = (("seen", "frames"), ("heard", "heard"), ("said", "said"))
_LIKE = "as in --like photo.jpg, --like dog.mp4@1:20-1:32 or --like bark.wav"


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """What was typed: a file, and a part of it; `end_s` None goes on for one window, or to the end from 0.

    Attributes:
        text: as typed.
    """

    text: str
    path: Path
    start_s: float = 0.0
    end_s: float | None = None
    is_part: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Senses:
    """What reads a file that is not stored: opened when it is needed, and not before.

    Attributes:
        decoder: opens what decodes.
        encoder: of the model that made the store.
        transcriber: gives what understands speech, None to leave that out.
    """

    decoder: Callable[[], AbstractContextManager[Decoder]]
    encoder: Encoder
    transcriber: Callable[[], Transcriber | None]


def parse(text: str) -> Spec:
    """`FILE`, `FILE@START-END` or `FILE@START`; a file whose whole name is `text` is that file.

    Raises:
        QueryError: nothing is named, what follows the last `@` is no time, or ends before it begins.
    """
    name, at, part = text.rpartition("@")
    part = part.strip()
    if not text.strip():
        raise QueryError("--like names no file", hint=_LIKE)
    if not at or not name or _is_there(text) or not (part[:1].isdigit() or _is_there(name)):
        return Spec(text=text, path=whole(Path(text)))
    first, dash, last = part.partition("-")
    start_s, end_s = seconds(first.strip()), seconds(last.strip()) if dash else None
    if end_s is not None and end_s <= start_s:
        raise QueryError(f"{part} ends before it begins", hint=_LIKE)
    return Spec(text=text, path=whole(Path(name)), start_s=start_s, end_s=end_s, is_part=True)


def _is_there(path: str | Path) -> bool:
    try:
        return Path(path).exists()
    except OSError as error:  # such as a name that is too long
        raise QueryError(f"{path} cannot be read: {error.strerror}", hint=_LIKE) from error


def read(spec: Spec, store: Store, senses: Senses) -> Example:
    """The example that a file is.

    Args:
        spec: from `parse`.
        store: where a video that is known has its rows.
        senses: for any other file.

    Raises:
        QueryError: there is no such file, nothing in it can be seen or heard, or the part is beyond its end.
    """
    if not _is_there(spec.path):
        raise QueryError(f"{spec.path} is not there", hint=_LIKE)
    video = _stored(spec.path, store)
    if video is not None:
        return _from_store(spec, video, store, senses.encoder.spec)
    try:
        rows = _from_file(spec, senses)
    except MediaError as error:
        raise QueryError(f"{spec.path}: {error.message}", hint=error.hint) from error
    return _example(spec, rows)


def load(text: str, config: Config, store: Store, encoder: Encoder) -> Example:
    """The example that a text names, with the decoder and the transcriber of the settings.

    Raises:
        QueryError: see `parse` and `read`.
        WeightsError, SpeechError: what listens is not there or cannot run.
    """
    senses = Senses(
        decoder=lambda: Decoder(stall_s=config.stall_s),
        encoder=encoder,
        transcriber=lambda: make_transcriber(config),
    )
    return read(parse(text), store, senses)


def _stored(path: Path, store: Store) -> StoredVideo | None:
    """The stored video that has the content of a file."""
    status, known = path.stat(), store.files([path]).get(path)
    if known is not None and (known.size_bytes, known.mtime_ns) == (status.st_size, status.st_mtime_ns):
        return store.video(path)
    try:
        return store.named(fingerprint(path))
    except MediaError:
        return None


def _from_store(spec: Spec, video: StoredVideo, store: Store, media: MediaSpec) -> Example:
    start_s, end_s = _span(spec, video.duration_s, media.window_s)
    with store.snapshot():
        inside = [
            segment
            for segment in store.stored_segments(video.video_id)
            if segment.start_s < end_s and segment.end_s > start_s
        ]
        ids = [segment.segment_id for segment in inside]
        frames, heard, said = (store.rows(kind, ids) for kind in ("frames", "heard", "said"))
        times, spoken = store.frame_times(ids), store.utterances(ids)
    rows: dict[str, list[Rows]] = {"frames": [], "heard": [], "said": []}
    for segment in inside:
        number = segment.segment_id
        rows["frames"].append(frames[number][_in(times[number], start_s, end_s)])
        starts_s = segment.start_s + media.sound_hop_s * np.arange(len(heard[number]))
        middles_s = np.minimum(starts_s + media.sound_window_s / 2, segment.end_s)
        rows["heard"].append(heard[number][_in(middles_s, start_s, end_s)])
        middles_s = np.array([(u.start_s + u.end_s) / 2 for u in spoken[number]])
        rows["said"].append(said[number][: len(middles_s)][_in(middles_s, start_s, end_s)])
    stacked = {kind: np.concatenate(found) for kind, found in rows.items() if found}
    return _example(spec, stacked, video.video_id, start_s, end_s)


def _in(times_s: NDArray[np.float64], start_s: float, end_s: float) -> NDArray[np.bool_]:
    """Which lie in the span; the nearest where none does, so that a short part is not empty."""
    inside: NDArray[np.bool_] = (times_s >= start_s) & (times_s < end_s)
    if len(times_s) and not inside.any():
        inside[np.abs(times_s - (start_s + end_s) / 2).argmin()] = True
    return inside


def _from_file(spec: Spec, senses: Senses) -> dict[str, Rows]:
    media = senses.encoder.spec
    head = _head(spec.path)
    with senses.decoder() as decoder:
        picture = None if kind_of(head) else _picture(spec.path, head, decoder, media)
        if picture is not None:
            if spec.is_part:
                raise QueryError(
                    f"{spec.path} is a picture: it has no times", hint="leave out what follows @"
                )
            shown = Media(frames=picture[None], frame_times_s=np.zeros(1))
            return _rows(senses.encoder.embed([shown]))
        try:
            timeline = decoder.probe(spec.path, to_hear=True)
        except MediaError as error:
            if kind_of(head):
                raise
            raise QueryError(
                f"{spec.path} is {describe(head)}: no picture, video or sound", hint=_LIKE
            ) from error
        start_s, end_s = _span(spec, timeline.duration_s, media.window_s)
        return _rows(_perceived(timeline, start_s, end_s, decoder, senses))


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(HEAD_BYTES)
    except OSError as error:
        raise QueryError(f"{path} cannot be read: {error.strerror}", hint=_LIKE) from error


def _picture(path: Path, head: bytes, decoder: Decoder, media: MediaSpec) -> NDArray[np.uint8] | None:
    """The picture of an image file; None where the file is something else, such as sound.

    Raises:
        MediaError: an image that is damaged.
    """
    try:
        return decoder.photo(
            path, resize_px=media.resize_px, size_px=media.size_px, resampler=media.resampler
        ).image
    except NoPictureError:
        if "picture" in describe(head):  # of a format that is not known
            raise
        return None


def _perceived(
    timeline: Timeline, start_s: float, end_s: float, decoder: Decoder, senses: Senses
) -> list[Embedding]:
    """What the encoder makes of a part of a file, cut as the pipeline cuts whole files."""
    encoder, media = senses.encoder, senses.encoder.spec
    spans = segments(end_s - start_s, window_s=media.window_s)
    sounds: dict[int, Sound] = {}
    transcript = Transcript()
    if timeline.has_audio:
        blocks = _part(decoder.waveform(timeline, sample_rate_hz=media.sample_rate_hz), start_s, end_s, media)
        blocks = hearing(blocks, Cutter(spans, media.sample_rate_hz), encoder, sounds)
        transcript = ended(listened(blocks, senses.transcriber(), media.sample_rate_hz))
    embeddings = []
    for number, span in enumerate(spans):
        at_s = [
            start_s + span.start_s + time_s
            for time_s in frame_times(span, media.n_frames, window_s=media.window_s)
        ]
        stream = decoder.frames(timeline, at_s, resize_px=media.resize_px, size_px=media.size_px)
        shown = list(stream) if timeline.has_video else []
        one = as_media(span, shown, sounds.get(number), transcript, media)
        embeddings += encoder.embed([one])
    return embeddings


def _part(
    blocks: Iterable[WaveformBlock], start_s: float, end_s: float, media: MediaSpec
) -> Iterator[WaveformBlock]:
    """What lies in ``[start_s, end_s)``, on a clock that begins there."""
    rate_hz = media.sample_rate_hz
    for block in blocks:
        first, last = (round((time_s - block.start_s) * rate_hz) for time_s in (start_s, end_s))
        inside = block.waveform[max(first, 0) : max(last, 0)]
        if len(inside):
            yield WaveformBlock(start_s=max(block.start_s - start_s, 0.0), waveform=inside)
        if block.start_s >= end_s:
            return


def _rows(embeddings: Sequence[Embedding]) -> dict[str, Rows]:
    return {
        kind: np.concatenate([getattr(one, kind) for one in embeddings])
        for kind in ("frames", "heard", "said")
    }


def _span(spec: Spec, duration_s: float, window_s: float) -> tuple[float, float]:
    """The part that is meant, in seconds of the file."""
    if not spec.is_part:
        return 0.0, duration_s
    if spec.start_s >= duration_s:
        raise QueryError(
            f"{spec.path} ends at {duration_s:.1f} s, before {spec.start_s:g} s", hint="name an earlier part"
        )
    end_s = spec.start_s + window_s if spec.end_s is None else spec.end_s
    return spec.start_s, min(end_s, duration_s)


def _example(
    spec: Spec, rows: Mapping[str, Rows], video_id: str = "", start_s: float = 0.0, end_s: float = 0.0
) -> Example:
    kept = {term: _thinned(rows[kind]) for term, kind in _KINDS if len(rows.get(kind, ()))}
    if not kept:
        raise QueryError(f"{spec.text}: nothing in it can be seen or heard", hint="name another part of it")
    return Example(name=spec.text, rows=kept, video_id=video_id, start_s=start_s, end_s=end_s)


def _thinned(rows: Rows) -> Rows:
    chosen: Rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), N_MOST)).astype(int)]
    return chosen
