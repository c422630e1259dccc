"""What a file on disk comes to as a query: a picture, a sound, a part of a video, stored or not."""

from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from savecli.datatypes import Utterance
from savecli.errors import QueryError
from savecli.example import N_MOST, Senses, parse, read
from savecli.index import Options, index
from savecli.media.worker import Decoder
from savecli.pipeline import Pipeline


@pytest.fixture
def senses(encoder, decoder, parrot):
    """What reads files; `used` tells whether the decoder was asked for."""

    class Counted:
        used = 0
        heard: tuple[Utterance, ...] = ()

        def make(self) -> Senses:
            def opened():
                self.used += 1
                return nullcontext(decoder)

            return Senses(decoder=opened, encoder=encoder, transcriber=lambda: parrot(*self.heard))

    return Counted()


@pytest.fixture
def look(colour_store, senses):
    return lambda text: read(parse(str(text)), colour_store, senses.make())


@pytest.fixture
def stored(colour_store, decoder, encoder, parrot, colour_video, tmp_path):
    """A video of red, green and blue with a word in each, in the store."""
    path = colour_video(tmp_path / "three.mp4", "red", "green", "blue")
    words = [
        Utterance(start_s=s + 0.5, end_s=s + 1.5, text=t) for s, t in ((0, "red"), (2, "green"), (4, "blue"))
    ]
    pipeline = Pipeline(decoder, encoder, parrot(*words))
    list(index(Options(paths=(path,)), colour_store, lambda: nullcontext(pipeline)))
    return path


def colours(example, kind="seen"):
    """The colour of each row, as the fake encoder has them."""
    return [("red", "green", "blue", "none")[int(row.argmax())] for row in example.rows[kind]]


@pytest.mark.parametrize(
    ("text", "start_s", "end_s"),
    [
        ("dog.mp4@1:20-1:32", 80, 92),
        ("dog.mp4@5", 5, None),
        ("a@b.mp4@0-2.5", 0, 2.5),
        ("dog.mp4@ 1 - 2 ", 1, 2),
    ],
)
def test_a_part_is_what_follows_the_last_at(text, start_s, end_s):
    spec = parse(text)
    assert (spec.start_s, spec.end_s, spec.is_part) == (start_s, end_s, True)
    assert spec.path == Path.cwd() / text.rpartition("@")[0]


@pytest.mark.parametrize("text", ["dog.mp4", "me@home.jpg", "@", "a@"])
def test_a_name_without_a_time_is_a_file(text):
    assert parse(text).path == Path.cwd() / text
    assert not parse(text).is_part


def test_a_file_that_is_called_like_a_part_is_that_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a@1-2").touch()
    assert parse("a@1-2").path == tmp_path / "a@1-2"


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "no file"),
        ("a.mp4@2-1", "before it begins"),
        ("a.mp4@1-x", "no time"),
        ("a.mp4@1:2:3:4", "no time"),
    ],
)
def test_what_makes_no_sense_is_said(text, word):
    with pytest.raises(QueryError, match=word):
        parse(text)


def test_a_picture_is_one_row_of_what_is_seen(look, tmp_path):
    Image.fromarray(np.full((50, 60, 3), (250, 0, 0), np.uint8)).save(tmp_path / "red.png")
    example = look(tmp_path / "red.png")
    assert set(example.rows) == {"seen"}
    assert colours(example) == ["red"]
    assert example.video_id == ""


def test_a_part_of_a_video_that_is_not_stored(look, colour_video, tmp_path, senses):
    path = colour_video(tmp_path / "other.mp4", "red", "green", "blue")
    senses.heard = (Utterance(start_s=0.2, end_s=0.8, text="green green"),)
    example = look(f"{path}@2-4")
    assert set(colours(example)) == {"green"}
    assert len(example.rows["heard"]) >= 1
    assert colours(example, "said")[0] == "green"
    assert set(colours(look(path))) == {"red", "green", "blue"}


def test_a_part_may_begin_and_end_anywhere(look, colour_video, tmp_path):
    path = colour_video(tmp_path / "other.mp4", "red", "green", "blue")
    assert set(colours(look(f"{path}@1-3"))) == {"red", "green"}
    assert set(colours(look(f"{path}@5.9-99"))) == {"blue"}, "what goes beyond the end ends there"
    assert set(colours(look(f"{path}@4"))) == {"blue"}, "one window without an end"


def test_the_sound_of_a_part_is_that_part(look, tmp_path, encoder):
    rate_hz = 16_000
    quiet, loud = np.full(3 * rate_hz, 0.1), np.full(3 * rate_hz, 0.8)
    wave = np.concatenate([quiet, loud]) * np.sin(np.arange(6 * rate_hz) / 5)
    path = tmp_path / "tone.wav"
    with av.open(str(path), "w") as target:
        stream = target.add_stream("pcm_s16le", rate=rate_hz, layout="mono")
        frame = av.AudioFrame.from_ndarray((wave * 32767).astype(np.int16)[None], format="s16", layout="mono")
        frame.sample_rate = rate_hz
        target.mux([*stream.encode(frame), *stream.encode(None)])
    encoder.heard.clear()
    example = look(f"{path}@4-5.5")
    assert set(example.rows) == {"heard"}
    (played,) = encoder.heard
    assert len(played) == pytest.approx(1.5 * rate_hz, abs=200)
    assert np.abs(played).max() == pytest.approx(0.8, abs=0.05)
    look(path)
    assert np.abs(encoder.heard[1]).max() == pytest.approx(0.1, abs=0.05), "the first window is quiet"


