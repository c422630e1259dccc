"""The SQLite file `catalog.db`: the commit point of the store. The only module that imports sqlite3."""

from __future__ import annotations

import contextlib
import itertools
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from savecli.errors import StoreError
from savecli.store import backup, lock, schema, seal, words
from savecli.store.durable import crc32_of, publish

_WAIT_S = 30.0
_LAST_WAIT_MS = 1000
# What SQLite says where the disk, the memory or another process is in the way, and not the file.
_MACHINE = {
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_INTERRUPT,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
}
# FTS5 and AUTOINCREMENT make tables of their own, as each version of SQLite sees fit.
_TABLES = (
    "SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL"
    " AND name NOT GLOB 'spoken_*' AND name NOT GLOB 'sqlite_*' ORDER BY name"
)
_FAILED = sqlite3.SQLITE_ERROR
_FREE = "free some space, and look at permissions; what is stored is safe"


class VersionError(StoreError):
    """A store that another version of save wrote: nothing is wrong with it."""


class DamagedError(StoreError):
    """A catalog that cannot be believed."""


class Catalog:
    """A connection to the catalog that speaks in transactions and raises `StoreError`.

    Args:
        path: of `catalog.db`.
        writable: creates and migrates the file; the caller holds the write lock.
        trusted: False opens a damaged catalog as far as it goes, to save what can be saved, and seals none.

    Raises:
        StoreError: the file cannot be opened, is damaged, or of another version.
    """

    def __init__(self, path: Path, *, writable: bool, trusted: bool = True) -> None:
        self.path = path
        self._writable = writable
        self._trusted = trusted
        self._unsealed = False
        if trusted:
            _require_intact(path)
        with _translated(path):
            self._connection = self._open_writable() if writable else self._open_readable()
        try:
            if trusted:
                self._check_left_open()
            self._check_version(writable=writable)
        except StoreError:
            self._connection.close()
            raise

    def close(self) -> None:
        """Ends the connection; a writer folds its log into the file, keeps a copy of it, and seals it."""
        revision = self._folded_revision() if self._unsealed else None
        self._connection.close()
        if revision is not None:
            _seal_again(self.path, revision)

    def rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        with _translated(self.path):
            return self._connection.execute(sql, values).fetchall()

    def each(self, sql: str, *values: object) -> Iterator[tuple[Any, ...]]:
        """The rows of a query, one by one, up to where it fails."""
        with _translated(self.path):
            yield from self._connection.execute(sql, values)

    def run(self, sql: str, *values: object) -> int:
        """Changes something; returns the key of the row inserted last. Only inside `writing`."""
        with _translated(self.path):
            return self._connection.execute(sql, values).lastrowid or 0

    def run_many(self, sql: str, values: Iterable[Sequence[object]]) -> None:
        """Changes something for each of `values`. Only inside `writing`."""
        with _translated(self.path):
            self._connection.executemany(sql, values)

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """All queries inside see one state of the catalog; may be nested, also in `writing`."""
        if self._connection.in_transaction:
            yield
            return
        self.rows("BEGIN")
        try:
            yield
        finally:
            self._connection.rollback()

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """One transaction: all of it is on disk when this ends, or nothing where it raises."""
        self._unseal()
        with _translated(self.path), self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            yield
            words.settle(self)
            self._connection.execute("UPDATE state SET revision = revision + 1")

    def fold_log(self) -> None:
        """Moves the log into the file and empties it, so that it keeps no text of forgotten videos.

        Where a reader still needs the log, it stays until the last connection is closed.
        """
        self.rows("PRAGMA busy_timeout = 0")  # or it would wait for the reader
        self.rows("PRAGMA wal_checkpoint(TRUNCATE)")
        self.rows(f"PRAGMA busy_timeout = {int(_WAIT_S * 1000)}")

    def drop_backups(self) -> None:
        """Removes all copies of the catalog: they still have the text of what is now forgotten."""
        backup.drop(self.path)

    def faults(self, most: int = 5) -> list[str]:
        """What SQLite finds wrong with the file itself, nothing where it is sound."""
        try:
            said = [str(row[0]) for row in self.rows(f"PRAGMA integrity_check({most})")]
        except StoreError as error:
            return [error.message]
        return [what for what in said if what != "ok"]

    def tables(self) -> list[tuple[str, str]]:
        """Names of all tables, indexes and triggers that are ours, and how they were made."""
        return self.rows(_TABLES)

    def _unseal(self) -> None:
        if self._writable and self._trusted and not self._unsealed:
            try:
                seal.break_(self.path)
            except OSError as error:
                raise StoreError(
                    f"cannot write into {self.path.parent}: {error.strerror}", hint=_FREE
                ) from error
            self._unsealed = True

    def _check_left_open(self) -> None:
        """Looks closer where the last writer did not finish, or somebody copied the folder while it wrote."""
        if seal.is_there(self.path) or not (self._writable or lock.is_left_open(self.path.parent)):
            return
        if faults := self.faults() or self._beyond_the_end():
            raise damaged(self.path, faults[0])
        self._unsealed = self._writable

    def _beyond_the_end(self) -> list[str]:
        # A writer cuts the vector files at these lengths: a wrong one would cost what cannot be made again.
        if not self.rows("SELECT 1 FROM sqlite_schema WHERE name = 'spans'"):
            return []
        sql = "SELECT kind FROM spans JOIN vectors USING (kind) WHERE start + spans.n_rows > vectors.n_rows"
        return [f"videos have rows of {kind} that were never committed" for (kind,) in self.rows(sql)]

    def _folded_revision(self) -> int | None:
        """The revision of a catalog that is one file again; None where a reader still needs the log."""
        try:
            self.rows(f"PRAGMA busy_timeout = {_LAST_WAIT_MS}")
            busy = self.rows("PRAGMA wal_checkpoint(TRUNCATE)")[0][0]
            return None if busy else int(self.rows("SELECT revision FROM state")[0][0])
        except (StoreError, IndexError):
            return None

    def _open_writable(self) -> sqlite3.Connection:
        connection = _connect(self.path, "mode=rwc")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA secure_delete=ON")
        connection.execute("PRAGMA foreign_keys=ON")
        return connection

    def _open_readable(self) -> sqlite3.Connection:
        connection = _connect(self.path, "mode=ro")
        try:
            connection.execute("PRAGMA user_version").fetchone()
        except sqlite3.OperationalError:
            connection.close()
            return open_immutable(self.path)
        return connection

    def _check_version(self, *, writable: bool) -> None:
        found: int = self.rows("PRAGMA user_version")[0][0]
        wanted = len(schema.MIGRATIONS)
        if found > wanted:
            raise VersionError(
                f"the store {self.path.parent} was written by a newer version of save"
                f" (catalog {found}, this one knows up to {wanted})",
                hint="pip install --upgrade savecli",
            )
        if found < wanted and not writable:
            raise VersionError(
                f"the store {self.path.parent} was written by an older version of save",
                hint="run `save rebuild` once: it brings the store up to date",
            )
        if found < wanted:
            self._migrate(found)

    def _migrate(self, found: int) -> None:
        """All steps in one transaction, after a copy: an older save can still use what a failure leaves."""
        words.require_fts5(self)
        self._unseal()
        with _translated(self.path):
            if found:
                self._copy_aside(backup.migration_path(self.path, found))
            with self._connection:
                self._connection.execute("BEGIN IMMEDIATE")
                for statement in itertools.chain.from_iterable(schema.MIGRATIONS[found:]):
                    self._connection.execute(statement)
                words.settle(self)
                self._connection.execute(f"PRAGMA user_version = {len(schema.MIGRATIONS)}")

    def _copy_aside(self, target: Path) -> None:
        temporary = target.with_name(target.name + ".tmp")
        backup.drop_unfinished(self.path)
        with contextlib.closing(sqlite3.connect(temporary)) as copy:
            self._connection.backup(copy)
        try:
            publish(temporary, target)
        except OSError as error:
            raise StoreError(f"cannot write {target}: {error.strerror}", hint=_FREE) from error


