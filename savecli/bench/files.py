"""A folder of a benchmark, walked once: its videos and sounds by stem, its annotations by name.

Text is UTF-8 with or without a byte order mark, UTF-16 with one, else Windows-1252 or Latin-1 (noted).
Tables are separated by commas, semicolons or tabs. Nothing is unpickled.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import os
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatch
from os.path import isfile
from pathlib import Path, PurePosixPath
from typing import Any

from savecli.errors import DatasetError
from savecli.plain import plain

# Best first: of two files with one stem the earlier suffix is taken.
VIDEO_SUFFIXES = (
    ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".wmv", ".flv", ".ts", ".3gp", ".ogv",
    ".3g2", ".asf", ".divx", ".dv", ".f4v", ".m2t", ".m2ts", ".m2v", ".mpe", ".mts", ".mxf", ".ogm", ".qt",
    ".rm", ".rmvb", ".vob", ".wtv",
)  # fmt: skip
SOUND_SUFFIXES = (".wav", ".mp3", ".flac", ".m4a", ".aac", ".ogg", ".opus")
ANNOTATION_SUFFIXES = (".csv", ".tsv", ".json", ".jsonl", ".txt", ".parquet")
PICKLE_SUFFIXES = (".pkl", ".pickle")
ARCHIVE_SUFFIXES = (".zip", ".tar", ".tgz", ".gz", ".7z", ".rar")
MOST_NAMED = 3  # files, in a hint
FETCH_AGAIN = "fetch the file again"
_SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab"}


class Folder:
    """The files below `root`, links to folders followed.

    Attributes:
        notes: what reading has had to decide or leave out so far.

    Raises:
        DatasetError: where `root` is no folder.
    """

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            raise DatasetError(f"{root} is not a folder", hint="name the folder that holds the benchmark")
        self.root = root
        self.notes: list[str] = []
        self._videos: dict[str, Path] = {}
        self._sounds: dict[str, list[Path]] = {}
        self._annotations: list[Path] = []
        self._unread: list[Path] = []
        self._doubles: set[str] = set()
        n_doubles = 0
        for path in sorted(_walk(root), key=_rank):
            suffix = path.suffix.lower()
            if suffix in VIDEO_SUFFIXES:
                if self._videos.setdefault(path.stem, path) is not path:
                    n_doubles += 1
                    self._doubles.add(path.stem)
            elif suffix in SOUND_SUFFIXES:
                self._sounds.setdefault(path.stem, []).append(path)
            elif suffix in ANNOTATION_SUFFIXES:
                self._annotations.append(path)
            elif suffix in PICKLE_SUFFIXES + ARCHIVE_SUFFIXES:
                self._unread.append(path)
        self.note_count(n_doubles, "video files have the name of another one: not used")

    @property
    def n_videos(self) -> int:
        return len(self._videos)

    def video(self, video_id: str) -> Path | None:
        """The file whose stem, or path from `root`, is `video_id`; upper and lower case differ."""
        stem = without(video_id, VIDEO_SUFFIXES)
        if stem != video_id and isfile(path := self.root / video_id):  # noqa: PTH113 - Path.is_file raises of too long a name
            return path
        return self._videos.get(video_id) or self._videos.get(stem)

    def sound(self, video_id: str, video: Path | None) -> Path | None:
        """The file of sound beside the video, or the first one anywhere that bears the video's name.

        Anywhere only if that is the name of one video: else nobody can say whose sound it is.
        """
        stem = without(PurePosixPath(video_id).name, VIDEO_SUFFIXES)
        found = self._sounds.get(stem) or (self._sounds.get(video.stem) if video else None) or []
        beside = [path for path in found if video and path.parent == video.parent]
        return next(iter(beside or (found if stem not in self._doubles else [])), None)

    def rename(self, name_of: Callable[[Path], str | None]) -> None:
        """Find videos and sounds under a second name too, where `name_of` gives them one."""
        for path in list(self._videos.values()):
            if name := name_of(path):
                self._videos.setdefault(name, path)
        for path in [path for paths in self._sounds.values() for path in paths]:
            if (name := name_of(path)) and name != path.stem:
                self._sounds.setdefault(name, []).append(path)

    def named(self, *patterns: str) -> list[Path]:
        """Annotations whose names match one of these patterns; in any case, the least deep first."""
        return [
            path for path in self._annotations if any(fnmatch(path.name.lower(), p.lower()) for p in patterns)
        ]

    def one(self, pattern: str) -> Path | None:
        """The least deep annotation of that name; that there are others is noted."""
        found = self.named(pattern)
        if len(found) > 1:
            self.notes.append(f"{found[0]} is read, not {', '.join(str(path) for path in found[1:])}")
        return found[0] if found else None

    def first(self, names: Sequence[str]) -> Path | None:
        """The first of these annotations that is there, as `one` gives it."""
        return next(filter(None, map(self.one, names)), None)

    def lacks(self, names: Sequence[str], hint: str) -> DatasetError:
        """The error to raise where these files are not there; its hint also names what has to be unpacked."""
        return DatasetError(f"not below {self.root}: {', '.join(names)}", hint=hint + self.unread())

    def packed(self, path: Path) -> None:
        """Remember that videos are within this file, from which they are not taken."""
        if path not in self._unread:
            self._unread.append(path)

    def unread(self) -> str:
        """What to add to a hint: the archives and pickles that lie here, which are not opened."""
        pickles = [path.name for path in self._unread if path.suffix.lower() in PICKLE_SUFFIXES]
        archives = [path.name for path in self._unread if path.suffix.lower() not in PICKLE_SUFFIXES]
        unpack = f"; what is in {_named(archives)} is found once it is unpacked" if archives else ""
        refuse = f"; {_named(pickles)} is not opened: a pickle can run any program" if pickles else ""
        return unpack + refuse

    def note_count(self, count: int, what: str) -> None:
        """Note that `count` of something were left out, if any was."""
        if count:
            self.notes.append(f"{count} {what}")

    def text(self, path: Path) -> str:
        """The whole text of a file.

        Raises:
            DatasetError: where it cannot be read.
        """
        try:
            data = path.read_bytes()
        except OSError as error:
            raise DatasetError(f"cannot read {path}: {error}", hint="check the file's rights") from error
        if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return data.decode("utf-16", "replace")
        for encoding in ("utf-8-sig", "cp1252", "latin-1"):
            try:
                decoded = data.decode(encoding)
            except UnicodeDecodeError:
                continue
            if encoding != "utf-8-sig":
                self.notes.append(f"{path.name} is not UTF-8: read as {encoding}")
            return decoded
        raise AssertionError("latin-1 decodes anything")

    def json(self, path: Path) -> Any:  # noqa: ANN401 - whatever the file holds
        """What a JSON file holds.

        Raises:
            DatasetError: where it is none.
        """
        try:
            return json.loads(self.text(path))
        except (ValueError, RecursionError) as error:
            raise damaged(path, str(error)) from error

    def table(self, path: Path, *wanted: tuple[str, ...], hint: str = FETCH_AGAIN) -> list[dict[str, str]]:
        """The rows of a table with a heading, values stripped.

        Rows too short are left out, which is noted; so is what goes beyond the heading, and is not read.

        Args:
            path: of the table.
            wanted: for each column that it must have, its accepted names; it is given under the first.
            hint: what to do about a table that is damaged.

        Raises:
            DatasetError: where a column is missing or the table breaks off.
        """
        text = _newlines(self.text(path))
        delimiter = max(",;\t", key=text.partition("\n")[0].count)
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        try:
            heading, *rows = [[cell.strip() for cell in row] for row in reader if any(row)] or [[]]
        except csv.Error as error:
            raise damaged(path, f"line {reader.line_num}: {error}", hint=hint) from error
        places = {name: i for i, name in enumerate(heading)}
        for names in wanted:
            place = next((places[name] for name in names if name in places), None)
            if place is None:
                only = f", only {', '.join(heading)}" if heading else ""
                raise damaged(path, f"it has no column {' or '.join(names)}{only}", hint=hint)
            places[names[0]] = place
        needed = 1 + max((places[names[0]] for names in wanted), default=-1)
        self.note_count(
            sum(len(row) < needed for row in rows), f"rows of {path.name} are too short: left out"
        )
        self.note_count(
            sum(any(row[len(heading) :]) for row in rows),
            f"rows of {path.name} have more cells than its heading, which are NOT READ: text with a "
            f"{_SEPARATORS[delimiter]} in it has to be in quotes",
        )
        return [
            {name: row[i] for name, i in places.items() if i < len(row)} for row in rows if len(row) >= needed
        ]

    def lines(self, path: Path) -> list[str]:
        """The lines of a list that say something, stripped."""
        lines = _newlines(self.text(path)).split("\n")
        return [line.strip() for line in lines if line.strip()]


def damaged(path: Path, problem: str, *, hint: str = FETCH_AGAIN) -> DatasetError:
    """The error to raise for a file that cannot be used as it is."""
    return DatasetError(f"cannot use {path}: {plain(problem)}", hint=hint)


def encodable(text: str) -> str:
    """Text in which the halves of characters that JSON may hold are made whole, or replaced."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def without(name: str, suffixes: tuple[str, ...]) -> str:
    """`name` without its suffix, if that is one of these: an id may hold dots of its own."""
    stem, dot, suffix = name.rpartition(".")
    return stem if dot and stem and f".{suffix.lower()}" in suffixes else name


def _named(names: Sequence[str]) -> str:
    return plain(", ".join(names[:MOST_NAMED])) + (" ..." if len(names) > MOST_NAMED else "")


def _newlines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _walk(root: Path) -> Iterator[Path]:
    seen: set[tuple[int, int]] = set()
    for folder, folders, names in os.walk(root, followlinks=True):
        status = Path(folder).stat()
        if (status.st_dev, status.st_ino) in seen:  # a link back up would never end
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(folder) / name for name in names if not name.startswith("."))


def _rank(path: Path) -> tuple[int, int, str]:
    suffix = path.suffix.lower()
    return (
        VIDEO_SUFFIXES.index(suffix) if suffix in VIDEO_SUFFIXES else -1,
        len(path.parts),
        str(path),
    )
