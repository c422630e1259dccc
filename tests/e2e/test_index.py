"""`save index`: what it tells, what it reads, and what it leaves alone."""

from __future__ import annotations

import resource

NAMES = {"astronaut.mp4", "bunny.mp4", "cat.mp4", "cockatoo.mp4", "passenger.mp4", "street.mp4"}
INDEXED = {"event", "path", "duration_s", "n_segments", "has_audio", "speech_s", "elapsed_s"}
HEAVY = {"torch", "av", "faster_whisper", "ctranslate2", "whisper"}


def names(records):
    return {record["path"].rsplit("/", 1)[-1] for record in records}


def test_each_video_is_one_json_line_and_the_summary_is_the_last(library):
    records = library.first_run.records
    assert library.first_run.code == 0
    assert names(records[:-1]) == NAMES
    assert {record["event"] for record in records[:-1]} == {"indexed"}
    assert records[-1]["event"] == "summary"


def test_indexed_lines_hold_what_the_contract_promises(library):
    for record in library.first_run.events("indexed"):
        assert record.keys() >= INDEXED
        assert record["duration_s"] > 0
        assert record["n_segments"] == max(1, round(record["duration_s"] / 12))


def test_the_summary_adds_up(library):
    (summary,) = library.first_run.events("summary")
    indexed = library.first_run.events("indexed")
    assert (summary["n_indexed"], summary["n_skipped"], summary["n_unchanged"]) == (6, 0, 0)
    assert abs(summary["footage_s"] - sum(record["duration_s"] for record in indexed)) < 0.01
    assert summary["stage_s"].keys() == {"decode", "see", "hear", "store"}


def test_a_video_without_speech_is_indexed_and_says_so(library):
    said = {
        record["path"].rsplit("/", 1)[-1]: record["notes"] for record in library.first_run.events("indexed")
    }
    assert said["cat.mp4"] == ["no audio track"]
    assert said["cockatoo.mp4"] == ["the audio track is silent"]
    assert said["street.mp4"] == []


def test_a_second_run_finds_all_unchanged(own_library, samples):
    again = own_library("index", samples, "--json", "--asr", "tiny.en")
    assert again.code == 0
    assert names(again.events("unchanged")) == NAMES
    assert [record["event"] for record in again.records].count("unchanged") == len(again.records) - 1


def test_a_second_run_costs_less_than_3_s_of_cpu_time_beyond_start_up(own_library, samples):
    def cpu_s(*arguments):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        own_library(*arguments)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    # CPU time and not wall time: a busy machine does not make it fail. It takes less than 0.2 s.
    assert cpu_s("index", samples, "--json") < cpu_s("--version") + 3


def test_a_second_run_starts_no_decoder_and_loads_no_model(own_library, samples, probed):
    again = probed(own_library, "index", samples, "--json")
    assert again.ran.code == 0
    assert again.noted("processes") == []
    assert HEAVY.isdisjoint(again.noted("modules"))


def test_a_renamed_video_is_moved_and_not_read_again(own_library, samples, probed):
    cat = samples / "cat.mp4"
    try:
        renamed = cat.rename(samples / "tabby.mp4")
        again = probed(own_library, "index", samples, "--json")
    finally:
        (samples / "tabby.mp4").rename(cat)
    (moved,) = again.ran.events("moved")
    assert (moved["path"], moved["old_path"]) == (str(renamed), str(cat))
    assert again.noted("processes") == []


def test_a_broken_file_is_skipped_with_a_reason_and_costs_no_neighbour(save, samples, tmp_path):
    folder = tmp_path / "videos"
    folder.mkdir()
    (folder / "a_text.mp4").write_text("not a video\n" * 100)
    (folder / "b_empty.mp4").touch()
    (folder / "c_half.mp4").write_bytes((samples / "bunny.mp4").read_bytes()[:-100_000])
    (folder / "d_whole.mp4").write_bytes((samples / "passenger.mp4").read_bytes())
    run = save("index", folder, "--json", "--asr", "off")
    assert run.code == 1
    skipped = {record["path"].rsplit("/", 1)[-1]: record for record in run.events("skipped")}
    assert skipped.keys() >= {"a_text.mp4", "b_empty.mp4"}
    assert all(record["reason"] and record["hint"] for record in skipped.values())
    assert "d_whole.mp4" in names(run.events("indexed"))


def test_people_are_told_by_lines_and_a_sum(own_library, samples):
    run = own_library("index", samples, "-v")
    assert run.out.count("unchanged") == len(NAMES) + 1
    assert "0 indexed, 6 unchanged, 0 skipped" in run.out


def test_a_terminal_shows_progress(own_library, samples):
    sent = own_library.on_terminal("index", samples / "cat.mp4", "--force", "--asr", "off")
    assert "cat.mp4" in sent
    assert "\x1b[?25l" in sent  # the cursor is hidden while the bar moves
    assert "\x1b[?25h" in sent


def test_quiet_says_nothing_when_all_is_well(own_library, samples):
    run = own_library("index", samples, "-q")
    assert (run.code, run.out, run.err) == (0, "", "")
