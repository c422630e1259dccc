"""Videos that no disk holds, for libraries of made-up rows."""

from __future__ import annotations

from pathlib import Path

from savecli.datatypes import Video


def path(number: int) -> Path:
    """Of a video."""
    return Path(f"/videos/{number:06}.mp4")


def video(number: int, duration_s: float) -> Video:
    """The record of one; its fingerprint is its number."""
    return Video(
        path=path(number),
        fingerprint=f"{number:032x}",
        size_bytes=1,
        mtime_ns=1,
        duration_s=duration_s,
        has_video=True,
        has_audio=True,
    )
