"""What is true of every catalog that this program wrote, beyond what SQLite itself can tell."""

from __future__ import annotations

from collections.abc import Iterator

from savecli.errors import StoreError
from savecli.store.catalog import Catalog, wanted_tables
from savecli.store.records import KINDS, SEARCH_KINDS

SPEECH_TOLERANCE_S = 1e-3
"""Of the sum of what is said beside what was counted."""
_KINDS = ", ".join(f"'{kind}'" for kind in KINDS)
_SEARCH_KINDS = ", ".join(f"'{kind}'" for kind in SEARCH_KINDS)
_TYPES: dict[str, dict[str, tuple[str, ...]]] = {
    "videos": {
        "integer": ("has_audio", "has_video", "n_segments", "partial"),
        "real": ("duration_s", "speech_s", "language_probability", "indexed_at"),
        "text": ("fingerprint", "language", "asr", "notes"),
    },
    "segments": {
        "integer": tuple(column for kind in KINDS for column in (f"{kind}_start", f"n_{kind}")),
        "real": ("start_s", "end_s"),
        "blob": ("frame_times",),
    },
    "utterances": {"real": ("start_s", "end_s"), "text": ("text", "words")},
}


def _mistyped(table: str) -> str:
    wrong = [f"typeof({column}) <> '{name}'" for name, columns in _TYPES[table].items() for column in columns]
    return f"SELECT DISTINCT video_key FROM {table} WHERE {' OR '.join(wrong)}"  # noqa: S608


def _untiled() -> str:
    """Segments follow one another, in order of their number, through the span of their video."""
    before = "sum(n_{0}) OVER (PARTITION BY video_key ORDER BY segment_id ROWS UNBOUNDED PRECEDING) - n_{0}"
    counted = ", ".join(f"{before.format(kind)} AS {kind}_before" for kind in KINDS)
    starts = ", ".join(f"ifnull(max(start) FILTER (WHERE kind = '{k}'), 0) AS {k}_first" for k in KINDS)
    wrong = " OR ".join(f"n_{k} < 0 OR {k}_start <> {k}_first + {k}_before AND n_{k} > 0" for k in KINDS)
    return (
        f"WITH placed AS (SELECT *, {counted} FROM segments),"  # noqa: S608
        f" firsts AS (SELECT video_key, {starts} FROM spans GROUP BY video_key)"
        f" SELECT DISTINCT placed.video_key FROM placed LEFT JOIN firsts USING (video_key) WHERE {wrong}"
    )


def _uncounted() -> str:
    """A video has as many rows and segments as it says."""
    rows = " UNION ALL ".join(
        f"SELECT video_key, '{kind}' AS kind, sum(n_{kind}) AS n FROM segments GROUP BY video_key"  # noqa: S608
        for kind in KINDS
    )
    return (
        f"SELECT DISTINCT video_key FROM spans LEFT JOIN ({rows}) USING (video_key, kind)"  # noqa: S608
        " WHERE n_rows <> ifnull(n, 0)"
        f" UNION SELECT video_key FROM ({rows}) LEFT JOIN spans USING (video_key, kind)"
        " WHERE n > 0 AND n_rows IS NULL"
        " UNION SELECT video_key FROM videos WHERE n_segments <>"
        " (SELECT count(*) FROM segments WHERE segments.video_key = videos.video_key)"
    )