def wanted_tables() -> list[tuple[str, str]]:
    """What `Catalog.tables` says of a catalog of this version: a new one goes through all steps, too."""
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        for statement in itertools.chain.from_iterable(schema.MIGRATIONS):
            connection.execute(statement)
        return connection.execute(_TABLES).fetchall()


def damaged(path: Path, what: str) -> DamagedError:
    """What to raise where the catalog cannot be believed."""
    return DamagedError(f"the catalog {path} is damaged: {what}", hint="run `save verify --repair`")


def _require_intact(path: Path) -> None:
    try:
        intact = not path.exists() or seal.is_intact(path)
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}", hint="look at its permissions") from error
    if not intact:
        raise damaged(path, "it is not what was written")


def _seal_again(path: Path, revision: int) -> None:
    """Copies and seals a catalog that is closed; on a full disk it stays without, which harms nothing."""
    with contextlib.suppress(OSError):
        try:
            put = backup.make(path, revision)
        except OSError:
            size_bytes = path.stat().st_size
            put = seal.Seal(size_bytes=size_bytes, crc32=crc32_of(path), revision=revision)
        seal.put(path, put)


def open_immutable(path: Path) -> sqlite3.Connection:
    """Opens a catalog on a medium where not even SQLite's own lock files can be written.

    Raises:
        StoreError: its log was never folded in, and cannot be read from there.
    """
    log = path.with_name(path.name + "-wal")
    if log.exists() and log.stat().st_size:
        raise StoreError(
            f"the store {path.parent} was not closed properly, and cannot be repaired where it is read-only",
            hint="copy it to a disk that can be written, and search there",
        )
    connection = _connect(path, "mode=ro&immutable=1")
    connection.execute("PRAGMA user_version").fetchone()
    return connection


def _connect(path: Path, options: str) -> sqlite3.Connection:
    location = path.absolute().as_posix()
    root = "" if location.startswith("/") else "/"  # file:///C:/... on Windows
    uri = f"file://{root}{quote(os.fsencode(location))}?{options}"
    connection = sqlite3.connect(uri, uri=True, timeout=_WAIT_S, isolation_level=None)
    # A file from elsewhere: what its schema says is not run, and cells that reach beyond their page are told.
    connection.execute("PRAGMA trusted_schema=OFF")
    connection.execute("PRAGMA cell_size_check=ON")
    return connection


@contextlib.contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except UnicodeDecodeError as error:  # names and messages, which sqlite3 decodes by itself
        raise damaged(path, "a text in it is no Unicode") from error
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", _FAILED) % 256 not in _MACHINE:
            raise damaged(path, str(error)) from error
        raise StoreError(
            f"the catalog {path} cannot be used: {error}",
            hint="look at free space and permissions, then run `save verify`",
        ) from error
