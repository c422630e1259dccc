"""Decoding in a process of its own, that may crash, hang or eat memory without harm.

A plain subprocess on two pipes and not `multiprocessing`: it imports nothing of the caller's main module,
works from a console script, a notebook or standard input alike, and ends by itself when the pipe closes.
"""

from __future__ import annotations

import pickle
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import IO, Any, Self, cast

from savecli.errors import MediaCrash, MediaError, MediaTimeout
from savecli.media.footage import (
    MAX_PIXELS,
    NEAR_S,
    Frame,
    FrameStream,
    Source,
    Tally,
    Timeline,
    WaveformStream,
)

_N_AHEAD = 48
"""Replies held for a busy caller: four segments of frames."""
_PACE = 10.0
"""Seconds of waiting that a second of footage may cost: 4K AV1 on a slow core needs about five."""
_ROOT = Path(__file__).resolve().parents[2]
# -P: a numpy.py in the current folder is not ours.
_COMMAND = (
    sys.executable,
    "-P",
    "-c",
    "import sys; sys.path.append(sys.argv[1]); from savecli.media.serve import main; main(int(sys.argv[2]))",
    str(_ROOT),
)


class Decoder:
    """The calls of `savecli.media.decode`, each safe against the file.

    One call at a time: starting one ends a stream that was not read to its end. Not for several threads.

    Args:
        stall_s: how long to wait without any headway; a whole call may take this long and ten times the
            footage decoded so far. Time in which the caller is busy does not count.
        memory_bytes: address space of the process, where the system can limit it.
    """

    def __init__(self, stall_s: float = 60.0, memory_bytes: int = 4 << 30) -> None:
        self._stall_s = stall_s
        self._memory_bytes = memory_bytes
        self._child: _Child | None = None
        self._turn: object | None = None
        self._n_closed = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def twin(self) -> Decoder:
        """Another with the same limits, and a process of its own."""
        return Decoder(self._stall_s, self._memory_bytes)

    def close(self) -> None:
        """End the process, also one that is starting, from any thread; the next call starts another."""
        self._n_closed += 1
        child, self._child, self._turn = self._child, None, None
        if child is not None:
            child.kill()

    def probe(self, path: Path, *, max_pixels: int = MAX_PIXELS, to_hear: bool = False) -> Timeline:
        """See `savecli.media.decode.probe`.

        Raises:
            MediaError: the file cannot be read, or it crashed the decoder.
            MediaTimeout: no headway in time.
        """
        return cast(Timeline, next(self._run(Tally(), "probe", path, max_pixels=max_pixels, to_hear=to_hear)))

    def look(self, path: Path) -> Source:
        """See `savecli.media.decode.look`; raises what `probe` does."""
        return cast(Source, next(self._run(Tally(), "look", path)))

    def photo(self, path: Path, *, resize_px: int, size_px: int, resampler: str = "swscale") -> Frame:
        """See `savecli.media.decode.photo`; raises what `probe` does."""
        options = {"resize_px": resize_px, "size_px": size_px, "resampler": resampler}
        return cast(Frame, next(self._run(Tally(), "photo", path, **options)))

    def stills(self, path: Path, times_s: Sequence[float], *, width_px: int, height_px: int) -> FrameStream:
        """See `savecli.media.decode.stills`; errors are raised while iterating."""
        tally, times_s = Tally(), tuple(float(time_s) for time_s in times_s)
        options = {"width_px": width_px, "height_px": height_px}
        return FrameStream(self._run(tally, "stills", path, times_s, **options), tally)

    def frames(
        self,
        timeline: Timeline,
        times_s: Sequence[float],
        *,
        resize_px: int,
        size_px: int,
        resampler: str = "swscale",
        exact: bool = False,
        seek: bool = False,
    ) -> FrameStream:
        """See `savecli.media.decode.frames`; errors are raised while iterating."""
        times_s = tuple(float(time_s) for time_s in times_s)
        # What a seek leaves out is no headway.
        tally = Tally(reached_s=max(0.0, times_s[0] - NEAR_S) if seek and times_s else 0.0)
        size = {"resize_px": resize_px, "size_px": size_px, "resampler": resampler}
        return FrameStream(
            self._run(tally, "frames", timeline, times_s, **size, exact=exact, seek=seek), tally
        )

    def waveform(
        self, timeline: Timeline, *, sample_rate_hz: int = 16_000, block_s: float = 10.0
    ) -> WaveformStream:
        """See `savecli.media.decode.waveform`; errors are raised while iterating."""
        tally = Tally()
        return WaveformStream(
            self._run(tally, "waveform", timeline, sample_rate_hz=sample_rate_hz, block_s=block_s), tally
        )

    def _run(self, tally: Tally, name: str, *args: object, **options: object) -> Iterator[Any]:
        """The items of one call, and at its end its result, if there is one."""
        child = self._ready_child()
        turn = self._turn = object()
        try:
            child.send(name, args, options)
            patience = _Patience(self._stall_s, tally.reached_s)
            while True:
                if self._turn is not turn:
                    raise RuntimeError("another call was started before this stream was read to its end")
                kind, *content = patience.wait(child.replies, tally)
                if kind == "item":
                    yield content[0]
                    continue
                if kind in ("done", "error"):
                    self._turn = None
                if kind == "done":
                    result, tally.n_decoded, tally.n_bad_packets = content
                    break
                _raise_failure(kind, content)
        finally:
            if self._turn is turn:
                self.close()
        if result is not None:
            yield result

    def _ready_child(self) -> _Child:
        if self._turn is not None or (self._child is not None and not self._child.is_alive):
            self.close()
        if self._child is None:
            n_closed = self._n_closed
            self._child = _Child(self._memory_bytes)
            if self._n_closed != n_closed:
                self.close()
                raise RuntimeError("the decoder was closed while its process started")
        return self._child


