"""The commands that look after a store, a machine and the weights."""

from __future__ import annotations

import pytest

SPOKEN = "the best of times and the worst of times"


def test_show_tells_segments_and_what_is_said(library, samples):
    (video,) = library.save("show", samples / "street.mp4", "--json").records
    spans = [(segment["start_s"], segment["end_s"]) for segment in video["segments"]]
    assert len(spans) == video["n_segments"] == 4
    assert [start for start, _ in spans[1:]] == [end for _, end in spans[:-1]]
    assert any("worst of times" in utterance["text"] for utterance in video["utterances"])
    words = [word for utterance in video["utterances"] for word in utterance["words"]]
    assert all(start <= end for start, end, _ in words)


def test_show_is_readable(library, samples):
    run = library.save("show", samples / "street.mp4")
    assert "0:44" in run.out
    assert "worst of times" in run.out


def test_show_of_a_stranger_says_what_to_type(library, tmp_path):
    run = library.save("show", tmp_path / "other.mp4")
    assert run.code == 2
    assert "is not in the store" in run.err
    assert "save index" in run.err


def test_list_names_every_video(library, samples):
    videos = library.save("list", "--json").records
    assert {video["path"] for video in videos} == {str(path) for path in samples.iterdir()}
    table = library.save("list").out
    assert all(str(path) in table for path in samples.iterdir())


def test_list_names_what_was_skipped(save, tmp_path):
    broken = tmp_path / "text.mp4"
    broken.write_bytes(b"\0\0\0\x18ftypisom" + bytes(200))
    assert save("index", broken, "--json", "--asr", "off").code == 1
    (record,) = save("list", "--json").records
    assert record["path"] == str(broken)
    assert record["skipped"]
    assert record["hint"]


def test_status_counts_and_says_where_each_setting_came_from(library):
    (status,) = library.save("status", "--json").records
    assert (status["videos"], status["files"], status["skipped"], status["segments"]) == (6, 6, 0, 9)
    assert status["model"]["model"] == "save-mini"
    assert status["settings"]["home"] == {"value": str(library.save.home), "source": "SAVE_HOME"}
    assert status["settings"]["asr"] == {"value": "base", "source": "default"}
    assert status["settings"]["batch_size"] == {"value": "auto", "source": "default"}
    assert status["settings"]["data"] == {"value": "", "source": "default"}


def test_forget_removes_from_the_store_and_never_from_disk(own_library, samples, samples_as_made, digests_of):
    run = own_library("forget", samples / "street.mp4", "--json")
    assert (run.code, run.records) == (0, [{"n_forgotten": 1}])
    assert own_library("search", SPOKEN, "--json").code == 1
    assert len(own_library.stored()) == 5
    assert digests_of(samples) == samples_as_made


def test_forget_takes_a_folder(own_library, samples):
    assert own_library("forget", samples, "--json").records == [{"n_forgotten": 6}]
    assert own_library.stored() == []


@pytest.mark.parametrize("engine", ["usearch", "hnswlib"])
def test_rebuild_changes_no_answer(own_library, engine):
    before = own_library("search", "an animal", "--all", "--json").out
    assert own_library("rebuild", "--engine", engine).code == 0
    assert own_library("search", "an animal", "--all", "--json").out == before


def test_rebuild_drops_what_was_forgotten(own_library, samples):
    own_library("forget", samples / "street.mp4")
    assert own_library("status", "--json").records[0]["dead_share"] > 0
    own_library("rebuild")
    (status,) = own_library("status", "--json").records
    assert (status["dead_share"], status["videos"]) == (0, 5)


def test_doctor_is_content_with_a_machine_that_works(library):
    run = library.save("doctor", "--json")
    assert run.code == 0, run.out
    assert [check["check"] for check in run.records] == [
        "decoder",
        "weights",
        "encoder",
        "speech",
        "speed",
        "store",
        "disk",
    ]


def test_doctor_finds_a_damaged_store(own_library):
    rows = next((own_library.home / "store").glob("seen-*.f16"))
    rows.write_bytes(rows.read_bytes()[:-100] + bytes(100))
    run = own_library.using(SAVE_ASR="off")("doctor", "--json")
    assert run.code == 2
    (wrong,) = (check for check in run.records if not check["ok"])
    assert wrong["check"] == "store"
    assert wrong["hint"]


def test_model_list_names_all_weights_with_licence_and_origin(library):
    rows = {row["name"]: row for row in library.save("model", "list", "--json").records}
    assert rows["save-mini"]["state"] == "bundled"
    assert rows["efficientnet-lite0"]["state"] == "here"
    assert all(row["licence"] and row["origin"] for row in rows.values())


def test_model_info_shows_the_checksums(library):
    (facts,) = library.save("model", "info", "efficientnet-lite0", "--json").records
    digests = [value for name, value in facts.items() if name.startswith("sha256 of ")]
    assert digests
    assert all(len(digest.split()[0]) == 64 for digest in digests)
    assert facts["state"] == "every byte as published"


def test_model_info_of_our_own(library):
    run = library.save("model", "info", "save-mini")
    assert run.code == 0
    assert "MIT" in run.out


def test_demo_answers_its_queries_and_leaves_nothing_behind(save_anywhere, tmp_path):
    run = save_anywhere.using(home=tmp_path / "untouched", TMPDIR=str(tmp_path))("demo")
    assert run.code == 0, run.err
    answers = [text for text in run.out.split("$ save ") if text.startswith("search")]
    first = ["cockatoo.mp4", "street.mp4", "nothing here matches"]
    assert len(answers) == 3
    assert all(expected in answer for expected, answer in zip(first, answers, strict=True))
    assert [path for path in tmp_path.iterdir() if path.name.startswith(("save", "untouched"))] == []


def test_demo_keep_refuses_a_folder_that_exists(save, tmp_path):
    run = save("demo", "--keep", tmp_path)
    assert run.code == 2
    assert "exists already" in run.err


def test_no_command_changes_the_media(own_library, samples, samples_as_made, digests_of):
    cat = samples / "cat.mp4"
    for arguments in (
        ("index", samples, "--asr", "off"),
        ("index", cat, "--force", "--asr", "off"),
        ("search", "a cat"),
        ("show", cat),
        ("rebuild",),
        ("forget", cat),
    ):
        assert own_library(*arguments).code == 0
    assert digests_of(samples) == samples_as_made
