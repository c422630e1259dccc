"""The index of exact words: it follows every change, and nothing that is typed can break it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from savecli.datatypes import Term, Transcript, Utterance, Word
from savecli.errors import StoreError
from savecli.query import phrase
from savecli.store import Store, words

A, B = Path("/v/a.mp4"), Path("/v/b.mp4")
ANY = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def say(store, samples):
    """Stores a video in which lines are said, one utterance each."""

    def say_(path, number, *lines):
        spoken = tuple(
            Utterance(start_s=2.0 * i, end_s=2.0 * i + 1, text=line) for i, line in enumerate(lines)
        )
        content = replace(samples.content(number, 2), transcript=Transcript(language="en", utterances=spoken))
        samples.add(store, path, content)
        return content.fingerprint

    return say_


def said(store, text, **options):
    with store.snapshot():
        found = store.saying(phrase(text).runs, -1, **options)
        return [spoken.video_id for spoken in found]


def test_a_phrase_is_found_across_lines(store, say):
    first = say(A, 1, "Good", "boy, SIT")
    second = say(B, 2, "a boy is good")
    assert said(store, "good boy sit") == [first]
    assert said(store, "good") == [first, second]
    assert said(store, "good boy is") == []
    assert said(store, "bo*") == [first, second]
    assert said(store, "bo* sit") == [first]


def test_lines_lead_back_to_utterances(store, say):
    video_id = say(A, 1, "one two", "...", "three")
    with store.snapshot():
        (spoken,) = store.saying(phrase("three").runs, -1)
    assert spoken.text.split("\n") == ["one two", "", "three"]
    (third,) = store.utterances_from(video_id, 2, 5)
    assert third.text == "three"
    assert store.texts(video_id) == ["one two", "...", "three"]


def test_words_with_times_go_before_the_text(store, samples):
    timed = tuple(Word(start_s=i, end_s=i + 1, text=text) for i, text in enumerate(["Good", "boy!"]))
    spoken = (Utterance(start_s=0, end_s=2, text="something else", words=timed),)
    content = replace(samples.content(1, 1), transcript=Transcript(language="en", utterances=spoken))
    samples.add(store, A, content)
    assert said(store, "good boy") == [content.fingerprint]
    assert said(store, "something") == []


def test_what_replaces_a_video_replaces_its_words(store, say):
    say(A, 1, "old words")
    video_id = say(A, 1, "new words")
    assert said(store, "words") == [video_id]
    assert said(store, "old") == []
    say(A, 2, "other")
    assert said(store, "words") == []


def test_what_is_forgotten_leaves_no_word_in_any_file(store, say, home):
    say(A, 1, "xylophonist speaks")
    say(B, 2, "someone speaks")
    store.unlink(A)
    assert said(store, "xylophonist") == []
    assert store.near_words("xylophonist", 0) == []
    assert store.near_words("speaks", 0) == ["speaks"]
    store.close()
    assert all(b"xylophon" not in file.read_bytes() for file in home.iterdir())


def test_a_video_with_another_path_keeps_its_words(store, say, samples):
    video_id = say(A, 1, "good boy")
    store.link(B, 1000, 1, video_id)
    store.unlink(A)
    assert said(store, "good boy") == [video_id]


def test_a_rebuild_makes_the_same_index(store, say, samples, home):
    ids = [say(A, 1, "good boy"), say(B, 2, "good dog")]
    with store._catalog.writing():
        store._catalog.run("UPDATE transcripts SET text = 'nothing'")
        store._catalog.run("INSERT INTO spoken (spoken) VALUES ('rebuild')")
        store._catalog.run("DELETE FROM vocabulary")
    assert said(store, "good") == []
    store.compact()
    assert said(store, "good") == ids
    assert store.near_words("good", 0) == ["good"]


def test_only_some_videos_are_looked_at(store, say):
    first, second = say(A, 1, "good boy"), say(B, 2, "good dog")
    assert said(store, "good", among=store.keys([second])) == [second]
    assert said(store, "good", among=[]) == []
    assert store.speaking(among=store.keys([first])) == [first]
    assert store.speaking() == [first, second]


def test_an_older_store_is_filled_when_it_is_opened(home, samples):
    with Store.open(home, identity=samples.IDENTITY, mode="write") as store:
        content = samples.content(3, 3)
        samples.add(store, A, content)
    with closing(sqlite3.connect(home / "catalog.db")) as catalog:
        for table in ("transcripts", "gone_transcripts", "spoken", "vocabulary"):
            catalog.execute(f"DROP TABLE {table}")
        catalog.execute("PRAGMA user_version = 3")
        catalog.commit()
    (home / "catalog.db.sum").unlink()
    with Store.open(home, identity=samples.IDENTITY, mode="write") as store:
        assert said(store, "word3") == [content.fingerprint]
        assert store.near_words("word3", 0) == ["word3"]


def test_a_sqlite_without_full_text_search_is_told(tmp_path, samples, monkeypatch):
    monkeypatch.setattr(words, "_HAS_FTS5", "SELECT 1 WHERE 0")
    with pytest.raises(StoreError, match="FTS5") as caught:
        Store.open(tmp_path / "new", identity=samples.IDENTITY, mode="write")
    assert "python.org" in caught.value.hint


@ANY
@given(text=st.text(min_size=1).filter(lambda text: any(c.isalnum() for c in text)))
def test_any_phrase_is_data(store, say, text):
    say(A, 1, 'good "boy" OR NEAR(a b) * ^x', "text:y {z}")
    try:
        runs = phrase(text).runs
    except Exception:  # noqa: BLE001 - it is refused before it comes here
        return
    with store.snapshot():
        list(store.saying(runs, -1))


@ANY
@given(text=st.text())
def test_whatever_is_said_is_found_again(store, say, text):
    video_id = say(A, 1, text)
    with store.snapshot():
        (spoken,) = list(store.saying([(Term(w),) for w in words.fold.words(text)], -1)) or [None]
    assert spoken is None or spoken.video_id == video_id
    assert (spoken is None) == (not words.fold.words(text))


LETTERS = st.text(alphabet="abc", min_size=3, max_size=8)


@ANY
@given(said_words=st.lists(LETTERS, min_size=1, max_size=12), name=LETTERS, edits=st.integers(0, 2))
def test_no_near_word_is_missed(store, say, said_words, name, edits):
    say(A, 1, " ".join(said_words))
    expected = {word for word in said_words if distance(name, word) <= edits}
    assert expected <= set(store.near_words(name, edits))


def distance(one, other):
    """Levenshtein's, by the book."""
    table = np.zeros((len(one) + 1, len(other) + 1), int)
    table[:, 0], table[0] = range(len(one) + 1), range(len(other) + 1)
    for i, a in enumerate(one, 1):
        for j, b in enumerate(other, 1):
            table[i, j] = min(table[i - 1, j] + 1, table[i, j - 1] + 1, table[i - 1, j - 1] + (a != b))
    return table[-1, -1]
