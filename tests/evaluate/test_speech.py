"""What is said, when it is said, and what is kept of it."""

from __future__ import annotations

import pytest

from savecli.bench.records import Clip
from savecli.datatypes import Segment, Utterance
from savecli.errors import MediaError
from savecli.evaluate.speech import Given, Own, Said, Silence
from savecli.prepare import Kept

SPANS = [Segment(start_s=0, end_s=12), Segment(start_s=12, end_s=24), Segment(start_s=24, end_s=30)]


def clip(path, **more):
    return Clip(video_id="a", path=path, captions=("a",), **more)


def texts(said):
    return [" | ".join(u.text for u in some) for some in said.within(SPANS)]


def test_text_without_times_is_spoken_at_an_even_pace():
    words = [f"w{i}" for i in range(10)]
    assert texts(Said(text=" ".join(words))) == ["w0 w1 w2 w3", "w4 w5 w6 w7", "w8 w9"]
    assert [(u.start_s, u.end_s) for some in Said(text="a b c d e").within(SPANS) for u in some] == [
        (0, 12),
        (12, 24),
        (24, 30),
    ]


@pytest.mark.parametrize("n", range(12))
def test_every_word_is_in_one_segment_and_in_its_order(n):
    words = [f"w{i}" for i in range(n)]
    spoken = Said(text="  ".join(words)).within(SPANS)
    assert [word for some in spoken for u in some for word in u.text.split()] == words
    assert len(spoken) == 3
    assert all(len(some) <= 1 for some in spoken)


def test_what_has_times_is_in_the_segment_of_its_middle():
    spoken = (Utterance(start_s=11, end_s=14, text="b"), Utterance(start_s=29, end_s=30, text="c"))
    assert texts(Said(text="b c", utterances=spoken)) == ["", "b", "c"]
    assert texts(Said(text="", utterances=())) == ["", "", ""]


def test_the_key_tells_words_and_times():
    one = Utterance(start_s=0, end_s=1, text="a")
    found = [Said(text="a"), Said(text="b"), Said(text="a", utterances=(one,)), Said()]
    assert len({said.key for said in found}) == 4
    assert Said(text="a").key == Said(text="a").key


def test_given_and_silence(tmp_path):
    given = Given(tmp_path / "asr.json")
    assert given.name == "asr.json"
    assert given.of(clip(None, speech=" as it came "), "", None) == Said(text=" as it came ")
    assert given.of(clip(None), "", None) == Said()
    assert Silence().of(clip(None, speech="a"), "", None) == Said()


@pytest.fixture
def own(tmp_path, parrot):
    """An ear that hears one sentence, and how often it was made."""
    made = []

    def make(identity="x"):
        def opened():
            made.append(identity)
            return parrot(Utterance(start_s=0.5, end_s=1.5, text="héllo there"))

        return Own("base", opened, identity, Kept(tmp_path / "cache", needs_mb=1))

    return make, made


def test_our_own_ear_is_asked_once_for_each_content(own, colour_video, decoder, tmp_path):
    make, made = own
    video = clip(colour_video(tmp_path / "a.mp4", "red"))
    said = make().of(video, "content", decoder)
    assert said.text == "héllo there"
    assert [(u.start_s, u.end_s) for u in said.utterances] == [(0.5, 1.5)]
    assert make().of(video, "content", None) == said
    assert made == ["x"]
    assert make().of(video, "other content", decoder) == said
    make("another ear").of(video, "content", decoder)
    assert made == ["x", "x", "another ear"]


def test_nothing_is_made_to_listen_to_no_sound(own, colour_video, decoder, tmp_path):
    make, made = own
    mute = colour_video(tmp_path / "a.mp4", "red", loudness=None)
    assert make().of(clip(mute), "content", decoder) == Said(utterances=())
    assert made == []
    loud = colour_video(tmp_path / "b.mp4", "red")
    assert make().of(clip(mute, sound=loud), "content and sound", decoder).text == "héllo there"
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"x")
    with pytest.raises(MediaError, match=r"broken\.wav"):
        make().of(clip(mute, sound=broken), "another", decoder)
