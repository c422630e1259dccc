"""The order of the rooms: which frames and words reach which segment, and what is noted on the way."""

from __future__ import annotations

import numpy as np
import pytest

from savecli.datatypes import Utterance
from savecli.errors import MediaError, WeightsError
from savecli.events import Progress
from savecli.pipeline import Pipeline

SAID = Utterance(start_s=2.5, end_s=3.5, text="green")


def run(pipeline: Pipeline, path):
    """The progress told, and what came out."""
    told = []
    processing = pipeline.process(path)
    while True:
        try:
            told.append(next(processing))
        except StopIteration as end:
            return told, end.value


def test_frames_and_words_land_in_the_segments_they_belong_to(
    decoder, encoder, parrot, colour_video, tmp_path
):
    path = colour_video(tmp_path / "a.mp4", "red", "green", "blue")
    _, done = run(Pipeline(decoder, encoder, parrot(SAID)), path)
    assert [span.start_s for span in done.segments] == [0, 2, 4]
    assert done.segments[-1].end_s == done.timeline.duration_s
    for i, (colour, embedding, times) in enumerate(
        zip(("red", "green", "blue"), done.embeddings, done.frame_times, strict=True)
    ):
        assert (embedding.frames @ encoder.row(colour)).min() > 0.99, f"segment {i} shows {colour}"
        np.testing.assert_allclose(times, [2 * i + 0.5, 2 * i + 1.5], atol=0.11)
    assert [len(embedding.said) for embedding in done.embeddings] == [0, 1, 0]
    assert done.transcript.utterances == (SAID,)
    assert done.notes == ()
    assert not done.partial


def test_no_segment_is_held_while_the_next_is_read(decoder, encoder, colour_video, tmp_path):
    path = colour_video(tmp_path / "a.mp4", *["red", "blue"] * 4, loudness=None)
    processing = Pipeline(decoder, encoder, None).process(path)
    for n_seen in range(1, 9):
        next(processing)
        assert len(encoder.seen) == n_seen


def test_frames_are_what_the_encoder_wants(decoder, encoder, colour_video, tmp_path):
    run(Pipeline(decoder, encoder, None), colour_video(tmp_path / "a.mp4", "red"))
    (media,) = encoder.seen
    assert media.frames.shape == (2, 32, 32, 3)


def test_progress_is_told_for_both_senses_up_to_the_end(decoder, encoder, parrot, colour_video, tmp_path):
    path = colour_video(tmp_path / "a.mp4", "red", "green")
    told, done = run(Pipeline(decoder, encoder, parrot()), path)
    assert all(isinstance(one, Progress) and one.path == path for one in told)
    assert all(one.duration_s == done.timeline.duration_s for one in told)
    for stage in ("hear", "see"):
        times = [one.done_s for one in told if one.stage == stage]
        assert times == sorted(times)
        assert times[-1] == pytest.approx(done.timeline.duration_s, abs=0.1)


def test_time_is_counted_for_each_stage(decoder, encoder, parrot, colour_video, tmp_path):
    path = colour_video(tmp_path / "a.mp4", "red")
    _, done = run(Pipeline(decoder, encoder, parrot()), path)
    assert done.stage_s.keys() == {"decode", "see", "hear"}
    assert all(seconds >= 0 for seconds in done.stage_s.values())


@pytest.mark.parametrize(
    ("loudness", "notes"),
    [(None, ("no audio track",)), (0.0, ("the audio track is silent",)), (0.5, ("no speech",))],
)
def test_what_there_is_to_hear_is_noted(decoder, encoder, parrot, colour_video, tmp_path, loudness, notes):
    path = colour_video(tmp_path / "a.mp4", "red", loudness=loudness)
    _, done = run(Pipeline(decoder, encoder, parrot()), path)
    assert done.notes == notes
    assert not done.partial


def test_with_speech_turned_off_sound_is_left_alone(decoder, encoder, colour_video, tmp_path):
    pipeline = Pipeline(decoder, encoder, None)
    told, done = run(pipeline, colour_video(tmp_path / "a.mp4", "red"))
    assert pipeline.asr == "off"
    assert done.timeline.has_audio
    assert done.notes == ()
    assert {one.stage for one in told} == {"see"}


def test_a_transcriber_is_named(decoder, encoder, parrot):
    assert Pipeline(decoder, encoder, parrot()).asr == "parrot"


def test_a_file_that_is_no_video_is_refused(decoder, encoder, tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"\0\0\0\x18ftypisom" + bytes(5000))
    with pytest.raises(MediaError):
        run(Pipeline(decoder, encoder, None), path)


def test_a_video_cut_off_before_its_index_is_refused_with_a_hint(decoder, encoder, colour_video, tmp_path):
    whole = colour_video(tmp_path / "a.mp4", *["red", "green", "blue"] * 3).read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(MediaError) as caught:
        run(Pipeline(decoder, encoder, None), cut)
    assert caught.value.hint


def test_the_decoder_lives_on_after_a_bad_file(decoder, encoder, colour_video, tmp_path):
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"\0\0\0\x18ftypisom" + bytes(5000))
    pipeline = Pipeline(decoder, encoder, None)
    with pytest.raises(MediaError):
        run(pipeline, bad)
    _, done = run(pipeline, colour_video(tmp_path / "good.mp4", "red"))
    assert len(done.segments) == 1


def test_an_engine_that_cannot_run_is_not_blamed_on_the_file(
    decoder, encoder, parrot, colour_video, tmp_path
):
    path = colour_video(tmp_path / "a.mp4", "red")
    with pytest.raises(WeightsError, match="no voice"):
        run(Pipeline(decoder, encoder, parrot(error=WeightsError("no voice"))), path)
