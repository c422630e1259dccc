"""The vector files: append-only rows of D float16, mapped for reading, one file for each kind.

A file is never trusted beyond the length that the catalog has committed: what lies behind it was
left by a writer that died, and is cut off by the next one.
"""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from savecli.errors import StoreError
from savecli.store.durable import sync_folder
from savecli.store.records import KINDS, Kind

Rows = NDArray[np.float16]
_NAME = re.compile(rf"({'|'.join(KINDS)})-g\d{{4,}}\.f16")
_BLOCK_ROWS = 4096


def vector_path(home: Path, kind: Kind, generation: int) -> Path:
    """The file that holds the rows of one kind."""
    return home / f"{kind}-g{generation:04d}.f16"


def sweep(home: Path, current: Iterable[Path]) -> None:
    """Removes vector files of other generations; one that is still mapped on Windows stays for next time.

    Where a current one is gone, all stay: another generation is then the best there is.
    """
    kept = set(current)
    if not all(path.exists() for path in kept):
        return
    for path in home.iterdir():
        if _NAME.fullmatch(path.name) and path not in kept:
            try_unlink(path)


def try_unlink(path: Path) -> None:
    """Removes a file that nothing refers to any more, unless the system still holds on to it."""
    try:
        path.unlink(missing_ok=True)
    except PermissionError:  # Windows refuses while a reader has it mapped.
        return


@dataclass(frozen=True, slots=True)
class RowView:
    """The rows of one kind as of one revision of the catalog.

    Attributes:
        path: of the file.
        rows: (M, D) float16, mapped; M is less than `n_rows` where the file was cut short.
        n_rows: committed rows.
        starts, ends: (R,) int64, the half-open runs of rows that belong to a stored video, ascending.
    """

    path: Path
    rows: Rows
    n_rows: int
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]

    @property
    def end(self) -> int:
        """Every living row lies before this one."""
        return int(self.ends[-1]) if len(self.ends) else 0

    @property
    def n_live(self) -> int:
        """Rows that belong to a stored video."""
        return int((self.ends - self.starts).sum())

    def require(self, end: int) -> None:
        """Checks that the rows before `end` are there.

        Raises:
            StoreError: the file was cut short by something other than the store.
        """
        if end > len(self.rows):
            raise StoreError(
                f"{self.path} is damaged: it holds {len(self.rows)} rows where {self.n_rows} were written",
                hint="`save verify` names the videos, `save verify --repair` keeps the others",
            )

    def alive(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of `rows` (N,) belong to a stored video."""
        if not len(self.starts):
            return np.zeros(len(rows), dtype=np.bool_)
        run = np.searchsorted(self.starts, rows, side="right") - 1
        found: NDArray[np.bool_] = (run >= 0) & (rows < self.ends[np.maximum(run, 0)])
        return found


def map_rows(path: Path, n_rows: int, dim: int) -> Rows:
    """Maps the first `n_rows` rows of a file, or as many as it holds; none where it is gone."""
    held = min(n_rows, path.stat().st_size // (2 * dim)) if dim and path.exists() else 0
    if not held:
        return np.empty((0, dim), dtype=np.float16)
    return np.memmap(path, dtype=np.float16, mode="r", shape=(held, dim))


def truncate(path: Path, n_rows: int, dim: int) -> None:
    """Cuts off what was never committed; creates the file where there is none and none is needed."""
    committed = 2 * dim * n_rows
    if not path.exists():
        if committed:
            return
        path.touch()
        sync_folder(path.parent)
    if path.stat().st_size > committed:
        os.truncate(path, committed)


def append(path: Path, n_rows: int, rows: Rows) -> int:
    """Writes `rows` behind the `n_rows` committed ones and forces them to disk; returns their CRC-32.

    Raises:
        StoreError: the disk is full.
    """
    content = rows.tobytes()
    if not content:
        return 0
    try:
        with path.open("r+b") as file:
            # Dead rows that a cut file has lost come back as zeros; nothing reads them.
            file.truncate(n_rows * rows.itemsize * rows.shape[1])
            file.seek(0, os.SEEK_END)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise StoreError(
            f"cannot write {path}: {error.strerror}", hint="free some space; what is stored is safe"
        ) from error
    return zlib.crc32(content)


def copy_live(view: RowView, target: Path) -> None:
    """Writes the living rows, in order and without gaps, to a new file, and forces it to disk."""
    view.require(view.end)
    with target.open("wb") as file:
        for start, end in zip(view.starts.tolist(), view.ends.tolist(), strict=True):
            for block in range(start, end, _BLOCK_ROWS):
                file.write(view.rows[block : min(block + _BLOCK_ROWS, end)].tobytes())
        file.flush()
        os.fsync(file.fileno())
    sync_folder(target.parent)


def crc32_of_rows(view: RowView, start: int, end: int) -> int:
    """CRC-32 of the rows ``[start, end)``; rows that are missing do not count."""
    return zlib.crc32(view.rows[start:end].data)
