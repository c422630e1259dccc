"""Which rows of the vector files belong to which segment, and to any: the catalog knows.

A segment's rows of a kind are one run of the file: a first row, and how many.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from savecli.store.catalog import Catalog
from savecli.store.graph import RowNumbers
from savecli.store.queries import GIVEN
from savecli.store.records import Kind


def of_segments(catalog: Catalog, kind: Kind, ids: Iterable[int]) -> list[tuple[int, int, int]]:
    """(segment_id, first row, number of rows) of each of these segments, in the order of the file."""
    sql = f"SELECT segment_id, {kind}_start, n_{kind} FROM segments WHERE {GIVEN} ORDER BY {kind}_start"  # noqa: S608
    return [
        (segment_id, start, n_rows) for segment_id, start, n_rows in catalog.rows(sql, json.dumps(list(ids)))
    ]


def by_kind(catalog: Catalog, kinds: Sequence[Kind], ids: Sequence[int]) -> NDArray[np.int64]:
    """(n, K, 2) the first row and the number of rows of each of these segments, by kind; 0 where gone."""
    columns = ", ".join(f"{kind}_start, n_{kind}" for kind in kinds)
    sql = f"SELECT segment_id, {columns} FROM segments WHERE {GIVEN}"  # noqa: S608
    found = {row[0]: row[1:] for row in catalog.rows(sql, json.dumps(list(ids)))}
    gone = (0, 0) * len(kinds)
    ordered = [found.get(segment_id, gone) for segment_id in ids]
    return np.array(ordered, dtype=np.int64).reshape(len(ids), len(kinds), 2)


def owners(catalog: Catalog, kind: Kind, numbers: RowNumbers) -> list[int]:
    """The segment that owns each of these living rows."""
    sql = (
        f"SELECT (SELECT segment_id FROM segments WHERE {kind}_start <= given.value AND n_{kind} > 0"  # noqa: S608
        f" ORDER BY {kind}_start DESC LIMIT 1) FROM json_each(?) AS given ORDER BY given.key"
    )
    return [row[0] for row in catalog.rows(sql, json.dumps(numbers.tolist()))]


def living(catalog: Catalog, kind: Kind) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Starts and ends (R,) of the runs of rows that belong to a stored video, neighbours joined."""
    return _joined(
        catalog.rows(
            "SELECT start, start + n_rows FROM spans WHERE kind = ? AND n_rows > 0 ORDER BY start", kind
        )
    )


def of_videos(
    catalog: Catalog, kind: Kind, videos: Iterable[int]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The same of these videos alone, by their keys."""
    return _joined(
        catalog.rows(
            "SELECT start, start + n_rows FROM spans WHERE kind = ? AND n_rows > 0"
            " AND video_key IN (SELECT value FROM json_each(?)) ORDER BY start",
            kind,
            json.dumps(list(videos)),
        )
    )


def _joined(rows: list[tuple[Any, ...]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    runs = np.array(rows, dtype=np.int64).reshape(-1, 2)
    breaks = runs[1:, 0] != runs[:-1, 1]
    first = np.concatenate([[True], breaks])[: len(runs)]
    last = np.concatenate([breaks, [True]])[: len(runs)]
    return runs[first, 0], runs[last, 1]
