"""A library out of a store into one file, which `archive.py` reads."""

from __future__ import annotations

import contextlib
import json
import os
import zipfile
import zlib
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import IO

from savecli.errors import StoreError
from savecli.private import private
from savecli.store.archive import (
    BLOCK_BYTES,
    FORMAT,
    LONGEST_LINE,
    MANIFEST,
    VIDEOS,
    Manifest,
    rows_name,
)
from savecli.store.catalog import Catalog
from savecli.store.durable import publish_new
from savecli.store.outcomes import Exported
from savecli.store.records import KINDS, Headway, Kind
from savecli.store.views import Views
from savecli.store.whole import NotWholeError, read, record_of

_REPORT_BYTES = 1 << 24
_DAMAGED = "run `save verify --repair`, and export again"


def export(catalog: Catalog, views: Views, target: Path, *, force: bool) -> Iterator[Headway | Exported]:
    """Writes all videos of a store into one file; `Exported` comes last, when it is on disk.

    Args:
        catalog: of the store; a writer may be at work meanwhile.
        views: of the same store.
        target: it is written beside it and renamed. A link of that name is replaced, never followed.
        force: replaces a file that is there.

    Raises:
        StoreError: the file exists, cannot be written, or the store has damaged rows.
    """
    _refuse(target, catalog.path.parent, force=force)
    unfinished = target.with_name(target.name + ".part")
    try:
        if force:
            unfinished.unlink(missing_ok=True)
        # As private as the store: it has all that is said.
        flags = (
            os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
        )
        descriptor = private(unfinished, flags)
    except FileExistsError:
        raise StoreError(
            f"{unfinished} is in the way: another export is running, or was stopped",
            hint="wait for it, or remove that file, or use --force",
        ) from None
    except OSError as error:
        raise _unwritable(target, error) from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            manifest = yield from _write(catalog, views, file)
            file.flush()
            os.fsync(file.fileno())
        publish_new(unfinished, target, replace=force)
    except OSError as error:
        raise _unwritable(target, error) from error
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
    yield Exported(
        path=target,
        n_videos=manifest.n_videos,
        n_segments=manifest.n_segments,
        n_files=manifest.n_files,
        size_bytes=target.stat().st_size,
    )


def _write(catalog: Catalog, views: Views, file: IO[bytes]) -> Generator[Headway, None, Manifest]:
    """The members, all of one state of the store, and the manifest last."""
    with views.snapshot(), zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        keys = [key for (key,) in catalog.rows("SELECT video_key FROM videos ORDER BY video_key")]
        n_segments, n_files = yield from _write_videos(catalog, archive, keys)
        n_rows: dict[str, int] = {}
        for kind in KINDS:
            n_rows[kind] = yield from _write_rows(catalog, views, archive, kind)
        manifest = Manifest(
            format=FORMAT,
            identity=dict(catalog.rows("SELECT key, value FROM identity")),
            dim=views.dim,
            n_videos=len(keys),
            n_segments=n_segments,
            n_files=n_files,
            n_rows=n_rows,
            crc32={entry.filename: entry.CRC for entry in archive.infolist()},
            settings=dict(catalog.rows("SELECT key, value FROM settings")),
        )
        archive.writestr(_entry(MANIFEST), manifest.text)
    return manifest


def _write_videos(
    catalog: Catalog, archive: zipfile.ZipFile, keys: list[int]
) -> Generator[Headway, None, tuple[int, int]]:
    """A line for each video; returns how many segments and paths they have."""
    n_segments = n_files = 0
    with archive.open(_entry(VIDEOS), "w", force_zip64=True) as lines:
        for done, key in enumerate(keys):
            try:
                whole = read(catalog, key)
            except NotWholeError as error:
                raise StoreError(f"a video in the store is damaged: {error}", hint=_DAMAGED) from error
            line = json.dumps(record_of(whole)).encode() + b"\n"
            if len(line) > LONGEST_LINE:
                raise StoreError(
                    f"too much is said in {os.fsdecode(whole.files[0].path)}", hint="save forget it"
                )
            lines.write(line)
            n_segments += len(whole.parts)
            n_files += len(whole.files)
            yield Headway(part="videos", done=done + 1, total=len(keys))
    return n_segments, n_files


def _write_rows(
    catalog: Catalog, views: Views, archive: zipfile.ZipFile, kind: Kind
) -> Generator[Headway, None, int]:
    """The rows of a kind in the order of the videos; returns how many."""
    spans = catalog.rows(
        "SELECT start, n_rows, crc32 FROM spans WHERE kind = ? AND n_rows > 0 ORDER BY video_key", kind
    )
    view = views.of(kind)
    view.require(view.end)
    total = sum(int(n_rows) for _, n_rows, _ in spans)
    block_rows = max(1, BLOCK_BYTES // max(1, 2 * views.dim))
    done = told = 0
    with archive.open(_entry(rows_name(kind)), "w", force_zip64=True) as member:
        for start, n_rows, expected in spans:
            crc32 = 0
            for first in range(start, start + n_rows, block_rows):
                block = view.rows[first : min(first + block_rows, start + n_rows)].tobytes()
                crc32 = zlib.crc32(block, crc32)
                member.write(block)
            if crc32 != expected:
                raise StoreError(f"rows in {view.path} are damaged", hint=_DAMAGED)
            done += n_rows
            if 2 * views.dim * (done - told) >= _REPORT_BYTES or done == total:
                told = done
                yield Headway(part=f"rows of {kind}", done=done, total=total)
    return total


def _entry(name: str) -> zipfile.ZipInfo:
    """A member without a date: the same library is the same file."""
    entry = zipfile.ZipInfo(name)
    entry.external_attr = 0o600 << 16
    return entry


def _refuse(target: Path, home: Path, *, force: bool) -> None:
    if target.parent.resolve() == home.resolve() or home.resolve() in target.parent.resolve().parents:
        raise StoreError(f"{target} lies in the store itself", hint="name a file somewhere else")
    if target.is_dir() and not target.is_symlink():
        raise StoreError(f"{target} is a folder", hint="name a file in it")
    if os.path.lexists(target) and not force:
        raise _exists(target)


def _exists(target: Path) -> StoreError:
    return StoreError(f"{target} exists already", hint="name another file, or replace it with --force")


def _unwritable(target: Path, error: OSError) -> StoreError:
    if isinstance(error, FileExistsError):
        return _exists(target)
    return StoreError(
        f"cannot write {target}: {error.strerror}", hint="nothing was exported; the store is as it was"
    )
