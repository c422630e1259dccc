"""Peak memory of `save index` on an hour of real footage, and how fast it got through.

    python benchmarks/memory.py ../shared/media/s_long.mp4 [--asr base] [--minutes 60]

The hour is one clip's own packets, picture and sound, copied again and again into one file: nothing is
encoded anew. The command runs in a process of its own; its memory and that of its decoder are read from
/proc every 100 ms (so this needs Linux): each one's peak, and the peak of what both hold at a time. Mapped
weights count as memory.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import av
from report import SAVE, table

from savecli.peaks import LOOK_EVERY_S, Peaks

LIMIT_MB = 1500
PAUSE_S = Fraction(1, 10)


def main() -> None:
    """Make the file, index it, print Markdown."""
    parser = argparse.ArgumentParser()
    parser.add_argument("clip", type=Path)
    parser.add_argument("--asr", action="append", help="repeat it for several runs")
    parser.add_argument("--minutes", type=float, default=60)
    given = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        footage = Path(folder) / "hour.mp4"
        repeat(given.clip, footage, given.minutes * 60)
        for asr in given.asr or ["tiny.en", "base"]:
            rows.append([asr, *measure(footage, Path(folder) / asr, asr)])
    print(f"{given.clip.name} repeated to {given.minutes:g} minutes; the limit is {LIMIT_MB} MB.\n")
    heads = ["--asr", "both at a time, MB", "command, MB", "decoder, MB", "x real time", "speech in it, s"]
    print(table([*heads, "segments"], rows))


def repeat(clip: Path, target: Path, length_s: float) -> None:
    """Copy the packets of a clip's best picture and sound, over and over, until the file is long enough."""
    with av.open(str(target), "w") as out:
        streams: dict[int, av.stream.Stream] = {}
        offset_s = Fraction(0)
        while offset_s < length_s:
            with av.open(str(clip)) as source:
                chosen = [s for kind in ("video", "audio") if (s := source.streams.best(kind))]
                streams = streams or {s.index: out.add_stream_from_template(s) for s in chosen}
                packets = [packet for packet in source.demux(chosen) if packet.dts is not None]
                # The first stamps may be negative; the next copy must begin behind the last of this one.
                offset_s -= min(packet.dts * packet.time_base for packet in packets)
                end_s = max((packet.dts + (packet.duration or 0)) * packet.time_base for packet in packets)
                for packet in packets:
                    shift = round(offset_s / packet.time_base)
                    packet.dts, packet.pts = packet.dts + shift, packet.pts + shift
                    packet.stream = streams[packet.stream_index]
                    out.mux(packet)
                offset_s += end_s + PAUSE_S


def measure(footage: Path, home: Path, asr: str) -> list[str]:
    """One run's cells of the table."""
    command = [*SAVE, "index", str(footage), "--json", "--asr", asr, "--home", str(home)]
    with (home.with_suffix(".jsonl")).open("w+") as lines:
        process = subprocess.Popen(command, stdout=lines)
        peaks = Peaks(process.pid)
        while process.poll() is None:
            peaks.look()
            time.sleep(LOOK_EVERY_S)
        if process.returncode:
            raise SystemExit(f"save index ended with {process.returncode}")
        lines.seek(0)
        events = [json.loads(line) for line in lines]
    (indexed,) = (event for event in events if event["event"] == "indexed")
    speed = indexed["duration_s"] / indexed["elapsed_s"]
    memory = peaks.memory
    sizes = (f"{size_mb:.0f}" for size_mb in (memory.together, memory.command, memory.decoder))
    return [*sizes, f"{speed:.1f}", f"{indexed['speech_s']:.0f}", str(indexed["n_segments"])]


if __name__ == "__main__":
    main()
