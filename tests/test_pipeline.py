"""The order of the rooms: which frames and words reach which segment, and what is noted on the way."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from savecli.datatypes import Transcript, Utterance
from savecli.errors import MediaError, WeightsError
from savecli.events import Progress
from savecli.media.encode import SAMPLE_RATE_HZ, write_video
from savecli.pipeline import Pipeline

SAID = Utterance(start_s=2.5, end_s=3.5, text="green")


def run(pipeline: Pipeline, path, **more):
    """The progress told, and what came out."""
    told = []
    processing = pipeline.process(path, **more)
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


@pytest.mark.parametrize(("size", "batches"), [(1, [1] * 5), (2, [2, 2, 1]), (5, [5]), (8, [5])])
def test_segments_are_embedded_so_many_at_a_time(
    decoder, encoder, colour_video, tmp_path, monkeypatch, size, batches
):
    path = colour_video(tmp_path / "a.mp4", "red", "blue", "green", "red", "blue", loudness=None)
    _, alone = run(Pipeline(decoder, encoder, None), path)
    given, embed = [], encoder.embed
    monkeypatch.setattr(encoder, "embed", lambda media: given.append(len(media)) or embed(media))
    monkeypatch.setattr(encoder, "batch_size", size, raising=False)
    told, done = run(Pipeline(decoder, encoder, None), path)
    assert given == batches
    assert [one.done_s for one in told] == [done.segments[n - 1].end_s for n in np.cumsum(batches)]
    for one, other in zip(done.embeddings, alone.embeddings, strict=True):
        np.testing.assert_array_equal(one.frames, other.frames)
    for one, other in zip(done.frame_times, alone.frame_times, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_pool_embeds_several_segments_at_a_time_and_nothing_else_changes(
    decoder, encoder, colour_video, tmp_path, monkeypatch
):
    path = colour_video(tmp_path / "a.mp4", *["red", "blue", "green"] * 3)
    alone_told, alone = run(Pipeline(decoder, encoder, None), path)
    meeting, embed = threading.Barrier(3, timeout=60), encoder.embed

    def together(media):
        meeting.wait()
        return embed(media)

    monkeypatch.setattr(encoder, "embed", together)
    with ThreadPoolExecutor(3) as pool:
        told, done = run(Pipeline(decoder, encoder, None, pool).twin(), path)
    assert told == alone_told
    assert done.segments == alone.segments
    for one, other in zip(done.embeddings, alone.embeddings, strict=True):
        np.testing.assert_array_equal(one.frames, other.frames)


def test_what_an_embedding_in_the_pool_raises_ends_the_video(
    decoder, encoder, colour_video, tmp_path, monkeypatch
):
    def fail(media):
        raise WeightsError("no eyes")

    monkeypatch.setattr(encoder, "embed", fail)
    path = colour_video(tmp_path / "a.mp4", *["red", "blue", "green"] * 3)
    with ThreadPoolExecutor(2) as pool, pytest.raises(WeightsError, match="no eyes"):
        run(Pipeline(decoder, encoder, None, pool), path)


def test_what_the_encoder_tells_is_noted(decoder, encoder, colour_video, tmp_path, monkeypatch):
    untold = ["too little memory"]
    monkeypatch.setattr(encoder, "notes", lambda: (untold.pop(),) if untold else ())
    path = colour_video(tmp_path / "a.mp4", "red", "blue", loudness=None)
    notes = [run(Pipeline(decoder, encoder, None), path)[1].notes for _ in range(2)]
    assert notes == [("no audio track", "too little memory"), ("no audio track",)]


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


@pytest.mark.parametrize(
    ("loudness", "notes"), [(None, ("no audio track",)), (0.0, ("the audio track is silent",)), (0.5, ())]
)
def test_with_speech_turned_off_sound_is_heard_all_the_same(
    decoder, encoder, colour_video, tmp_path, loudness, notes
):
    pipeline = Pipeline(decoder, encoder, None)
    told, done = run(pipeline, colour_video(tmp_path / "a.mp4", "red", loudness=loudness))
    assert pipeline.asr == "off"
    assert done.timeline.has_audio == (loudness is not None)
    assert done.notes == notes
    assert done.transcript == Transcript()
    assert [one.stage for one in told] == ["hear"] * (loudness is not None) + ["see"]
    assert [len(embedding.heard) for embedding in done.embeddings] == [1 if loudness else 0]


def tone(length_s):
    return np.sin(2800 * np.arange(int(length_s * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ).astype(np.float32)


def grey(length_s):
    return [np.full((64, 64, 3), 200, np.uint8)] * (10 * length_s)


@pytest.mark.parametrize("listens", [True, False])
def test_each_segment_comes_with_its_own_sound(decoder, encoder, parrot, tmp_path, listens):
    path, loudnesses = tmp_path / "a.mp4", (0.2, 0.0, 0.0, 0.8)
    sound = np.concatenate([loudness * tone(2) for loudness in loudnesses])
    write_video(path, grey(8), fps=10, waveform=sound)
    _, done = run(Pipeline(decoder, encoder, parrot() if listens else None), path)
    played = [media.sound.tokens[0, 0] if media.sound else 0.0 for media in encoder.seen]
    # The codec smears a little of what is loud over its neighbour.
    np.testing.assert_allclose(played, loudnesses, atol=0.25)
    assert len(encoder.heard[0]) == 2 * encoder.spec.sample_rate_hz
    kept = [(len(e.heard), len(e.fused), len(e.parts)) for e in done.embeddings]
    assert (kept[0], kept[-1]) == ((1, 1, 3), (1, 1, 3))
    assert done.stage_s["hear"] > 0


def test_a_file_of_sound_is_heard_in_place_of_the_video_s_own(decoder, encoder, colour_video, tmp_path):
    video = colour_video(tmp_path / "a.mp4", "red", "blue", loudness=None)
    louder = decoder.probe(colour_video(tmp_path / "b.mp4", "red", "green", "blue", loudness=0.9))
    _, done = run(Pipeline(decoder, encoder, None), video, heard=louder)
    assert [len(embedding.heard) for embedding in done.embeddings] == [
        1,
        1,
    ]  # what lies behind the video is not
    assert [wave.max() > 0.8 for wave in encoder.heard] == [True, True]
    assert done.notes == ()


def test_a_silent_segment_is_not_heard(decoder, encoder, tmp_path):
    path = tmp_path / "a.mp4"
    sound = np.concatenate([0.5 * tone(1), 0 * tone(5), 0.5 * tone(2)])
    write_video(path, grey(8), fps=10, waveform=sound)
    run(Pipeline(decoder, encoder, None), path)
    assert [media.sound is None for media in encoder.seen] == [False, True, False, False]


def test_sound_goes_on_where_the_picture_ends(decoder, encoder, tmp_path):
    path = tmp_path / "a.mp4"
    write_video(path, grey(2), fps=10, waveform=0.5 * tone(8))
    _, done = run(Pipeline(decoder, encoder, None), path)
    assert [len(embedding.heard) for embedding in done.embeddings] == [1] * 4
    seen = [len(embedding.seen) for embedding in done.embeddings]
    assert (seen[0], seen[-1]) == (1, 0)


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
