"""What is read from the catalog: rows of SQL in, the store's records out."""

from __future__ import annotations

import functools
import json
import os
from collections import defaultdict
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from savecli.datatypes import Transcript, Utterance, Volume, Word
from savecli.errors import StoreError
from savecli.store.catalog import Catalog, DamagedError
from savecli.store.records import KINDS, KnownFile, StoredSegment, StoredVideo

_VIDEO = (
    "SELECT fingerprint, duration_s, has_audio, has_video, n_segments, speech_s, language, asr, notes,"
    " partial, indexed_at FROM videos"
)
_SEGMENT = (
    "SELECT segment_id, fingerprint, start_s, end_s, n_seen, n_frames, n_said, n_heard, n_fused"
    " FROM segments JOIN videos USING (video_key)"
)
_FILE = (
    "SELECT path, size_bytes, mtime_ns, fingerprint, reason, hint, attempts, passing, missing_since, volume,"
    " mount, label FROM files"
)
_NO_WORDS = "'[]'"
_SPARSE = 2  # numbers per segment; beyond it an even sample of numbers is no even sample of segments
GIVEN = "segment_id IN (SELECT value FROM json_each(?))"
"""Of SQL: the segments in a JSON list."""


@functools.lru_cache(maxsize=1 << 14)  # every search names the paths of its candidates
def path_of(stored: bytes) -> Path:
    """A path as the catalog keeps it: the bytes of the file system."""
    return Path(os.fsdecode(stored))


def known(catalog: Catalog, below: Iterable[Path] | None = None) -> dict[Path, KnownFile]:
    """Every file that was indexed, or failed to be: all, or those that are `below` or lie below them."""
    if below is None:
        rows = catalog.rows(f"{_FILE} ORDER BY path")
    else:
        rows = [row for path in dict.fromkeys(below) for row in _files_below(catalog, path)]
    volumes: dict[tuple[str, bytes, str], Volume] = {}
    return {path_of(row[0]): _file(row, volumes) for row in rows}


def _files_below(catalog: Catalog, path: Path) -> list[tuple[Any, ...]]:
    separator = os.sep.encode()
    within = os.fsencode(path).removesuffix(separator) + separator
    beyond = within[:-1] + bytes([within[-1] + 1])  # the first name that does not begin like this
    return catalog.rows(
        f"{_FILE} WHERE path = ? OR (path >= ? AND path < ?) ORDER BY path",
        os.fsencode(path),
        within,
        beyond,
    )


def files(catalog: Catalog, paths: Iterable[Path]) -> dict[Path, KnownFile]:
    """Those of `paths` that are known."""
    volumes: dict[tuple[str, bytes, str], Volume] = {}
    found = {}
    for path in paths:
        for row in catalog.rows(f"{_FILE} WHERE path = ?", os.fsencode(path)):
            found[path] = _file(row, volumes)
    return found


def _file(row: tuple[Any, ...], volumes: dict[tuple[str, bytes, str], Volume]) -> KnownFile:
    _, size_bytes, mtime_ns, fingerprint, reason, hint, attempts, passing, missing_since = row[:9]
    identity, mount, label = row[9:]
    volume = None
    if identity is not None:
        volume = volumes.get((identity, mount, label))
        if volume is None:  # one object for all files of a volume: there are tens of thousands
            volume = Volume(identity=identity, mount=path_of(mount), label=label)
            volumes[identity, mount, label] = volume
    return KnownFile(
        size_bytes,
        mtime_ns,
        fingerprint,
        reason,
        hint,
        attempts,
        passing=bool(passing),
        volume=volume,
        missing_since=missing_since,
    )


def without_speech(catalog: Catalog) -> set[str]:
    """Fingerprints of the videos with sound that were indexed with speech turned off."""
    return {row[0] for row in catalog.rows("SELECT fingerprint FROM videos WHERE asr = 'off' AND has_audio")}


def clock(catalog: Catalog) -> float | None:
    """What the clock said when missing files were last looked after; None where none is missing."""
    if not catalog.rows("SELECT 1 FROM files WHERE missing_since IS NOT NULL LIMIT 1"):
        return None
    return float(catalog.rows("SELECT clock FROM state")[0][0])


def paths_by_video(catalog: Catalog, video_ids: Collection[str]) -> dict[str, tuple[Path, ...]]:
    """The paths of these videos, in order of name."""
    rows = catalog.rows(
        "SELECT fingerprint, path FROM files"
        " WHERE fingerprint IN (SELECT value FROM json_each(?)) ORDER BY path",
        json.dumps(list(video_ids)),
    )
    paths: dict[str, list[Path]] = defaultdict(list)
    for video_id, path in rows:
        paths[video_id].append(path_of(path))
    return {video_id: tuple(found) for video_id, found in paths.items()}


