import csv
import os
import platform
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from pathlib import Path
from queue import Empty

import pytest

from savecli.errors import MediaCrash, MediaError, MediaTimeout
from savecli.media import worker
from savecli.media.decode import frames
from savecli.media.scan import Found, scan
from savecli.media.worker import Decoder

SIZES = {"resize_px": 64, "size_px": 56}

# How many of the frames at .25, .75, ... must come, at least; None: refused with a hint.
OUTCOMES = {
    "ok_reference.mp4": 9,
    "truncated_no_moov.mp4": None,
    "truncated_faststart.mp4": 4,
    "truncated.mkv": 4,
    "zero_byte.mp4": None,
    "text_renamed.mp4": None,
    "jpeg_renamed.mp4": None,
    "corrupt_middle.mp4": 5,
    "bitflips.mp4": 5,
    "corrupt_moov.mp4": None,
    "header_only.mp4": None,
    "trailing_garbage.mp4": 9,
    "audio_only.mp4": 0,
    "video_only.mp4": 9,
    "one_frame.mp4": 1,
    "two_frames_1fps.mp4": 2,
    "zero_duration.mp4": None,
    "huge_8192x4320.mp4": 1,
    "bomb_16000x16000.mov": None,
    "nonmonotonic_pts.ts": 12,
    "resolution_change.ts": 7,
    "lying_duration.mkv": 9,
    "lying_duration.mp4": 9,
    "late_start.mkv": 9,
    "no_keyframe.mkv": 0,
    "playlist_renamed.mp4": None,
    "ffconcat_renamed.mp4": None,
    "Ünïcödé clip 日本語 – видео 🎬 (1).mp4": 9,
    "12:30 meeting.mp4": 9,
    "-dash %03d [x].mp4": 9,
    "folder_named.mp4/": None,
}


@pytest.mark.timeout(120)
def test_every_broken_file(shared_media: Path, decoder: Decoder) -> None:
    broken = shared_media / "broken"
    with (broken / "manifest.csv").open(encoding="utf-8") as file:
        assert {row["file"] for row in csv.DictReader(file)} == set(OUTCOMES)
    for name, n_least in OUTCOMES.items():
        if n_least is None:
            with pytest.raises(MediaError) as caught:
                decoder.probe(broken / name)
            assert caught.value.hint
            assert name not in caught.value.message
        else:
            check_decodes(decoder, broken / name, n_least)


def check_decodes(decoder: Decoder, path: Path, n_least: int) -> None:
    timeline = decoder.probe(path)
    assert timeline.duration_s < 16
    times_s = [t / 4 for t in range(1, round(timeline.duration_s * 4), 2)] or [0.0]
    assert len(list(decoder.frames(timeline, times_s, **SIZES))) >= n_least, path.name
    heard_s = sum(len(b.waveform) for b in decoder.waveform(timeline)) / 16_000
    assert heard_s <= timeline.duration_s + 0.1
    assert (heard_s > 0) == timeline.has_audio, path.name


@pytest.mark.timeout(120)
def test_every_real_clip(shared_media: Path, decoder: Decoder) -> None:
    clips = [f.path for f in scan([shared_media], exclude=["broken"]) if isinstance(f, Found)]
    assert len(clips) == 33
    for path in clips:
        timeline = decoder.probe(path)
        middle_s = timeline.duration_s / 2
        got = list(decoder.frames(timeline, [middle_s], **SIZES))
        assert len(got) == timeline.has_video, path
        assert all(abs(f.time_s - middle_s) < 1.2 for f in got), path


def test_the_next_call_works_after_leaving_one(make_video, decoder: Decoder) -> None:
    timeline = decoder.probe(make_video(times_s=[i / 25 for i in range(500)]))
    times_s = [i / 10 for i in range(190)]
    left = decoder.frames(timeline, times_s, **SIZES)
    next(left)
    whole = decoder.frames(timeline, times_s, **SIZES)
    assert len(list(whole)) == 190
    assert whole.n_decoded >= 190
    with pytest.raises(RuntimeError, match="another call"):
        next(left)
    closed = decoder.frames(timeline, times_s, **SIZES)
    next(closed)
    closed.close()
    assert decoder.probe(timeline.path) == timeline


