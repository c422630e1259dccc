"""A library in one file: a zip of `videos.jsonl`, rows of each kind, and `manifest.json`, none compressed.

The file may come from anybody. Nothing in it is a name of a file to write, nothing is unpickled or run,
no size that it claims is believed, and every number is looked at before one byte of a store changes.
"""

from __future__ import annotations

import io
import json
import stat
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Self, get_type_hints

import numpy as np
from numpy.typing import NDArray

from savecli.errors import StoreError
from savecli.store.records import KINDS, Headway, Kind
from savecli.store.whole import NotWholeError, Whole, whole_of

FORMAT = 1
MANIFEST, VIDEOS = "manifest.json", "videos.jsonl"
BLOCK_BYTES = 1 << 20
LONGEST_LINE = 1 << 27
_LONGEST_MANIFEST = 1 << 16
_MOST_ROW_BYTES = 1 << 30
_WIDEST = 1 << 16
_NORM_TOLERANCE = 1e-2
_REPORT_BYTES = 1 << 24
_BROKEN = (zipfile.BadZipFile, EOFError, ValueError, KeyError, RuntimeError, NotImplementedError, MemoryError)

Content = dict[Kind, NDArray[np.float16]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What an archive says of itself.

    Attributes:
        identity: what made the embeddings.
        n_rows: rows of each kind, of `dim` float16 each.
        crc32: of every other member.
        settings: of the store.
    """

    format: int
    identity: dict[str, str]
    dim: int
    n_videos: int
    n_segments: int
    n_files: int
    n_rows: dict[str, int]
    crc32: dict[str, int]
    settings: dict[str, str]

    @property
    def text(self) -> bytes:
        """As it is written."""
        return json.dumps(asdict(self), indent=1, sort_keys=True).encode()


def rows_name(kind: Kind) -> str:
    """The member that has the rows of a kind."""
    return f"{kind}.f16"


def damaged(path: Path, what: str) -> StoreError:
    """What to raise where an archive cannot be believed."""
    return StoreError(f"{path} is no whole export: {what}", hint="nothing was imported; export it again")


class Archive:
    """An exported library, open for reading. Use `with`.

    Raises:
        StoreError: it is none, it is damaged, or a newer version of save wrote it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = _open_regular(path)
        try:
            with self._translated():
                self._zip = zipfile.ZipFile(self._file)
                self.manifest = self._read_manifest()
                self._check_members()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._zip.close()
        self._file.close()

    def check(self) -> Iterator[Headway]:
        """Reads all of it; where this ends, every checksum was right and every value makes sense.

        Raises:
            StoreError: something is wrong with it.
        """
        total = sum(entry.file_size for entry in self._zip.infolist())
        done = told = 0
        names: set[str] = set()
        paths: set[bytes] = set()
        for whole, content in self.contents():
            done += sum(rows.nbytes for rows in content.values())
            new = {file.path for file in whole.files}
            if whole.fingerprint in names or not paths.isdisjoint(new):
                raise damaged(self.path, "it has a video or a path twice")
            names.add(whole.fingerprint)
            paths |= new
            if done - told >= _REPORT_BYTES:
                told = done
                yield Headway(part="archive", done=done, total=total)
        yield Headway(part="archive", done=total, total=total)

    def contents(self) -> Iterator[tuple[Whole, Content]]:
        """Every video with its rows (N, D) of each kind, one after the other.

        Raises:
            StoreError: something is wrong with it.
        """
        with self._translated():
            streams = {kind: self._zip.open(rows_name(kind)) for kind in self._kinds}
            n_videos = n_segments = n_files = 0
            for record in self._records():
                whole = whole_of(record)
                yield whole, {kind: self._rows(streams[kind], kind, whole) for kind in whole.spans}
                n_videos += 1
                n_segments += len(whole.parts)
                n_files += len(whole.files)
            if any(stream.read(1) for stream in streams.values()):
                raise damaged(self.path, "it has rows of no video")
            counts = (self.manifest.n_videos, self.manifest.n_segments, self.manifest.n_files)
            if (n_videos, n_segments, n_files) != counts:
                raise damaged(self.path, "it has another number of videos than it says")

    @property
    def _kinds(self) -> list[Kind]:
        return [kind for kind in KINDS if kind in self.manifest.n_rows]

    def _records(self) -> Iterator[object]:
        with io.BufferedReader(_Raw(self._zip.open(VIDEOS)), BLOCK_BYTES) as lines:
            while line := lines.readline(LONGEST_LINE):
                if not line.endswith(b"\n"):
                    raise damaged(self.path, "a record has no end")
                yield json.loads(line)

    def _rows(self, stream: IO[bytes], kind: Kind, whole: Whole) -> NDArray[np.float16]:
        n_rows, crc32 = whole.spans[kind]
        n_bytes = 2 * self.manifest.dim * n_rows
        if n_bytes > _MOST_ROW_BYTES:
            raise damaged(self.path, "a video has more rows than one can have")
        blocks, left = [], n_bytes
        while left and (block := stream.read(min(left, BLOCK_BYTES))):
            blocks.append(block)
            left -= len(block)
        content = b"".join(blocks)
        if left or zlib.crc32(content) != crc32:
            raise damaged(self.path, f"{kind} rows of {whole.fingerprint} are damaged")
        rows = np.frombuffer(content, dtype=np.float16).reshape(n_rows, self.manifest.dim)
        if not _make_sense(kind, rows):
            raise damaged(self.path, f"{kind} rows of {whole.fingerprint} are no embeddings")
        return rows

    def _read_manifest(self) -> Manifest:
        entry = self._zip.getinfo(MANIFEST)
        if entry.compress_type != zipfile.ZIP_STORED or entry.file_size > _LONGEST_MANIFEST:
            raise damaged(self.path, "its manifest is none")
        given = json.loads(self._zip.read(entry))
        if not isinstance(given, dict) or not _is_count(given.get("format")):
            raise damaged(self.path, "its manifest is none")
        if given["format"] > FORMAT:
            raise StoreError(
                f"{self.path} was written by a newer save (export format {given['format']},"
                f" this one knows {FORMAT})",
                hint="pip install --upgrade savecli",
            )
        manifest = _manifest_of(given)
        if manifest is None or not set(manifest.n_rows) <= set(KINDS) or manifest.dim > _WIDEST:
            raise damaged(self.path, "its manifest is none")
        # An empty library has rows of no length yet.
        if manifest.dim and manifest.identity.get("dim", str(manifest.dim)) != str(manifest.dim):
            raise damaged(self.path, "its manifest has two sizes of rows")
        return manifest

    def _check_members(self) -> None:
        """All of them are known, none is compressed, and none is longer than the file has room for."""
        entries = self._zip.infolist()
        sizes = {rows_name(kind): 2 * self.manifest.dim * self.manifest.n_rows[kind] for kind in self._kinds}
        if sorted(entry.filename for entry in entries) != sorted((MANIFEST, VIDEOS, *sizes)):
            raise damaged(self.path, "it has other members than an export has")
        for entry in entries:
            stored = entry.compress_type == zipfile.ZIP_STORED and entry.file_size == entry.compress_size
            if not stored or entry.flag_bits & 1:
                raise damaged(self.path, f"{entry.filename} is compressed or encrypted")
            if entry.file_size != sizes.get(entry.filename, entry.file_size):
                raise damaged(self.path, f"{entry.filename} has another size than the manifest says")
            if entry.filename != MANIFEST and self.manifest.crc32.get(entry.filename) != entry.CRC:
                raise damaged(self.path, f"{entry.filename} is not what the manifest says")
        if sum(entry.file_size for entry in entries) > self._file.size_bytes:
            raise damaged(self.path, "its members are longer than the file")

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except NotWholeError as error:
            raise damaged(self.path, f"a record is no video: {error}") from error
        except OSError as error:
            raise StoreError(f"cannot read {self.path}: {error.strerror or error}", hint="") from error
        except RecursionError as error:
            raise damaged(self.path, "a record has no end") from error
        except _BROKEN as error:
            raise damaged(self.path, str(error) or type(error).__name__) from error


class _Careful(io.FileIO):
    """A file of which nobody reads much at once, whatever length some header claims."""

    size_bytes = 0

    def read(self, size: int | None = -1) -> bytes:
        """Up to `size` bytes, or what is left."""
        left = self.size_bytes - self.tell()
        wanted = left if size is None or size < 0 else size
        if wanted > 2 * BLOCK_BYTES:
            raise zipfile.BadZipFile("a directory that is too long")
        return super().read(wanted) or b""


class _Raw(io.RawIOBase):
    """A member of a zip, as `io.BufferedReader` wants it."""

    def __init__(self, member: IO[bytes]) -> None:
        self._member = member

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - whatever can be written into
        block = self._member.read(min(len(buffer), BLOCK_BYTES))
        buffer[: len(block)] = block
        return len(block)


def _open_regular(path: Path) -> _Careful:
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would wait for ever
            raise StoreError(f"{path} is no file", hint="name a file that `save export` wrote")
        file = _Careful(path)
        file.size_bytes = path.stat().st_size
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}", hint="look at its name") from error
    return file


def _manifest_of(given: Mapping[str, Any]) -> Manifest | None:
    hints = get_type_hints(Manifest)
    if given.keys() != hints.keys():
        return None
    for name, hint in hints.items():
        value = given[name]
        if hint is int and not _is_count(value):
            return None
        if hint == dict[str, int] and not (isinstance(value, dict) and all(map(_is_count, value.values()))):
            return None
        if hint == dict[str, str] and not (isinstance(value, dict) and all(map(_is_text, value.values()))):
            return None
    return Manifest(**given)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 62


def _is_text(value: object) -> bool:
    with suppress(UnicodeEncodeError):
        return isinstance(value, str) and value.encode() is not None
    return False


def _make_sense(kind: Kind, rows: NDArray[np.float16]) -> bool:
    """Whether rows are finite, and of unit norm where those of their kind are."""
    for start in range(0, len(rows), 4096):
        block = rows[start : start + 4096].astype(np.float32)
        norms = np.linalg.norm(block, axis=1)
        if not np.all(np.isfinite(norms)):
            return False
        if kind != "parts" and not np.all(np.abs(norms - 1) < _NORM_TOLERANCE):
            return False
    return True
