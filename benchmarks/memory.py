"""Peak memory and time of `save index`, for long files made of real footage and for thousands of short ones.

    python benchmarks/memory.py ../shared/media/s_long.mp4 [--from 12 --to 215.16] [--minutes 60] [--asr base]
    python benchmarks/memory.py ../shared/media/s*.mp4 --files 10000 --asr off

The hour is one clip's own packets, picture and sound, copied again and again into one file: nothing is
encoded anew. The span from `--from` to `--to`, both key frames, can be repeated alone.

The files are such copies, too: each clip falls into pieces of 1 to 5 s, cut at key frames, and these are
written out in turn until there are enough. `save` keeps equal content once, and knows it by a file's size and
the 64 KiB at its head, middle and tail (media/scan.py). So each file ends in a `free` box, which players leap
over, with its number in it: its fingerprint is its own, its pictures are those of every n-th file.

The command runs in a process of its own; its memory and that of its decoders are read from /proc every 100 ms
(so this needs Linux): each one's peak, and the peak of what all hold at a time. Mapped weights count as
memory, except in what is the command's "own".
"""

from __future__ import annotations

import argparse
import io
import json
import os
import resource
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import cycle, islice
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import av
from report import INSTALLED, SAVE, table

from savecli.peaks import LOOK_EVERY_S, Peaks, children, status_mb

LIMIT_MB = 1500
PAUSE_S = Fraction(1, 10)
PIECE_S = (1, 5)
MARKS = (100, 200, 500, 1_000, 2_000, 5_000)
INDEXED = '{"event": "indexed"'


class Mark(NamedTuple):
    """What a run had cost when so many files were indexed.

    Attributes:
        wall_s, cpu_s: since it began; CPU time of the command and its decoders.
        peaks: since the mark before; the command's and the decoder's alone since the beginning.
        own_mb: memory of the command that no file is mapped to; the mean since the mark before.
    """

    n_files: int
    wall_s: float
    cpu_s: float
    peaks: Peaks
    own_mb: float


def main() -> None:
    """Make the footage, index it, print Markdown."""
    parser = argparse.ArgumentParser()
    parser.add_argument("clips", type=Path, nargs="+", help="one, or for --files any number")
    parser.add_argument("--asr", action="append", help="repeat it for several runs")
    parser.add_argument("--minutes", type=float, action="append", help="repeat it for several runs")
    parser.add_argument("--from", dest="begin_s", type=Fraction, default=0, help="seconds, of the clip")
    parser.add_argument("--to", dest="end_s", type=Fraction, default=86_400)
    parser.add_argument("--files", type=int, help="so many small files, in place of a long one")
    given = parser.parse_args()
    asrs = given.asr or ["tiny.en", "base"]
    with tempfile.TemporaryDirectory() as folder:
        if given.files:
            print(f"The limit is {LIMIT_MB} MB.\n")
            print(small_files(given.clips, given.files, asrs, Path(folder)))
            return
        if len(given.clips) > 1:
            parser.error("one long file is made of one clip")
        rows = []
        for minutes in given.minutes or [60]:
            footage = Path(folder) / f"{minutes:g}.mp4"
            repeat(given.clips[0], footage, minutes * 60, given.begin_s, given.end_s)
            rows += [one_file(footage, asr) for asr in asrs]
    print(f"{given.clips[0].name} repeated; the limit is {LIMIT_MB} MB.\n")
    heads = ["minutes", "--asr", "all at a time, MB", "command, MB", "decoder, MB", "x real time", "CPU s"]
    print(table([*heads, "speech in it, s", "segments"], rows))


def one_file(footage: Path, asr: str) -> list[object]:
    """Index it; its row of the table."""
    (event,), marks = indexed(footage, footage.with_name(f"{footage.stem}-{asr}"), asr)
    memory = marks[-1].peaks.memory
    sizes = (f"{size_mb:.0f}" for size_mb in (memory.together, memory.command, memory.decoder))
    speed = f"{event['duration_s'] / event['elapsed_s']:.1f}"
    cpu_s, speech_s = f"{marks[-1].cpu_s:.0f}", f"{event['speech_s']:.0f}"
    return [footage.stem, asr, *sizes, speed, cpu_s, speech_s, event["n_segments"]]


def small_files(clips: Sequence[Path], n_files: int, asrs: Sequence[str], folder: Path) -> str:
    """Make them and index them; tables with a row for each mark."""
    videos = folder / "videos"
    videos.mkdir()
    contents = [content for clip in clips for content in pieces(clip)]
    for number, content in enumerate(islice(cycle(contents), n_files)):
        own = b"\0\0\0\x10free" + number.to_bytes(8, "big")
        (videos / f"{number:05}.mp4").write_bytes(content + own)
    told = []
    heads = ["files", "s", "CPU s", "CPU ms a file", "all at a time, MB", "the command's own, MB"]
    for asr in asrs:
        events, marks = indexed(videos, folder / asr, asr)
        before = Mark(0, 0.0, 0.0, marks[0].peaks, 0.0)
        rows = []
        for mark in marks:
            each_ms = 1000 * (mark.cpu_s - before.cpu_s) / (mark.n_files - before.n_files)
            together = mark.peaks.memory.together
            figures = (mark.wall_s, mark.cpu_s, each_ms, together, mark.own_mb)
            rows.append([f"{mark.n_files:,}", *(f"{figure:.0f}" for figure in figures)])
            before = mark
        footage_s, speech_s = (sum(event[key] for event in events) for key in ("duration_s", "speech_s"))
        memory = marks[-1].peaks.memory
        told.append(
            f"--asr {asr}: {len(contents)} pieces as {n_files:,} files, {footage_s:.0f} s of footage with "
            f"{speech_s:.0f} s of speech; the command had {memory.command:.0f} MB at most, a decoder "
            f"{memory.decoder:.0f}.\n\n{table(heads, rows)}"
        )
    return "\n\n".join(told)


