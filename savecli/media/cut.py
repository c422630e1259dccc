"""Spans of files -> one MP4: encoded anew, so that it begins and ends where it was asked to.

H.264 and AAC, which every player and editor opens. The first span with pictures sets size and rate; others
are fitted into its size with black bars, and their pictures repeated or left out to its rate. What a span has
no picture or no sound for is black or silent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from heapq import merge
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np
from av.video.frame import PictureType
from av.video.reformatter import ColorRange, Colorspace, Interpolation

from savecli.media.decode.span import pictures, sound
from savecli.media.encode import SAMPLE_RATE_HZ, created
from savecli.media.footage import Source

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream
    from numpy.typing import NDArray

_LAYOUTS = {1: "mono", 2: "stereo"}
_SURROUND = "5.1"
_KEY_EVERY_S = 2
_QUALITY = {"preset": "veryfast", "crf": "18"}
_BLACK, _GREY = 16, 128
_HD_PX = 720
_MATRICES = {1: Colorspace.ITU709, 5: Colorspace.ITU601, 6: Colorspace.ITU601, 9: Colorspace.BT2020}
"""What H.273 numbers the colour matrices that FFmpeg's scaler knows (MatrixCoefficients, table 4)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """What to cut out of a file: ``[start_s, end_s)``, at least one picture long."""

    source: Source
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Form:
    """What the whole file is like; `rate` and sides are 0 without pictures, `layout` is "" without sound."""

    rate: Fraction
    width_px: int
    height_px: int
    layout: str


def cut(path: Path, spans: Sequence[Span], *, tell: Callable[[float], None] = lambda _: None) -> None:
    """Write spans one after the other; the first picture of each is the one on show at its start.

    Picture n of the file is at n / rate, and the spans' lengths are rounded so that no error adds up.

    Args:
        path: of the MP4, written in place: give a temporary one.
        spans: in order; at least one.
        tell: told the seconds that are written.

    Raises:
        MediaError: a file cannot be read, or the MP4 not written.
        ValueError: no span.
    """
    if not spans:
        raise ValueError("nothing to cut")
    form = _form([span.source for span in spans])
    with created(path, movflags="+faststart") as target:
        streams: list[Iterator[Packet[Any]]] = []
        if form.rate:
            shown = target.add_stream("libx264", rate=form.rate, options=_QUALITY)
            shown.width, shown.height, shown.pix_fmt = form.width_px, form.height_px, "yuv420p"
            shown.codec_context.gop_size = max(1, round(_KEY_EVERY_S * form.rate))
            streams.append(_pictures(shown, spans, form))
        if form.layout:
            heard = target.add_stream("aac", rate=SAMPLE_RATE_HZ, layout=form.layout)
            streams.append(_sound(heard, spans, form))
        for packet in merge(*streams, key=_decoded_at):
            tell(float(_decoded_at(packet)))
            target.mux(packet)


def _form(sources: Sequence[Source]) -> _Form:
    first = next((source for source in sources if source.rate), None)
    n_channels = max(source.n_channels for source in sources)
    return _Form(
        rate=first.rate if first else Fraction(0),
        width_px=max(2, 2 * round(first.width_px / 2)) if first else 0,
        height_px=max(2, 2 * round(first.height_px / 2)) if first else 0,
        layout=_LAYOUTS.get(n_channels, _SURROUND) if n_channels else "",
    )


def bounds(spans: Sequence[Span], rate: Fraction) -> list[int]:
    """The numbers of the first picture of each span in the whole, and of the picture after the last."""
    ends = np.cumsum([0.0, *(span.end_s - span.start_s for span in spans)])
    marks = [0]
    for end_s in ends[1:].tolist():
        marks.append(max(marks[-1] + 1, round(end_s * rate)))
    return marks


def _pictures(stream: VideoStream, spans: Sequence[Span], form: _Form) -> Iterator[Packet[VideoStream]]:
    fit: _Fit | None = None
    number = 0
    for span, until in zip(spans, bounds(spans, form.rate)[1:], strict=True):
        stored: VideoFrame | None = None
        fitted = _frame(_black(form))
        for picture in pictures(span.source, span.start_s, until - number, form.rate):
            if fit is None:
                fit = _Fit(form, picture)
                fit.tag(stream)
            if picture is not stored:
                stored, fitted = picture, fit(picture, span.source)
            yield from _encoded(stream, fitted, number)
            number += 1
        while number < until:  # there were no pictures at all
            yield from _encoded(stream, fitted, number)
            number += 1
    yield from stream.encode(None)


