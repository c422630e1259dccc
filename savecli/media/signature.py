"""The first bytes of a file -> what kind of file it is. A look, not a proof: the demuxer has the last word.

Sources: ISO/IEC 14496-12 (boxes), RFC 8794 (EBML), ISO/IEC 13818-1 (program and transport streams),
RFC 3533 (Ogg), SMPTE 377-1 (MXF), Microsoft's ASF and RIFF specifications.
"""

from __future__ import annotations

import struct
from codecs import getincrementaldecoder
from collections.abc import Callable

HEAD_BYTES = 8192
"""How much of a file's beginning `kind_of` wants to see."""

_TOP_BOXES = frozenset(
    (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot", b"moof", b"styp", b"sidx")
)
_SOUND_BRANDS = frozenset({b"M4A ", b"M4B ", b"M4P ", b"F4A ", b"F4B "})
_PICTURE_BRANDS = frozenset(
    (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1", b"avif", b"avis", b"crx ")
)
_ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_WTV = bytes.fromhex("b7d800203749da11a64e0007e95ead8d")
_MXF = bytes.fromhex("060e2b34020501010d010201")
_MXF_RUN_IN_BYTES = 8192

_OTHER = (
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"\x89PNG\r\n", "a PNG picture"),
    (b"GIF8", "a GIF picture"),
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"#EXTM3U", "a playlist"),
    (b"ffconcat", "a list of other files"),
    (b"ID3", "sound only (MP3)"),
    (b"fLaC", "sound only (FLAC)"),
)


def kind_of(head: bytes) -> str:
    """The container's name if `head` begins a video, else an empty string."""
    return next((name for name, begins in _VIDEOS if begins(head)), "")


def describe(head: bytes) -> str:
    """What a file that is no video is instead, for a message: "a JPEG picture", "plain text", ..."""
    for start, name in _OTHER:
        if head.startswith(start):
            return name
    if head[:4] == b"RIFF" and head[8:12] == b"WAVE":
        return "sound only (WAV)"
    if head[4:8] == b"ftyp":
        return "sound only (M4A)" if head[8:12] in _SOUND_BRANDS else "a picture (HEIF)"
    if not any(head):
        return "nothing but zero bytes"
    return "plain text" if _is_text(head) else "something unknown"


def _is_text(head: bytes) -> bool:
    # Incremental: the last character may be cut in the middle.
    try:
        getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return b"\0" not in head


def _is_mp4(head: bytes) -> bool:
    if len(head) < 8 or head[4:8] not in _TOP_BOXES:
        return False
    # 0 is "to the end of the file", 1 "the length follows as 64 bits"; a box is never shorter than its head.
    length = struct.unpack(">I", head[:4])[0]
    return (length in (0, 1) or length >= 8) and not (
        head[4:8] == b"ftyp" and head[8:12] in _SOUND_BRANDS | _PICTURE_BRANDS
    )


def _is_program_stream(head: bytes) -> bool:
    # After a pack's start code come the marker bits of MPEG-2 (01) or MPEG-1 (0010).
    return head[:4] == b"\0\0\1\xba" and len(head) > 4 and (head[4] >> 6 == 0b01 or head[4] >> 4 == 0b0010)


def _is_transport_stream(head: bytes) -> bool:
    # Packets of 188 bytes, with a 4-byte arrival time before each on Blu-ray and AVCHD, 16 of parity after
    # each in broadcast dumps. A recording may begin in the middle of a packet.
    for length in (188, 192, 204):
        for first in range(min(length, max(len(head) - 1, 0))):
            syncs = head[first::length]
            if head[first] == 0x47 and len(syncs) >= 3 and set(syncs[:8]) == {0x47}:
                return not _is_text(head)
    return False


def _is_ogg_video(head: bytes) -> bool:
    return head[:4] == b"OggS" and any(
        mark in head for mark in (b"\x80theora", b"fishead\0", b"BBCD\0", b"OVP80", b"\x01video\0")
    )


_VIDEOS: tuple[tuple[str, Callable[[bytes], bool]], ...] = (
    ("mp4", _is_mp4),
    ("matroska", lambda head: head[:4] == b"\x1a\x45\xdf\xa3"),
    ("avi", lambda head: head[:4] == b"RIFF" and head[8:11] == b"AVI"),
    ("asf", lambda head: head[:16] == _ASF),
    ("flv", lambda head: head[:4] == b"FLV\x01"),
    ("mpeg", _is_program_stream),
    ("mpegvideo", lambda head: head[:4] == b"\0\0\1\xb3"),
    ("mxf", lambda head: _MXF in head[: _MXF_RUN_IN_BYTES + len(_MXF)]),
    ("rm", lambda head: head[:4] == b".RMF"),
    ("wtv", lambda head: head[:16] == _WTV),
    ("dv", lambda head: head[:3] == b"\x1f\x07\x00"),
    ("ogg", _is_ogg_video),
    ("mpegts", _is_transport_stream),
)