_OF_VIDEOS = (
    *((f"has values in {table} that make no sense", _mistyped(table)) for table in _TYPES),
    (
        "shares rows with another video",
        "SELECT DISTINCT video_key FROM (SELECT video_key, start,"
        " max(start + n_rows) OVER (PARTITION BY kind ORDER BY start, video_key"
        " ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before FROM spans WHERE n_rows > 0)"
        " WHERE start < before",
    ),
    (
        "has rows that were never committed",
        "SELECT DISTINCT video_key FROM spans LEFT JOIN vectors USING (kind) WHERE start < 0"
        " OR spans.n_rows < 0 OR start + spans.n_rows > ifnull(vectors.n_rows, 0)",
    ),
    ("has other rows than its segments say", _untiled()),
    ("has another number of rows or segments than it says", _uncounted()),
    (
        "has segments whose times make no sense",
        "SELECT DISTINCT video_key FROM segments WHERE NOT (0 <= start_s AND start_s < end_s)"
        " OR abs(end_s) > 1e9 OR length(frame_times) <> 8 * n_frames",
    ),
    (
        "has words outside of its segments, or that cannot be read",
        "SELECT DISTINCT utterances.video_key FROM utterances LEFT JOIN segments USING (segment_id)"
        " WHERE utterances.segment_id IS NOT NULL AND segments.video_key IS NOT utterances.video_key"
        " OR NOT json_valid(words) OR NOT (utterances.start_s <= utterances.end_s)",
    ),
    (
        "has more or less speech than is written down",
        "SELECT video_key FROM videos LEFT JOIN (SELECT video_key, sum(end_s - start_s) AS said_s"  # noqa: S608
        " FROM utterances GROUP BY video_key) USING (video_key)"
        f" WHERE abs(speech_s - ifnull(said_s, 0)) > {SPEECH_TOLERANCE_S}",
    ),
    ("has notes that cannot be read", "SELECT video_key FROM videos WHERE NOT json_valid(notes)"),
    (
        "is at no path",
        "SELECT video_key FROM videos WHERE fingerprint NOT IN"
        " (SELECT fingerprint FROM files WHERE fingerprint IS NOT NULL)",
    ),
)
_TEXTS = {table: ", ".join(types["text"]) for table, types in _TYPES.items() if "text" in types}
_OF_THE_WHOLE = (
    ("its count of commits is damaged", "SELECT 1 FROM state WHERE revision < 0 OR dim < 0"),
    ("its count of commits is gone, or double", "SELECT 1 WHERE (SELECT count(*) FROM state) <> 1"),
    (
        "it does not know all files of rows",
        f"SELECT 1 WHERE (SELECT count(*) FROM vectors WHERE n_rows >= 0 AND kind IN ({_KINDS}))"  # noqa: S608
        f" <> {len(KINDS)} OR (SELECT count(*) FROM vectors) <> {len(KINDS)}",
    ),
    ("it has rows of no length", "SELECT 1 FROM state WHERE dim = 0 AND EXISTS (SELECT 1 FROM segments)"),
    ("files have paths that are none", "SELECT 1 FROM files WHERE typeof(path) <> 'blob' OR path = x''"),
    (
        "files have sizes or times that are none",
        "SELECT 1 FROM files WHERE typeof(size_bytes) <> 'integer' OR typeof(mtime_ns) <> 'integer'",
    ),
    (
        "it lists graphs over rows that are not there",
        f"SELECT 1 FROM graphs LEFT JOIN vectors USING (kind) WHERE kind NOT IN ({_SEARCH_KINDS})"  # noqa: S608
        " OR graphs.n_rows > vectors.n_rows",
    ),
)

_READ_THROUGH = (
    "SELECT path, size_bytes, mtime_ns, fingerprint, reason, hint, volume, mount, label FROM files",
    "SELECT video_key, kind, start, n_rows, crc32 FROM spans",
    "SELECT kind, generation, n_rows FROM vectors",
    "SELECT generation, kind, engine, n_rows, crc32, size_bytes, ef FROM graphs",
    "SELECT key, value FROM identity",
    "SELECT key, value FROM settings",
)


def broken(catalog: Catalog) -> Iterator[str]:
    """What is wrong with a catalog as a whole: it cannot be mended by leaving out a video."""
    yield from catalog.faults()
    try:
        if orphans := catalog.rows("PRAGMA foreign_key_check"):
            yield f"{len(orphans)} rows refer to something that is gone"
        if catalog.tables() != wanted_tables():
            yield "its tables are not those of this version"
            return
        for sql in _READ_THROUGH:
            for _ in catalog.each(sql):
                pass
        for message, sql in _OF_THE_WHOLE:
            if catalog.rows(f"{sql} LIMIT 1"):
                yield message
    except StoreError as error:
        yield error.message


def broken_videos(catalog: Catalog) -> Iterator[tuple[int, str]]:
    """(video_key, what is wrong with it) of every video that breaks a rule.

    Raises:
        StoreError: the catalog cannot be read.
    """
    for message, sql in _OF_VIDEOS:
        for (video_key,) in catalog.rows(sql):
            yield video_key, message
    for table, columns in _TEXTS.items():
        for video_key in _unreadable(catalog, table, columns):
            yield video_key, f"has texts in {table} that are no Unicode"


def _unreadable(catalog: Catalog, table: str, columns: str) -> Iterator[int]:
    """Videos with a text that SQLite holds and Python cannot read; SQLite itself does not look."""
    sql = f"SELECT {columns} FROM {table}"  # noqa: S608
    try:
        for _ in catalog.each(sql):
            pass
    except StoreError:
        for (video_key,) in catalog.rows("SELECT video_key FROM videos ORDER BY video_key"):
            try:
                catalog.rows(f"{sql} WHERE video_key = ?", video_key)
            except StoreError:
                yield video_key
