"""`save search`: the right moment first, and an output for each reader."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

COLOUR = re.compile(r"\x1b\[([0-9]+;)*(3[0-8]|9[0-7])(;[0-9]+)*m")
FIELDS = {
    "rank",
    "path",
    "start_s",
    "end_s",
    "score",
    "why",
    "snippet",
    "best_s",
    "video_id",
    "mounted",
    "drive",
    "marks",
    "copies",
}
SPOKEN = "the best of times and the worst of times"
ABSENT = "a recipe for chocolate cake"


@pytest.fixture(scope="module")
def save(library):
    return library.save


@pytest.mark.parametrize(
    ("query", "file", "modality"), [("a cockatoo", "cockatoo.mp4", "seen"), (SPOKEN, "street.mp4", "said")]
)
def test_the_first_hit_is_right_and_says_why(save, query, file, modality):
    run = save("search", query, "--json")
    assert run.code == 0
    first = run.records[0]
    assert Path(first["path"]).name == file
    assert max(first["why"], key=first["why"].get) == modality


def test_json_holds_what_the_contract_promises(save):
    for rank, record in enumerate(save("search", "a cockatoo", "--all", "--json").records, 1):
        assert record.keys() == FIELDS
        assert record["rank"] == rank
        assert 0 <= record["start_s"] <= record["best_s"] <= record["end_s"]
        assert record["why"].keys() == {"seen", "heard", "said"}
        assert sum(record["why"].values()) == pytest.approx(record["score"], abs=2e-4)
        assert record["mounted"] is True


def test_moments_come_best_first(save):
    scores = [record["score"] for record in save("search", "an animal", "--all", "--json").records]
    assert len(scores) > 1
    assert scores == sorted(scores, reverse=True)


def test_a_spoken_hit_shows_the_words_and_when_they_are_said(save):
    first = save("search", SPOKEN, "--json").records[0]
    assert "worst of times" in first["snippet"]
    assert first["start_s"] <= first["best_s"] < 12


def test_nothing_found_is_exit_code_1_and_no_record(save):
    run = save("search", ABSENT, "--json")
    assert (run.code, run.out, run.err) == (1, "", "")


def test_nothing_found_names_the_nearest_to_people(save):
    run = save("search", ABSENT)
    assert run.code == 1
    assert "nothing here matches" in run.out
    assert "--all" in run.out


def test_all_shows_what_is_below_the_threshold(save):
    run = save("search", ABSENT, "--all", "--json")
    assert run.code == 0
    assert len(run.records) == 3, "the nearest, where nothing matches"
    assert (
        len({record["path"] for record in save("search", ABSENT, "--all", "-k", "9", "--json").records}) == 6
    )
    assert "nothing here matches" in save("search", ABSENT, "--all").out


def test_threshold_1_lets_nothing_through(save):
    assert save("search", "a cockatoo", "--threshold", "1", "--json").code == 1


def test_k_is_how_many(save):
    assert len(save("search", "an animal", "--all", "-k", "2", "--json").records) == 2


def test_paths_are_each_video_once_and_can_be_opened(save):
    lines = save("search", SPOKEN, "-f", "--all").out.splitlines()
    assert Path(lines[0]).name == "street.mp4"
    assert len(lines) == len(set(lines)) == 6
    assert all(Path(line).is_file() for line in lines)


def test_a_pipe_gets_results_without_escape_codes(save):
    run = save("search", SPOKEN)
    assert "street.mp4" in run.out
    assert "\x1b" not in run.out
    assert run.err == ""


def test_a_terminal_gets_colours(save):
    sent = save.on_terminal("search", "a cockatoo")
    assert COLOUR.search(sent)
    assert "cockatoo.mp4" in sent


def test_no_color_is_heeded(save):
    sent = save.using(NO_COLOR="1").on_terminal("search", "a cockatoo")
    assert "cockatoo.mp4" in sent
    assert not COLOUR.search(sent)


def test_a_search_loads_neither_decoder_nor_what_listens_nor_torch(save, probed):
    search = probed(save, "search", "a cockatoo")
    assert search.ran.code == 0
    modules = set(search.noted("modules"))
    assert "savecli.search" in modules
    assert modules.isdisjoint({"torch", "av", "faster_whisper", "ctranslate2", "whisper"})


def test_a_reader_that_has_seen_enough_is_no_error(save):
    with save.running("search", "an animal", "--all", "--json") as running:
        running.process.stdout.close()
        err = running.process.stderr.read()
        assert (running.process.wait(30), err) == (0, "")


def test_a_video_that_is_gone_is_still_found_and_said_to_be_away(own_library, samples):
    away = samples.with_name("away")
    samples.rename(away)
    try:
        first = own_library("search", "a cockatoo", "--json").records[0]
    finally:
        away.rename(samples)
    assert first["mounted"] is False


def test_the_empty_query_is_refused(save):
    run = save("search", "  ")
    assert run.code == 2
    assert "the query is empty" in run.err


def test_a_phrase_is_found_to_the_word_and_without_the_model(save, probed):
    search = probed(save, "search", "--phrase", "worst of times", "--json")
    (record,) = search.ran.records
    assert Path(record["path"]).name == "street.mp4"
    assert 0 < record["end_s"] - record["start_s"] < 3
    words = [record["snippet"][start:end].lower() for start, end in record["marks"]]
    assert words == ["worst", "of", "times"]
    assert set(search.noted("modules")).isdisjoint({"savecli.model.text", "tokenizers", "torch"})
    assert save("search", '"worst of times"', "--json").records == [record]
    assert save("search", "--phrase", "times worst", "--json").code == 1


def test_a_regular_expression_and_a_beginning_find_what_a_phrase_does(save):
    (phrase,) = save("search", "--phrase", "worst of times", "--json").records
    (regex,) = save("search", "--regex", r"w\w+t of times\b", "--json").records
    (prefix,) = save("search", '"wors* of time*"', "--json").records
    assert regex == prefix == phrase


def test_a_quoted_phrase_wins_whatever_else_is_asked(save):
    records = save("search", '"worst of times" a cockatoo', "--json").records
    assert {Path(record["path"]).name for record in records} == {"street.mp4"}


def test_what_is_left_out_loses(save):
    first = save("search", "a cockatoo", "--json").records[0]
    left = save("search", "a cockatoo", "-bird", "--all", "--json").records
    assert next(r["score"] for r in left if r["path"] == first["path"]) < first["score"]
    assert save("search", "a cockatoo", "--not", "bird", "--all", "--json").records == left


@pytest.mark.parametrize(
    ("filters", "n_found"),
    [
        (("has:speech",), 1),
        (("--has", "speech"), 1),
        (("lang:de",), 0),
        (("--language", "en"), 1),
        (("--max-duration", "10"), 4),
        (("--min-duration", "0:10", "--max-duration", "20"), 1),
        (("--since", "7d"), 6),
        (("--until", "2001"), 0),
        (("--in", "/nowhere"), 0),
    ],
)
def test_filters(save, filters, n_found):
    run = save("search", "something", *filters, "--all", "-k", "99", "--json")
    assert len({record["path"] for record in run.records}) == n_found
    assert run.code == (0 if n_found else 1)


def test_several_queries_in_one_call(save, tmp_path):
    file = tmp_path / "queries.txt"
    file.write_text('a cockatoo\n# no query\n"worst of times" has:speech\n', "utf-8")
    run = save("search", "--queries", file, "--each", "a cat", "-k", "1", "--all", "--json")
    found = {record["query"]: Path(record["path"]).name for record in run.records}
    assert found == {
        "a cockatoo": "cockatoo.mp4",
        '"worst of times" has:speech': "street.mp4",
        "a cat": "cat.mp4",
    }
    table = save("search", "--queries", file, "-k", "1").out
    assert "? a cockatoo" in table
    assert " 2. " in table, "numbers go on, for save open"


def test_a_score_can_be_explained(save):
    record = save("search", "a cockatoo", "-k", "1", "--json", "--explain").records[0]
    (terms,) = record["explain"]
    assert terms["score"] == pytest.approx(record["score"], abs=2e-4)
    assert set(terms["evidence"]) == {"seen", "heard", "said"}
    assert "cosine seen" in save("search", "a cockatoo", "-k", "1", "--explain").out


def test_the_words_that_were_looked_for_stand_out_on_a_terminal(save):
    sent = save.on_terminal("search", "--phrase", "worst of times")
    assert re.search(r"\x1b\[[0-9;]*m(worst)\x1b", sent)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-cat",), "nothing is looked for"),
        (("--regex", "("), "no regular expression"),
        (("x", "--since", "someday"), "no date"),
        (("x", "--min-duration", "long"), "no duration"),
        (("x", "since:2024", "until:2020"), "no time is since"),
        (("--phrase", "*"), "no words"),
        (("--queries", "/nowhere"), "cannot read queries"),
    ],
)
def test_what_makes_no_sense_is_exit_code_2_with_a_hint(save, arguments, message):
    run = save("search", *arguments)
    assert (run.code, run.out) == (2, "")
    assert message in run.err
    assert len(run.err.splitlines()) > 1
