"""`catalog.db.sum`: what the catalog was when its last writer left, so that a flipped bit in it is noticed.

SQLite keeps no checksum of its pages: a name or a time that rots on disk would be shown as it is. The seal
is broken before a writer's first change and put back when the writer is done, so that wherever it is
found, the file beside it must be exactly what it says.
"""

from __future__ import annotations

import contextlib
import zlib
from dataclasses import dataclass
from pathlib import Path

from savecli.errors import StoreError
from savecli.store.durable import crc32_of, sync_folder, write_text

_TRIES = 3
_FIRST = "catalog 1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seal:
    """Of a catalog at rest.

    Attributes:
        size_bytes, crc32: of the file.
        revision: the catalog's own count of commits.
    """

    size_bytes: int
    crc32: int
    revision: int

    @property
    def text(self) -> str:
        """What the seal's file holds; it ends with a checksum of itself."""
        body = f"{_FIRST} {self.size_bytes} {self.crc32:08x} {self.revision}"
        return f"{body} {zlib.crc32(body.encode()):08x}\n"


def seal_path(catalog: Path) -> Path:
    """Where the seal of a catalog lies."""
    return catalog.with_name(catalog.name + ".sum")


def is_there(catalog: Path) -> bool:
    """Whether a catalog is sealed, well or badly."""
    return seal_path(catalog).exists()


def find(catalog: Path) -> Seal | None:
    """The seal of a catalog, None where a writer broke it or is at work.

    Raises:
        StoreError: the seal itself is damaged.
    """
    path = seal_path(catalog)
    try:
        text = path.read_text(encoding="ascii", errors="replace")
    except FileNotFoundError:
        return None
    with contextlib.suppress(ValueError):
        size_bytes, crc32, revision = text.split()[2:5]
        seal = Seal(size_bytes=int(size_bytes), crc32=int(crc32, 16), revision=int(revision))
        if seal.text == text:
            return seal
    raise StoreError(f"{path} is damaged", hint="run `save verify --repair`")


def put(catalog: Path, seal: Seal) -> None:
    """Seals a catalog that nobody will change until the seal is broken again."""
    write_text(seal_path(catalog), seal.text)


def break_(catalog: Path) -> None:
    """Removes the seal, on disk too, before anything is changed."""
    path = seal_path(catalog)
    if path.exists():
        path.unlink()
        sync_folder(path.parent)


def is_intact(catalog: Path) -> bool:
    """Whether a catalog is what its seal says; also where it has none.

    A writer may begin or end meanwhile, and then what was read proves nothing: it is read again.

    Raises:
        StoreError: the seal itself is damaged.
    """
    for _ in range(_TRIES):
        seal = find(catalog)
        if seal is None:
            return True
        if catalog.stat().st_size == seal.size_bytes and crc32_of(catalog) == seal.crc32:
            return True
        if find(catalog) == seal:
            return False
    return True