def videos(catalog: Catalog, where: str = "", *values: object) -> list[StoredVideo]:
    """The videos, in order of their first indexing, or those that `where` selects."""
    rows = catalog.rows(f"{_VIDEO} {where} ORDER BY video_key", *values)
    paths = paths_by_video(catalog, [row[0] for row in rows])
    return [_video(row, paths.get(row[0], ())) for row in rows]


def video_at(catalog: Catalog, path: Path) -> StoredVideo | None:
    """The video at a path, or None."""
    where = "WHERE fingerprint = (SELECT fingerprint FROM files WHERE path = ?)"
    return next(iter(videos(catalog, where, os.fsencode(path))), None)


def _video(row: tuple[Any, ...], paths: tuple[Path, ...]) -> StoredVideo:
    return StoredVideo(
        video_id=row[0],
        paths=paths,
        duration_s=row[1],
        has_audio=bool(row[2]),
        has_video=bool(row[3]),
        n_segments=row[4],
        speech_s=row[5],
        language=row[6],
        asr=row[7],
        notes=tuple(_list(row[8])),
        partial=bool(row[9]),
        indexed_at=row[10],
    )


def _list(text: str) -> list[Any]:
    """A list that is kept as JSON.

    Raises:
        DamagedError: it is none.
    """
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, list):
        raise _damaged("a list")
    return found


def _damaged(what: str) -> DamagedError:
    return DamagedError(f"the catalog is damaged, at {what}", hint="run `save verify --repair`")


def transcript(catalog: Catalog, video_id: str) -> Transcript:
    """All that is said in a video.

    Raises:
        StoreError: there is no such video.
    """
    found = catalog.rows(
        "SELECT video_key, language, language_probability FROM videos WHERE fingerprint = ?", video_id
    )
    if not found:
        raise StoreError(f"no video {video_id} in the store", hint="`save list` shows what is there")
    video_key, language, probability = found[0]
    rows = catalog.rows(
        "SELECT start_s, end_s, text, words FROM utterances WHERE video_key = ? ORDER BY utterance_key",
        video_key,
    )
    spoken = tuple(_utterance(*row) for row in rows)
    return Transcript(language=language, language_probability=probability, utterances=spoken)


def utterances_from(catalog: Catalog, video_id: str, first: int, n: int) -> tuple[Utterance, ...]:
    """Up to `n` utterances of a video, from number `first` on, counted from 0 in order of time."""
    rows = catalog.rows(
        "SELECT start_s, end_s, text, words FROM utterances"
        " WHERE video_key = (SELECT video_key FROM videos WHERE fingerprint = ?)"
        " ORDER BY utterance_key LIMIT ? OFFSET ?",
        video_id,
        n,
        first,
    )
    return tuple(_utterance(*row) for row in rows)


def _utterance(start_s: float, end_s: float, text: str, words: str) -> Utterance:
    try:
        timed = _list(words) if words != "[]" else ()
        times = tuple(Word(start_s=start, end_s=end, text=word) for start, end, word in timed)
        return Utterance(start_s=start_s, end_s=end_s, text=text, words=times)
    except (ValueError, TypeError) as error:
        raise _damaged(f"something said: {error}") from error


def segments(catalog: Catalog, ids: Iterable[int]) -> list[StoredSegment]:
    """These segments in the order given, without those that are gone."""
    wanted = list(ids)
    rows = catalog.rows(f"{_SEGMENT} WHERE {GIVEN}", json.dumps(wanted))
    found = {segment.segment_id: segment for segment in _segments(catalog, rows)}
    return [found[segment_id] for segment_id in wanted if segment_id in found]


def segments_of(catalog: Catalog, video_id: str) -> list[StoredSegment]:
    """The segments of a video, in order of time; none where there is no such video."""
    rows = catalog.rows(f"{_SEGMENT} WHERE fingerprint = ? ORDER BY start_s", video_id)
    return _segments(catalog, rows)


def segments_within(catalog: Catalog, video_id: str, start_s: float, end_s: float) -> list[StoredSegment]:
    """The segments of a video that a span touches, in order of time."""
    rows = catalog.rows(
        f"{_SEGMENT} WHERE video_key = (SELECT video_key FROM videos WHERE fingerprint = ?)"  # noqa: S608
        " AND start_s < ? AND end_s > ? ORDER BY start_s",
        video_id,
        end_s,
        start_s,
    )
    return _segments(catalog, rows)


def segment_of_utterance(catalog: Catalog, video_id: str, number: int) -> int | None:
    """The segment that an utterance of a video belongs to, by its number in order of time."""
    rows = catalog.rows(
        "SELECT segment_id FROM utterances"
        " WHERE video_key = (SELECT video_key FROM videos WHERE fingerprint = ?)"
        " ORDER BY utterance_key LIMIT 1 OFFSET ?",
        video_id,
        number,
    )
    return rows[0][0] if rows else None


