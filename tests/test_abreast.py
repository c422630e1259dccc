"""Threads that run generators: all is told, nothing runs on when nobody listens."""

from __future__ import annotations

import threading

import pytest

from savecli.abreast import Abreast, End, Headway


def counting(job):
    yield from range(job)
    return -job


def run(crew, jobs):
    """The ends, in the order of the jobs, and how often headway was told of each."""
    told, results, waiting = dict.fromkeys(jobs, 0), {}, list(jobs)
    while waiting or crew.n_in_work:
        while waiting and not crew.is_full:
            crew.give(waiting.pop(0))
        event = crew.wait()
        if isinstance(event, Headway):
            assert event.told == told[event.job]
            told[event.job] += 1
        else:
            results[event.job] = event.result()
    return [results[job] for job in jobs], told


@pytest.mark.parametrize("n_workers", [1, 3])
def test_every_job_is_told_from_its_start_to_its_end(n_workers):
    jobs = [5, 1, 0, 7, 3, 2]
    with Abreast([counting] * n_workers, interrupt=lambda: None) as crew:
        results, told = run(crew, jobs)
    assert results == [-job for job in jobs]
    assert told == {job: job for job in jobs}


def test_jobs_run_at_the_same_time():
    meeting = threading.Barrier(3, timeout=20)

    def meet(job):
        meeting.wait()
        return job
        yield

    with Abreast([meet] * 3, interrupt=lambda: None) as crew:
        assert run(crew, [1, 2, 3])[0] == [1, 2, 3]


def test_what_goes_wrong_is_raised_where_the_result_is_asked_for():
    def fail(job):
        yield job
        raise KeyError(job)

    with Abreast([fail], interrupt=lambda: None) as crew:
        crew.give("a")
        assert crew.wait() == Headway("a", "a")
        end = crew.wait()
        assert isinstance(end, End)
        assert not crew.is_full
        with pytest.raises(KeyError, match="a"):
            end.result()


def test_leaving_gives_up_what_is_in_work_and_lets_go_of_it():
    released, woken = threading.Event(), threading.Event()

    def endless(job):
        try:
            while True:
                yield job
                woken.wait(0.01)
        finally:
            released.set()

    with Abreast([endless, counting], interrupt=woken.set) as crew:
        crew.give(1)
        crew.wait()
    assert released.is_set()
    assert woken.is_set()
    assert not any(thread.is_alive() for thread in crew._threads)


def test_nothing_is_interrupted_where_nothing_is_in_work():
    calls = []
    with Abreast([counting], interrupt=lambda: calls.append(1)) as crew:
        run(crew, [2])
    assert calls == []