class _Patience:
    """Waits for replies, as long as the child gets anywhere from where it begins."""

    def __init__(self, stall_s: float, begins_s: float) -> None:
        self._stall_s = stall_s
        self._begins_s = begins_s
        self._stalled_s = 0.0
        self._waited_s = 0.0

    def wait(self, replies: _Replies, tally: Tally) -> tuple[Any, ...]:
        """The next reply that is no mere headway."""
        while True:
            budget_s = self._stall_s + _PACE * (tally.reached_s - self._begins_s) - self._waited_s
            started_s = time.monotonic()
            try:
                reply = replies.get(max(0.0, min(self._stall_s - self._stalled_s, budget_s)))
            except Empty:
                raise MediaTimeout(
                    f"the decoder made no headway within {self._stall_s:g} s",
                    hint="The file is damaged, or its disk does not answer; does a player get through it?",
                ) from None
            self._waited_s += time.monotonic() - started_s
            self._stalled_s = 0.0
            if reply[0] == "item":
                tally.reach(getattr(reply[1], "time_s", getattr(reply[1], "start_s", 0.0)))
            if reply[0] != "tick":
                return reply
            tally.reach(reply[1])


def _raise_failure(kind: str, content: list[Any]) -> None:
    if kind == "error":
        raise cast(MediaError, content[0])
    if kind == "bug":
        # Ours, not the file's; but the next file deserves its turn all the same.
        raise MediaError(
            f"the decoder's process failed: {content[0].strip().splitlines()[-1]}",
            hint="This is a bug: please report it, with the file if you can.",
        )
    raise MediaCrash(
        "the decoder crashed on this file", hint="It is damaged in a way that the decoder does not survive."
    )


class _Child:
    """The process, and the thread that takes in what it sends."""

    def __init__(self, memory_bytes: int) -> None:
        # A session of its own: Ctrl-C in the terminal is for the parent, which then ends this one.
        self._process = subprocess.Popen(
            (*_COMMAND, str(memory_bytes)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.replies = _Replies()
        self._reader = Thread(target=self.replies.take_in, args=(self._process.stdout,), daemon=True)
        self._reader.start()
        if self.replies.get(None) != ("ready",):
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(1.0)
            code = self._process.returncode
            self.kill()
            if code is not None and code < 0:  # a signal: by whoever makes room in a full memory, or by us
                raise MediaCrash("the decoder's process was killed as it started", hint="is memory full?")
            raise RuntimeError("the decoder's process does not start; is PyAV installed?")

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def send(self, *call: object) -> None:
        """Where the process died in the meantime, its last reply says so."""
        if self._process.stdin is not None:
            with suppress(BrokenPipeError):
                pickle.dump(call, self._process.stdin, protocol=pickle.HIGHEST_PROTOCOL)
                self._process.stdin.flush()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self.replies.close()
        self._reader.join()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()


class _Replies:
    """What the child sent, at most `_N_AHEAD` of it.

    Of two `SimpleQueue` and not one bounded `Queue`: Ctrl-C at the wrong instant leaves the lock of a `Queue`
    taken for ever, as it is Python code (https://docs.python.org/3/library/queue.html#queue.SimpleQueue.put).
    """

    def __init__(self) -> None:
        self._content: SimpleQueue[tuple[Any, ...]] = SimpleQueue()
        self._places: SimpleQueue[bool] = SimpleQueue()
        for _ in range(_N_AHEAD):
            self._places.put(True)

    def get(self, timeout_s: float | None) -> tuple[Any, ...]:
        """The next one; raises Empty after `timeout_s`."""
        reply = self._content.get(timeout=timeout_s)
        self._places.put(True)
        return reply

    def take_in(self, pipe: IO[bytes]) -> None:
        """Until the pipe ends or the queue is closed; the last reply is then `gone`."""
        with suppress(EOFError, OSError, pickle.UnpicklingError):
            while self._places.get():
                self._content.put(pickle.load(pipe))  # noqa: S301 - from our own child
        self._content.put(("gone",))

    def close(self) -> None:
        """Let `take_in` end, once its pipe has."""
        self._places.put(False)
