"""A playlist of the moments, as VLC plays it: each entry with where to start and to stop.

The options are VLC's own (https://wiki.videolan.org/M3U/); other players play whole files.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from savecli.export.options import Options
from savecli.export.take import Take, file_url
from savecli.plain import plain


def playlist(takes: Sequence[Take], options: Options, folder: Path) -> str:
    """The whole list; `folder` is where it will lie."""
    return "\n".join(["#EXTM3U", *_lines(takes, options, folder), ""])


def _lines(takes: Sequence[Take], options: Options, folder: Path) -> Iterator[str]:
    for take in takes:
        yield f"#EXTINF:{take.length_s:.3f},{plain(take.path.name)}"
        yield f"#EXTVLCOPT:start-time={take.start_s:.3f}"
        yield f"#EXTVLCOPT:stop-time={take.end_s:.3f}"
        yield _entry(take.path, folder, relative=options.relative)


def _entry(path: Path, folder: Path, *, relative: bool) -> str:
    """A path as it is, or as a URL where a line of text could not hold it or would mean something else."""
    shown = os.path.relpath(path, folder.absolute()) if relative else str(path.absolute())
    if shown == plain(shown) and shown == shown.strip() and not shown.startswith("#") and "://" not in shown:
        return shown
    return file_url(path)
