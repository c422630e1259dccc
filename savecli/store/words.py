"""Exact words: every video's transcript under a full-text index (SQLite FTS5), and the list of all words.

`transcripts.text` holds the folded words of a video (`savecli.fold`), one line for each utterance in order:
so a phrase is found across utterances and segments, and a place in the text leads to its utterance. FTS5's
ascii tokenizer cuts it at spaces and newlines, and leaves everything beyond ASCII as it is. Of what a person
typed, only tokens in double quotes reach FTS5's query language; they hold letters and digits alone.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from savecli import fold
from savecli.datatypes import Run
from savecli.errors import StoreError

if TYPE_CHECKING:
    from savecli.store.catalog import Catalog

_HAS_FTS5 = "SELECT 1 FROM pragma_module_list WHERE name = 'fts5'"
_NOTHING = '"\N{REPLACEMENT CHARACTER}"'  # no letter, so no transcript has it


class Spoken(NamedTuple):
    """The words of a video: folded, separated by spaces, a line for each utterance in order of time."""

    video_id: str
    text: str


def settle(catalog: Catalog) -> None:
    """Makes the index follow what a transaction did to the videos; the last thing that it does."""
    for video_key, text in catalog.rows("SELECT video_key, text FROM gone_transcripts"):
        catalog.run("INSERT INTO spoken (spoken, rowid, text) VALUES ('delete', ?, ?)", video_key, text)
        catalog.run("DELETE FROM gone_transcripts WHERE video_key = ?", video_key)
    for video_key in _without(catalog):
        lines = _lines(catalog, video_key)
        catalog.run("INSERT INTO transcripts VALUES (?, ?)", video_key, _text(lines))
        catalog.run("INSERT INTO spoken (rowid, text) VALUES (?, ?)", video_key, _text(lines))
        _meet(catalog, lines)


def _without(catalog: Catalog) -> list[int]:
    rows = catalog.rows(
        "SELECT video_key FROM videos WHERE NOT EXISTS"
        " (SELECT 1 FROM transcripts WHERE transcripts.video_key = videos.video_key)"
    )
    return [row[0] for row in rows]


def rebuild(catalog: Catalog) -> None:
    """Makes the index and the list of words anew from what is said. Only inside `Catalog.writing`."""
    catalog.run("DELETE FROM vocabulary")
    for (video_key,) in catalog.rows("SELECT video_key FROM transcripts"):
        lines = _lines(catalog, video_key)
        catalog.run("UPDATE transcripts SET text = ? WHERE video_key = ?", _text(lines), video_key)
        _meet(catalog, lines)
    catalog.run("INSERT INTO spoken (spoken) VALUES ('rebuild')")


def _lines(catalog: Catalog, video_key: int) -> list[list[str]]:
    rows = catalog.rows(
        "SELECT text, words FROM utterances WHERE video_key = ? ORDER BY utterance_key", video_key
    )
    return [_line(*row) for row in rows]


def _text(lines: Iterable[Iterable[str]]) -> str:
    return "\n".join(" ".join(line) for line in lines)


def _meet(catalog: Catalog, lines: Iterable[Iterable[str]]) -> None:
    met = sorted({word for line in lines for word in line})
    catalog.run_many("INSERT OR IGNORE INTO vocabulary VALUES (?)", ((word,) for word in met))


def _line(text: str, words: str) -> list[str]:
    """The folded words of an utterance: those with times where it has any."""
    try:
        timed = [str(word) for _, _, word in json.loads(words)]
    except (ValueError, TypeError):
        timed = []  # damaged, which `save verify` tells
    return [word for one in timed or [str(text)] for word in fold.words(one)]


def scrub(catalog: Catalog) -> None:
    """Rewrites the index without what videos left that are gone. Only inside `Catalog.writing`."""
    settle(catalog)
    catalog.run("INSERT INTO spoken (spoken) VALUES ('optimize')")
    catalog.run(
        "DELETE FROM vocabulary WHERE NOT EXISTS"
        " (SELECT 1 FROM spoken WHERE spoken MATCH '\"' || vocabulary.word || '\"')"
    )


def saying(
    catalog: Catalog, runs: Sequence[Run], limit: int, *, among: Collection[int] | None = None
) -> Iterator[Spoken]:
    """Videos in which each of `runs` is said somewhere, or where a run has a prefix within, its pieces.

    Args:
        catalog: open for reading.
        runs: of folded words.
        limit: how many videos, in order of indexing; -1 for all.
        among: keys of the only videos to look at.
    """
    require_fts5(catalog)
    sql = (
        "SELECT fingerprint, transcripts.text FROM spoken"
        " JOIN transcripts ON transcripts.video_key = spoken.rowid JOIN videos USING (video_key)"
        " WHERE spoken MATCH ?"
    )
    values: list[object] = [_expression(runs)]
    if among is not None:
        sql += " AND +spoken.rowid IN (SELECT value FROM json_each(?))"
        values.append(json.dumps(list(among)))
    for row in catalog.each(f"{sql} LIMIT ?", *values, limit):
        yield Spoken(*row)


def _expression(runs: Sequence[Run]) -> str:
    """What FTS5 reads: a prefix can only end a phrase there, so a run is cut behind each."""
    pieces: list[list[str]] = [[]]
    ends = []
    for run in runs:
        for term in run:
            pieces[-1].append(term.text)
            if term.is_prefix:
                ends.append(len(pieces))
                pieces.append([])
        pieces.append([])
    quoted = [
        f'"{" ".join(piece)}"' + (" *" if number in ends else "")
        for number, piece in enumerate(pieces, 1)
        if piece
    ]
    return " AND ".join(quoted) or _NOTHING


def speaking(catalog: Catalog, *, among: Collection[int] | None = None) -> list[str]:
    """Ids of the videos in which anything is said, in order of indexing."""
    sql = "SELECT fingerprint FROM videos JOIN transcripts USING (video_key) WHERE text <> ''"
    values = []
    if among is not None:
        sql += " AND +video_key IN (SELECT value FROM json_each(?))"
        values.append(json.dumps(list(among)))
    return [row[0] for row in catalog.rows(f"{sql} ORDER BY video_key", *values)]


def texts(catalog: Catalog, video_id: str) -> list[str]:
    """What is said in a video, by utterance in order of time."""
    rows = catalog.rows(
        "SELECT text FROM utterances JOIN videos USING (video_key) WHERE fingerprint = ?"
        " ORDER BY utterance_key",
        video_id,
    )
    return [row[0] for row in rows]


def near(catalog: Catalog, word: str, edits: int) -> list[str]:
    """Words that may be `word` but for `edits` letters: all of those, and others.

    At least one of ``edits + 1`` pieces of the word stands unchanged in each, the first at its beginning or
    the last at its end where there are two.
    """
    if not edits:
        return [row[0] for row in catalog.rows("SELECT word FROM vocabulary WHERE word = ?", word)]
    n_pieces = edits + 1
    cuts = [round(i * len(word) / n_pieces) for i in range(n_pieces + 1)]
    pieces = [word[a:b] for a, b in itertools.pairwise(cuts)]
    first, *middle, last = pieces
    wanted = ["substr(word, 1, ?) = ?", "substr(word, ?) = ?", *["instr(word, ?)"] * len(middle)]
    rows = catalog.rows(
        f"SELECT word FROM vocabulary WHERE length(word) BETWEEN ? AND ? AND ({' OR '.join(wanted)})",  # noqa: S608
        len(word) - edits,
        len(word) + edits,
        len(first),
        first,
        -len(last),
        last,
        *middle,
    )
    return [row[0] for row in rows]


def require_fts5(catalog: Catalog) -> None:
    """Looks whether this Python's SQLite can index words.

    Raises:
        StoreError: it cannot.
    """
    if not catalog.rows(_HAS_FTS5):
        raise StoreError(
            "the SQLite of this Python has no full-text search (FTS5)",
            hint="use a Python from python.org, conda or your distribution; they have it",
        )
