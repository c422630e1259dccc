"""The order of the rooms: which frames and words reach which segment, and what is noted on the way."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from savecli import chunks
from savecli.datatypes import Transcript, Utterance
from savecli.errors import MediaCrash, MediaError, UnseekableError, WeightsError
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


@pytest.fixture
def long_video(colour_video, tmp_path, monkeypatch):
    """A video of 18 s that is cut into four chunks."""
    monkeypatch.setattr(chunks, "CHUNK_S", 4.0)
    monkeypatch.setattr(chunks, "LEAD_S", 30.0)
    return colour_video(tmp_path / "long.mp4", *["red", "blue", "green"] * 3)


def same(one, other):
    assert one.segments == other.segments
    assert one.notes == other.notes
    for mine, theirs in zip(one.embeddings, other.embeddings, strict=True):
        for kind in ("seen", "frames", "heard", "fused"):
            np.testing.assert_array_equal(getattr(mine, kind), getattr(theirs, kind))
    for mine, theirs in zip(one.frame_times, other.frame_times, strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("n_slots", [1, 2, 8])
@pytest.mark.parametrize("batch_size", [1, 2])
def test_chunks_come_to_what_the_whole_file_does(
    decoder, encoder, long_video, monkeypatch, n_slots, batch_size
):
    monkeypatch.setattr(encoder, "batch_size", batch_size)
    monkeypatch.setattr(chunks, "CHUNK_S", 300.0)
    _, whole = run(Pipeline(decoder, encoder, None), long_video)
    monkeypatch.setattr(chunks, "CHUNK_S", 4.0)
    asked = []
    real = type(decoder).frames

    def frames(self, *given, seek, **more):
        asked.append(seek)
        return real(self, *given, seek=seek, **more)

    monkeypatch.setattr(type(decoder), "frames", frames)
    pipeline = Pipeline(decoder, encoder, None, slots=chunks.Slots(n_slots))
    told, done = run(pipeline, long_video)
    same(done, whole)
    assert sorted(asked) == [False, True, True, True]
    seen_s = [one.done_s for one in told if one.stage == "see"]
    assert seen_s == sorted(seen_s)
    assert seen_s[-1] == done.segments[-1].end_s
    assert done.stage_s.keys() == whole.stage_s.keys()
    assert [helper._child for helper in pipeline._decoders[1:]] == [None] * (min(n_slots, 4) - 1)


def test_two_chunks_are_looked_at_at_a_time(decoder, encoder, long_video, monkeypatch):
    meeting, embed = threading.Barrier(2, timeout=60), encoder.embed

    def together(media):
        meeting.wait()
        return embed(media)

    monkeypatch.setattr(encoder, "embed", together)
    monkeypatch.setattr(encoder, "batch_size", 9)  # one call for each chunk
    _, done = run(Pipeline(decoder, encoder, None, slots=chunks.Slots(2)), long_video)
    assert len(done.embeddings) == 9


def test_while_other_files_are_read_a_file_has_one_decoder(decoder, encoder, long_video, monkeypatch):
    slots = chunks.Slots(2)
    used = set()
    real = type(decoder).frames
    monkeypatch.setattr(
        type(decoder), "frames", lambda self, *a, **more: used.add(self) or real(self, *a, **more)
    )
    with slots.file():
        run(Pipeline(decoder, encoder, None, slots=slots), long_video)
    assert used == {decoder}


@pytest.mark.parametrize("fails", [1, 3])
def test_where_a_chunk_cannot_be_reached_the_file_is_read_as_one(
    decoder, encoder, long_video, monkeypatch, fails
):
    monkeypatch.setattr(chunks, "CHUNK_S", 300.0)
    _, whole = run(Pipeline(decoder, encoder, None), long_video)
    monkeypatch.setattr(chunks, "CHUNK_S", 4.0)
    real, sought = type(decoder).frames, []

    def frames(self, *given, seek, **more):
        sought.append(seek)
        if sum(sought) >= fails and seek:
            raise UnseekableError("no seek leads there")
        return real(self, *given, seek=seek, **more)

    monkeypatch.setattr(type(decoder), "frames", frames)
    _, done = run(Pipeline(decoder, encoder, None, slots=chunks.Slots(2)), long_video)
    same(done, whole)
    assert sought[-1] is False


def test_nothing_is_looked_at_in_vain_where_no_seek_leads_to_a_chunk(
    decoder, encoder, long_video, monkeypatch
):
    real = type(decoder).frames

    def frames(self, *given, seek, **more):
        if seek:
            raise UnseekableError("no seek leads there")
        return real(self, *given, seek=seek, **more)

    monkeypatch.setattr(type(decoder), "frames", frames)
    _, done = run(Pipeline(decoder, encoder, None), long_video)
    assert len(encoder.seen) == len(done.segments)


def test_a_decoder_that_dies_in_one_chunk_ends_the_video_and_all_its_decoders(
    decoder, encoder, long_video, monkeypatch
):
    real = type(decoder).frames

    def frames(self, timeline, times_s, **more):
        if times_s[0] > 10:
            self.close()
            raise MediaCrash("the decoder crashed")
        return real(self, timeline, times_s, **more)

    monkeypatch.setattr(type(decoder), "frames", frames)
    slots = chunks.Slots(3)
    pipeline = Pipeline(decoder, encoder, None, slots=slots)
    with pytest.raises(MediaCrash):
        run(pipeline, long_video)
    assert [helper._child for helper in pipeline._decoders[1:]] == [None, None]
    assert [slots.take() for _ in range(4)] == [True, True, True, False]


def test_a_video_given_up_leaves_no_decoder_and_no_slot_behind(decoder, encoder, long_video):
    slots = chunks.Slots(3)
    pipeline = Pipeline(decoder, encoder, None, slots=slots)
    reading = pipeline.process(long_video)
    while next(reading).stage != "see":
        pass
    reading.close()
    assert [one._child for one in pipeline._decoders] == [None] * 3
    assert [slots.take() for _ in range(4)] == [True, True, True, False]