def test_options_reach_the_child(shared_media: Path, decoder: Decoder) -> None:
    timeline = decoder.probe(shared_media / "s21.mp4")
    times_s, seen = [0.3 * i for i in range(20)], []
    for options in ({"exact": True}, {"resampler": "pillow"}, {}):
        ours = decoder.frames(timeline, times_s, **SIZES, **options)
        direct = frames(timeline, times_s, **SIZES, **options)
        seen.append([f.image.tobytes() for f in ours])
        assert seen[-1] == [f.image.tobytes() for f in direct]
    assert all(a != b for a, b in combinations(seen, 2))


def child_of(decoder: Decoder) -> int:
    assert decoder._child is not None
    return decoder._child._process.pid


def test_a_crash_costs_one_call(make_video, decoder: Decoder) -> None:
    timeline = decoder.probe(make_video(times_s=[i / 25 for i in range(2000)]))
    stream = decoder.frames(timeline, [i / 25 for i in range(2000)], **SIZES)
    next(stream)
    os.kill(child_of(decoder), signal.SIGSEGV)
    with pytest.raises(MediaError, match="crashed") as caught:
        list(stream)
    assert caught.value.hint
    assert decoder.probe(timeline.path) == timeline


def test_a_hang_is_ended(make_video) -> None:
    with Decoder(stall_s=1.0) as decoder:
        timeline = decoder.probe(make_video(times_s=[i / 25 for i in range(2000)]))
        stream = decoder.frames(timeline, [i / 25 for i in range(2000)], **SIZES)
        next(stream)
        os.kill(child_of(decoder), signal.SIGSTOP)
        started_s = time.monotonic()
        with pytest.raises(MediaTimeout) as caught:
            list(stream)
        assert time.monotonic() - started_s < 10
        assert caught.value.hint
        assert decoder.probe(timeline.path) == timeline


def test_what_is_closed_while_its_process_starts_does_not_decode_all_the_same(
    make_video, monkeypatch
) -> None:
    starting, closed, start = threading.Event(), threading.Event(), worker._Child

    def slow_start(memory_bytes: int) -> worker._Child:
        starting.set()
        closed.wait(20)
        return start(memory_bytes)

    monkeypatch.setattr(worker, "_Child", slow_start)
    path = make_video()
    with Decoder() as decoder, ThreadPoolExecutor(1) as pool:
        call = pool.submit(decoder.probe, path)
        assert starting.wait(20)
        decoder.close()
        closed.set()
        with pytest.raises(RuntimeError, match="was closed"):
            call.result(20)
        assert decoder._child is None
        assert decoder.probe(path).has_video


def test_a_busy_caller_is_no_hang(make_video) -> None:
    with Decoder(stall_s=0.5) as decoder:
        timeline = decoder.probe(make_video(times_s=[i / 25 for i in range(300)]))
        stream = decoder.frames(timeline, [i / 25 for i in range(300)], **SIZES)
        next(stream)
        time.sleep(1.5)
        assert len(list(stream)) == 299


def test_memory_has_a_limit(make_video) -> None:
    path = make_video(size=(4096, 4096), times_s=(0, 1), codec="mjpeg")
    with Decoder(memory_bytes=1 << 29) as decoder:
        timeline = decoder.probe(path)
        limits = Path(f"/proc/{child_of(decoder)}/limits").read_text()
        assert f"{1 << 29}" in next(
            line for line in limits.splitlines() if line.startswith("Max address space")
        )
        assert timeline.has_video


