"""The tables of `catalog.db`, and the steps from each version of them to the next.

`MIGRATIONS[n]` turns version n into n + 1; a new store goes through all of them. Rows of the vector
files are numbered from 0 within their kind; a segment's rows are ``[x_start, x_start + n_x)``.
"""

from __future__ import annotations

_VERSION_1 = (
    "CREATE TABLE identity (key TEXT PRIMARY KEY, value TEXT NOT NULL)",
    "CREATE TABLE settings (key TEXT PRIMARY KEY, value TEXT NOT NULL)",
    # One row. `revision` grows with every commit: a reader knows by it whether its maps are current.
    "CREATE TABLE state (revision INTEGER NOT NULL, dim INTEGER NOT NULL)",
    "INSERT INTO state VALUES (0, 0)",
    # `n_rows` is the committed length: what a vector file holds beyond it was never acknowledged.
    "CREATE TABLE vectors (kind TEXT PRIMARY KEY, generation INTEGER NOT NULL, n_rows INTEGER NOT NULL)",
    "INSERT INTO vectors VALUES ('seen', 1, 0), ('frames', 1, 0), ('said', 1, 0)",
    """CREATE TABLE videos (
        video_key INTEGER PRIMARY KEY,
        fingerprint TEXT NOT NULL UNIQUE,
        duration_s REAL NOT NULL,
        has_audio INTEGER NOT NULL,
        has_video INTEGER NOT NULL,
        n_segments INTEGER NOT NULL,
        speech_s REAL NOT NULL,
        language TEXT NOT NULL,
        language_probability REAL NOT NULL,
        asr TEXT NOT NULL,
        notes TEXT NOT NULL,
        partial INTEGER NOT NULL,
        indexed_at REAL NOT NULL)""",
    # A path is bytes: names on disk need not be Unicode.
    """CREATE TABLE files (
        path BLOB PRIMARY KEY,
        size_bytes INTEGER NOT NULL,
        mtime_ns INTEGER NOT NULL,
        fingerprint TEXT REFERENCES videos (fingerprint) DEFERRABLE INITIALLY DEFERRED,
        reason TEXT,
        hint TEXT,
        attempts INTEGER NOT NULL DEFAULT 0)""",
    "CREATE INDEX files_fingerprint ON files (fingerprint)",
    """CREATE TABLE spans (
        video_key INTEGER NOT NULL REFERENCES videos ON DELETE CASCADE,
        kind TEXT NOT NULL,
        start INTEGER NOT NULL,
        n_rows INTEGER NOT NULL,
        crc32 INTEGER NOT NULL,
        PRIMARY KEY (video_key, kind))""",
    "CREATE INDEX spans_start ON spans (kind, start)",
    # AUTOINCREMENT: an id that a reader still holds is never given to another segment.
    """CREATE TABLE segments (
        segment_id INTEGER PRIMARY KEY AUTOINCREMENT,
        video_key INTEGER NOT NULL REFERENCES videos ON DELETE CASCADE,
        start_s REAL NOT NULL,
        end_s REAL NOT NULL,
        seen_start INTEGER NOT NULL,
        n_seen INTEGER NOT NULL,
        frames_start INTEGER NOT NULL,
        n_frames INTEGER NOT NULL,
        said_start INTEGER NOT NULL,
        n_said INTEGER NOT NULL,
        frame_times BLOB NOT NULL)""",
    "CREATE INDEX segments_video ON segments (video_key, start_s)",
    "CREATE INDEX segments_seen ON segments (seen_start) WHERE n_seen > 0",
    "CREATE INDEX segments_said ON segments (said_start) WHERE n_said > 0",
    """CREATE TABLE utterances (
        utterance_key INTEGER PRIMARY KEY,
        video_key INTEGER NOT NULL REFERENCES videos ON DELETE CASCADE,
        segment_id INTEGER REFERENCES segments ON DELETE CASCADE,
        start_s REAL NOT NULL,
        end_s REAL NOT NULL,
        text TEXT NOT NULL,
        words TEXT NOT NULL)""",
    "CREATE INDEX utterances_video ON utterances (video_key)",
    "CREATE INDEX utterances_segment ON utterances (segment_id)",
    """CREATE TABLE graphs (
        generation INTEGER PRIMARY KEY AUTOINCREMENT,
        kind TEXT NOT NULL,
        engine TEXT NOT NULL,
        n_rows INTEGER NOT NULL,
        crc32 INTEGER NOT NULL,
        size_bytes INTEGER NOT NULL,
        ef INTEGER NOT NULL)""",
)

_NEW_IN_2 = ("heard", "fused", "parts")
_VERSION_2 = (
    *(
        f"ALTER TABLE segments ADD COLUMN {column} INTEGER NOT NULL DEFAULT 0"
        for kind in _NEW_IN_2
        for column in (f"{kind}_start", f"n_{kind}")
    ),
    # The files are made when the store is opened for writing.
    *(f"INSERT INTO vectors VALUES ('{kind}', 1, 0)" for kind in _NEW_IN_2),  # noqa: S608
    "CREATE INDEX segments_heard ON segments (heard_start) WHERE n_heard > 0",
    "CREATE INDEX segments_fused ON segments (fused_start) WHERE n_fused > 0",
)

_VERSION_3 = (
    # The volume that a file was last seen on; not known for files of before, until they are seen again.
    "ALTER TABLE files ADD COLUMN volume TEXT",
    "ALTER TABLE files ADD COLUMN mount BLOB",
    "ALTER TABLE files ADD COLUMN label TEXT",
    # When a run first found the file gone from its volume, in seconds since the epoch.
    "ALTER TABLE files ADD COLUMN missing_since REAL",
    # Whether the failure may have been the machine's and not the file's.
    "ALTER TABLE files ADD COLUMN passing INTEGER NOT NULL DEFAULT 0",
    # What the clock said when a run last looked after missing files: tells whether it has leapt since.
    "ALTER TABLE state ADD COLUMN clock REAL NOT NULL DEFAULT 0",
)

# `savecli.store.words` keeps these. FTS5 must be told what text a row had that is gone, and no trigger may do
# so where the schema is not trusted: `gone_transcripts` holds it until the end of the transaction.
_VERSION_4 = (
    """CREATE TABLE transcripts (
        video_key INTEGER PRIMARY KEY REFERENCES videos ON DELETE CASCADE,
        text TEXT NOT NULL)""",
    "CREATE TABLE gone_transcripts (video_key INTEGER NOT NULL, text TEXT NOT NULL)",
    "CREATE TRIGGER transcripts_gone AFTER DELETE ON transcripts BEGIN"
    " INSERT INTO gone_transcripts VALUES (old.video_key, old.text); END",
    "CREATE VIRTUAL TABLE spoken USING fts5 (text, content = 'transcripts', content_rowid = 'video_key',"
    " tokenize = 'ascii', columnsize = 0)",
    "CREATE TABLE vocabulary (word TEXT PRIMARY KEY) WITHOUT ROWID",
)

MIGRATIONS: tuple[tuple[str, ...], ...] = (_VERSION_1, _VERSION_2, _VERSION_3, _VERSION_4)