def repeat(clip: Path, target: Path, length_s: float, begin_s: Fraction, end_s: Fraction) -> None:
    """A span of a clip, over and over, until the file is long enough."""
    with av.open(str(target), "w") as out:
        offset_s = Fraction(0)
        while offset_s < length_s:
            offset_s = append(out, clip, begin_s, end_s, offset_s) + PAUSE_S


def pieces(clip: Path) -> Iterator[bytes]:
    """A clip in short MP4 files, where it has key frames and MP4 takes it."""
    with av.open(str(clip)) as source:
        stream = source.streams.best("video")
        packets = list(source.demux(stream)) if stream else []
    keys_s = [packet.pts * packet.time_base for packet in packets if packet.is_keyframe]
    begin_s = Fraction(0)
    for key_s in keys_s:
        if key_s - begin_s < PIECE_S[0]:
            continue
        if key_s - begin_s <= PIECE_S[1]:
            content = io.BytesIO()
            with av.open(content, "w", format="mp4") as out:
                append(out, clip, begin_s, key_s, Fraction(0))
            yield content.getvalue()
        begin_s = key_s


def append(
    out: av.container.OutputContainer, clip: Path, begin_s: Fraction, end_s: Fraction, offset_s: Fraction
) -> Fraction:
    """Copy the packets of a clip's best picture and sound, of one span, to `offset_s`; where they end."""
    with av.open(str(clip)) as source:
        chosen = [s for kind in ("video", "audio") if (s := source.streams.best(kind))]
        if not out.streams:
            for stream in chosen:
                out.add_stream_from_template(stream)
        streams = dict(zip((stream.index for stream in chosen), out.streams, strict=True))
        packets = [
            packet
            for packet in source.demux(chosen)
            if packet.dts is not None and begin_s <= packet.pts * packet.time_base < end_s
        ]
        # The first stamps may be negative; the next copy must begin behind the last of this one.
        offset_s -= min(packet.dts * packet.time_base for packet in packets)
        end_s = max((packet.dts + (packet.duration or 0)) * packet.time_base for packet in packets)
        for packet in packets:
            shift = round(offset_s / packet.time_base)
            packet.dts, packet.pts = packet.dts + shift, packet.pts + shift
            packet.stream = streams[packet.stream_index]
            out.mux(packet)
    return offset_s + end_s


def indexed(footage: Path, home: Path, asr: str) -> tuple[list[dict[str, Any]], list[Mark]]:
    """Index a file or folder; an event for each file, and what it had cost at MARKS and at the end."""
    command = [*SAVE, "index", str(footage), "--json", "--asr", asr, "--home", str(home)]
    log, pending = home.with_suffix(".jsonl"), list(MARKS)
    used_s, began = ended_cpu_s(), time.monotonic()
    with log.open("w") as told, log.open() as lines:
        process = subprocess.Popen(command, stdout=told, env=INSTALLED)
        pid, n_files, marks = process.pid, 0, []
        peaks, owns_mb = Peaks(pid), []
        while process.poll() is None:
            peaks.look()
            owns_mb.append(status_mb(pid, "RssAnon"))
            n_files += lines.read().count(INDEXED)  # the command flushes each line whole
            if pending and n_files >= pending[0]:
                marks.append(
                    Mark(n_files, time.monotonic() - began, running_cpu_s(pid), peaks, fmean(owns_mb))
                )
                pending = [mark for mark in pending if mark > n_files]
                peaks, owns_mb = Peaks(pid), []
            time.sleep(LOOK_EVERY_S)
    if process.returncode:
        raise SystemExit(f"save index ended with {process.returncode}")
    events = [json.loads(line) for line in log.read_text("utf-8").splitlines() if line.startswith(INDEXED)]
    wall_s, cpu_s = time.monotonic() - began, ended_cpu_s() - used_s
    return events, [*marks, Mark(len(events), wall_s, cpu_s, peaks, fmean(owns_mb))]


def running_cpu_s(pid: int) -> float:
    """CPU time of a process and of its children, those that have ended included."""
    ticks = 0
    for one in (pid, *children(pid)):
        # Behind the name, which may hold anything: utime, stime, cutime, cstime (man 5 proc_pid_stat).
        fields = Path(f"/proc/{one}/stat").read_text("utf-8").rpartition(")")[2].split()
        ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def ended_cpu_s() -> float:
    """CPU time of all that this process started and that has ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
