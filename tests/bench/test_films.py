"""Charades and LSMDC: whose tables and names of files are their own."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from savecli.bench.datasets import load
from savecli.bench.lsmdc import clip_id
from savecli.errors import DatasetError

from .layouts import CLIPS, FILM, ids, lsmdc_row, noted

TRAIN, TEST = "LSMDC16_annos_training.csv", "LSMDC16_challenge_1000_publictect.csv"

# Charades


def test_charades(bench):
    found = load("charades", bench.charades().root)
    assert [(clip.video_id, clip.captions) for clip in found.train] == [("AAAAA", ("Sits, stands.\nWalks.",))]
    assert [clip.path for clip in found.train + found.test] == [
        None,
        bench.root / "Charades_v1_480/CCCCC.mp4",
    ]
    assert noted(found, "1 ids of Charades_v1_train.csv")
    assert noted(found, "1 training videos have no caption", "BBBBB")


def test_the_charades_test_set_takes_its_table_only(bench):
    bench.charades().without("**/Charades_v1_train.csv")
    assert ids(load("charades", bench.root, parts=("test",)).test) == ["CCCCC"]
    with pytest.raises(DatasetError, match=r": Charades_v1_train.csv$") as caught:
        load("charades", bench.root, parts=("val",))  # which is held out of the training list
    assert "prior.allenai.org" in caught.value.hint


# LSMDC


def test_lsmdc(bench):
    found = load("lsmdc", bench.lsmdc().root)
    assert [(clip.video_id, clip.captions) for clip in found.train] == [
        (CLIPS[0], (f"S0 of {CLIPS[0]}.", f"S1 of {CLIPS[0]}.")),
        (CLIPS[1], (f"S2 of {CLIPS[1]}.",)),
    ]
    assert (ids(found.val), ids(found.test)) == ([CLIPS[2]], [CLIPS[3]])
    assert found.test[0].path == bench.root / f"clips/{FILM}/{CLIPS[3]}.avi"
    assert found.n_published == 1000
    assert [note for note in found.notes if "NOT COMPARABLE" not in note and "transcripts" not in note] == []


@pytest.mark.parametrize(("part", "kept"), [("test", TEST), ("val", "LSMDC16_annos_val.csv")])
def test_one_part_takes_its_table_only(bench, part, kept):
    bench.lsmdc()
    for path in bench.root.glob("*.csv"):
        if path.name != kept:
            path.unlink()
    found = load("lsmdc", bench.root, parts=(part,))
    assert (len(found.train), len(found.val), len(found.test)) == (0, part == "val", part == "test")
    with pytest.raises(DatasetError, match=TRAIN) as caught:
        load("lsmdc", bench.root)
    assert "describingmovies" in caught.value.hint


def test_quotes_long_and_short_rows_headings_and_ends_of_lines(bench):
    rows = [
        "clip_id\tstart_al\tend_al\tstart_ex\tend_ex\tsentence",
        lsmdc_row(CLIPS[0], 'SOMEONE says "no" and 5" more.'),
        lsmdc_row(CLIPS[1], "One\ttwo."),
        lsmdc_row(CLIPS[2], "Three.\t"),
        f'"{lsmdc_row(CLIPS[3], "Four.")}"',
        "\t".join([CLIPS[3], "1", "2", "3", "4"]),
        "\t1\t2\t3\t4\tfive",
        lsmdc_row(CLIPS[3] + ".avi", " "),
        CLIPS[3],
        "",
    ]
    bench.lsmdc().data(TEST, b"\xef\xbb\xbf" + "\r\n".join(rows).encode())
    found = load("lsmdc", bench.root, parts=("test",))
    assert [(clip.video_id, clip.captions) for clip in found.test] == [
        (CLIPS[0], ('SOMEONE says "no" and 5" more.',)),
        (CLIPS[1], ("One two.",)),
        (CLIPS[2], ("Three.",)),
        (CLIPS[3], ("Four.",)),
    ]
    assert noted(found, f"3 rows of {TEST} are too short")
    assert noted(found, f"2 rows of {TEST} have more than six columns")
    assert noted(found, "1 captions of test videos are empty")


def test_a_table_that_is_none_is_named(bench):
    bench.lsmdc().text(TEST, "video_id,sentence\na,b\n")
    with pytest.raises(DatasetError, match=TEST):
        load("lsmdc", bench.root, parts=("test",))


def test_lines_may_end_as_on_an_old_mac(bench):
    bench.lsmdc().text(TEST, "\r".join(lsmdc_row(clip, "Sits.") for clip in CLIPS))
    assert ids(load("lsmdc", bench.root, parts=("test",)).test) == list(CLIPS)


def test_text_in_windows_1252(bench):
    bench.lsmdc().text(TEST, lsmdc_row(CLIPS[3], "“Café” …"), "cp1252")
    found = load("lsmdc", bench.root, parts=("test",))
    assert found.test[0].captions == ("“Café” …",)
    assert noted(found, TEST, "not UTF-8")


@pytest.mark.parametrize(
    "name",
    [
        f"{FILM}/{CLIPS[3]}.mp4",
        f"all/lsmdc_{CLIPS[3]}_256.mp4",
        f"{FILM}/{CLIPS[3].removeprefix(FILM + '_')}.mkv",
    ],
)
def test_a_clip_is_found_by_its_id_within_a_name(bench, name):
    bench.lsmdc().without("clips/*/*").videos(name, name.replace(".m", ".w").split(".w")[0] + ".wav")
    clip = load("lsmdc", bench.root, parts=("test",)).test[0]
    assert clip.path == bench.root / name
    assert clip.sound == (bench.root / name).with_suffix(".wav")


def test_the_exact_name_goes_before_a_longer_one(bench):
    bench.lsmdc().videos(f"a_{CLIPS[3]}.avi", f"{CLIPS[3]}_small.mp4", f"x/y/z/{CLIPS[3]}_large.avi")
    assert load("lsmdc", bench.root, parts=("test",)).test[0].path.name == f"{CLIPS[3]}.avi"


def test_a_sound_is_found_by_its_id_too(bench):
    bench.lsmdc().videos(f"wav/lsmdc_{CLIPS[3]}.wav")
    found = load("lsmdc", bench.root, parts=("test",))
    assert found.test[0].sound == bench.root / f"wav/lsmdc_{CLIPS[3]}.wav"


@given(st.text("AB_9.-", min_size=1, max_size=12), st.integers(0, 9999), st.integers(0, 86_399_999))
def test_ids_are_seen_in_names(film, number, at_ms):
    def stamp(ms):
        s, ms = divmod(ms, 1000)
        return f"{s // 3600:02}.{s // 60 % 60:02}.{s % 60:02}.{ms:03}"

    times = f"{stamp(at_ms)}-{stamp(at_ms + 2203)}"
    folder = f"{number:04}_{film}"
    assert clip_id(Path(f"x/{folder}_{times}.avi")) == f"{folder}_{times}"
    assert clip_id(Path(f"{folder}/{times}.avi")) == f"{folder}_{times}"
    assert clip_id(Path(f"x/{folder}.avi")) is None
