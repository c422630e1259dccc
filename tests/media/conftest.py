"""Small videos, made on the fly: the number of a frame is written into its brightness."""

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from savecli.media.worker import Decoder

RATE_HZ = 48_000


@pytest.fixture
def make_video(tmp_path: Path) -> Callable[..., Path]:
    """Write `times_s`' pictures, and sound where `sound` is given as (S, channels) float32 at 48 kHz."""

    def make(
        name: str = "made.mkv",
        *,
        times_s=tuple(i * 0.04 for i in range(50)),
        size=(64, 48),
        sound: np.ndarray | None = None,
        sound_starts_s: float = 0.0,
        key_every: int = 12,
        codec: str = "mpeg4",
        stamp: Callable[[av.Packet], None] = lambda packet: None,
    ) -> Path:
        path = tmp_path / name
        with av.open(str(path), "w") as out:
            video = out.add_stream(codec, rate=25, options={"g": str(key_every)})
            video.width, video.height, video.pix_fmt = *size, "yuv420p"
            if codec == "mjpeg":
                video.pix_fmt = "yuvj420p"
            video.codec_context.time_base = Fraction(1, 1000)
            if sound is not None:
                layout = "mono" if sound.shape[1] == 1 else "stereo"
                audio = out.add_stream("pcm_f32le", rate=RATE_HZ, layout=layout)
            for number, time_s in enumerate(times_s):
                level = np.full((size[1], size[0], 3), brightness(number), np.uint8)
                frame = av.VideoFrame.from_ndarray(level).reformat(format=video.pix_fmt)
                frame.pts, frame.time_base = round(time_s * 1000), video.codec_context.time_base
                for packet in video.encode(frame):
                    stamp(packet)
                    out.mux(packet)
            for packet in video.encode(None):
                stamp(packet)
                out.mux(packet)
            if sound is not None:
                heard = av.AudioFrame.from_ndarray(sound.reshape(1, -1).astype(np.float32), "flt", layout)
                heard.sample_rate, heard.pts = RATE_HZ, round(sound_starts_s * RATE_HZ)
                out.mux([*audio.encode(heard), *audio.encode(None)])
        return path

    return make


def brightness(number: int) -> int:
    return 40 + number * 37 % 180


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    with Decoder(stall_s=30) as decoder:
        yield decoder
