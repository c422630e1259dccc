"""Folders and files -> the videos among them, told by content and not by name. Nothing is ever written."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO

from savecli.errors import MediaError
from savecli.media.signature import HEAD_BYTES, describe, kind_of

_CLAIMING_SUFFIXES = frozenset(
    f".{name}"
    for name in (
        *("3g2", "3gp", "asf", "avi", "divx", "dv", "f4v", "flv", "m2t", "m2ts", "m2v", "m4v", "mkv", "mov"),
        *("mp4", "mpe", "mpeg", "mpg", "mxf", "ogm", "ogv", "qt", "rm", "rmvb", "vob", "webm", "wmv", "wtv"),
    )
)
"""Such a file that holds something else is reported. Not .ts and .mts: TypeScript and Qt use them, too."""

_SKIPPED = frozenset({"@eadir", "#recycle", "$recycle.bin", "lost+found", "system volume information"})
_BLOCK_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A file whose content begins like a video.

    Attributes:
        path: absolute; links on the way are kept as the user named them.
        size_bytes, mtime_ns: as `os.stat` gives them.
    """

    path: Path
    size_bytes: int
    mtime_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """A file or folder that was asked for, or that calls itself a video, and cannot be used."""

    path: Path
    error: MediaError


def scan(
    paths: Iterable[Path], *, include_hidden: bool = False, exclude: Sequence[str] = ()
) -> Iterator[Found | Unreadable]:
    """Yield each video under `paths` once, in sorted order, and what claims to be one but cannot be read.

    Args:
        paths: folders, looked through with all below them, and single files.
        include_hidden: also enter names that begin with a dot, and the folders of recycle bins and
            thumbnails. What `paths` name themselves is never skipped.
        exclude: shell patterns; a file or folder is left out if its name or its whole path matches one.
    """
    walk = _Walk(include_hidden=include_hidden, exclude=tuple(exclude))
    for path in sorted({whole(path) for path in paths}):
        yield from walk.visit(path)


def whole(path: Path) -> Path:
    """The absolute path without "..", so that a file has one name; links are kept, except before a ".."."""
    path = path.absolute()
    if ".." not in path.parts:
        return path
    last = len(path.parts) - 1 - path.parts[::-1].index("..")
    # What ".." leads to is decided by where the links before it point, not by their spelling.
    return Path(os.path.realpath(Path(*path.parts[: last + 1]))).joinpath(*path.parts[last + 1 :])


def fingerprint(path: Path) -> str:
    """32 hex digits from a file's size and the 64 KiB at its head, middle and tail; equal for a copy.

    Raises:
        MediaError: not a regular file, or not readable.
    """
    try:
        with _open_regular(path) as file:
            size_bytes = os.fstat(file.fileno()).st_size
            digest = blake2b(size_bytes.to_bytes(8, "little"), digest_size=16)
            if size_bytes <= 3 * _BLOCK_BYTES:
                digest.update(file.read(3 * _BLOCK_BYTES))
                return digest.hexdigest()
            for start in (0, (size_bytes - _BLOCK_BYTES) // 2, size_bytes - _BLOCK_BYTES):
                file.seek(start)
                digest.update(file.read(_BLOCK_BYTES))
            return digest.hexdigest()
    except OSError as error:
        raise _cannot_read(error) from error


@dataclass(slots=True, kw_only=True)
class _Walk:
    """One scan: what it skips, and what it has seen, by device and inode."""

    include_hidden: bool
    exclude: tuple[str, ...]
    seen: set[tuple[int, int]] = field(default_factory=set)

    def visit(self, named: Path) -> Iterator[Found | Unreadable]:
        pending = [named]
        while pending:
            path = pending.pop()
            if path is not named and self._is_skipped(path):
                continue
            try:
                status = path.stat()
                if self._is_known(status):
                    continue
                if stat.S_ISDIR(status.st_mode):
                    pending += sorted(path.iterdir(), reverse=True)
                    continue
                fault = _fault(path, status)
            except FileNotFoundError as error:
                # In a folder: a dead link, or a file removed meanwhile; worth a word only for a video.
                if path is named or _claims(path):
                    yield Unreadable(path=path, error=_cannot_read(error))
                continue
            except OSError as error:
                yield Unreadable(path=path, error=_cannot_read(error))
                continue
            if fault is None:
                yield Found(path=path, size_bytes=status.st_size, mtime_ns=status.st_mtime_ns)
            elif path is named or _claims(path):
                yield Unreadable(path=path, error=fault)

    def _is_skipped(self, path: Path) -> bool:
        if any(fnmatch(path.name, pattern) or fnmatch(str(path), pattern) for pattern in self.exclude):
            return True
        return not self.include_hidden and (path.name.startswith(".") or path.name.lower() in _SKIPPED)

    def _is_known(self, status: os.stat_result) -> bool:
        identity = (status.st_dev, status.st_ino)
        # Windows gives inode 0 on some file systems: better to see a file twice than to lose one.
        known = identity in self.seen and status.st_ino != 0
        self.seen.add(identity)
        return known


def _fault(path: Path, status: os.stat_result) -> MediaError | None:
    """What keeps a file from being a video; None if nothing does."""
    if not stat.S_ISREG(status.st_mode):
        return MediaError("not a regular file", hint="Pipes, sockets and devices are not read.")
    if status.st_size == 0:
        return MediaError("the file is empty", hint="The copy or the recording failed; copy it again.")
    with _open_regular(path) as file:
        head = file.read(HEAD_BYTES)
    if kind_of(head):
        return None
    says = "says video" if _claims(path) else "was given as a video"
    return MediaError(
        f"the content is {describe(head)}, not a video", hint=f"The name {says}, the content says otherwise."
    )


def _claims(path: Path) -> bool:
    return path.suffix.lower() in _CLAIMING_SUFFIXES


def _open_regular(path: Path) -> BinaryIO:
    """Open for reading, without ever waiting: a pipe put in the file's place would block for good."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError("not a regular file")
    return os.fdopen(descriptor, "rb")


def _cannot_read(error: OSError) -> MediaError:
    match error:
        case PermissionError():
            return MediaError("no permission to read it", hint="Check its owner and mode (ls -l).")
        case FileNotFoundError():
            return MediaError("no such file or folder", hint="Is it spelled right, and its disk mounted?")
    return MediaError(f"it cannot be read ({error.strerror or error})", hint="Check its disk or share.")
