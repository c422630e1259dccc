"""A run that is killed or interrupted loses at most the video in work, and leaves nothing running."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="finds the decoder's process by /proc")
LAST = "street.mp4"  # in the order of a run, and by far the longest


def assert_gone(pid, limit_s=5.0):
    until = time.monotonic() + limit_s
    while is_running(pid):
        assert time.monotonic() < until, f"process {pid} is left behind"
        time.sleep(0.05)


def is_running(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"  # dead, and its parent has not asked yet


def index(save, samples, jobs=1):
    return save.running("index", samples, "--json", "--asr", "tiny.en", "--jobs", jobs)


def events_until(running, name):
    event = running.next_event()
    while not event["path"].endswith(name):
        event = running.next_event()


def test_kills_at_any_moment_end_in_the_same_store_as_an_undisturbed_run(save, samples, library):
    with index(save, samples) as running:  # before the first commit
        decoders = [running.decoder()]
        running.end(signal.SIGKILL)
    with index(save, samples) as running:  # between two videos
        events_until(running, "bunny.mp4")
        decoders.append(running.decoder())
        running.end(signal.SIGKILL)
    n_kept = len(save.stored())
    with index(save, samples) as running:  # within the long one
        events_until(running, "passenger.mp4")
        decoders.append(running.decoder())
        time.sleep(0.5)
        running.end(signal.SIGKILL)
    for pid in decoders:
        assert_gone(pid)
    resumed = save("index", samples, "--json", "--asr", "tiny.en")

    assert n_kept >= 2
    assert resumed.code == 0
    assert {Path(event["path"]).name for event in resumed.events("indexed")} == {LAST}
    assert save.stored() == library.save.stored()
    assert (
        save("search", "an animal", "--all", "--json").out
        == library.save("search", "an animal", "--all", "--json").out
    )
    assert save.using(SAVE_ASR="off")("doctor").code == 0


@pytest.mark.parametrize("jobs", [1, 3])
@pytest.mark.parametrize("signal_", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_is_exit_code_130_and_keeps_what_is_done(save, samples, signal_, jobs):
    with index(save, samples, jobs) as running:
        first = running.next_event()
        decoders = {running.decoder(), *running.decoders()}
        ran = running.end(signal_)
    assert ran.code == 130
    assert "the next run goes on from here" in ran.err
    assert "Traceback" not in ran.err
    for decoder in decoders:
        assert_gone(decoder)
    assert (save.home / "store" / "catalog.db.sum").exists()
    assert first["path"] in {video["path"] for video in save.stored()}
    assert save("forget", samples, "--json").code == 0  # the lock is free


def test_a_lost_decoder_costs_at_most_one_video(save, samples):
    videos = [samples / name for name in ("bunny.mp4", "cockatoo.mp4", "passenger.mp4")]
    with save.running("index", *videos, "--json", "--asr", "off") as running:
        assert running.next_event()["event"] == "indexed"
        os.kill(running.decoder(), signal.SIGKILL)
        out, err = running.process.communicate(timeout=240)
    assert running.process.returncode in (0, 1), err  # 0: it was between two videos
    assert out.count('"event": "skipped"') <= 1
    assert out.count('"event": "indexed"') >= 1
