"""Small made-up clips in every container that the scan takes for a video."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

RATE_HZ = 48_000
FPS = 25
WIDTH, HEIGHT = 176, 144  # H.263 has five sizes, and this is one
CONTAINERS = {
    # suffix: format, pictures, their layout, sound
    "mp4": ("mp4", "libx264", "yuv420p", "aac"),
    "mov": ("mov", "mjpeg", "yuvj420p", "pcm_s16le"),
    "mkv": ("matroska", "libvpx-vp9", "yuv420p", "libopus"),
    "webm": ("webm", "libvpx", "yuv420p", "libopus"),
    "avi": ("avi", "mpeg4", "yuv420p", "libmp3lame"),
    "wmv": ("asf", "wmv2", "yuv420p", "wmav2"),
    "flv": ("flv", "flv", "yuv420p", "libmp3lame"),
    "ts": ("mpegts", "mpeg2video", "yuv420p", "aac"),
    "mpg": ("mpeg", "mpeg1video", "yuv420p", "mp2"),
    "3gp": ("3gp", "h263", "yuv420p", "aac"),
    "mxf": ("mxf", "mpeg2video", "yuv422p", "pcm_s16le"),
    "ogv": ("ogg", "libvpx", "yuv420p", "libopus"),
    "rm": ("rm", "rv20", "yuv420p", "ac3"),
}


def write_clip(
    path: Path,
    seed: int = 0,
    seconds: float = 3.0,
    *,
    n_channels: int = 1,
    kind: tuple[str, str, str, str] | None = None,
) -> Path:
    """A clip that moves and sounds, the same for the same seed, in the container that its suffix names.

    `kind` takes the place of what CONTAINERS has for it.
    """
    name, codec, layout, sound = kind or CONTAINERS[path.suffix[1:]]
    rate_hz = 44_100 if name == "flv" else RATE_HZ  # all that FLV has
    with av.open(str(path), "w", format=name) as out:
        seen = out.add_stream(codec, rate=FPS, options={"g": "12"})
        seen.width, seen.height, seen.pix_fmt, seen.bit_rate = WIDTH, HEIGHT, layout, 300_000
        heard = out.add_stream(sound, rate=rate_hz)
        heard.layout = "stereo" if n_channels == 2 or sound in ("wmav2", "pcm_s16le") else "mono"
        heard.bit_rate = 128_000
        for number, image in enumerate(pictures(seed, round(seconds * FPS))):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format=layout)
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            out.mux(seen.encode(frame))
        out.mux(seen.encode(None))
        write_sound(out, heard, tone(seed, seconds, rate_hz))
    return path


def write_sound(out: av.container.OutputContainer, heard: av.AudioStream, waveform: np.ndarray) -> None:
    """A mono waveform, (S,) float32, into a stream of any layout."""
    resampler = av.AudioResampler(
        format=heard.format.name,
        layout=heard.layout.name,
        rate=heard.rate,
        frame_size=heard.codec_context.frame_size or 1024,
    )
    frame = av.AudioFrame.from_ndarray(waveform[None], format="fltp", layout="mono")
    frame.rate, frame.pts, frame.time_base = heard.rate, 0, Fraction(1, heard.rate)
    for block in [*resampler.resample(frame), *resampler.resample(None)]:
        out.mux(heard.encode(block))
    out.mux(heard.encode(None))


def pictures(seed: int, n: int):
    """(H, W, 3) uint8 each: a gradient, and a square that wanders over it."""
    rng = np.random.default_rng(seed)
    far, near = rng.integers(0, 256, (2, 3))
    ramp = np.linspace(0, 1, WIDTH)[None, :, None]
    ground = np.broadcast_to(far * ramp + near * (1 - ramp), (HEIGHT, WIDTH, 3)).astype(np.uint8)
    colour, speed, size = rng.integers(0, 256, 3), rng.integers(1, 5, 2), int(rng.integers(20, 60))
    for number in range(n):
        image = ground.copy()
        x, y = (int(step) * number for step in speed)
        x, y = x % (WIDTH - size), y % (HEIGHT - size)
        image[y : y + size, x : x + size] = colour
        yield image


def tone(seed: int, seconds: float, rate_hz: int) -> np.ndarray:
    """(S,) float32: two tones."""
    time_s = np.arange(round(seconds * rate_hz)) / rate_hz
    low, high = np.random.default_rng(seed).uniform(150, 2000, 2)
    waves = np.sin(2 * np.pi * low * time_s) + np.sin(2 * np.pi * high * time_s)
    return (0.2 * waves).astype(np.float32)
