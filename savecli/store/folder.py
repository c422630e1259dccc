"""The store's folder: its format, and the identity of what made the embeddings in it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path

from savecli.errors import StoreError
from savecli.store import backup
from savecli.store.catalog import Catalog, VersionError
from savecli.store.durable import write_text

FORMAT = 1
CATALOG_NAME = "catalog.db"


def exists(home: Path) -> bool:
    """Whether a store was made in `home`; `FORMAT` is the last file that making one writes."""
    return (home / "FORMAT").is_file()


def is_begun(home: Path) -> bool:
    """Whether there is a store in `home`, or what one has left; not where making one was interrupted."""
    catalog = home / CATALOG_NAME
    if exists(home) or backup.kept(catalog):
        return True
    if not catalog.exists():
        return False
    try:
        opened = Catalog(catalog, writable=False, trusted=False)
    except StoreError:
        return True
    with contextlib.closing(opened):
        return bool(opened.rows("SELECT 1 FROM videos LIMIT 1"))


def not_indexed(home: Path) -> StoreError:
    """What to raise where a store is needed and there is none."""
    return StoreError(f"nothing indexed yet in {home}", hint="save index FOLDER")


def mark(home: Path) -> None:
    """Declares the store in `home` to be complete."""
    write_text(home / "FORMAT", f"{FORMAT}\n")


def format_of(home: Path) -> int | None:
    """The version of the folder's format, None where `FORMAT` is gone or damaged.

    Raises:
        VersionError: a newer version wrote it.
    """
    if not exists(home):
        return None
    text = (home / "FORMAT").read_text(encoding="utf-8", errors="replace").strip()
    if not text.isdecimal():
        return None
    if int(text) > FORMAT:
        raise VersionError(
            f"the store {home} was written by a newer save (format {text}, this one knows {FORMAT})",
            hint="pip install --upgrade savecli",
        )
    return int(text)


def check_format(home: Path) -> None:
    """Refuses a folder that this version cannot read.

    Raises:
        StoreError: a newer version wrote it, `FORMAT` is damaged, or the catalog is gone: a writer
            would begin an empty one, and cut off all rows.
    """
    if format_of(home) is None:
        state = "damaged" if exists(home) else "gone"
        raise StoreError(f"{home / 'FORMAT'} is {state}", hint="run `save verify --repair`")
    if not (home / CATALOG_NAME).exists():
        raise StoreError(
            f"{home / CATALOG_NAME} is gone, without which the rest says nothing",
            hint="`save verify --repair` looks for a copy of it",
        )


def size_bytes(home: Path) -> int:
    """Of all files of the store; one that a writer removes meanwhile counts nothing."""
    total = 0
    for path in home.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            total += path.stat().st_size if path.is_file() else 0
    return total


def settle_identity(catalog: Catalog, home: Path, identity: Mapping[str, str], *, writable: bool) -> None:
    """Compares what made the embeddings with what would make them now; the first writer decides.

    Raises:
        StoreError: they differ.
    """
    stored = dict(catalog.rows("SELECT key, value FROM identity"))
    if not stored and writable:
        with catalog.writing():
            catalog.run_many("INSERT INTO identity VALUES (?, ?)", sorted(identity.items()))
        return
    keys = [key for key in sorted(stored | dict(identity)) if stored.get(key) != identity.get(key)]
    if keys:
        made = ", ".join(f"{key} {stored.get(key, 'unknown')}" for key in keys)
        now = ", ".join(f"{key} {identity.get(key, 'unknown')}" for key in keys)
        raise StoreError(
            f"the store {home} was made with {made}; this run uses {now}",
            hint="use the model it was made with, or another folder with --home; nothing was deleted",
        )
