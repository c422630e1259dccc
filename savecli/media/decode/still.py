"""A few whole pictures of a file, without reading all of it first: for people to look at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import chain
from pathlib import Path

import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation
from av.video.stream import VideoStream
from numpy.typing import NDArray

from savecli.media.decode.container import DAMAGE, keep_only, opened, packets
from savecli.media.decode.timeline import MICROSECONDS, best_video, check_size
from savecli.media.footage import MAX_PIXELS, Frame, FrameStream, Tally

_N_MOST = 600
"""Pictures decoded in search of one: the key frame before it is seldom further away."""
_BACK_S = (0.0, 2.0, 12.0)
"""How far before the time asked for to land: an MPEG program stream is jumped into by guessing, and not every
key frame can be decoded without what comes before it."""


def stills(
    path: Path, times_s: Sequence[float], *, width_px: int, height_px: int, tally: Tally | None = None
) -> FrameStream:
    """The picture at each time or close to it, scaled to lie within `width_px` x `height_px`, uncropped.

    Times count from where the header says that the file begins, which is where `probe` finds the first
    picture or sound in all but strange files. A time that has no picture is left out.

    Raises:
        MediaError: while iterating: not readable, not a video, or pictures too large.
    """
    tally = Tally() if tally is None else tally
    return FrameStream(_stills(path, times_s, (width_px, height_px), tally), tally)


def _stills(path: Path, times_s: Sequence[float], within: tuple[int, int], tally: Tally) -> Iterator[Frame]:
    for index, time_s in enumerate(times_s):
        with opened(path) as container:
            stream = best_video(container)
            if stream is None:
                return
            check_size(stream.width, stream.height, MAX_PIXELS)
            keep_only(container, {stream.index})
            begins_s = (container.start_time or 0) / MICROSECONDS
            found = _nearest(container, stream, begins_s + time_s, tally)
            if found is not None:
                aspect = stream.sample_aspect_ratio
                yield Frame(
                    index=index,
                    time_s=max(0.0, (found.time or 0.0) - begins_s),
                    image=_shown(found, aspect, within),
                )


def _nearest(
    container: InputContainer, stream: VideoStream, time_s: float, tally: Tally
) -> VideoFrame | None:
    """The last picture at or before `time_s`; where even far jumps land behind it, the first they find."""
    stream.codec_context.thread_count = 1
    found: VideoFrame | None = None
    for back_s in _BACK_S:
        try:
            container.seek(round((time_s - back_s) * MICROSECONDS))
        except DAMAGE:
            tally.n_bad_packets += 1
        landed = _read(container, stream, time_s, tally)
        if landed is not None and (found is None or found.is_corrupt or not landed.is_corrupt):
            found = landed
        if landed is not None and (landed.time or 0.0) <= time_s and not landed.is_corrupt:
            break
    return found


def _read(container: InputContainer, stream: VideoStream, time_s: float, tally: Tally) -> VideoFrame | None:
    last: VideoFrame | None = None
    n_most = tally.n_decoded + _N_MOST
    stream.codec_context.flush_buffers()
    for packet in chain(packets(container, (stream,), tally), (None,)):
        try:
            for picture in stream.codec_context.decode(packet):
                tally.n_decoded += 1
                if last is not None and (picture.time or 0.0) > time_s:
                    return last
                last = last if picture.time is None else picture  # the last of an MPEG stream may have none
        except DAMAGE:
            tally.n_bad_packets += 1
        if tally.n_decoded > n_most:
            break
    return last


def _shown(picture: VideoFrame, aspect: Fraction | None, within: tuple[int, int]) -> NDArray[np.uint8]:
    turns = round(picture.rotation / 90)
    width, height = picture.width * float(aspect or 1), picture.height
    most = within[::-1] if turns % 2 else within
    scale = min(most[0] / width, most[1] / height)
    sides = (max(2, 2 * round(width * scale / 2)), max(2, 2 * round(height * scale / 2)))
    scaled = picture.reformat(*sides, "rgb24", interpolation=Interpolation.BICUBIC)
    return np.ascontiguousarray(np.rot90(scaled.to_ndarray(), turns), dtype=np.uint8)
