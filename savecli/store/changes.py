"""What is written into the catalog. Every function here runs inside `Catalog.writing`."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from savecli.datatypes import Embedding, Segment, Transcript, Video, Volume
from savecli.store.catalog import Catalog
from savecli.store.records import KINDS, Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Appended:
    """Rows of one kind that lie on disk already: the first one's number, how many, and their CRC-32."""

    start: int
    n_rows: int
    crc32: int


def add_video(
    catalog: Catalog,
    video: Video,
    transcript: Transcript,
    *,
    n_segments: int,
    asr: str,
    notes: Sequence[str],
    partial: bool,
) -> int:
    """Inserts a video in the place of what was stored of the same content; returns its key."""
    catalog.run("DELETE FROM videos WHERE fingerprint = ?", video.fingerprint)
    return catalog.run(
        "INSERT INTO videos VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        video.fingerprint,
        video.duration_s,
        video.has_audio,
        video.has_video,
        n_segments,
        transcript.speech_s,
        transcript.language,
        transcript.language_probability,
        asr,
        json.dumps(list(notes)),
        partial,
        time.time(),
    )


def add_spans(catalog: Catalog, video_key: int, appended: Mapping[Kind, Appended]) -> None:
    """Commits the rows that were appended for a video."""
    for kind, span in appended.items():
        catalog.run(
            "INSERT INTO spans VALUES (?, ?, ?, ?, ?)", video_key, kind, span.start, span.n_rows, span.crc32
        )
        catalog.run("UPDATE vectors SET n_rows = ? WHERE kind = ?", span.start + span.n_rows, kind)


def add_segments(
    catalog: Catalog,
    video_key: int,
    segments: Sequence[Segment],
    embeddings: Sequence[Embedding],
    frame_times: Sequence[NDArray[np.float64]],
    starts: Mapping[Kind, int],
) -> list[int]:
    """Inserts the segments of a video, whose rows follow one another from `starts`; returns their ids."""
    next_row = dict(starts)
    columns = ["video_key", "start_s", "end_s", "frame_times"]
    columns += [column for kind in KINDS for column in (f"{kind}_start", f"n_{kind}")]
    sql = f"INSERT INTO segments ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"  # noqa: S608
    ids = []
    for segment, embedding, times in zip(segments, embeddings, frame_times, strict=True):
        places: list[int] = []
        for kind in KINDS:
            n_rows = len(getattr(embedding, kind))
            places += [next_row[kind], n_rows]
            next_row[kind] += n_rows
        ids.append(
            catalog.run(
                sql,
                video_key,
                segment.start_s,
                segment.end_s,
                times.astype("<f8").tobytes(),
                *places,
            )
        )
    return ids


def add_utterances(
    catalog: Catalog, video_key: int, transcript: Transcript, segments: Sequence[Segment], ids: Sequence[int]
) -> None:
    """Inserts what is said, each utterance with the segment that holds its middle, or none."""
    home = {
        id(utterance): segment_id
        for segment, segment_id in zip(segments, ids, strict=True)
        for utterance in transcript.within(segment.start_s, segment.end_s)
    }
    catalog.run_many(
        "INSERT INTO utterances VALUES (NULL, ?, ?, ?, ?, ?, ?)",
        [
            (
                video_key,
                home.get(id(utterance)),
                utterance.start_s,
                utterance.end_s,
                _text(utterance.text),
                json.dumps([(word.start_s, word.end_s, word.text) for word in utterance.words]),
            )
            for utterance in transcript.utterances
        ],
    )


def point(
    catalog: Catalog, path: Path, size_bytes: int, mtime_ns: int, fingerprint: str, volume: Volume | None
) -> None:
    """Makes `path` a copy of a stored video; what it was before goes, unless it has another path."""
    earlier = _fingerprint_at(catalog, path)
    catalog.run(
        "INSERT OR REPLACE INTO files (path, size_bytes, mtime_ns, fingerprint, volume, mount, label)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        os.fsencode(path),
        size_bytes,
        mtime_ns,
        fingerprint,
        *_columns(volume),
    )
    _drop_without_path(catalog, earlier)


def remember_failure(
    catalog: Catalog,
    path: Path,
    size_bytes: int,
    mtime_ns: int,
    reason: str,
    hint: str,
    *,
    passing: bool,
    volume: Volume | None,
) -> None:
    """Notes that a file could not be indexed; a video stored for it stays if the file is what it was."""
    earlier = _fingerprint_at(catalog, path)
    catalog.run(
        "INSERT INTO files"
        " (path, size_bytes, mtime_ns, reason, hint, attempts, passing, volume, mount, label)"
        " VALUES (?, ?, ?, ?, ?, 1, ?, ?, ?, ?) ON CONFLICT (path) DO UPDATE SET"
        " reason = excluded.reason, hint = excluded.hint,"
        " attempts = CASE WHEN (size_bytes, mtime_ns) = (excluded.size_bytes, excluded.mtime_ns)"
        " THEN attempts + 1 ELSE 1 END,"
        " fingerprint = CASE WHEN (size_bytes, mtime_ns) = (excluded.size_bytes, excluded.mtime_ns)"
        " THEN fingerprint END,"
        " size_bytes = excluded.size_bytes, mtime_ns = excluded.mtime_ns, passing = excluded.passing,"
        " volume = excluded.volume, mount = excluded.mount, label = excluded.label, missing_since = NULL",
        os.fsencode(path),
        size_bytes,
        mtime_ns,
        _text(reason),
        _text(hint),
        passing,
        *_columns(volume),
    )
    _drop_without_path(catalog, earlier)


