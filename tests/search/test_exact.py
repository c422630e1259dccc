"""Exact words: found over whole videos, with the times of the words."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from savecli import fold
from savecli.datatypes import Ask, Embedding, Segment, Transcript, Utterance, Video, Word
from savecli.errors import QueryError
from savecli.query import phrase
from savecli.search import SNIPPET_CHARACTERS, exact, search

A, B, C = Path("/videos/a.mp4"), Path("/videos/b.mp4"), Path("/videos/c.mp4")
NONE = np.zeros((0, 4), np.float32)


@pytest.fixture
def speak(colour_store):
    """Stores a video in segments of 4 s in which a word is said each second; each list is an utterance."""

    number = itertools.count(1)

    def speak_(path, *lists, timed=True):
        at, utterances = itertools.count(), []
        for spoken in lists:
            words = [Word(start_s=(t := float(next(at))), end_s=t + 0.75, text=text) for text in spoken]
            utterances.append(
                Utterance(
                    start_s=words[0].start_s,
                    end_s=words[-1].end_s,
                    text=" ".join(spoken),
                    words=tuple(words) if timed else (),
                )
            )
        end_s = float(next(at))
        segments = [Segment(start_s=t, end_s=t + 4) for t in np.arange(0.0, end_s, 4.0).tolist()]
        nothing = [Embedding(seen=NONE, frames=NONE, said=NONE) for _ in segments]
        video = Video(
            path=path,
            fingerprint=f"{next(number):032x}",
            size_bytes=1,
            mtime_ns=1,
            duration_s=end_s,
            has_video=False,
            has_audio=True,
        )
        transcript = Transcript(language="en", language_probability=1.0, utterances=tuple(utterances))
        times = [np.zeros(0)] * len(segments)
        colour_store.add(video, segments, nothing, transcript, asr="parrot", frame_times=times)
        return video

    return speak_


def spans(results):
    return [(m.path, m.start_s, m.end_s) for m in results.moments]


def marked(moment):
    return [moment.snippet[start:end] for start, end in moment.marks]


def test_a_phrase_is_found_across_utterances_and_segments(speak, find):
    speak(A, ["So", "he", "said:"], ["Good"], ["boy,", "SIT!"], ["No."])
    (moment,) = find('"good boy sit"').moments
    assert (moment.start_s, moment.end_s, moment.best_s) == (3, 5.75, 3), "as long as the words"
    assert moment.score == moment.why["said"] == 1
    assert moment.snippet == "Good boy, SIT!"
    assert marked(moment) == ["Good", "boy", "SIT"]


def test_words_without_times_get_their_share_of_the_utterance(speak, find):
    speak(A, ["one", "two", "three"], timed=False)
    (moment,) = find('"two"').moments
    assert 0.5 < moment.start_s < moment.end_s < 2


@pytest.mark.parametrize(
    ("query", "starts"),
    [
        ('"the cat"', [0, 5]),
        ('"THE C\xc2T"', [0, 5]),
        ('"ca*"', [1, 3, 6]),
        ('"the ca*"', [0, 5]),
        ('"th* can* se*"', [2]),
        ('"cat NEAR/1 can"', [1]),
        ('"can NEAR/1 cat"', [1]),
        ('"can NEAR/0 cat"', []),
        ('"cat NEAR can NEAR/0 see"', [1]),
        ('"see the cat" "the cat"', [4]),
        ('"cat" "dog"', []),
        ('"at the"', []),
    ],
)
def test_what_a_phrase_may_be(speak, find, query, starts):
    speak(A, ["The", "cat"], ["then", "can", "see"], ["the", "cat."])
    assert [moment.start_s for moment in find(query).moments] == starts


def test_every_place_is_found_in_order_of_path_and_time(speak, find):
    speak(B, ["ha", "ho", "ha"])
    speak(A, ["ha"])
    assert spans(find('"ha"')) == [(A, 0, 0.75), (B, 0, 0.75), (B, 2, 2.75)]
    assert spans(find('"ha ho ha"')) == [(B, 0, 2.75)]


def test_several_phrases_must_be_said_within_a_minute(speak, find):
    speak(A, ["good"], ["um"] * 20, ["boy"])
    speak(B, ["good"], ["um"] * 90, ["boy"])
    (moment,) = find('"good" "boy"').moments
    assert (moment.path, moment.start_s, moment.end_s) == (A, 0, 21.75)


def test_chinese_is_found_in_both_scripts_and_by_any_run_of_characters(speak, find):
    speak(A, ["\u4f60\u5f8c\u4f86", "\u8aaa\u4ec0\u9ebc"])
    assert spans(find('"\u540e\u6765\u8bf4"')) == [(A, 0, 1.75)]
    assert spans(find('"\u5f8c"')) == [(A, 0, 0.75)]
    assert marked(find('"\u540e\u6765\u8bf4"').moments[0]) == ["\u5f8c", "\u4f86", "\u8aaa"]


@pytest.mark.parametrize(
    ("pattern", "starts"),
    [
        ("colou?r", [1, 4]),
        (r"\bred\w*\b", [2]),
        ("a colour reddish", [0]),
        (r"reddish\.? No", [2]),
        ("CAF\xc9", [5]),
        ("cafe", [5]),
        ("CAFE\u0301", [5]),
        (r"\d+", [6]),
        ("^a", [0]),
        ("x*", []),
        (r"\s", []),
        ("colou?r(?=, )", [4]),
    ],
)
def test_what_a_regular_expression_may_be(speak, find, pattern, starts):
    speak(A, ["a", "colour"], ["reddish."], ["No", "color,", "caf\xe9", "42"])
    assert [moment.start_s for moment in find(Ask(regexes=(pattern,))).moments] == starts


def test_phrase_and_regular_expression_together(speak, find):
    speak(A, ["good", "boy"])
    speak(B, ["good", "girl"])
    assert spans(find(Ask(phrases=(phrase("good"),), regexes=("g[^ ]+l",)))) == [(B, 0, 1.75)]
    assert spans(find(Ask(regexes=("good", "boy")))) == [(A, 0, 1.75)]


def test_a_regular_expression_that_never_ends_is_stopped(speak, find, monkeypatch):
    monkeypatch.setattr(exact, "REGEX_LIMIT_S", 0.2)
    speak(A, ["a" * 40, "b"])
    began = time.monotonic()
    with pytest.raises(QueryError, match=r"took longer than 0\.2 s") as caught:
        find(Ask(regexes=("(a|aa)+$",)))
    assert time.monotonic() - began < 5
    assert "--phrase" in caught.value.hint


@pytest.mark.parametrize("pattern", ["(", "[", "*", "(?P<x", "\\", "a{2,1}", "", "x" * 1001])
def test_what_is_no_regular_expression_is_refused(speak, find, pattern):
    speak(A, ["word"])
    with pytest.raises(QueryError) as caught:
        find(Ask(regexes=(pattern,)))
    assert caught.value.hint


def test_a_regular_expression_that_calls_itself_without_end_is_stopped(speak, find):
    speak(A, ["word"])
    with pytest.raises(QueryError, match="memory"):
        find(Ask(regexes=("(?R)",)))


def test_more_places_than_are_looked_through_are_told(speak, find, monkeypatch):
    for i in range(4):
        speak(Path(f"/videos/{i}.mp4"), ["the", "word"])
    assert not find('"the"').has_more
    monkeypatch.setattr(exact, "MAX_VIDEOS", 3)
    some = find('"the"')
    assert (len(some.moments), some.has_more) == (3, True)


def test_more_places_in_a_video_than_are_shown_are_told(speak, find):
    speak(A, *[["the", "word"]] * exact.MAX_PLACES_IN_VIDEO)
    assert not find('"the"', top_k=1000).has_more
    speak(B, *[["the", "word"]] * (exact.MAX_PLACES_IN_VIDEO + 1))
    some = find('"the" in:/videos/b.mp4', top_k=1000)
    assert (len(some.moments), some.has_more) == (exact.MAX_PLACES_IN_VIDEO, True)
    assert not find('"the" in:/videos/b.mp4', by_video=True).has_more, "five are all that is shown"


@pytest.mark.parametrize(
    "ask",
    [
        Ask(phrases=(phrase("the"), phrase("zebra"))),
        Ask(phrases=(phrase("zebra"), phrase("the"))),
        Ask(phrases=(phrase("the"),), regexes=("zebra",)),
        Ask(regexes=("the", "zebra")),
    ],
)
def test_a_word_that_is_said_all_the_time_goes_with_one_that_is_said_once(speak, find, ask):
    speak(A, *[["the", "cat"]] * 2 * exact.MAX_PLACES_IN_VIDEO, ["the", "zebra"])
    moments = find(ask).moments
    assert moments
    assert all("zebra" in marked(moment) for moment in moments)


def test_words_that_must_not_be_said_are_found_to_the_end_of_a_video(speak, find):
    speak(A, *[["the", "cat"]] * 2 * exact.MAX_PLACES_IN_VIDEO, ["a", "cat", "sat"])
    speak(B, ["a", "dog", "sat"])
    assert {moment.path for moment in find('"a NEAR sat"').moments} == {A, B}
    assert {moment.path for moment in find('"a NEAR sat" -"cat"').moments} == {B}


def test_a_long_utterance_is_cut_around_the_words(speak, find):
    speak(A, ["word"] * 100 + ["needle"] + ["word"] * 100)
    (moment,) = find('"needle word"').moments
    assert marked(moment) == ["needle", "word"]
    assert len(moment.snippet) <= SNIPPET_CHARACTERS + 2
    assert moment.snippet[0] == moment.snippet[-1] == "\u2026"


def test_what_is_said_outside_of_all_segments_is_found(colour_store, find):
    spoken = (Utterance(start_s=0, end_s=1, text="good boy"),)
    video = Video(
        path=A, fingerprint="1" * 32, size_bytes=1, mtime_ns=1, duration_s=1, has_video=False, has_audio=True
    )
    colour_store.add(
        video, [], [], Transcript(language="en", utterances=spoken), asr="parrot", frame_times=[]
    )
    assert [moment.path for moment in find('"good boy"').moments] == [A]


WORDS = st.lists(st.sampled_from(["ab", "b", "abc", "c", "Caf\xe9", "\u732b"]), min_size=1, max_size=12)


def test_words_that_stand_in_both_do_not_hide_those_beside_them():
    near = phrase("b c NEAR a b")
    assert list(exact._near(near, " x x a b a b c ")) == [[(2, 4), (5, 7)]]
    assert list(exact._near(near, " a b c ")) == []
    assert list(exact._near(phrase("a b NEAR b c"), " a b c b c ")) == [[(0, 2), (3, 5)]]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(said=st.lists(WORDS, min_size=1, max_size=4), start=st.integers(0, 40), n=st.integers(1, 5))
def test_any_run_of_words_is_found_where_it_is_said(speak, find, said, start, n):
    speak(A, *said)
    flat = [word for one in said for word in one]
    start %= len(flat)
    wanted = flat[start : start + n]
    found = find(Ask(phrases=(phrase(" ".join(wanted)),)), top_k=100).moments
    folded = [fold.words(word) for word in flat]
    places = [i for i in range(len(flat)) if folded[i : i + len(wanted)] == [fold.words(w) for w in wanted]]
    assert start in places
    starts = {moment.start_s for moment in found}
    # One that begins within another is a part of it.
    assert starts <= set(map(float, places))
    assert any(moment.start_s <= start < moment.end_s for moment in found)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(min_size=1, max_size=20))
def test_any_text_is_a_regular_expression_or_refused(speak, find, text):
    speak(A, ["good", "boy", "\u732b"])
    try:
        results = find(Ask(regexes=(text,)))
    except QueryError as error:
        results = error
    assert results.hint if isinstance(results, QueryError) else results.n_videos is None


def test_exact_words_need_no_encoder(speak, colour_store):
    speak(A, ["good", "boy"])
    assert search(Ask(phrases=(phrase("good"),)), colour_store, None).moments
