"""Weights, negatives, filters, names and ways of showing: what they do to the moments that are found."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from savecli.datatypes import Ask, Part, Where
from savecli.errors import QueryError
from savecli.query import parse, phrase
from savecli.search import Show, flow, names, search

A, B, C = Path("/videos/a.mp4"), Path("/videos/b.mp4"), Path("/other/c.mp4")


def paths(results):
    return [moment.path for moment in results.moments]


def test_a_weight_decides_what_matters_more(put, find):
    put(A, ["red red green"])
    put(B, ["red green green"])
    assert paths(find("3:red green", threshold=0))[0] == A
    assert paths(find(Ask(text="red", more=(Part(text="green", weight=3),)), threshold=0))[0] == B
    assert paths(find(Ask(text="green", more=(Part(text="red", weight=3),)), threshold=0))[0] == A


def test_a_weight_of_one_is_as_if_it_were_not_there(put, find):
    put(A, ["red green"], said=[("red",)])
    plain = find(Ask(text="red", sees="green"), threshold=0).moments
    assert find(Ask(text="red", more=(Part(text="green", aim="sees"),)), threshold=0).moments == plain


def test_what_answers_a_negative_as_well_loses(put, find):
    put(A, ["red"])
    put(B, ["red"], said=[("green",)])
    plain, without = find("red", threshold=0).moments, find("red -green", threshold=0).moments
    assert [m.path for m in plain] == [A, B] or plain[0].score == pytest.approx(plain[1].score, abs=0.1)
    assert without[0].path == A
    assert without[0].score > 0.9 * plain[0].score
    assert without[1].score < 0.7 * plain[1].score
    assert find("red -5:green", threshold=0).moments[1].score < without[1].score


def test_reasons_add_up_to_the_score_whatever_is_asked(put, find):
    put(A, ["red red green", "red", "blue"], said=[("red green",), ()], heard=[("red",), (), ("red",)])
    put(B, ["red", "blue green"], said=[("red",), ("blue",)], heard=[("green",), ()], fused=True)
    for typed in ("red -green", "2:red says:blue -0.5:green", '"red"', '"red" blue', '"red" -green'):
        results = find(typed, threshold=0)
        assert results.moments, typed
        for moment in results.moments:
            assert sum(moment.why.values()) == pytest.approx(moment.score)
            assert all(part >= 0 for part in moment.why.values())
            assert moment.score <= 1 + 1e-9


def test_a_quoted_phrase_always_wins_and_the_rest_orders_what_has_it(put, find):
    put(A, ["red", "red red green"], said=[(), ()])
    put(B, ["blue"], said=[("green words",)])
    put(C, ["red"], said=[("green words",)])
    results = find('"green words" red')
    assert paths(results) == [C, B], "where it is not said, nothing else helps"
    first, second = results.moments
    assert first.score > second.score >= 0.5
    assert first.why["said"] >= 0.5
    assert first.why["seen"] > second.why["seen"]


def test_where_exact_words_are_said_no_threshold_applies(put, find):
    put(A, ["red"], said=[("green words",)])
    results = find('"green words" -red')
    (moment,) = results.moments
    assert results.threshold == 0 <= moment.score < 0.3


def test_words_that_must_not_be_said_take_their_segment_away(put, find):
    put(A, ["red", "red"], said=[("bad word",), ("good word",)])
    plain, without = find("red"), find('red -"bad word"')
    assert plain.moments[0].start_s == 0
    assert [moment.best_s for moment in without.moments if moment.best_s < 2] == []
    assert without.moments
    assert [moment.snippet for moment in find('"word" -"bad word"').moments] == ["good word"]


@pytest.fixture
def library(put):
    """A: long, German, in 2020. B: short, silent, in 2024. C: elsewhere, in 2024."""
    year = {2020: 1577836800, 2024: 1704067200}
    spoken = put(A, ["red"] * 5, said=[("red",)])
    silent = put(B, ["red"])
    other = put(C, ["red"], said=[("red",)])
    return {A: (spoken, year[2020]), B: (silent, year[2024]), C: (other, year[2024])}


@pytest.fixture
def dated(library, colour_store):
    for path, (video, time_s) in library.items():
        colour_store.link(path, 1, int((time_s + 86400) * 1e9), video.fingerprint)
    with colour_store._catalog.writing():
        colour_store._catalog.run(
            "UPDATE videos SET language = 'de' WHERE fingerprint = ?", library[A][0].fingerprint
        )
        colour_store._catalog.run(
            "UPDATE videos SET has_audio = 0, language = '' WHERE fingerprint = ?", library[B][0].fingerprint
        )


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ("", {A, B, C}),
        ("in:/videos", {A, B}),
        ("in:/videos in:/other", {A, B, C}),
        ("in:/videos/a.mp4", {A}),
        ("in:/vid", set()),
        ("since:2024", {B, C}),
        ("until:2020", {A}),
        ("since:2021 until:2023", set()),
        ("min-duration:5", {A}),
        ("max-duration:2", {B, C}),
        ("min-duration:2 max-duration:2", {B, C}),
        ("lang:de", {A}),
        ("lang:de lang:en", {A, C}),
        ("has:speech", {A, C}),
        ("has:audio", {A, C}),
        ("has:video", {A, B, C}),
        ("has:speech in:/videos since:2019", {A}),
    ],
)
@pytest.mark.parametrize("query", ["red", '"red"'])
def test_filters(dated, find, filters, expected, query):
    results = find(f"{query} {filters}", threshold=0)
    assert set(paths(results)) == (expected & {A, C} if query == '"red"' else expected)
    assert results.n_videos == (len(expected) if filters else None)


def test_a_filter_acts_before_candidates_are_taken(put, find, monkeypatch):
    monkeypatch.setattr("savecli.search.flow.N_CANDIDATES", 1)
    put(A, ["red"])
    put(C, ["red red green"])
    assert paths(find("red in:/other", threshold=0)) == [C]
    assert paths(find("red in:/videos", threshold=0)) == [A]


def test_path_and_date_are_those_of_one_copy(put, find, colour_store):
    video = put(A, ["red"])
    colour_store.link(A, 1, int(1.6e18), video.fingerprint)
    colour_store.link(C, 1, int(1.7e18), video.fingerprint)
    assert paths(find("red in:/videos since:2022")) == []
    assert paths(find("red in:/other since:2022")) == [C]
    assert paths(find("red in:/videos")) == [A]


def test_filters_do_not_move_a_score(put, find):
    put(A, ["red red green"])
    put(C, ["blue", "red", "green"])
    (all_,), (some,) = (
        [m for m in find(q, threshold=0).moments if m.path == A] for q in ("red", "red in:/videos")
    )
    assert some.score == pytest.approx(all_.score)


def test_copies_are_shown_once_and_counted(put, find):
    for number in range(3):
        put(Path(f"/videos/{number}.mp4"), ["red red green"], said=[("the same words",)])
    put(A, ["red red green"], said=[("quite another thing",)])
    put(B, ["red"], said=[("the same words",)])
    found = {moment.path: moment.copies for moment in find("red", copies=False).moments}
    assert found == {Path("/videos/0.mp4"): 2, A: 0, B: 0}
    assert len(find("red").moments) == 5
    assert not any(moment.copies for moment in find("red").moments)


def test_moments_of_one_video_are_no_copies(put, find):
    put(A, ["red", "blue", "red"])
    assert len(find("red", copies=False).moments) == 2


def test_by_video_puts_moments_together(put, find):
    put(A, ["red red green", "blue", "red red green"])
    put(B, ["red", "blue", "blue"])
    put(C, ["red green"])
    results = find("red", by_video=True, threshold=0.4)
    order = paths(results)
    assert order == sorted(order, key=order.index), "each video's are together"
    assert order.count(A) == 2
    assert len(set(paths(find("red", by_video=True, threshold=0, top_k=2)))) == 2
    best = [next(m for m in results.moments if m.path == path).score for path in dict.fromkeys(order)]
    assert best == sorted(best, reverse=True)


def test_a_score_can_be_explained(put, find):
    put(A, ["red"], said=[("red words",)], heard=[("green",)])
    moment = find("red -green", explain=True, threshold=0).moments[0]
    wanted, unwanted = moment.terms
    assert (wanted.text, wanted.is_against) == ("red", False)
    assert (unwanted.text, unwanted.is_against) == ("green", True)
    assert wanted.cosines["seen"] == pytest.approx(1, abs=1e-3)
    assert wanted.cosines["heard"] == pytest.approx(0, abs=1e-3)
    assert wanted.words == 1
    assert wanted.background[2] == 1
    odds = [terms.score / (1 - terms.score) for terms in (wanted, unwanted)]
    assert moment.score == pytest.approx(wanted.score * odds[0] / sum(odds))
    assert find("red", threshold=0).moments[0].terms == ()


def test_the_words_of_the_query_are_marked(put, find):
    put(A, ["blue"], said=[("Reds are red, not blue-ish",)])
    moment = find("red", threshold=0).moments[0]
    assert [moment.snippet[a:b] for a, b in moment.marks] == ["Reds", "red"]


def test_below_the_model_s_threshold_is_told(put, find, encoder):
    put(A, ["blue blue red"])
    results = find("red", threshold=0)
    assert results.threshold == encoder.score.threshold
    assert results.moments[0].score < results.threshold


class TestNames:
    @pytest.fixture
    def find(self, colour_store, encoder, monkeypatch):
        """A search with an encoder for which every word but a colour is a name."""
        read = type(encoder).queries

        def queries(self, ask):
            return [
                replace(q, names=[w for w in q.text.lower().split() if w not in ("red", "green", "blue")])
                for q in read(self, ask)
            ]

        monkeypatch.setattr(type(encoder), "queries", queries)

        def find_(query, **options):
            return search(parse([query]), colour_store, encoder, show=Show(copies=True, **options))

        return find_

    def test_a_name_is_a_candidate_though_nothing_else_speaks_for_it(self, put, find, monkeypatch):
        monkeypatch.setattr("savecli.search.flow.N_CANDIDATES", 1)
        for i in range(5):
            put(Path(f"/videos/{i}.mp4"), ["red"], said=[("words words words",)])
        put(A, ["red"], said=[("red red red red they met Zorblatt",)])
        (moment,) = (m for m in find("zorblatt").moments if m.path == A)
        assert max(moment.why, key=moment.why.get) == "said"
        assert [moment.snippet[a:b] for a, b in moment.marks] == ["Zorblatt"]
        monkeypatch.setattr("savecli.search.flow.names.look_up", lambda *_: names.Names())
        assert A not in paths(find("zorblatt", threshold=0))

    def test_nearly_the_same_letters_count_less(self, put, find):
        put(A, ["red"], said=[("they met Zorblatt",)])
        put(B, ["red"], said=[("they met Zorblat",)])
        put(C, ["red"], said=[("they met Susan",)])
        moments = find("zorblatt", threshold=0).moments
        assert [m.path for m in moments[:2]] == [A, B]
        scores = {m.path: m.score for m in moments}
        assert scores[A] > scores[B] > scores.get(C, 0)

    def test_a_query_without_names_is_what_it_was(self, put, find, monkeypatch):
        put(A, ["red"], said=[("red Zorblatt",)])
        with_names = find("red", threshold=0).moments
        monkeypatch.setattr("savecli.search.flow.names.look_up", lambda *_: names.Names())
        assert find("red", threshold=0).moments == with_names

    def test_a_word_that_is_said_everywhere_is_no_name(self, put, find, monkeypatch):
        monkeypatch.setattr(names, "MAX_PLACES", 3)
        for i in range(4):
            put(Path(f"/videos/{i}.mp4"), ["red"], said=[("zorblatt",)])
        with_letters = find("zorblatt", explain=True, threshold=0).moments
        assert {terms.letters for moment in with_letters for terms in moment.terms} == {0}

    def test_filters_hold_for_names(self, put, find):
        put(A, ["red"], said=[("zorblatt",)])
        put(C, ["red"], said=[("zorblatt",)])
        assert [m.path for m in find("zorblatt in:/other").moments] == [C]


LETTERS = st.text(alphabet="abc", max_size=7)


@given(one=LETTERS, other=LETTERS)
def test_edits_are_counted_as_by_the_book(one, other):
    table = np.zeros((len(one) + 1, len(other) + 1), int)
    table[:, 0], table[0] = range(len(one) + 1), range(len(other) + 1)
    for i, a in enumerate(one, 1):
        for j, b in enumerate(other, 1):
            table[i, j] = min(table[i - 1, j] + 1, table[i, j - 1] + 1, table[i - 1, j - 1] + (a != b))
            if i > 1 and j > 1 and a == other[j - 2] and one[i - 2] == b:
                table[i, j] = min(table[i, j], table[i - 2, j - 2] + 1)
    for most in (0, 1, 2, 9):
        assert names.edits(one, other, most) == min(table[-1, -1], most + 1)


@pytest.mark.parametrize(
    "ask", [Ask(against=(Part(text="x"),)), Ask(banned=(phrase("x"),)), Ask(where=Where(min_duration_s=1))]
)
def test_nothing_to_look_for_is_refused(colour_store, encoder, ask):
    with pytest.raises(QueryError) as caught:
        search(ask, colour_store, encoder)
    assert caught.value.hint


def test_a_path_that_is_no_unicode_can_be_a_filter(put, find):
    odd = Path(os.fsdecode(b"/odd\xff/a.mp4"))
    put(odd, ["red"])
    put(A, ["red"])
    assert paths(find(Ask(text="red", where=Where(below=(odd.parent,))))) == [odd]


def test_what_lost_by_its_pooled_rows_is_not_looked_at_frame_by_frame(put, find, monkeypatch):
    for number in range(12):
        put(Path(f"/videos/{number}.mp4"), ["blue" if number else "red"] * 4)
    whole = find("red", top_k=2).moments
    asked = []
    gather = flow.gather
    monkeypatch.setattr(flow, "N_FINAL", 8)
    monkeypatch.setattr(flow, "FINAL_SHARE", 4)
    monkeypatch.setattr(
        flow, "gather", lambda store, ids, *a, **k: asked.append((len(ids), k)) or gather(store, ids, *a, **k)
    )
    assert find("red", top_k=2).moments == whole
    assert [(n, how.get("in_detail", True)) for n, how in asked] == [(48, False), (8, True)]


def test_a_library_is_sampled_again_when_it_has_changed(put, find):
    put(A, ["red", "blue"])
    before = find("red", explain=True).moments[0].terms[0].background
    for number in range(9):
        put(Path(f"/videos/more{number}.mp4"), ["red", "red"])
    after = find("red", explain=True).moments[0].terms[0].background
    assert (before[2], after[2]) == (2, 20)
    assert after[0] > before[0], "red is usual now"


def test_a_folder_is_found_by_any_name_that_leads_to_it(put, find, tmp_path):
    (tmp_path / "films" / "old").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "films")
    film = tmp_path.resolve() / "films" / "dog.mp4"
    put(film, ["red"])
    put(A, ["red"])
    for name in ("films", "films/old/..", "link", "link/dog.mp4", "link/old/../dog.mp4"):
        assert paths(find(Ask(text="red", where=Where(below=(tmp_path / name,))))) == [film], name
    assert paths(find(Ask(text="red", where=Where(below=(tmp_path / "films" / "old",))))) == []


def test_any_number_of_folders_can_be_given(put, find):
    put(A, ["red"])
    put(C, ["red"])
    folders = (*(Path(f"/none/{number}") for number in range(3000)), C.parent)
    assert paths(find(Ask(text="red", where=Where(below=folders)))) == [C]


def test_dates_beyond_what_a_catalog_can_hold_are_dates(put, find):
    put(A, ["red"])
    assert paths(find("red until:2300")) == [A] == paths(find("red since:0100"))
    assert paths(find("red since:2300")) == [] == paths(find("red until:0100"))


def test_any_number_of_moments_can_be_asked_for(put, find):
    put(A, ["red"])
    assert paths(find("red", top_k=10**30)) == [A]


@pytest.mark.parametrize(
    "show",
    [{"top_k": 0}, {"top_k": -1}, {"threshold": -0.1}, {"threshold": 1.1}, {"threshold": np.nan}],
)
def test_what_cannot_be_shown_is_refused(put, find, show):
    put(A, ["red"])
    with pytest.raises(QueryError):
        find("red", **show)