def test_the_child_dies_with_its_parent(tmp_path: Path, make_video) -> None:
    script = (
        "import sys; from pathlib import Path; from savecli.media.worker import Decoder\n"
        "d = Decoder(); d.probe(Path(sys.argv[1])); print(d._child._process.pid, flush=True); input()"
    )
    root = Path(__file__).resolve().parents[2]
    parent = subprocess.Popen(
        [sys.executable, "-c", script, str(make_video())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=root,
    )
    pid = int(parent.stdout.readline())
    assert os.getsid(pid) != os.getsid(parent.pid)
    parent.kill()
    parent.wait()
    parent.stdin.close()
    parent.stdout.close()
    for _ in range(100):
        # A zombie nobody reaps in a container without an init counts as gone.
        status = Path(f"/proc/{pid}/stat")
        if not status.exists() or status.read_text().rsplit(")", 1)[1].split()[0] == "Z":
            return
        time.sleep(0.05)
    os.kill(pid, signal.SIGKILL)
    pytest.fail("the decoder outlived its parent")


# A reply may be waited for when Ctrl-C comes; a lock that it left taken would hang the end of the run.
INTERRUPTED_READER = """
import os, pickle, random, signal, threading, time
from contextlib import suppress
from savecli.media.worker import _Replies

def interrupt(*_):
    raise KeyboardInterrupt

def feed():
    with suppress(BrokenPipeError), os.fdopen(theirs, "wb") as pipe:
        while True:
            pickle.dump(("item", 1), pipe)

ours, theirs = os.pipe()
replies, pipe = _Replies(), os.fdopen(ours, "rb")
threading.Thread(target=feed, daemon=True).start()
reader = threading.Thread(target=replies.take_in, args=(pipe,), daemon=True)
reader.start()
signal.signal(signal.SIGALRM, interrupt)
until = time.monotonic() + 5
while time.monotonic() < until:
    with suppress(KeyboardInterrupt):
        signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-5, 1e-3))
        while True:
            replies.get(1)
    # A place is lost where the interrupt fell between taking a reply and giving its place back.
    replies._places.put(True)
    replies.get(1)
replies.close()
print("alive", flush=True)
os._exit(0)
"""


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="interrupts by a timer of the system")
def test_an_interrupt_at_any_instant_leaves_the_replies_readable() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_READER], capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.stdout == "alive\n", ran.stderr


HEAP = """
import re, sys
from pathlib import Path
from savecli.media import serve

def heap_mb():
    ends = re.search(r"^(\\w+)-(\\w+) .*\\[heap\\]$", Path("/proc/self/maps").read_text(), re.M).groups()
    return (int(ends[1], 16) - int(ends[0], 16)) >> 20

if sys.argv[1] == "apart":
    serve._keep_blocks_apart()
b"." * (8 << 20)
before = heap_mb()
held = [bytearray(4 << 20) for _ in range(8)]
print(heap_mb() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_pictures_do_not_break_the_heap_into_pieces():
    grown = [
        int(subprocess.run([sys.executable, "-c", HEAP, way], check=True, capture_output=True).stdout)
        for way in ("as it is", "apart")
    ]
    assert grown[0] > 16
    assert grown[1] <= 1


class Slow:
    """A child that gets on, a thousandth of a second of footage at a time, until it is done."""

    is_alive = True

    def __init__(self, begins_s: float) -> None:
        self.reached_s = begins_s
        self.n_told = 0

    @property
    def replies(self) -> "Slow":
        return self

    def get(self, timeout_s: float) -> tuple[object, ...]:
        if timeout_s < 0.02:
            raise Empty
        time.sleep(0.02)
        self.n_told += 1
        self.reached_s += 0.001
        return ("done", None, 0, 0) if self.n_told > 60 else ("tick", self.reached_s)

    def send(self, *call: object) -> None: ...

    def kill(self) -> None: ...


@pytest.mark.parametrize("begins_s", [0.0, 3600.0])
def test_what_a_seek_leaves_out_buys_no_time(monkeypatch, begins_s: float) -> None:
    child = Slow(begins_s)
    monkeypatch.setattr(worker, "_Child", lambda memory_bytes: child)
    with Decoder(stall_s=0.2) as decoder, pytest.raises(MediaTimeout):
        list(decoder.frames(None, [begins_s + worker.NEAR_S], **SIZES, seek=True))
    assert 5 < child.n_told < 30


@pytest.mark.skipif(os.name == "nt", reason="Windows knows no signals")
def test_a_process_that_is_killed_as_it_starts_costs_one_file_and_one_that_cannot_start_is_a_bug(
    monkeypatch, tmp_path
) -> None:
    path = tmp_path / "a.mp4"
    with Decoder() as decoder:
        killed = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
        monkeypatch.setattr(worker, "_COMMAND", (sys.executable, "-c", killed))
        with pytest.raises(MediaCrash, match="killed as it started") as caught:
            decoder.probe(path)
        assert caught.value.hint
        monkeypatch.setattr(worker, "_COMMAND", (sys.executable, "-c", "raise SystemExit(1)"))
        with pytest.raises(RuntimeError, match="does not start"):
            decoder.probe(path)
