"""Which videos pass a filter."""

from __future__ import annotations

import os
from typing import NamedTuple

from savecli.datatypes import Where
from savecli.store.catalog import Catalog

_HAS = {"speech": "speech_s > 0", "audio": "has_audio", "video": "has_video"}
_NANOSECONDS = 1_000_000_000
_LAST_NS = 2**63 - 1  # in the year 2262; SQLite has no larger numbers


class Selection(NamedTuple):
    """Videos by their keys in the catalog, and how many segments they have."""

    keys: frozenset[int]
    n_segments: int


def select(catalog: Catalog, where: Where) -> Selection:
    """The videos that pass. Path and date are those of one and the same copy of a video."""
    conditions, values = _of_videos(where)
    of_files, more = _of_files(where)
    if of_files:
        conditions.append(
            "fingerprint IN (SELECT fingerprint FROM files"  # noqa: S608 - only our own words
            f" WHERE fingerprint IS NOT NULL AND {' AND '.join(of_files)})"
        )
    sql = f"SELECT video_key, n_segments FROM videos WHERE {' AND '.join(conditions or ['1'])}"  # noqa: S608
    rows = catalog.rows(sql, *values, *more)
    return Selection(frozenset(row[0] for row in rows), sum(row[1] for row in rows))


def _of_videos(where: Where) -> tuple[list[str], list[object]]:
    conditions = [_HAS[name] for name in sorted(where.has)]
    values: list[object] = []
    for bound, condition in (
        (where.min_duration_s, "duration_s >= ?"),
        (where.max_duration_s, "duration_s <= ?"),
    ):
        if bound is not None:
            conditions.append(condition)
            values.append(bound)
    if where.languages:
        conditions.append(f"lower(language) IN ({', '.join('?' * len(where.languages))})")
        values += sorted(where.languages)
    return conditions, values


def _of_files(where: Where) -> tuple[list[str], list[object]]:
    conditions: list[str] = []
    values: list[object] = []
    if where.below:
        # Not joined by OR: SQLite takes no expression that is more than 1000 deep.
        given = ", ".join(["(?, ?, ?)"] * len(where.below))
        conditions.append(
            f"EXISTS (WITH below (self, first, beyond) AS (VALUES {given})"  # noqa: S608 - only our own words
            " SELECT 1 FROM below WHERE path = self OR (path >= first AND path < beyond))"
        )
        for path in where.below:
            within = os.fsencode(path).removesuffix(os.sep.encode()) + os.sep.encode()
            values += [os.fsencode(path), within, within[:-1] + bytes([within[-1] + 1])]
    for bound, condition in ((where.since_s, "mtime_ns >= ?"), (where.until_s, "mtime_ns < ?")):
        if bound is not None:
            conditions.append(condition)
            values.append(min(max(round(bound * _NANOSECONDS), -_LAST_NS), _LAST_NS))
    return conditions, values
