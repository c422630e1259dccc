"""Copies of the catalog: one that every writer leaves behind, and one from before each change of its tables.

Only the catalog is copied, for it cannot be made again. The vector files are append-only, so a copy counts
on the first rows of the same files, until `save rebuild` writes them anew; the copies go with them. They
also go when something is forgotten: they would keep its text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from savecli.store.durable import copy_of, crc32_of
from savecli.store.seal import Seal

KEPT = 2
_ROLLING = re.compile(r"\.r(\d{10,})\.([0-9a-f]{8})\.bak")
_BEFORE = re.compile(r"\.v(\d+)\.bak")


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """A copy of the catalog as it was at one revision; its name tells the checksum it must have."""

    path: Path
    revision: int
    crc32: int

    def is_intact(self) -> bool:
        """Whether every byte is as it was copied."""
        try:
            return crc32_of(self.path) == self.crc32
        except OSError:
            return False


def kept(catalog: Path) -> list[Backup]:
    """The copies that writers left, the newest first."""
    found = []
    for path in catalog.parent.glob(f"{catalog.name}.r*.bak"):
        if match := _ROLLING.fullmatch(path.name.removeprefix(catalog.name)):
            found.append(Backup(path=path, revision=int(match[1]), crc32=int(match[2], 16)))
    return sorted(found, key=lambda backup: -backup.revision)


def before_migration(catalog: Path) -> list[Path]:
    """The copies from before a change of the tables, of the newest version first."""
    found = []
    for path in catalog.parent.glob(f"{catalog.name}.v*.bak"):
        if match := _BEFORE.fullmatch(path.name.removeprefix(catalog.name)):
            found.append((int(match[1]), path))
    return [path for _, path in sorted(found, reverse=True)]


def migration_path(catalog: Path, version: int) -> Path:
    """Where the copy from before `version` was changed lies."""
    return catalog.with_name(f"{catalog.name}.v{version}.bak")


def make(catalog: Path, revision: int) -> Seal:
    """Copies a catalog that is folded and closed, keeps the newest two copies; returns what to seal it with.

    Raises:
        OSError: the disk is full.
    """
    earlier = kept(catalog)
    if earlier and earlier[0].revision == revision and earlier[0].crc32 == crc32_of(catalog):
        return Seal(size_bytes=catalog.stat().st_size, crc32=earlier[0].crc32, revision=revision)
    temporary = catalog.with_name(catalog.name + ".bak.tmp")
    crc32 = copy_of(catalog, temporary)
    backup = catalog.with_name(f"{catalog.name}.r{revision:010d}.{crc32:08x}.bak")
    temporary.replace(backup)
    for old in [entry for entry in earlier if entry.path != backup][KEPT - 1 :]:
        old.path.unlink(missing_ok=True)
    return Seal(size_bytes=backup.stat().st_size, crc32=crc32, revision=revision)


def drop(catalog: Path) -> None:
    """Removes all copies: they still have the text of what is now forgotten."""
    for path in (*(backup.path for backup in kept(catalog)), *before_migration(catalog)):
        path.unlink(missing_ok=True)
    drop_unfinished(catalog)


def drop_unfinished(catalog: Path) -> None:
    """Removes what is left of copies that were not finished, and SQLite's journals of such."""
    for path in catalog.parent.glob(f"{catalog.name}*.bak.tmp*"):
        path.unlink(missing_ok=True)
