"""Folders and files -> the videos among them, told by content and not by name. Nothing is ever written."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO, NamedTuple

from savecli.datatypes import Volume
from savecli.errors import MediaError, MediaUnfinished
from savecli.media import ignore
from savecli.media.ignore import Ignored
from savecli.media.signature import HEAD_BYTES, describe, kind_of
from savecli.media.volumes import Volumes

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
_IGNORE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A file whose content begins like a video.

    Attributes:
        path: absolute; links on the way are kept as the user named them.
        size_bytes, mtime_ns: as `os.stat` gives them.
        volume: what it lies on.
    """

    path: Path
    size_bytes: int
    mtime_ns: int
    volume: Volume


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """A file or folder that was asked for, or that calls itself a video, and cannot be used."""

    path: Path
    error: MediaError


def scan(
    paths: Iterable[Path],
    *,
    include_hidden: bool = False,
    exclude: Sequence[str] = (),
    is_known: Callable[[Path, int, int], bool] = lambda *_: False,
    volumes: Volumes | None = None,
) -> Iterator[Found | Unreadable]:
    """Yield each video under `paths` once, in sorted order, and what claims to be one but cannot be read.

    Args:
        paths: folders, looked through with all below them, and single files.
        include_hidden: also enter names that begin with a dot, and the folders of recycle bins and
            thumbnails. What `paths` name themselves is never skipped.
        exclude: shell patterns; a file or folder is left out if its name or its whole path matches one.
            So is what a `.saveignore` in a folder under `paths` names.
        is_known: whether a file of this path, size and mtime_ns is known to begin like a video; it is not
            opened.
        volumes: what is mounted; None looks.
    """
    walk = _Walk(
        include_hidden=include_hidden,
        exclude=tuple(exclude),
        is_known=is_known,
        volumes=volumes or Volumes(),
    )
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


def changing() -> MediaUnfinished:
    """What to raise where a file is no more what it was when it was found."""
    return MediaUnfinished(
        "it changed, or went away, while it was read", hint="run `save index` again when it is complete"
    )


def is_as_found(found: Found) -> bool:
    """Whether a file still has the size and mtime that it was found with."""
    try:
        status = found.path.stat()
    except OSError:
        return False
    return (status.st_size, status.st_mtime_ns) == (found.size_bytes, found.mtime_ns)


def rest_s(mtime_ns: int, settle_s: float) -> float:
    """How long a file must still be left in peace, until nobody has written it for `settle_s`.

    A time in the future is a camera's wrong clock, and says nothing.
    """
    age_s = time.time() - mtime_ns / 1e9
    return settle_s - age_s if 0 <= age_s < settle_s else 0.0


def settled(found: Found, settle_s: float) -> Found:
    """The file as it is now, after it was left in peace.

    Raises:
        MediaUnfinished: it is still being written, or has gone away.
    """
    try:
        status = found.path.stat()
        wait_s = rest_s(status.st_mtime_ns, settle_s)
        now = replace(found, size_bytes=status.st_size, mtime_ns=status.st_mtime_ns)
    except OSError:
        raise changing() from None
    if wait_s:
        time.sleep(wait_s)
        if not is_as_found(now):
            raise MediaUnfinished("it is still being written", hint="the next run reads it")
    return now


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


class _Place(NamedTuple):
    """Something to look at: a path, what its folder leaves out, and the volume of its folder.

    `volume` is None for what was named, and for links: they may lead anywhere.
    """

    path: Path
    ignored: Ignored
    volume: Volume | None = None
    entry: os.DirEntry[str] | None = None


@dataclass(slots=True, kw_only=True)
class _Walk:
    """One scan: what it skips, and what it has seen, by device and inode."""

    include_hidden: bool
    exclude: tuple[str, ...]
    is_known: Callable[[Path, int, int], bool]
    volumes: Volumes
    seen: set[tuple[int, int]] = field(default_factory=set)

    def visit(self, named: Path) -> Iterator[Found | Unreadable]:
        pending = [_Place(named, Ignored())]
        while pending:
            place = pending.pop()
            path = place.path
            try:
                status = place.entry.stat() if place.entry else path.stat()
                if self._is_seen(status):
                    continue
                if stat.S_ISDIR(status.st_mode):
                    problem, inside = self._enter(place)
                    pending += reversed(inside)
                    if problem is not None:
                        yield problem
                    continue
                known = self.is_known(path, status.st_size, status.st_mtime_ns)
                fault = None if known else _fault(path, status)
            except FileNotFoundError as error:
                # In a folder: a dead link, or a file removed meanwhile; worth a word only for a video.
                if path is named or _claims(path):
                    yield Unreadable(path=path, error=_cannot_read(error))
                continue
            except OSError as error:
                yield Unreadable(path=path, error=_cannot_read(error))
                continue
            if fault is None:
                yield Found(
                    path=path,
                    size_bytes=status.st_size,
                    mtime_ns=status.st_mtime_ns,
                    volume=place.volume or self.volumes.of(path),
                )
            elif path is named or _claims(path):
                yield Unreadable(path=path, error=fault)

    def _enter(self, place: _Place) -> tuple[Unreadable | None, list[_Place]]:
        """What is in a folder, in order of name, and what is wrong with its `.saveignore`."""
        with os.scandir(place.path) as entries:
            inside = sorted(entries, key=lambda entry: entry.name)
        ignored, problem = place.ignored, None
        if any(entry.name == ignore.NAME for entry in inside):
            try:
                ignored = ignored.within(place.path, _lines(place.path / ignore.NAME))
            except OSError as error:
                problem = Unreadable(path=place.path / ignore.NAME, error=_cannot_read(error))
            except ValueError as error:
                told = MediaError(
                    f"a line of it is no pattern: {error}", hint="Its patterns are gitignore's."
                )
                problem = Unreadable(path=place.path / ignore.NAME, error=told)
            if problem is not None:
                return problem, []  # better nothing than what its owner wants left out
        volume = self.volumes.of(place.path)
        return None, [
            _Place(path, ignored, None if entry.is_symlink() else volume, entry)
            for entry in inside
            if not self._is_left_out(entry, path := place.path / entry.name, ignored)
        ]

    def _is_left_out(self, entry: os.DirEntry[str], path: Path, ignored: Ignored) -> bool:
        name = entry.name
        if not self.include_hidden and (name.startswith(".") or name.lower() in _SKIPPED):
            return True
        if any(fnmatch(name, pattern) or fnmatch(str(path), pattern) for pattern in self.exclude):
            return True
        return bool(ignored.rules) and ignored.leaves_out(path, is_folder=_is_folder(entry))

    def _is_seen(self, status: os.stat_result) -> bool:
        identity = (status.st_dev, status.st_ino)
        # Windows gives inode 0 on some file systems: better to see a file twice than to lose one.
        seen = identity in self.seen and status.st_ino != 0
        self.seen.add(identity)
        return seen


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # links in a circle
        return False


def _lines(path: Path) -> list[str]:
    with _open_regular(path) as file:
        # As names are decoded, so that a pattern fits a name that is no Unicode.
        return os.fsdecode(file.read(_IGNORE_BYTES)).removeprefix("\ufeff").splitlines()


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