def _encoded(stream: VideoStream, picture: VideoFrame, number: int) -> Iterator[Packet[VideoStream]]:
    picture.pts, picture.dts, picture.time_base = number, None, 1 / Fraction(stream.codec_context.framerate)
    picture.pict_type = PictureType.NONE  # where the source had its key frames is no matter
    yield from stream.encode(picture)


class _Fit:
    """Pictures of any file -> upright, within the size of the whole, in the colours of its first picture."""

    def __init__(self, form: _Form, first: VideoFrame) -> None:
        self._form = form
        self._first = first
        known = _MATRICES.get(int(first.colorspace))
        usual = Colorspace.ITU709 if form.height_px >= _HD_PX else Colorspace.ITU601
        self._matrix = known or (usual if first.format.is_rgb else None)

    def tag(self, stream: VideoStream) -> None:
        """Tell players what the colours mean; to be called before the first picture is encoded."""
        context = stream.codec_context
        context.color_range = ColorRange.MPEG.value
        context.color_primaries, context.color_trc = self._first.color_primaries, self._first.color_trc
        if self._matrix is not None:
            context.colorspace = self._matrix.value

    def __call__(self, picture: VideoFrame, source: Source) -> VideoFrame:
        form = self._form
        wide, high = picture.width * float(source.pixel_aspect), float(picture.height)
        most = (form.width_px, form.height_px)[:: -1 if source.turns % 2 else 1]
        scale = min(most[0] / wide, most[1] / high)
        scaled = picture.reformat(
            min(most[0], max(2, 2 * round(wide * scale / 2))),
            min(most[1], max(2, 2 * round(high * scale / 2))),
            "yuv420p",
            src_colorspace=_MATRICES.get(int(picture.colorspace)),
            dst_colorspace=self._matrix,
            interpolation=Interpolation.BICUBIC,
            dst_color_range=ColorRange.MPEG,
        )
        if not source.turns and (scaled.width, scaled.height) == (form.width_px, form.height_px):
            return scaled
        return _set(scaled, source.turns, _black(form))


def _set(picture: VideoFrame, turns: int, ground: list[NDArray[np.uint8]]) -> VideoFrame:
    """A picture turned upright in the middle of a larger one; chroma has half as many rows and columns."""
    rows = np.asarray(picture.to_ndarray(), np.uint8)
    height, width = picture.height, picture.width
    chroma = rows[height:].reshape(2, height // 2, width // 2)
    planes = [np.rot90(plane, turns) for plane in (rows[:height], *chroma)]
    top, left = ((g - p) // 2 for g, p in zip(ground[1].shape, planes[1].shape, strict=True))
    for plane, behind, step in zip(planes, ground, (2, 1, 1), strict=True):
        at = (slice(step * o, step * o + side) for o, side in zip((top, left), plane.shape, strict=True))
        behind[tuple(at)] = plane
    return _frame(ground)


def _black(form: _Form) -> list[NDArray[np.uint8]]:
    height, width = form.height_px, form.width_px
    half = (height // 2, width // 2)
    return [np.full((height, width), _BLACK, np.uint8), *(np.full(half, _GREY, np.uint8) for _ in range(2))]


def _frame(planes: Sequence[NDArray[np.uint8]]) -> VideoFrame:
    rows = np.concatenate([plane.ravel() for plane in planes]).reshape(-1, planes[0].shape[1])
    return av.VideoFrame.from_ndarray(rows, format="yuv420p")


def _sound(stream: AudioStream, spans: Sequence[Span], form: _Form) -> Iterator[Packet[AudioStream]]:
    unit = form.rate or Fraction(SAMPLE_RATE_HZ)
    marks = [round(mark / unit * SAMPLE_RATE_HZ) for mark in bounds(spans, unit)]
    given = 0
    for span, until in zip(spans, marks[1:], strict=True):
        n_samples = until - given
        for block in sound(span.source, span.start_s, n_samples, rate_hz=SAMPLE_RATE_HZ, layout=form.layout):
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(block), "fltp", form.layout)
            frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE_HZ, given, Fraction(1, SAMPLE_RATE_HZ)
            given += block.shape[1]
            yield from stream.encode(frame)
    yield from stream.encode(None)


def _decoded_at(packet: Packet[Any]) -> Fraction:
    return (packet.dts or 0) * packet.time_base
