"""Videos that count: the number of each picture is written into it in black and white fields, and their sound
beeps at each full second."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

RATE_HZ = 48_000
BEEP_S = 0.05


def picture(number: int, width: int = 128, height: int = 96) -> np.ndarray:
    """(H, W, 3) uint8: eight fields along the top hold the bits, highest first; the rest is grey."""
    image = np.full((height, width, 3), 110, np.uint8)
    field = width // 8
    for bit in range(8):
        level = 235 if number >> (7 - bit) & 1 else 16
        image[: height // 6, bit * field : (bit + 1) * field] = level
    return image


def number(image: np.ndarray) -> int:
    """The number in a picture of any size that shows it whole."""
    height, width = image.shape[:2]
    field = width // 8
    rows = image[1 : max(2, height // 6 - 1)].mean(axis=(0, 2))
    middles = [rows[bit * field + field // 4 : bit * field + field - field // 4].mean() for bit in range(8)]
    return sum(1 << (7 - bit) for bit, level in enumerate(middles) if level > 125)


def beeps(length_s: float, n_channels: int = 1) -> np.ndarray:
    """(channels, S) float32: 50 ms of a tone at each full second, and nothing between."""
    time_s = np.arange(round(length_s * RATE_HZ)) / RATE_HZ
    sounds = np.where(time_s % 1 < BEEP_S, 0.5 * np.sin(2 * np.pi * 1000 * time_s), 0)
    return np.tile(sounds.astype(np.float32), (n_channels, 1))


def make(
    path: Path,
    *,
    times_s=None,
    fps: float | Fraction = 25,
    n: int = 100,
    size=(128, 96),
    sound: np.ndarray | None = None,
    layout: str = "mono",
    sound_starts_s: float = 0.0,
    starts_s: float = 0.0,
    turned: int = 0,
    pix_fmt: str = "yuv420p",
    codec: str = "libx264",
    sound_codec: str = "aac",
    key_every: int = 50,
    aspect: Fraction | None = None,
    metadata: dict[str, str] | None = None,
) -> Path:
    """Write a video whose picture `i` shows `i`, at `times_s[i]` or at i / fps.

    Args:
        turned: how many degrees the player is to turn what is stored, which is turned the other way.
    """
    times_s = [float(i / Fraction(fps)) for i in range(n)] if times_s is None else times_s
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as out:
        out.metadata.update(metadata or {})
        rate = Fraction(fps).limit_denominator(1001)
        options = {"bf": "2", "crf": "12"} if codec == "libx264" else {}
        shown = out.add_stream(codec, rate=rate, options=options)
        shown.width, shown.height = size[:: -1 if turned % 180 else 1]
        shown.pix_fmt, shown.codec_context.gop_size = pix_fmt, key_every
        shown.codec_context.time_base = Fraction(1, 90_000) if codec != "mpeg2video" else 1 / rate
        if aspect:
            shown.codec_context.sample_aspect_ratio = aspect
        if turned:
            shown.set_display_rotation(turned)
        if sound is not None:
            heard = out.add_stream(sound_codec, rate=RATE_HZ, layout=layout)
        for i, time_s in enumerate(times_s):
            image = np.rot90(picture(i, *size), -turned // 90)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image)).reformat(format=pix_fmt)
            frame.pts, frame.time_base = round((time_s + starts_s) * 90_000), Fraction(1, 90_000)
            if codec == "mpeg2video":
                frame.pts, frame.time_base = i, 1 / rate
            out.mux(shown.encode(frame))
        out.mux(shown.encode(None))
        if sound is not None:
            form = heard.codec_context.format.name
            block = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound), "fltp", layout)
            block.sample_rate, block.pts = RATE_HZ, round(sound_starts_s * RATE_HZ)
            resampler = av.AudioResampler(format=form, layout=layout, rate=RATE_HZ)
            for part in resampler.resample(block):
                part.pts = round(sound_starts_s * RATE_HZ)
                out.mux(heard.encode(part))
            out.mux(heard.encode(None))
    return path


def numbers(path: Path) -> list[int]:
    """What the pictures of a video show, in order."""
    with av.open(str(path)) as container:
        return [number(frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]


def times_s(path: Path) -> list[float]:
    with av.open(str(path)) as container:
        return [float(frame.time) for frame in container.decode(video=0)]


def onsets_s(path: Path) -> list[float]:
    """When the beeps of a file begin."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        resampler = av.AudioResampler(format="fltp", layout="mono", rate=RATE_HZ)
        blocks, first_s = [], None
        for frame in container.decode(stream):
            first_s = float(frame.time) if first_s is None else first_s
            blocks += [part.to_ndarray()[0] for part in resampler.resample(frame)]
    loud = np.abs(np.concatenate(blocks)) > 0.1
    quiet_before = np.convolve(loud, np.ones(2000), "full")[: len(loud)]  # of the 2000 up to here
    starts = np.flatnonzero(loud & (np.concatenate([[0], quiet_before[:-1]]) == 0))
    return [first_s + start / RATE_HZ for start in starts.tolist()]
