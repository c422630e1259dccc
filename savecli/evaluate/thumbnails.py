"""Pictures of videos for a report."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from savecli.errors import MediaError
from savecli.media.worker import Decoder

SIZE_PX = 160


@contextmanager
def thumbnails(stall_s: float) -> Iterator[Callable[[Path], bytes | None]]:
    """What gives the picture in the middle of a video as JPEG, None where there is none."""
    from savecli.media.encode import to_jpeg

    with Decoder(stall_s=stall_s) as decoder:

        def one(path: Path) -> bytes | None:
            try:
                timeline = decoder.probe(path)
                if timeline.video is None:
                    return None
                middle_s = (timeline.video.start_s + timeline.video.end_s) / 2
                frames = decoder.frames(timeline, (middle_s,), resize_px=SIZE_PX, size_px=SIZE_PX)
                return next((to_jpeg(frame.image) for frame in frames), None)
            except MediaError:
                return None

        yield one