@pytest.mark.parametrize("codec", ["mp3", "flac", "wav", "ogg", "m4a"])
def test_sound_in_any_common_file_is_heard(look, tmp_path, codec):
    name = {"mp3": "libmp3lame", "wav": "pcm_s16le", "ogg": "libopus", "m4a": "aac"}.get(codec, codec)
    path = tmp_path / f"tone.{codec}"
    with av.open(str(path), "w") as target:
        stream = target.add_stream(name, rate=48_000, layout="mono")
        tone = np.sin(np.arange(88_200) / 9).astype(np.float32)[None] / 2
        frame = av.AudioFrame.from_ndarray(tone, format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 44_100, 0
        resampler = av.AudioResampler(
            format=stream.format.name,
            layout="mono",
            rate=48_000,
            frame_size=stream.codec_context.frame_size or 1024,
        )
        for block in [*resampler.resample(frame), *resampler.resample(None)]:
            target.mux(stream.encode(block))
        target.mux(stream.encode(None))
    assert set(look(path).rows) == {"heard"}


def test_a_stored_video_is_not_read_again(look, stored, senses):
    example = look(f"{stored}@2-4")
    assert senses.used == 0
    assert set(colours(example)) == {"green"}
    assert colours(example, "said") == ["green"]
    assert (example.start_s, example.end_s) == (2, 4)
    assert example.video_id


def test_a_copy_of_a_stored_video_is_that_video(look, stored, senses, tmp_path):
    copy = tmp_path / "elsewhere" / "copy.mp4"
    copy.parent.mkdir()
    copy.write_bytes(stored.read_bytes())
    assert look(copy).video_id == look(stored).video_id
    assert senses.used == 0


def test_a_stored_file_that_has_changed_is_read(look, stored, senses, colour_video):
    colour_video(stored, "blue", "blue")
    os.utime(stored)
    assert set(colours(look(stored))) == {"blue"}
    assert senses.used == 1


def test_a_moment_shorter_than_the_time_between_frames_has_the_nearest(look, stored):
    assert colours(look(f"{stored}@2.2-2.3")) == ["green"]


def test_of_a_long_video_rows_are_spread_over_all_of_it(put, colour_store, senses, tmp_path):
    path = tmp_path / "long.mp4"
    path.write_bytes(b"anything")
    status = path.stat()
    put(path, ["red"] * 200 + ["blue"] * 200)
    colour_store.touch([(path, status.st_size, status.st_mtime_ns, colour_store.video(path).video_id, None)])
    example = read(parse(str(path)), colour_store, senses.make())
    assert len(example.rows["seen"]) == N_MOST
    assert colours(example).count("red") == N_MOST / 2


@pytest.mark.parametrize(
    ("name", "content", "word"),
    [
        ("note.txt", b"only words " * 50, "plain text"),
        ("zero.jpg", b"\0" * 4000, "zero bytes"),
        ("empty.png", b"", "empty|neither|no picture"),
        ("half.jpg", b"\xff\xd8\xff\xe0" + b"\1" * 300, "picture"),
        ("half.mp4", b"\0\0\0\x18ftypisom" + b"\2" * 300, "damaged|neither|index"),
        ("x.heic", b"\0\0\0\x18ftypheic" + b"\0" * 300, "HEIF"),
    ],
)
def test_a_file_that_is_nothing_to_look_for_is_said_to_be_so(look, tmp_path, name, content, word):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(QueryError, match=word) as raised:
        look(tmp_path / name)
    assert raised.value.hint


def test_a_file_or_a_moment_that_is_not_there(look, stored, tmp_path, colour_video):
    other = colour_video(tmp_path / "other.mp4", "red")
    for text, word in (
        (tmp_path / "none.jpg", "not there"),
        (tmp_path / ("a" * 300), "too long"),
        (f"{'a' * 300}@x", "too long"),
        (tmp_path, "not a regular file|cannot be read|directory"),
        (f"{stored}@7-9", "ends at 6.0 s"),
        (f"{other}@1:00", "ends at 2.0 s"),
    ):
        with pytest.raises(QueryError, match=word):
            look(text)


def test_a_picture_has_no_times(look, tmp_path):
    Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save(tmp_path / "p.png")
    with pytest.raises(QueryError, match="no times"):
        look(f"{tmp_path / 'p.png'}@1-2")


def test_silence_is_nothing_to_look_for(look, tmp_path):
    path = tmp_path / "silent.wav"
    with av.open(str(path), "w") as target:
        stream = target.add_stream("pcm_s16le", rate=16_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 32_000), np.int16), format="s16", layout="mono")
        frame.sample_rate = 16_000
        target.mux([*stream.encode(frame), *stream.encode(None)])
    with pytest.raises(QueryError, match="nothing in it can be seen or heard"):
        look(path)


def test_the_decoder_is_closed_again(colour_store, encoder, tmp_path):
    Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save(tmp_path / "p.png")
    opened: list[Decoder] = []

    def decoder() -> Decoder:
        opened.append(Decoder())
        return opened[-1]

    read(
        parse(str(tmp_path / "p.png")),
        colour_store,
        Senses(decoder=decoder, encoder=encoder, transcriber=lambda: None),
    )
    assert opened[0]._child is None