def keys(catalog: Catalog, video_ids: Iterable[str]) -> list[int]:
    """The keys of these videos in the catalog."""
    rows = catalog.rows(
        "SELECT video_key FROM videos WHERE fingerprint IN (SELECT value FROM json_each(?))",
        json.dumps(list(video_ids)),
    )
    return [row[0] for row in rows]


def _segments(catalog: Catalog, rows: list[tuple[Any, ...]]) -> list[StoredSegment]:
    paths = paths_by_video(catalog, {row[1] for row in rows})
    return [
        StoredSegment(
            segment_id=segment_id,
            video_id=video_id,
            paths=paths.get(video_id, ()),
            start_s=start_s,
            end_s=end_s,
            n_seen=n_seen,
            n_frames=n_frames,
            n_said=n_said,
            n_heard=n_heard,
            n_fused=n_fused,
        )
        for segment_id, video_id, start_s, end_s, n_seen, n_frames, n_said, n_heard, n_fused in rows
    ]


def utterances(
    catalog: Catalog, ids: Iterable[int], *, timed: bool = True
) -> dict[int, tuple[Utterance, ...]]:
    """What is said in each of these segments, in order of time; `timed` with the times of its words."""
    wanted = list(ids)
    spoken: dict[int, list[Utterance]] = {segment_id: [] for segment_id in wanted}
    rows = catalog.rows(
        f"SELECT segment_id, start_s, end_s, text, {'words' if timed else _NO_WORDS} FROM utterances"  # noqa: S608
        f" WHERE {GIVEN} ORDER BY utterance_key",
        json.dumps(wanted),
    )
    for segment_id, *row in rows:
        spoken[segment_id].append(_utterance(*row))
    return {segment_id: tuple(found) for segment_id, found in spoken.items()}


def texts_by_segment(catalog: Catalog, ids: Iterable[int]) -> dict[int, list[str]]:
    """The texts of what is said in each of these segments, in order of time."""
    wanted = list(ids)
    spoken: dict[int, list[str]] = {segment_id: [] for segment_id in wanted}
    rows = catalog.rows(
        f"SELECT segment_id, text FROM utterances WHERE {GIVEN} ORDER BY utterance_key",  # noqa: S608
        json.dumps(wanted),
    )
    for segment_id, text in rows:
        spoken[segment_id].append(text)
    return spoken


def frame_times(catalog: Catalog, ids: Iterable[int]) -> dict[int, NDArray[np.float64]]:
    """The times of the frames of each of these segments, (F,) float64 in seconds."""
    rows = catalog.rows(
        f"SELECT segment_id, frame_times FROM segments WHERE {GIVEN}",  # noqa: S608
        json.dumps(list(ids)),
    )
    return {segment_id: np.frombuffer(times, dtype="<f8") for segment_id, times in rows}


def count(catalog: Catalog) -> dict[str, Any]:
    """The fields of `Counts` that the catalog alone can tell."""
    n_videos, duration_s, speech_s = catalog.rows(
        "SELECT count(*), total(duration_s), total(speech_s) FROM videos"
    )[0]
    n_files, n_failed, n_missing = catalog.rows(
        "SELECT count(*), count(reason), count(missing_since) FROM files"
    )[0]
    return {
        "n_videos": n_videos,
        "n_files": n_files,
        "n_failed": n_failed,
        "n_missing": n_missing,
        "n_segments": catalog.rows("SELECT count(*) FROM segments")[0][0],
        "n_utterances": catalog.rows("SELECT count(*) FROM utterances")[0][0],
        "duration_s": duration_s,
        "speech_s": speech_s,
        "n_rows": dict.fromkeys(KINDS, 0)
        | dict(catalog.rows("SELECT kind, sum(n_rows) FROM spans GROUP BY kind")),
    }


def sample(catalog: Catalog, n: int) -> tuple[list[int], int]:
    """Up to `n` segments, spread evenly over the order of indexing; and how many there are in all."""
    # Counted by video, and each end by itself: one statement for all three reads every segment.
    n_all, first, last = catalog.rows(
        "SELECT (SELECT coalesce(sum(n_segments), 0) FROM videos),"
        " (SELECT min(segment_id) FROM segments), (SELECT max(segment_id) FROM segments)"
    )[0]
    if n_all <= n or last - first > _SPARSE * n_all:
        ids = [row[0] for row in catalog.rows("SELECT segment_id FROM segments ORDER BY segment_id")]
        return [ids[i] for i in np.linspace(0, n_all - 1, min(n, n_all)).astype(int)], n_all
    wanted = np.linspace(first, last, n).astype(int).tolist()
    # Where a number is free, the segment after it stands in.
    rows = catalog.rows(
        "SELECT DISTINCT (SELECT min(segment_id) FROM segments WHERE segment_id >= given.value)"
        " FROM json_each(?) AS given",
        json.dumps(wanted),
    )
    return [row[0] for row in rows], n_all
