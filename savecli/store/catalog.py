"""The SQLite file `catalog.db`: the commit point of the store. The only module that imports sqlite3."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from savecli.errors import StoreError
from savecli.store import schema

_WAIT_S = 30.0


class Catalog:
    """A connection to the catalog that speaks in transactions and raises `StoreError`.

    Args:
        path: of `catalog.db`.
        writable: creates and migrates the file; the caller holds the write lock.

    Raises:
        StoreError: the file cannot be opened, is damaged, or of another version.
    """

    def __init__(self, path: Path, *, writable: bool) -> None:
        self.path = path
        with _translated(path):
            self._connection = self._open_writable() if writable else self._open_readable()
        try:
            self._check_version(writable=writable)
        except StoreError:
            self.close()
            raise

    def close(self) -> None:
        """Ends the connection; the last writer's log is folded into the file."""
        self._connection.close()

    def rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        with _translated(self.path):
            return self._connection.execute(sql, values).fetchall()

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
        with _translated(self.path), self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            yield
            self._connection.execute("UPDATE state SET revision = revision + 1")

    def fold_log(self) -> None:
        """Moves the log into the file and empties it, so that it keeps no text of forgotten videos.

        Where a reader still needs the log, it stays until the last connection is closed.
        """
        self.rows("PRAGMA busy_timeout = 0")  # or it would wait for the reader
        self.rows("PRAGMA wal_checkpoint(TRUNCATE)")
        self.rows(f"PRAGMA busy_timeout = {int(_WAIT_S * 1000)}")

    def drop_backups(self) -> None:
        """Removes what was kept of earlier versions: it still has the text of what is now forgotten."""
        for backup in self.path.parent.glob(f"{self.path.name}.v*.bak"):
            backup.unlink(missing_ok=True)

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
            raise StoreError(
                f"the store {self.path.parent} was written by a newer version of save"
                f" (catalog {found}, this one knows up to {wanted})",
                hint="pip install --upgrade savecli",
            )
        if found < wanted and not writable:
            raise StoreError(
                f"the store {self.path.parent} was written by an older version of save",
                hint="run `save rebuild` once: it brings the store up to date",
            )
        for version in range(found, wanted):
            self._migrate(version)

    def _migrate(self, version: int) -> None:
        with _translated(self.path):
            if version:
                backup = sqlite3.connect(self.path.with_name(f"{self.path.name}.v{version}.bak"))
                with contextlib.closing(backup):
                    self._connection.backup(backup)
            with self._connection:
                self._connection.execute("BEGIN IMMEDIATE")
                for statement in schema.MIGRATIONS[version]:
                    self._connection.execute(statement)
                self._connection.execute(f"PRAGMA user_version = {version + 1}")


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
    return sqlite3.connect(uri, uri=True, timeout=_WAIT_S, isolation_level=None)


@contextlib.contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise StoreError(
            f"the catalog {path} cannot be used: {error}",
            hint="look at free space and permissions, then run `save doctor`",
        ) from error
