"""What a search makes of a store: moments, their bounds, their order and their reasons."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from savecli.datatypes import Ask
from savecli.errors import QueryError
from savecli.model.likeness import Example
from savecli.query import phrase
from savecli.search import SNIPPET_CHARACTERS, Show, moments, search

A, B, C = Path("/videos/a.mp4"), Path("/videos/b.mp4"), Path("/videos/c.mp4")


@pytest.fixture
def find(colour_store, encoder):
    """Searches with copies shown: videos of the same plain colours are copies of one another."""

    def find_(query, *, top_k=10, threshold=None, copies=True, example=None, **options):
        show = Show(top_k=top_k, threshold=threshold, copies=copies, **options)
        return search(query, colour_store, encoder, show=show, example=example)

    return find_


def spans(results):
    return [(moment.path, moment.start_s, moment.end_s) for moment in results.moments]


def test_a_moment_is_found_by_what_is_seen(put, find):
    put(A, ["blue", "red|green", "blue"])
    (moment,) = find("red").moments
    assert (moment.path, moment.best_s) == (A, 2.0)
    assert moment.snippet == ""
    assert moment.why["said"] == 0
    assert find("green").moments[0].best_s == 2.5, "the frame that shows it"


def test_a_moment_is_found_by_what_is_said(put, find):
    put(A, ["blue", "blue"], said=[(), ("blue blue blue red", "red", "green")])
    (moment,) = find("red").moments
    assert (moment.start_s, moment.end_s) == pytest.approx((2.1, 2.2)), "while the words are said"
    assert moment.best_s == pytest.approx(2.1), "where the words begin"
    assert moment.snippet == "red green"
    assert moment.why["seen"] < 0.01 < moment.why["said"]


def test_what_is_only_heard_or_only_seen_is_found_too(put, find):
    put(A, ["", ""], said=[("red",), ()])
    put(B, ["red", ""])
    assert [moment.path for moment in find("red").moments] == [A, B]


def test_reasons_add_up_to_the_score(put, find):
    put(A, ["red red green", "red", "blue"], said=[("red green",), ()], heard=[("red",), (), ("red",)])
    put(B, ["red", "blue green"], said=[("red",), ("blue",)], heard=[("green",), ()], fused=True)
    for ask in ("red", Ask(text="red", sees="green", says="blue"), Ask(hears="red")):
        moments = find(ask, threshold=0).moments
        assert moments
        for moment in moments:
            assert sum(moment.why.values()) == pytest.approx(moment.score)
            assert set(moment.why) == {"seen", "heard", "said"}
            assert all(part >= 0 for part in moment.why.values())
            assert 0 <= moment.score <= 1


def test_a_moment_is_found_by_what_is_heard(put, find):
    put(A, ["blue", "blue"], heard=[("blue",), ("blue", "green", "red")])
    (moment,) = find("red").moments
    assert (moment.start_s, moment.end_s) == (2, 4)
    assert moment.best_s == 3.0, "windows of sound start half a second apart"
    assert moment.why["seen"] < 0.01 < moment.why["heard"]
    assert moment.why["said"] == 0
    assert moment.snippet == ""


def test_what_only_the_fused_row_tells_is_found_and_shared_among_its_parts(put, find):
    put(A, ["red"], heard=[("green",)], fused=True)
    put(B, ["red"], heard=[("green",)])
    first, second = find("red green").moments
    assert (first.path, second.path) == (A, B)
    assert first.why["seen"] == pytest.approx(first.why["heard"])


APART = {
    "moments.joined": lambda scored: [moments._draft([one]) for one in scored],
    "bounds.refined": lambda draft, *_: draft,
}


def test_each_kind_of_row_makes_a_candidate(put, find, monkeypatch):
    monkeypatch.setattr("savecli.search.flow.N_CANDIDATES", 1)
    put(A, ["red", "green", "green", "red red green"], heard=[(), ("red",)], said=[(), (), ("red",)])
    put(B, ["green"], heard=[("red green blue",)], said=[("red green blue",)], fused=True)
    for gone in ("moments.joined", "bounds.refined"):
        monkeypatch.setattr(f"savecli.search.{gone}", APART[gone])
    found = {(moment.path, moment.start_s) for moment in find("red", threshold=0).moments}
    assert found == {(A, 0), (A, 2), (A, 4), (B, 0)}, "the best of each kind, and B for its fused row"


@pytest.mark.parametrize("field", ["sees", "hears", "says"])
def test_a_text_that_aims_is_answered_by_its_own_modality_alone(put, find, field):
    put(A, ["red"], heard=[("blue",)], said=[("blue",)], fused=True)
    put(B, ["blue"], heard=[("red",)], said=[("blue",)], fused=True)
    put(C, ["blue"], heard=[("blue",)], said=[("red",)], fused=True)
    (moment,) = find(Ask(**{field: "red"})).moments
    assert moment.path == {"sees": A, "hears": B, "says": C}[field]
    other = {name for name, part in moment.why.items() if part}
    assert other == {{"sees": "seen", "hears": "heard", "says": "said"}[field]}


def test_several_texts_add_up(put, find):
    put(A, ["red"], said=[("green",)])
    put(B, ["red"], said=[("blue",)])
    put(C, ["blue"], said=[("green",)])
    both = find(Ask(sees="red", says="green"), threshold=0).moments
    assert both[0].path == A
    assert both[0].score > max(moment.score for moment in both[1:])
    assert both[0].why["seen"] > 0.3
    assert both[0].why["said"] > 0.3


def test_the_text_that_aims_at_speech_chooses_the_words_that_are_shown(put, find):
    put(A, ["red"], said=[("red", "green", "blue " * 40)])
    assert find(Ask(text="red", says="green")).moments[0].snippet.split()[0] == "green"


def test_a_sentence_over_several_utterances_shows_the_utterance_that_fits_best(
    colour_store, encoder, find, put
):
    row = np.stack([encoder.row(text) for text in ("green", "red", "blue", "red red green blue")])
    add = colour_store.add

    def with_a_row_of_the_whole(video, spans, embeddings, *rest, **options):
        return add(video, spans, [replace(embeddings[0], said=row)], *rest, **options)

    colour_store.add = with_a_row_of_the_whole
    put(A, ["blue"], said=[("green", "red", "blue")])
    (moment,) = find("red red green blue").moments
    assert moment.snippet == "red blue"
    assert moment.best_s == pytest.approx(0.1)


def test_two_senses_that_agree_beat_one(put, find):
    put(A, ["red red green"])
    put(B, ["red red green"], said=[("red red green",)])
    assert [moment.path for moment in find("red").moments] == [B, A]


def test_neighbours_that_answer_as_well_are_one_moment(put, find):
    put(A, ["blue", "red red green", "red", "red red green", "blue"])
    (moment,) = find("red").moments
    assert (moment.start_s, moment.end_s) == (2, 8)
    assert moment.best_s == 4
    assert moment.score == pytest.approx(find("red", top_k=1).moments[0].score)


def test_a_much_weaker_neighbour_stays_apart(put, find):
    put(A, ["red", "red blue blue blue green"])
    assert spans(find("red", threshold=0)) == [(A, 0, 2), (A, 2, 4)]


def test_neighbours_are_joined_by_their_evidence_where_both_are_all_but_certain(put, find):
    put(A, ["red", "red"], said=[("red",), ()], heard=[("red",), ()])
    first, second = find("red").moments
    assert (first.start_s, second.best_s) == (0, 2)
    assert min(first.score, second.score) > 0.99


def test_a_library_where_much_fits_a_query_makes_each_hit_less_certain(put, find, encoder, monkeypatch):
    usual = encoder.score.calibrations["any"]
    wary = replace(encoder.score, calibrations={"any": replace(usual, level=0.5, crowd=0.5)})
    monkeypatch.setattr(encoder, "score", wary, raising=False)
    put(A, ["red red green", *["blue"] * 9])
    (few,) = find("red", threshold=0, top_k=1).moments
    put(B, ["red red green", "blue"] * 20)
    (many,) = find("red", threshold=0, top_k=1).moments
    assert few.score > many.score


def test_a_gap_parts_two_moments(put, find):
    put(A, ["red", "red"], starts_s=[0, 2.5])
    assert spans(find("red")) == [(A, 0, 2), (A, 2.5, 4.5)]


def test_a_weak_segment_between_parts_two_moments(put, find):
    put(A, ["red", "blue", "red"])
    assert spans(find("red")) == [(A, 0, 2), (A, 4, 6)]


def test_videos_are_never_joined(put, find):
    put(A, ["red"])
    put(B, ["blue", "red"])
    assert spans(find("red")) == [(A, 0, 2), (B, 2, 4)]


SHADES = st.sampled_from(["red", "red red green", "red green", "red blue blue", "blue", ""])


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(shown=st.lists(SHADES, min_size=1, max_size=8))
def test_moments_lie_side_by_side_where_something_is_shown(put, find, shown):
    put(A, shown)
    moments = sorted(find("red", threshold=0, top_k=100).moments, key=lambda m: m.start_s)
    assert all(earlier.end_s <= later.start_s for earlier, later in pairwise(moments))
    assert all(m.start_s < m.end_s for m in moments)
    inside = {2 * i for i, colour in enumerate(shown) for m in moments if m.start_s <= 2 * i < m.end_s}
    assert inside <= {2 * i for i, colour in enumerate(shown) if colour}
    assert all(m.start_s <= m.best_s < m.end_s for m in moments)


def test_the_best_comes_first_and_ties_go_by_path_and_time(put, find):
    put(B, ["red", "blue", "red"])
    put(A, ["red"])
    put(C, ["red red red green"])
    assert spans(find("red")) == [(A, 0, 2), (B, 0, 2), (B, 4, 6), (C, 0, 2)]


def test_no_more_moments_than_asked_for(put, find):
    put(A, ["red", "blue"] * 5)
    assert len(find("red", top_k=3).moments) == 3
    assert len(find("red", top_k=100).moments) == 5
    assert find("red", top_k=3).moments == find("red", top_k=100).moments[:3]


def test_below_the_threshold_there_is_only_a_nearest(put, find, encoder):
    put(A, ["green", "blue blue red"])
    results = find("red")
    assert results.moments == ()
    assert results.nearest.start_s == 2
    assert results.nearest.score < encoder.score.threshold


def test_the_nearest_is_the_best_of_what_is_left_out(put, find):
    put(A, ["red", "green", "blue blue red"])
    results = find("red")
    assert spans(results) == [(A, 0, 2)]
    assert results.nearest.start_s == 4
    assert find("red", threshold=0).nearest is None


def test_a_threshold_of_ones_own_is_taken_as_it_is(put, find):
    put(A, ["red"])
    (moment,) = find("red").moments
    assert find("red", threshold=moment.score).moments
    assert not find("red", threshold=min(1.0, moment.score + 1e-6)).moments


@pytest.mark.parametrize("ask", ["red", Ask(sees="red"), Ask(hears="red"), Ask(says="red")])
def test_an_empty_store_answers_with_nothing(find, ask):
    results = find(ask)
    assert (results.moments, results.nearest) == ((), None)
    assert results.exact


@pytest.mark.parametrize("ask", [Ask(text="red"), Ask(sees="red"), Ask(hears="red"), Ask(says="red")])
def test_one_text_of_any_sort_is_a_query(put, find, ask):
    put(A, ["red"], said=[("red",)], heard=[("red",)])
    (moment,) = find(ask).moments
    assert (moment.path, moment.start_s) == (A, 0)


@pytest.mark.parametrize("query", ["", "  ", "\n\t", Ask(), Ask(hears=" "), Ask(text="red", says="\t")])
def test_a_query_that_asks_for_nothing_is_refused(find, query):
    with pytest.raises(QueryError) as caught:
        find(query)
    assert caught.value.hint


def test_a_video_that_is_not_there_now_is_still_found(put, find, tmp_path):
    there = tmp_path / "there.mp4"
    there.write_bytes(b"x")
    put(there, ["red"])
    put(Path("/unplugged/drive/x.mp4"), ["red red red green"])
    assert [(moment.path, moment.mounted) for moment in find("red").moments] == [
        (there, True),
        (Path("/unplugged/drive/x.mp4"), False),
    ]


def test_of_copies_the_one_that_can_be_played_is_shown(put, find, colour_store, tmp_path):
    video = put(Path("/a/unplugged.mp4"), ["red"])
    copy = tmp_path / "z.mp4"
    copy.write_bytes(b"x")
    colour_store.link(copy, 1, 1, video.fingerprint)
    (moment,) = find("red").moments
    assert (moment.path, moment.mounted) == (copy, True)
    assert moment.video_id == video.fingerprint
    copy.unlink()
    (moment,) = find("red").moments
    assert (moment.path, moment.mounted) == (Path("/a/unplugged.mp4"), False)


def test_a_snippet_is_the_words_that_fit_and_what_follows_as_far_as_a_line_allows(put, find):
    long = ("blue " * 30).strip()
    put(A, ["blue"], said=[("blue before", "red", "green after", long, "blue end")])
    snippet = find("red", threshold=0).moments[0].snippet
    assert snippet == "red green after"
    assert len(snippet) < SNIPPET_CHARACTERS


def test_a_sight_comes_with_the_words_spoken_there(put, find):
    put(A, ["red"], said=[("green blue",)])
    (moment,) = find("red").moments
    assert moment.why["seen"] > moment.why["said"]
    assert moment.snippet == "green blue"


def test_what_was_forgotten_is_found_no_more(put, find, colour_store):
    put(A, ["red"])
    colour_store.unlink(A)
    assert find("red", threshold=0).moments == ()


@pytest.mark.parametrize("ask", ["red", Ask(sees="red"), Ask(hears="red"), Ask(says="red")])
def test_a_store_that_has_nothing_to_see_hear_or_read_answers_with_nothing(put, find, ask):
    put(A, ["", ""])
    assert find(ask, threshold=0).moments == ()


def test_words_are_shown_also_where_only_the_sight_was_asked_for(put, find):
    put(A, ["red"], said=[("green", "blue")])
    assert find(Ask(sees="red")).moments[0].snippet == "green blue"


def test_a_hopeless_candidate_still_scores_the_sum_of_its_reasons(put, find, encoder, monkeypatch):
    steep = {term: replace(step, slope=4000) for term, step in encoder.score.steps.items()}
    monkeypatch.setattr(encoder, "score", replace(encoder.score, steps=steep), raising=False)
    put(A, ["green"], said=[("blue",)])
    (moment,) = find("red", threshold=0).moments
    assert (moment.score, sum(moment.why.values())) == (0, 0)


def test_with_few_rows_every_one_is_looked_at(put, find):
    put(A, ["red"])
    assert find("red").exact


def like(encoder, *, seen="", heard="", said="", **own):
    rows = {"seen": seen, "heard": heard, "said": said}
    return Example(
        name="x",
        rows={k: np.stack([encoder.row(t) for t in v.split("|")]) for k, v in rows.items() if v},
        **own,
    )


def test_what_is_like_an_example_is_found_by_what_the_example_has(put, find, encoder):
    put(A, ["red", "blue"], heard=[("green",)])
    put(B, ["blue"], said=[("red",)])
    put(C, ["blue", "blue"], heard=[(), ("red",)])
    for example, path, reason in (
        (like(encoder, seen="red"), A, "seen"),
        (like(encoder, heard="red"), C, "heard"),
        (like(encoder, said="red"), B, "said"),
    ):
        (moment,) = find(Ask(), example=example).moments
        assert moment.path == path
        assert moment.score == pytest.approx(1, abs=0.01)
        assert moment.why == pytest.approx(
            {**dict.fromkeys(("seen", "heard", "said"), 0), reason: moment.score}
        )


def test_reasons_of_an_example_and_a_text_add_up_to_the_score(put, find, encoder):
    put(A, ["red green", "red"], said=[("blue", "green"), ()], heard=[("green",), ()], fused=True)
    put(B, ["green"], said=[("blue",)])
    example = like(encoder, seen="red|green", heard="green", said="blue")
    for ask in (Ask(), Ask(says="blue"), Ask(text="red", says="green")):
        for moment in find(ask, example=example, threshold=0).moments:
            assert sum(moment.why.values()) == pytest.approx(moment.score)
            assert 0 <= moment.score <= 1


def test_text_and_example_must_both_be_met(put, find, encoder):
    put(A, ["red"], said=[("green",)])
    put(B, ["red"], said=[("blue",)])
    put(C, ["blue"], said=[("green",)])
    both = find(Ask(says="green"), example=like(encoder, seen="red"), threshold=0).moments
    assert both[0].path == A
    assert both[0].score > max(moment.score for moment in both[1:])


def test_an_example_is_no_answer_to_itself(put, find, encoder, colour_store):
    put(A, ["red", "red", "red"])
    put(B, ["red"])
    own = colour_store.video(A).video_id
    assert [
        m.path for m in find(Ask(), example=like(encoder, seen="red", video_id=own, end_s=6)).moments
    ] == [B]
    part = find(Ask(), example=like(encoder, seen="red", video_id=own, start_s=2, end_s=4)).moments
    assert {(m.path, m.start_s) for m in part} == {(B, 0), (A, 0), (A, 4)}


def test_words_like_those_of_an_example_are_shown(put, find, encoder):
    put(A, ["blue"], said=[("blue", "green", "red")])
    (moment,) = find(Ask(), example=like(encoder, said="green|green")).moments
    assert moment.snippet.split()[0] == "green"
    assert moment.best_s == pytest.approx(0.1)


def test_what_is_not_like_it_is_below_the_threshold(put, find, encoder):
    put(A, ["green"])
    results = find(Ask(), example=like(encoder, seen="red"))
    assert results.moments == ()
    assert results.nearest.path == A


def test_an_example_alone_is_enough_and_a_blank_text_beside_it_is_not(put, find, encoder):
    put(A, ["red"])
    with pytest.raises(QueryError):
        find(Ask(sees=" "), example=like(encoder, seen="red"))
    with pytest.raises(QueryError):
        find(Ask())


def test_an_example_tells_how_its_score_came_about(put, find, encoder):
    put(A, ["red"], said=[("blue",)])
    put(B, ["green"])
    example = like(encoder, seen="red", said="blue")
    (moment,) = find(Ask(), example=example, explain=True).moments
    (terms,) = moment.terms
    assert (terms.text, terms.aim, terms.score) == ("x", "like", pytest.approx(moment.score))
    assert terms.cosines == pytest.approx({"seen": 1, "said": 1}, abs=0.01)
    assert sum(terms.evidence.values()) == pytest.approx(moment.score)


def test_exact_words_and_an_example_are_joined(put, find, encoder):
    put(A, ["blue"], said=[("green",)])
    put(B, ["red"], said=[("green",)])
    put(C, ["red"], said=[("blue",)])
    results = find(Ask(phrases=(phrase("green"),)), example=like(encoder, seen="red"), threshold=0)
    assert [moment.path for moment in results.moments] == [B, A]
