"""Files that survive a power cut: written aside, synced, renamed, and the folder synced too."""

from __future__ import annotations

import errno
import os
import zlib
from pathlib import Path

BLOCK_BYTES = 1 << 20


def sync_file(path: Path) -> None:
    """Forces the content of `path` to disk."""
    with path.open("r+b") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Forces the names in `folder` to disk."""
    if os.name == "nt":  # Windows cannot open a folder, and its renames are journalled.
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def publish(temporary: Path, path: Path) -> None:
    """Gives a finished file its name: whoever opens `path` sees all of it or what was there before."""
    sync_file(temporary)
    temporary.replace(path)
    sync_folder(path.parent)


def publish_new(temporary: Path, path: Path, *, replace: bool) -> None:
    """Gives a finished and synced file its name; without `replace` only where nothing has that name.

    Raises:
        FileExistsError: something has that name.
    """
    if replace:
        temporary.replace(path)
    else:
        try:
            os.link(temporary, path)
        except FileExistsError:
            raise
        except (OSError, NotImplementedError):  # a file system without links
            if os.path.lexists(path):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
            temporary.replace(path)
        else:
            temporary.unlink()
    sync_folder(path.parent)


def write_text(path: Path, text: str) -> None:
    """Replaces `path` by a file holding `text`."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text, encoding="utf-8")
    publish(temporary, path)


def crc32_of(path: Path) -> int:
    """CRC-32 of a whole file, read block by block."""
    crc = 0
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            crc = zlib.crc32(block, crc)
    return crc


def copy_of(path: Path, target: Path) -> int:
    """Copies a file and forces the copy to disk; returns the CRC-32 of what was copied."""
    crc = 0
    with path.open("rb") as source, target.open("wb") as copy:
        while block := source.read(BLOCK_BYTES):
            crc = zlib.crc32(block, crc)
            copy.write(block)
        copy.flush()
        os.fsync(copy.fileno())
    return crc
