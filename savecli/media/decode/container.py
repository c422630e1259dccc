"""Opening a file, and its packets one by one, however damaged."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Discard, Stream

from savecli.errors import MediaError
from savecli.media.footage import Tally, Track
from savecli.media.signature import HEAD_BYTES, describe, kind_of

DAMAGE = (av.FFmpegError, OSError, ValueError, EOFError)
"""What PyAV raises on a damaged packet: all of it means that this packet is lost, not the file."""

# Real containers only: playlists, concat scripts and image sequences open other files, on disk or on the
# network, and anything that is not a plain local file is refused by the second list.
_CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,asf,flv,live_flv,mpeg,mpegvideo,mpegts,ogg,mxf,rm,dv,wtv"
)
SOUNDS = ("wav", "mp3", "flac", "aac")
"""Containers of sound alone, besides: only where a file is asked to be heard."""

_MAX_READ_ERRORS = 64
_WILD_S = 10.0


def options(*, to_hear: bool) -> dict[str, str]:
    """What FFmpeg may open; `to_hear` as in `opened`."""
    known = ",".join((_CONTAINERS, *SOUNDS)) if to_hear else _CONTAINERS
    return {"format_whitelist": known, "protocol_whitelist": "file"}


@contextmanager
def opened(path: Path, *, to_hear: bool = False) -> Iterator[InputContainer]:
    """A container that is closed on the way out; no stream of it may be touched after that.

    Args:
        path: of the file.
        to_hear: whether a file of sound alone will do.

    Raises:
        MediaError: not a regular file, empty, unreadable, or not a video container.
    """
    _check_regular(path)
    try:
        container = av.open(str(path), container_options=options(to_hear=to_hear), metadata_errors="replace")
    except DAMAGE as error:
        raise _refusal(error, path, "sound" if to_hear else "a video") from error
    with container:
        yield container


def _check_regular(path: Path) -> None:
    try:
        status = path.stat()
    except OSError as error:
        raise _refusal(error, path) from error
    if not stat.S_ISREG(status.st_mode):
        raise MediaError("not a regular file", hint="Pipes, sockets and devices are not read.")
    if status.st_size == 0:
        raise MediaError("the file is empty", hint="The copy or the recording failed; copy it again.")


def _refusal(error: Exception, path: Path, wanted: str = "a video") -> MediaError:
    match error:
        case PermissionError() if not _is_readable(path):
            return MediaError("no permission to read the file", hint="Check its owner and mode (ls -l).")
        case FileNotFoundError():
            return MediaError("the file is not there any more", hint="Index its folder again.")
        # FFmpeg says PermissionError of some damaged ASF files too.
        case av.ArgumentError() | av.InvalidDataError() | av.PermissionError():
            with path.open("rb") as file:
                head = file.read(HEAD_BYTES)
            if not kind_of(head):
                return MediaError(
                    f"the content is {describe(head)}, not {wanted}",
                    hint=f"The name says {wanted.removeprefix('a ')}, the content says otherwise.",
                )
            return MediaError(
                "the index of the video is missing or damaged",
                hint="An interrupted recording or download has none: fetch it again, or rebuild it with a "
                "repair tool (untrunc, or the camera's own).",
            )
    return MediaError(f"it cannot be opened ({type(error).__name__})", hint="Does a player open it?")


def _is_readable(path: Path) -> bool:
    try:
        with path.open("rb"):
            return True
    except OSError:
        return False


def keep_only(container: InputContainer, wanted: set[int]) -> None:
    """Let the demuxer pass over all other streams, which saves reading them."""
    for stream in container.streams:
        stream.discard = Discard.default if stream.index in wanted else Discard.all


def packets(container: InputContainer, streams: tuple[Stream, ...], tally: Tally) -> Iterator[Packet[Stream]]:
    """All packets with content; after a failed read the next is tried, a limited number of times."""
    for _ in range(_MAX_READ_ERRORS):
        try:
            for packet in container.demux(streams):
                if packet.size:
                    yield packet
        except DAMAGE:
            tally.n_bad_packets += 1
        except IndexError:
            return  # all is read: PyAV stumbles at the end over streams that turned up on the way
        else:
            return


def mended(packet_source: Iterator[Packet[Stream]], track: Track) -> Iterator[Packet[Stream]]:
    """The packets of one track from its start, on a clock that never leaps."""
    shifts = iter((*track.shifts, (-1, 0)))
    next_change, next_shift = next(shifts)
    shift = 0
    for number, packet in enumerate(packet_source):
        if number == next_change:
            shift = next_shift
            next_change, next_shift = next(shifts)
        tame(packet)
        if shift:
            packet.pts = None if packet.pts is None else packet.pts + shift
            packet.dts = None if packet.dts is None else packet.dts + shift
        yield packet


def tame(packet: Packet[Stream]) -> int | None:
    """The packet's time in ticks, after a wild one was replaced by its decoding time."""
    if packet.pts is None or packet.dts is None:
        return packet.dts if packet.pts is None else packet.pts
    if abs(packet.pts - packet.dts) * packet.time_base > _WILD_S:
        packet.pts = packet.dts
    return packet.pts
