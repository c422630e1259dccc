"""Where a long video may be cut for several decoders, and how many of them work at a time."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from savecli.abreast import Abreast, End, Headway
from savecli.chunks import CHUNK_S, LEAD_S, Slots, alone, chunks, together
from savecli.media.footage import Timeline, Track
from savecli.media.segment import segments


def timeline(duration_s, keys_s, *, video=True, shifts=()):
    track = Track(index=0, codec="h264", start_s=0.0, end_s=duration_s, shifts=shifts)
    return Timeline(
        path=Path("/a.mp4"),
        container="mp4",
        duration_s=duration_s,
        origin_s=0.0,
        video=track if video else None,
        audio=(),
        key_frame_times_s=tuple(keys_s),
    )


def cut(duration_s, keys_s, **more):
    spans = segments(duration_s)
    return spans, chunks(timeline(duration_s, keys_s, **more), spans, [span.end_s - 0.5 for span in spans])


def every(pace_s, duration_s):
    return [i * pace_s for i in range(int(duration_s / pace_s) + 1)]


@pytest.mark.parametrize("duration_s", [0.0, 11.0, 599.0, 601.0, 3600.0, 36_000.5])
def test_every_segment_is_in_one_chunk_none_of_them_short(duration_s):
    spans, cuts = cut(duration_s, every(10, duration_s))
    assert [number for run in cuts for number in run] == list(range(len(spans)))
    lengths_s = [spans[run[-1]].end_s - spans[run[0]].start_s for run in cuts if run]
    assert len(cuts) == max(1, int(duration_s // CHUNK_S))
    assert len(cuts) == 1 or min(lengths_s) >= CHUNK_S
    assert max(lengths_s, default=0.0) < 2 * CHUNK_S + 12


def test_a_chunk_begins_only_where_a_key_frame_lies_close_before_what_was_shown_last():
    keys_s = [0.0, 335.6, 336.1, 1000.0]
    spans, cuts = cut(1300.0, keys_s)
    begins = [run.start for run in cuts[1:]]
    # The first segment of which the last picture before is at 347.5, and not that at 335.5.
    assert [spans[begin].start_s for begin in begins] == [348.0]
    for begin in begins:
        before_s = spans[begin - 1].end_s - 0.5
        assert 0 <= before_s - max(key_s for key_s in keys_s if key_s <= before_s) <= LEAD_S


@pytest.mark.parametrize("keys_s", [[], [0.0], [3599.0]])
def test_a_file_without_key_frames_to_seek_is_one_chunk(keys_s):
    spans, cuts = cut(3600.0, keys_s)
    assert cuts == [range(len(spans))]


@pytest.mark.parametrize("more", [{"video": False}, {"shifts": ((100, 9000),)}])
def test_sound_alone_and_a_clock_that_leaps_are_one_chunk(more):
    spans, cuts = cut(3600.0, every(2, 3600), **more)
    assert cuts == [range(len(spans))]


def test_slots_are_taken_until_none_is_free():
    slots = Slots(3)
    with slots.file():
        assert [slots.take() for _ in range(3)] == [True, True, False]
        slots.give_back()
        assert [slots.take() for _ in range(2)] == [True, False]
        with slots.file():  # a file waits for nobody
            assert not slots.take()


def working(log):
    """A worker that notes in `log` where a job begins and ends."""

    def work(job):
        log.append(+1)
        yield job
        log.append(-1)
        return -job

    return work


def run(crew, jobs, slots):
    events = list(together(jobs, crew, slots))
    told = [event.told for event in events if isinstance(event, Headway)]
    return told, {event.job: event.result() for event in events if isinstance(event, End)}


@pytest.mark.parametrize("n", [1, 3])
def test_jobs_of_one_file_use_the_slots_that_are_free_and_give_them_back(n):
    slots, jobs, log = Slots(n), list(range(1, 8)), []
    with slots.file(), Abreast([working(log)] * 3, interrupt=lambda: None) as crew:
        told, done = run(crew, jobs, slots)
        assert [slots.take() for _ in range(n)] == [True] * (n - 1) + [False]
    assert sorted(told) == jobs
    assert done == {job: -job for job in jobs}
    if n == 1:
        assert log == [+1, -1] * len(jobs), "one after the other"


def test_a_slot_that_comes_free_is_used():
    slots, meeting = Slots(2), threading.Barrier(2, timeout=20)

    def work(job):
        yield job
        if job >= 2:
            meeting.wait()
        return job

    with slots.file(), Abreast([work] * 2, interrupt=lambda: None) as crew:
        assert slots.take()  # another file
        events = together([1, 2, 3], crew, slots)
        assert next(events) == Headway(1, 1)
        slots.give_back()
        assert {event.job for event in events if isinstance(event, End)} == {1, 2, 3}


def test_slots_are_given_back_when_the_jobs_are_given_up():
    slots, held = Slots(3), threading.Event()

    def work(job):
        yield job
        held.wait(20)

    with slots.file(), Abreast([work] * 3, interrupt=held.set) as crew:
        events = together([1, 2, 3], crew, slots)
        next(events)
        assert not slots.take()
        events.close()
        assert [slots.take() for _ in range(3)] == [True, True, False]


def test_one_job_alone_tells_the_same_without_a_thread():
    threads = []

    def work(job):
        threads.append(threading.current_thread())
        yield from range(job)
        return -job

    events = list(alone(2, work))
    assert events[:2] == [Headway(2, 0), Headway(2, 1)]
    assert events[2].job == 2
    assert events[2].result() == -2
    assert threads == [threading.current_thread()]