def remove_path(catalog: Catalog, path: Path) -> bool:
    """Forgets a path, and its video with its last path; False where the path was not known."""
    known = catalog.rows("SELECT fingerprint FROM files WHERE path = ?", os.fsencode(path))
    catalog.run("DELETE FROM files WHERE path = ?", os.fsencode(path))
    for (fingerprint,) in known:
        _drop_without_path(catalog, fingerprint)
    return bool(known)


def place(catalog: Catalog, seen: Mapping[Path, Volume]) -> None:
    """Notes on which volumes known files were seen; none of them is missing now."""
    catalog.run_many(
        "UPDATE files SET volume = ?, mount = ?, label = ?, missing_since = NULL WHERE path = ?",
        [(*_columns(volume), os.fsencode(path)) for path, volume in seen.items()],
    )


def miss(catalog: Catalog, paths: Iterable[Path], now: float, *, afresh: bool) -> None:
    """Notes that files are gone from their volumes, since `now` where they were not missing before.

    With `afresh` the wait of every missing file begins again, whether it is among `paths` or not.
    """
    if afresh:
        catalog.run("UPDATE files SET missing_since = ? WHERE missing_since IS NOT NULL", now)
    catalog.run_many(
        "UPDATE files SET missing_since = ifnull(missing_since, ?) WHERE path = ?",
        [(now, os.fsencode(path)) for path in paths],
    )
    catalog.run("UPDATE state SET clock = ?", now)


def relink(catalog: Catalog, moves: Mapping[Path, tuple[Path, int, int, Volume]]) -> None:
    """Gives files the paths, sizes, mtimes and volumes that they have now.

    What else was known at a new path goes. All old rows go before the first new one is written, as the place
    of one file may be that of another.
    """
    columns = "fingerprint, reason, hint, attempts, passing"
    rows = {
        old: catalog.rows(f"SELECT {columns} FROM files WHERE path = ?", os.fsencode(old))[0]  # noqa: S608
        for old in moves
    }
    replaced = [_fingerprint_at(catalog, new) for new, *_ in moves.values()]
    catalog.run_many("DELETE FROM files WHERE path = ?", [(os.fsencode(old),) for old in moves])
    catalog.run_many(
        f"INSERT OR REPLACE INTO files (path, size_bytes, mtime_ns, volume, mount, label, {columns})"  # noqa: S608
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (os.fsencode(new), size_bytes, mtime_ns, *_columns(volume), *rows[old])
            for old, (new, size_bytes, mtime_ns, volume) in moves.items()
        ],
    )
    for fingerprint in replaced:
        _drop_without_path(catalog, fingerprint)


def move_rows(catalog: Catalog, kind: Kind, generation: int, n_rows: int) -> None:
    """Renumbers the living rows of a kind from 0 without gaps, as they lie in the file of `generation`."""
    next_row = 0
    spans = catalog.rows("SELECT video_key, start, n_rows FROM spans WHERE kind = ? ORDER BY start", kind)
    for video_key, start, n_in_span in spans:
        shift = start - next_row
        if shift:
            catalog.run(
                "UPDATE spans SET start = start - ? WHERE video_key = ? AND kind = ?", shift, video_key, kind
            )
            moved = f"UPDATE segments SET {kind}_start = {kind}_start - ? WHERE video_key = ?"  # noqa: S608
            catalog.run(moved, shift, video_key)
        next_row += n_in_span
    catalog.run("UPDATE vectors SET generation = ?, n_rows = ? WHERE kind = ?", generation, n_rows, kind)


def _columns(volume: Volume | None) -> tuple[str | None, bytes | None, str | None]:
    """`volume`, `mount` and `label` of a file's row."""
    if volume is None:
        return None, None, None
    return _text(volume.identity), os.fsencode(volume.mount), _text(volume.label)


def _fingerprint_at(catalog: Catalog, path: Path) -> str | None:
    rows = catalog.rows("SELECT fingerprint FROM files WHERE path = ?", os.fsencode(path))
    return rows[0][0] if rows else None


def _drop_without_path(catalog: Catalog, fingerprint: str | None) -> None:
    catalog.run(
        "DELETE FROM videos WHERE fingerprint = ?1"
        " AND NOT EXISTS (SELECT 1 FROM files WHERE fingerprint = ?1)",
        fingerprint,
    )


def _text(text: str) -> str:
    # A message may quote a file name that is no Unicode, which SQLite's TEXT cannot hold.
    return text.encode("utf-8", "backslashreplace").decode()
