"""A watch looks, runs where there is news, tells what is new, waits, and ends when it is told to."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import sys
import time
import tracemalloc
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from savecli.errors import StoreBusy, StoreError
from savecli.events import Indexed, Planned, Progress, Removed, Skipped, Summary, Unchanged
from savecli.index import Options, index, news_in_s
from savecli.pipeline import Pipeline
from savecli.store import Store
from savecli.watch import BUSY_S, Bell, Terminated, ended_by_signals, watch

A, B = Path("/v/a.mp4"), Path("/v/b.mp4")
PLANNED, NOTHING = Planned(n_files=1, n_bytes=1), Planned(n_files=0, n_bytes=0)
INDEXED = Indexed(path=A, duration_s=1, n_segments=1, has_audio=True, speech_s=0, elapsed_s=1, size_bytes=1)
BROKEN = Skipped(path=B, reason="broken", hint="mend it")
SUMMARY = Summary(n_indexed=1, n_unchanged=0, n_moved=0, n_skipped=0, footage_s=1, elapsed_s=1)


class StoppedError(Exception):
    """The script of a test is at its end."""


class Script:
    """What the looks find and the runs do, one after the other; what is waited in between."""

    def __init__(self, *steps):
        self.steps, self.waited, self.firsts, self.is_open = iter(steps), [], [], False
        self.events = None

    def news(self):
        due_s, self.events = next(self.steps, (None, StoppedError()))
        if isinstance(self.events, StoppedError):
            raise self.events
        return due_s

    def run(self, is_first):
        if is_first:
            _, self.events = next(self.steps)
        self.firsts.append(is_first)
        if isinstance(self.events, Exception):
            raise self.events
        self.is_open = True
        try:
            yield from self.events
        finally:
            self.is_open = False

    def wait(self, seconds):
        assert not self.is_open, "the lock is given back before it waits"
        self.waited.append(seconds)

    def rounds(self, interval_s=30.0):
        told = []
        with closing(watch(self.news, self.run, self.wait, interval_s=interval_s)) as rounds:
            try:
                for events in rounds:
                    told.append(list(events))
            except StoppedError:
                pass
        return told


def test_the_first_run_tells_all_and_later_ones_what_is_new():
    first = [Unchanged(path=A), BROKEN, PLANNED, INDEXED, SUMMARY]
    again = [Unchanged(path=A), BROKEN, PLANNED, INDEXED, SUMMARY]
    script = Script((0, first), (None, None), (0, again))
    assert script.rounds() == [first, [PLANNED, INDEXED, SUMMARY]]
    assert script.firsts == [True, False]
    assert script.waited == [30, 30, 30]


def test_a_first_run_without_anything_to_do_is_told():
    assert Script((0, [NOTHING, SUMMARY])).rounds() == [[NOTHING, SUMMARY]]


@pytest.mark.parametrize(
    ("events", "told"),
    [
        ([NOTHING, SUMMARY], False),
        ([Unchanged(path=A), NOTHING, SUMMARY], False),
        ([Skipped(path=A, reason="no", hint="", known=True), NOTHING, SUMMARY], False),
        ([NOTHING, Removed(path=A), SUMMARY], True),
        ([PLANNED, Progress(path=A, stage="see", done_s=0, duration_s=1), INDEXED, SUMMARY], True),
        ([BROKEN, NOTHING, SUMMARY], True),
    ],
)
def test_a_later_run_is_told_if_it_did_something(events, told):
    script = Script((0, [NOTHING, SUMMARY]), (0, events))
    kept = [e for e in events if not isinstance(e, Unchanged) and not getattr(e, "known", False)]
    assert script.rounds()[1:] == ([kept] if told else [])
    assert not script.is_open


def test_what_was_skipped_is_told_again_only_after_it_was_gone():
    rounds = [[BROKEN, PLANNED, INDEXED, SUMMARY], [BROKEN, PLANNED, INDEXED, SUMMARY]]
    rounds += [[PLANNED, INDEXED, SUMMARY], [BROKEN, PLANNED, INDEXED, SUMMARY]]
    told = Script(*((0, events) for events in rounds)).rounds()
    assert [BROKEN in events for events in told] == [True, False, False, True]


def test_what_is_in_sight_is_waited_for_with_growing_patience():
    script = Script((0, [NOTHING, SUMMARY]), *[(1.5, None)] * 6, (None, None), (1.5, None))
    script.rounds()
    assert script.waited == [30, 1.5, 3, 6, 12, 24, 30, 30, 1.5]


def test_somebody_else_who_writes_is_waited_for():
    script = Script((0, StoreBusy("busy")), (0, [PLANNED, INDEXED, SUMMARY]), (0, StoreBusy("busy")))
    assert script.rounds() == [[PLANNED, INDEXED, SUMMARY]]
    assert script.firsts == [True, True, False]
    assert script.waited == [BUSY_S, 30, BUSY_S]


def test_what_the_next_run_would_not_survive_either_ends_it():
    with pytest.raises(StoreError, match="no room"):
        Script((0, StoreError("no room"))).rounds()


def test_a_watch_that_is_given_up_in_a_run_gives_the_lock_back():
    script = Script((0, [PLANNED, INDEXED, SUMMARY]))
    rounds = watch(script.news, script.run, script.wait, interval_s=30)
    next(next(rounds))
    assert script.is_open
    rounds.close()
    assert not script.is_open


# -- waiting -------------------------------------------------------------------------------------------------


def seconds(work):
    started = time.monotonic()
    work()
    return time.monotonic() - started


@pytest.fixture
def silent(monkeypatch):
    """As where watchfiles is not installed."""
    monkeypatch.setitem(sys.modules, "watchfiles", None)


def test_without_events_it_waits_to_the_end(silent, tmp_path):
    entered = []

    @contextmanager
    def around():
        entered.append(True)
        yield

    with Bell([tmp_path], ignored=tmp_path / "home", settle_s=0.1, around=around) as bell:
        (tmp_path / "a.mp4").touch()
        assert 0.3 <= seconds(lambda: bell.wait(0.3)) < 5
    assert entered == [True]


@pytest.fixture
def bell(tmp_path):
    pytest.importorskip("watchfiles")
    (tmp_path / "videos" / "deep").mkdir(parents=True)
    (tmp_path / "videos" / "home").mkdir()
    folder = tmp_path / "videos"
    with Bell([folder], ignored=folder / "home", settle_s=0.3) as opened:
        until = time.monotonic() + 20
        while not opened._rung.is_set():  # the system begins to tell of changes when it is ready
            assert time.monotonic() < until
            (folder / "first").touch()
            (folder / "first").unlink()
            time.sleep(0.1)
        opened.wait(5)
        while seconds(lambda: opened.wait(2)) < 2:
            pass  # what was told late of the beginning
        yield opened


def test_a_change_ends_a_wait_when_all_is_quiet(bell, tmp_path):
    (tmp_path / "videos" / "deep" / "a.mp4").write_bytes(b"new")
    assert seconds(lambda: bell.wait(60)) < 30


def test_changes_of_our_own_wake_nobody(bell, tmp_path):
    (tmp_path / "videos" / "home" / "catalog.db").touch()
    assert seconds(lambda: bell.wait(3)) >= 3


def test_changes_without_end_are_waited_for_no_longer_than_asked(bell):
    def ring(*_):
        bell._rung.set()
        return real(0.05)

    real = bell._rung.wait
    bell._rung.set()
    bell._rung.wait = ring
    assert 1 <= seconds(lambda: bell.wait(1)) < 5
    bell._rung.wait = real


def test_a_folder_that_is_not_there_is_polled(tmp_path):
    pytest.importorskip("watchfiles")
    with Bell([tmp_path / "none"], ignored=tmp_path, settle_s=0.1) as bell:
        assert seconds(lambda: bell.wait(0.5)) >= 0.5


def test_sigterm_raises_once_and_is_as_before_afterwards():
    before = signal.getsignal(signal.SIGTERM)
    cleaned_up = []

    def work():
        with ended_by_signals():
            try:
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(5)
            finally:
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(0.05)
                cleaned_up.append(True)

    with pytest.raises(Terminated):
        work()
    assert cleaned_up
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_closed_terminal_ends_it_too_but_not_under_nohup():
    def work():
        with ended_by_signals():
            os.kill(os.getpid(), signal.SIGHUP)
            time.sleep(0.05)
        return "done"

    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may be under nohup themselves
    try:
        with pytest.raises(Terminated):
            work()
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        assert work() == "done"
    finally:
        signal.signal(signal.SIGHUP, before)


def test_sigterm_is_told_from_ctrl_c_where_a_library_forgets_which_it_was():
    def work(*, by_sigterm):
        with ended_by_signals():
            with contextlib.suppress(Terminated):
                os.kill(os.getpid(), signal.SIGTERM if by_sigterm else 0)
                time.sleep(0.05)
            raise KeyboardInterrupt

    for by_sigterm in (True, False):
        with pytest.raises(KeyboardInterrupt) as caught:
            work(by_sigterm=by_sigterm)
        assert isinstance(caught.value, Terminated) == by_sigterm


# -- with a store --------------------------------------------------------------------------------------------


def test_it_follows_a_folder_and_keeps_nothing_of_what_it_told(tmp_path, decoder, encoder, colour_video):
    """Rounds with a real store, opened anew for each; memory is the same after ten rounds as after sixty."""
    folder, home = tmp_path / "videos", tmp_path / "store"
    folder.mkdir()
    options = Options(paths=(folder,))
    (folder / "notes.mp4").write_text("no video")
    source = colour_video(tmp_path / "red.mp4", "red")
    rounds = itertools.count()

    @contextmanager
    def pipeline():
        yield Pipeline(decoder, encoder, None)

    def run(_):
        with Store.open(home, identity=encoder.identity, mode="write") as store:
            yield from index(options, store, pipeline)

    def news():
        with Store.open(home, identity=encoder.identity, mode="read") as store:
            return news_in_s(options, store)

    def wait(_):
        number = next(rounds)
        target = folder / f"{number % 2}.mp4"
        target.write_bytes(source.read_bytes() + b"\0\0\0\x08free" * number)
        Store.open(home, identity=None, mode="write").close()  # anybody may write meanwhile

    told, sizes = [], []
    tracemalloc.start()
    with closing(watch(news, run, wait, interval_s=1)) as watching:
        for events in watching:
            told.append([type(event) for event in events if not isinstance(event, Progress)])
            encoder.seen.clear()
            encoder.heard.clear()
            sizes.append(tracemalloc.get_traced_memory()[0])
            if len(told) == 60:
                break
    tracemalloc.stop()
    assert told[0] == [Skipped, Planned, Summary]
    assert told[1:] == [[Planned, Indexed, Summary]] * 59
    # Once, Python's table of interned names may double, by megabytes where other tests have loaded much.
    steps = sorted(after - before for before, after in itertools.pairwise(sizes[10:]))
    assert sum(steps[:-1]) < 200_000
    with Store.open(home, identity=None, mode="read") as store:
        assert store.counts().n_videos == 2
        assert store.check() == []
