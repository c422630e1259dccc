"""A video with all that is stored of it, as one record: what leaves a catalog, and enters another.

It is checked on the way in, wherever it comes from: a file that somebody sent, or a damaged catalog.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np

from savecli.store.catalog import Catalog
from savecli.store.records import KINDS, Kind
from savecli.store.rules import SPEECH_TOLERANCE_S

_T = TypeVar("_T")
_MOST = 1 << 62
_LONGEST_S = 1e9


class File(NamedTuple):
    """A path of a video; `volume`, `mount` and `label` are of what it lay on when it was last seen."""

    path: bytes
    size_bytes: int
    mtime_ns: int
    volume: str | None = None
    mount: bytes | None = None
    label: str | None = None


class Span(NamedTuple):
    """The rows of one kind that a video has, one after the other."""

    n_rows: int
    crc32: int


class Part(NamedTuple):
    """A segment: its rows of each kind, in the order of `KINDS`, follow those of the segment before it."""

    start_s: float
    end_s: float
    n_rows: tuple[int, ...]
    frame_times_s: tuple[float, ...]


class Spoken(NamedTuple):
    """An utterance: its words are [start_s, end_s, text], `part` the place of its segment in the video."""

    start_s: float
    end_s: float
    text: str
    words: tuple[tuple[float, float, str], ...]
    part: int | None


class Whole(NamedTuple):
    """A video, its files, segments and words; its rows are elsewhere, as `spans` says."""

    fingerprint: str
    duration_s: float
    has_audio: bool
    has_video: bool
    speech_s: float
    language: str
    language_probability: float
    asr: str
    notes: tuple[str, ...]
    partial: bool
    indexed_at: float
    spans: dict[Kind, Span]
    files: tuple[File, ...]
    parts: tuple[Part, ...]
    spoken: tuple[Spoken, ...]


class NotWholeError(ValueError):
    """A record that is no video: which of its values makes no sense."""


def record_of(whole: Whole) -> dict[str, Any]:
    """A video as JSON has it; names that are no Unicode are escaped as Python escapes them."""
    record = whole._asdict()
    record["spans"] = {kind: list(span) for kind, span in whole.spans.items()}
    record["files"] = [
        [os.fsdecode(f.path), f.size_bytes, f.mtime_ns, f.volume, f.mount and os.fsdecode(f.mount), f.label]
        for f in whole.files
    ]
    return record


def whole_of(record: object) -> Whole:
    """The video that a record describes.

    Raises:
        NotWholeError: it describes none.
    """
    if not isinstance(record, dict) or record.keys() != set(Whole._fields):
        raise NotWholeError("it does not have the fields of a video")
    whole = Whole(
        fingerprint=_text(record, "fingerprint", longest=256),
        duration_s=_seconds(record["duration_s"]),
        has_audio=_flag(record["has_audio"]),
        has_video=_flag(record["has_video"]),
        speech_s=_seconds(record["speech_s"]),
        language=_text(record, "language", longest=64),
        language_probability=_seconds(record["language_probability"]),
        asr=_text(record, "asr", longest=256),
        notes=_each(record["notes"], lambda note: _string(note)),
        partial=_flag(record["partial"]),
        indexed_at=_number(record["indexed_at"], -1e12, 1e12),
        spans=_spans(record["spans"]),
        files=_each(record["files"], _file),
        parts=_each(record["parts"], _part),
        spoken=_each(record["spoken"], _spoken),
    )
    _check_sums(whole)
    return whole


def read(catalog: Catalog, video_key: int) -> Whole:
    """A video as a catalog has it.

    Raises:
        StoreError: the catalog cannot be read there.
        NotWholeError: what it has makes no sense.
    """
    columns = Whole._fields[:11]
    found = catalog.rows(f"SELECT {', '.join(columns)} FROM videos WHERE video_key = ?", video_key)  # noqa: S608
    if not found:
        raise NotWholeError("there is no such video")
    record: dict[str, Any] = dict(zip(columns, found[0], strict=True))
    for name in ("has_audio", "has_video", "partial"):
        record[name] = {0: False, 1: True}.get(record[name])
    try:
        record["notes"] = json.loads(record["notes"])
        record["spans"] = {
            kind: [n_rows, crc32]
            for kind, n_rows, crc32 in catalog.rows(
                "SELECT kind, n_rows, crc32 FROM spans WHERE video_key = ?", video_key
            )
        }
        record["files"] = [
            [os.fsdecode(path), *rest, mount and os.fsdecode(mount), label]
            for path, *rest, mount, label in catalog.rows(
                "SELECT path, size_bytes, mtime_ns, volume, mount, label FROM files WHERE fingerprint = ?"
                " ORDER BY path",
                record["fingerprint"],
            )
        ]
        record["parts"], places = _read_parts(catalog, video_key)
        record["spoken"] = [
            [start_s, end_s, text, json.loads(words), places[segment_id]]
            for start_s, end_s, text, words, segment_id in catalog.rows(
                "SELECT start_s, end_s, text, words, segment_id FROM utterances WHERE video_key = ?"
                " ORDER BY utterance_key",
                video_key,
            )
        ]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise NotWholeError(str(error)) from error
    return whole_of(record)


def _read_parts(catalog: Catalog, video_key: int) -> tuple[list[Any], dict[int | None, int | None]]:
    counts = ", ".join(f"n_{kind}" for kind in KINDS)
    rows = catalog.rows(
        f"SELECT segment_id, start_s, end_s, frame_times, {counts} FROM segments"  # noqa: S608
        " WHERE video_key = ? ORDER BY segment_id",
        video_key,
    )
    parts = [
        [start_s, end_s, list(n_rows), np.frombuffer(times, "<f8").tolist()]
        for _, start_s, end_s, times, *n_rows in rows
    ]
    places: dict[int | None, int | None] = {row[0]: place for place, row in enumerate(rows)}
    return parts, places | {None: None}


def write(catalog: Catalog, whole: Whole, starts: Mapping[Kind, int]) -> None:
    """Inserts a video whose rows lie at `starts`, without its files. Only inside `Catalog.writing`."""
    columns = [*Whole._fields[:8], *Whole._fields[9:11], "notes", "n_segments"]
    video_key = catalog.run(
        f"INSERT INTO videos ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})",  # noqa: S608
        *whole[:8],
        *whole[9:11],
        json.dumps(list(whole.notes)),
        len(whole.parts),
    )
    catalog.run_many(
        "INSERT INTO spans (video_key, kind, start, n_rows, crc32) VALUES (?, ?, ?, ?, ?)",
        [(video_key, kind, starts[kind], *span) for kind, span in whole.spans.items()],
    )
    ids = _write_parts(catalog, video_key, whole.parts, starts)
    catalog.run_many(
        "INSERT INTO utterances (video_key, segment_id, start_s, end_s, text, words)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        [
            (
                video_key,
                None if u.part is None else ids[u.part],
                u.start_s,
                u.end_s,
                u.text,
                json.dumps(u.words),
            )
            for u in whole.spoken
        ],
    )


def _write_parts(
    catalog: Catalog, video_key: int, parts: Sequence[Part], starts: Mapping[Kind, int]
) -> list[int]:
    columns = ["video_key", "start_s", "end_s", "frame_times"]
    columns += [column for kind in KINDS for column in (f"{kind}_start", f"n_{kind}")]
    sql = f"INSERT INTO segments ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"  # noqa: S608
    places = [starts.get(kind, 0) for kind in KINDS]
    ids = []
    for part in parts:
        rows = [number for pair in zip(places, part.n_rows, strict=True) for number in pair]
        times = np.array(part.frame_times_s, "<f8").tobytes()
        ids.append(catalog.run(sql, video_key, part.start_s, part.end_s, times, *rows))
        places = [place + n for place, n in zip(places, part.n_rows, strict=True)]
    return ids


def write_file(catalog: Catalog, file: File, fingerprint: str) -> None:
    """Makes a path one of a video that is stored. Only inside `Catalog.writing`."""
    catalog.run(
        "INSERT OR REPLACE INTO files (path, size_bytes, mtime_ns, volume, mount, label, fingerprint)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        *file,
        fingerprint,
    )


def _check_sums(whole: Whole) -> None:
    if not whole.fingerprint:
        raise NotWholeError("it has no fingerprint")
    for place, kind in enumerate(KINDS):
        if sum(part.n_rows[place] for part in whole.parts) != whole.spans.get(kind, (0, 0))[0]:
            raise NotWholeError(f"its segments have other {kind} rows than it says")
    for part in whole.parts:
        if len(part.frame_times_s) != part.n_rows[KINDS.index("frames")]:
            raise NotWholeError("a segment has other frames than times of frames")
    if any(u.part is not None and not u.part < len(whole.parts) for u in whole.spoken):
        raise NotWholeError("something is said in a segment that it does not have")
    # Utterances have no checksum: those that a damaged table has lost are noticed by their seconds.
    if abs(sum(u.end_s - u.start_s for u in whole.spoken) - whole.speech_s) > SPEECH_TOLERANCE_S:
        raise NotWholeError("less or more is said in it than it says")
    if len({file.path for file in whole.files}) < len(whole.files):
        raise NotWholeError("it has one path twice")


def _spans(given: object) -> dict[Kind, Span]:
    if not isinstance(given, dict) or not given.keys() <= set(KINDS):
        raise NotWholeError("spans: kinds of rows that this version does not know")
    spans = {kind: _list(value, 2) for kind, value in given.items()}
    return {kind: Span(_count(n_rows), _count(crc32, 1 << 32)) for kind, (n_rows, crc32) in spans.items()}


def _file(given: object) -> File:
    path, size_bytes, mtime_ns, volume, mount, label = _list(given, 6)
    seen = (volume, mount, label)
    if None in seen and seen != (None, None, None):
        raise NotWholeError("a file is on half a volume")
    return File(
        path=_path(path),
        size_bytes=_count(size_bytes),
        mtime_ns=_whole_number(mtime_ns, -_MOST, _MOST),
        volume=None if volume is None else _string(volume),
        mount=None if mount is None else _path(mount),
        label=None if label is None else _string(label),
    )


def _part(given: object) -> Part:
    start_s, end_s, n_rows, times_s = _list(given, 4)
    counts = tuple(_count(n) for n in _list(n_rows, len(KINDS)))
    part = Part(_seconds(start_s), _seconds(end_s), counts, _each(times_s, _time))
    if not part.start_s < part.end_s:
        raise NotWholeError("a segment ends before it starts")
    return part


def _spoken(given: object) -> Spoken:
    start_s, end_s, text, words, part = _list(given, 5)
    spoken = Spoken(
        start_s=_time(start_s),
        end_s=_time(end_s),
        text=_string(text),
        words=_each(words, _word),
        part=None if part is None else _count(part),
    )
    if spoken.start_s > spoken.end_s:
        raise NotWholeError("something said ends before it starts")
    return spoken


def _word(given: object) -> tuple[float, float, str]:
    start_s, end_s, text = _list(given, 3)
    return _time(start_s), _time(end_s), _string(text)


def _list(given: object, length: int) -> Sequence[Any]:
    if not isinstance(given, list | tuple) or len(given) != length:
        raise NotWholeError(f"there should be a list of {length}")
    return given


def _each(given: object, one: Callable[[object], _T]) -> tuple[_T, ...]:
    if not isinstance(given, list | tuple):
        raise NotWholeError("there should be a list")
    return tuple(one(item) for item in given)


def _flag(given: object) -> bool:
    if not isinstance(given, bool):
        raise NotWholeError(f"{given!r:.40} is neither true nor false")
    return given


def _whole_number(given: object, least: int, most: int) -> int:
    if not isinstance(given, int) or isinstance(given, bool) or not least <= given <= most:
        raise NotWholeError(f"{given!r:.40} is no number that can be here")
    return given


def _count(given: object, most: int = _MOST) -> int:
    return _whole_number(given, 0, most)


def _number(given: object, least: float, most: float) -> float:
    if not isinstance(given, int | float) or isinstance(given, bool) or not least <= given <= most:
        raise NotWholeError(f"{given!r:.40} is no number that can be here")
    return float(given)


def _seconds(given: object) -> float:
    return _number(given, 0, _LONGEST_S)


def _time(given: object) -> float:
    # A file may begin before zero.
    return _number(given, -_LONGEST_S, _LONGEST_S)


def _string(given: object, longest: int = 1 << 24) -> str:
    if not isinstance(given, str) or len(given) > longest:
        raise NotWholeError("there should be a text")
    try:
        given.encode()
    except UnicodeEncodeError:
        raise NotWholeError("a text is no Unicode") from None
    return given


def _text(record: Mapping[str, object], name: str, *, longest: int) -> str:
    return _string(record[name], longest)


def _path(given: object) -> bytes:
    if not isinstance(given, str) or not given or "\0" in given:
        raise NotWholeError("a path is none")
    try:
        return os.fsencode(given)
    except UnicodeEncodeError:
        raise NotWholeError("a path is none") from None
