"""Frames, footage and recordings -> an MP4 that any player opens. `save demo` makes its samples with it.

Frames are (H, W, 3) uint8 RGB, waveforms (S,) float32 mono in -1..1 at SAMPLE_RATE_HZ.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, cast

import av
import numpy as np

from savecli.errors import MediaError

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer, OutputContainer
    from av.packet import Packet
    from av.video.stream import VideoStream
    from numpy.typing import NDArray

SAMPLE_RATE_HZ = 48_000


def read_photo(path: Path) -> NDArray[np.uint8]:
    """The picture of an image file.

    Raises:
        MediaError: where it holds none that decodes.
    """
    with _opened(path) as source:
        frame = next(source.decode(video=0))
        return cast("NDArray[np.uint8]", frame.to_ndarray(format="rgb24"))


def read_recording(path: Path) -> NDArray[np.float32]:
    """The whole sound of a file as one waveform, so for short files only.

    Raises:
        MediaError: where it holds none that decodes.
    """
    resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE_HZ)
    with _opened(path) as source:
        decoded = chain(source.decode(audio=0), (None,))  # None drains the resampler
        blocks = [out.to_ndarray()[0] for frame in decoded for out in resampler.resample(frame)]
        return np.concatenate(blocks).astype(np.float32, copy=False)


def write_video(
    path: Path, frames: Iterable[NDArray[np.uint8]], *, fps: int, waveform: NDArray[np.float32] | None = None
) -> None:
    """Write H.264 pictures and, where there is a waveform, an AAC track.

    The first frame sets the size of the video, less an odd row or column; later ones are scaled to it.

    Raises:
        ValueError: where there is no frame.
        MediaError: where the file cannot be written.
    """
    remaining = iter(frames)
    if (first := next(remaining, None)) is None:
        raise ValueError("a video needs at least one frame")
    with created(path) as target:
        # MP4 wants every stream declared before the first packet is written.
        pictures = _add_pictures(target, first, fps)
        if waveform is not None:
            _write_sound(target, _add_sound(target), waveform)
        _write_pictures(target, pictures, chain((first,), remaining))


def to_jpeg(image: NDArray[np.uint8]) -> bytes:
    """(H, W, 3) uint8 RGB, H and W even -> the bytes of a JPEG file."""
    codec = av.CodecContext.create("mjpeg", "w")
    assert isinstance(codec, av.VideoCodecContext)  # noqa: S101 - it is one
    codec.height, codec.width = image.shape[:2]
    codec.pix_fmt, codec.time_base = "yuvj420p", Fraction(1)
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
    packets = [*codec.encode(frame.reformat(format="yuvj420p")), *codec.encode(None)]
    return b"".join(bytes(packet) for packet in packets)


def narrate(path: Path, footage: Path, recording: Path) -> None:
    """Write footage, repeated for as long as a recording lasts, with the recording as its only sound.

    The pictures are copied as they are encoded, which costs neither time nor quality.

    Raises:
        MediaError: where an input cannot be read or the file cannot be written.
    """
    waveform = read_recording(recording)
    with _opened(footage) as source:
        given = source.streams.video[0]
        # All packets first, so that footage that breaks off is not reported as a failure to write.
        packets = list(_repeated(source, given, len(waveform) / SAMPLE_RATE_HZ))
        with created(path) as target:
            copied = target.add_stream_from_template(given)
            _write_sound(target, _add_sound(target), waveform)
            for packet in packets:
                packet.stream = copied
                target.mux(packet)


def _repeated(source: InputContainer, stream: VideoStream, length_s: float) -> Iterator[Packet[VideoStream]]:
    for round_ in count():
        n_timed = 0
        source.seek(0)
        for packet in source.demux(stream):
            if packet.pts is None or packet.dts is None:  # the mark of the end carries no picture
                continue
            packet.pts += round_ * (stream.duration or 0)
            packet.dts += round_ * (stream.duration or 0)
            if packet.dts * packet.time_base >= length_s:
                return
            n_timed += 1
            yield packet
        if not n_timed or not stream.duration:  # a photograph, say: the rounds would go on for ever
            problem = f"cannot read {source.name}: it holds no moving pictures"
            raise MediaError(problem, hint="take a video as the footage")


def _add_pictures(target: OutputContainer, first: NDArray[np.uint8], fps: int) -> VideoStream:
    height, width = first.shape[:2]
    stream = target.add_stream("libx264", rate=fps, options={"preset": "veryfast"})
    # Chroma has half the resolution, so both sides must be even.
    stream.width, stream.height, stream.pix_fmt = width - width % 2, height - height % 2, "yuv420p"
    stream.codec_context.thread_count = 1  # x264's output depends on the number of threads
    return stream


def _write_pictures(
    target: OutputContainer, stream: VideoStream, frames: Iterable[NDArray[np.uint8]]
) -> None:
    for i, pixels in enumerate(frames):
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
        scaled = frame.reformat(width=stream.width, height=stream.height, format=stream.pix_fmt)
        scaled.pts, scaled.time_base = i, 1 / stream.codec_context.framerate
        target.mux(stream.encode(scaled))
    target.mux(stream.encode(None))


def _add_sound(target: OutputContainer) -> AudioStream:
    return target.add_stream("aac", rate=SAMPLE_RATE_HZ, layout="mono")


def _write_sound(target: OutputContainer, stream: AudioStream, waveform: NDArray[np.float32]) -> None:
    frame = av.AudioFrame.from_ndarray(waveform[np.newaxis], format="fltp", layout="mono")
    frame.sample_rate, frame.pts = SAMPLE_RATE_HZ, 0
    target.mux(stream.encode(frame))
    target.mux(stream.encode(None))


@contextmanager
def _opened(path: Path) -> Iterator[InputContainer]:
    try:
        with av.open(str(path)) as source:
            yield source
    except (av.FFmpegError, IndexError, StopIteration, ValueError) as error:
        hint = "open it in a player to see whether it is damaged"
        raise MediaError(f"cannot read {path}: {error}", hint=hint) from error


@contextmanager
def created(path: Path, **options: str) -> Iterator[OutputContainer]:
    """An MP4 that is closed, and then whole, on the way out; `options` are FFmpeg's own.

    Raises:
        MediaError: where it cannot be written.
    """
    try:
        with av.open(str(path), "w", format="mp4", options={"fflags": "+bitexact", **options}) as target:
            yield target
    except (av.FFmpegError, OSError) as error:
        hint = "is the disk full, or the folder missing or read-only?"
        raise MediaError(f"cannot write {path}: {error}", hint=hint) from error
