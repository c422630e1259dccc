"""Where an export goes: which format, which names, and files that are there only once they are whole."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from savecli.errors import ConfigError
from savecli.export.take import Take

SUFFIXES = (".mp4", ".edl", ".fcpxml", ".otio", ".m3u", ".m3u8", ".csv", ".srt", ".html")
EACH = frozenset({".mp4", ".srt"})
PLACE = "{n}"
_UNSAFE = re.compile(r"[^\w .,()+-]+")
_STEM_CHARACTERS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where to write.

    Attributes:
        path: a file; or a folder where `is_folder`.
        suffix: of the files, in lower case.
        each: whether each moment gets a file.
        is_folder: whether their names are ours to make.
    """

    path: Path
    suffix: str
    each: bool
    is_folder: bool

    def names(self, takes: Sequence[Take]) -> list[Path]:
        """The files to write: one, or one for each take."""
        if not self.each:
            return [self.path]
        if self.is_folder:
            return [self.path / f"{_named(take)}{self.suffix}" for take in takes]
        name = self.path.name
        if PLACE not in name:
            name = f"{self.path.stem}-{PLACE}{self.path.suffix}"
        width = len(str(max(take.number for take in takes)))
        return [self.path.with_name(name.replace(PLACE, f"{take.number:0{width}}")) for take in takes]


def target(path: Path, *, each: bool, named_as_folder: bool = False) -> Target:
    """Where `path` asks to write.

    Args:
        path: ends in a suffix that names the format, or is a folder, for clips.
        each: whether one file for each moment was asked for; `{n}` in the name asks for it too.
        named_as_folder: whether the path was given with a slash at its end.

    Raises:
        ConfigError: a suffix of no format, or one that has no file for each moment.
    """
    if path.is_dir() or named_as_folder:
        return Target(path=path, suffix=".mp4", each=True, is_folder=True)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        known = ", ".join(SUFFIXES)
        raise ConfigError(
            f"{path.name} has no suffix that names a format"
            if not suffix
            else f"no format is called {suffix}",
            hint=f"end the name in one of {known}; a folder gets one clip for each moment",
        )
    each = each or PLACE in path.name
    if each and suffix not in EACH:
        raise ConfigError(
            f"{suffix} holds all moments in one file",
            hint="--each goes with .mp4 and .srt, and with a folder",
        )
    return Target(path=path, suffix=suffix, each=each, is_folder=False)


def check(paths: Sequence[Path], takes: Sequence[Take], *, force: bool) -> None:
    """Refuse, before any work, to write over what must stay.

    Raises:
        ConfigError: a file is there already, is one of the videos, or its folder is missing.
    """
    videos = {take.path.resolve() for take in takes}
    for path in paths:
        if path.resolve() in videos:
            raise ConfigError(f"{path} is one of the videos themselves", hint="name another file")
        if path.is_dir():
            raise ConfigError(f"{path} is a folder", hint="name another file")
        if os.path.lexists(path) and not force:
            raise ConfigError(
                f"{path} is there already", hint="name another file, or write over it: save export --force"
            )
    if len(set(paths)) < len(paths):
        raise ConfigError("two moments would get the same name", hint="put {n} in the name")


@contextmanager
def aside(paths: Sequence[Path], *, make_folder: bool = False) -> Iterator[list[Path]]:
    """Places to write to; they get their names when all are whole, and go without a trace where that fails.

    Raises:
        ConfigError: one of them cannot be written.
    """
    # The suffix stays at the end: some libraries go by it.
    places = [
        path.with_name(f".{path.stem[:100]}.{os.getpid()}-{number}.part{path.suffix}")
        for number, path in enumerate(paths)
    ]
    folder = paths[0].parent
    made = make_folder and not folder.exists()
    try:
        try:
            if made:
                folder.mkdir()
            for place in places:
                place.touch(exist_ok=False)
            yield places
            for place, path in zip(places, paths, strict=True):
                place.replace(path)
        except BaseException:
            for place in places:
                place.unlink(missing_ok=True)
            if made and folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
            raise
    except OSError as error:
        where = error.filename or paths[0]
        raise ConfigError(
            f"cannot write {where}: {error.strerror}",
            hint="is the disk full, or the folder missing or read-only?",
        ) from error


def _named(take: Take) -> str:
    """A name that tells the moment and is safe on every file system: `02 dog 1.05`."""
    stem = _UNSAFE.sub("_", take.path.stem).strip(" .")[:_STEM_CHARACTERS] or "video"
    minutes, seconds = divmod(int(take.moment.start_s), 60)
    return f"{take.number:02} {stem} {minutes}.{seconds:02}"
