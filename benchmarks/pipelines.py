"""The whole of `save index` side by side: now, at an earlier commit, and as a straightforward script.

    python benchmarks/pipelines.py ../shared/media --before ../save-at-fae1db3 [--repeats 2] [--straight 1]

`--before` is a checkout of an earlier commit (git worktree add). The clips are half speech. Each way is a
process of its own, and they take turns; "x" is seconds of footage to a second, of wall time and of CPU
time of all processes. On a machine with other work the second is the firmer; times the cores it says
what they would do undisturbed, were all of them kept busy. The straightforward script decodes every frame
with PyAV, gives one frame a second to torch, one by one, and the whole sound to openai-whisper, one file
after the other: the same models in the same sizes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from report import INSTALLED, ROOT, spread, table

CLIPS = ("s16.mp4", "s22.mp4", "s23.mp4", "s24.mp4", "s31.mp4", "s08.mp4", "s09.mp4", "s10.mp4")


def main() -> None:
    """Run all ways in turn, print Markdown."""
    parser = argparse.ArgumentParser()
    parser.add_argument("media", type=Path)
    parser.add_argument("--before", type=Path)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--straight", type=int, default=1, help="repeats of the straightforward script")
    parser.add_argument("--run-straight", metavar="ASR", help=argparse.SUPPRESS)
    given = parser.parse_args()
    clips = [given.media.absolute() / name for name in CLIPS]
    if given.run_straight:
        straight(clips, given.run_straight)
        return
    runs: defaultdict[tuple[str, str], list[tuple[float, float, float]]] = defaultdict(list)
    footage_s = 0.0
    for turn in range(given.repeats):
        for asr in ("base", "off"):
            footage_s, *costs = indexed(ROOT, clips, asr)
            runs["now", asr].append((*costs,))
            if given.before:
                runs["before", asr].append((*indexed(given.before.absolute(), clips, asr)[1:],))
            if turn < given.straight:
                command = [sys.executable, __file__, str(given.media), "--run-straight", asr]
                runs["a straightforward script", asr].append(measured(command, ROOT)[1:])
    print(f"{len(clips)} clips, {footage_s:.0f} s of footage.\n")
    heads = ["", "--asr", "x, wall", "x, a CPU second", "peak of one process, MB"]
    print(table(heads, [row(way, asr, costs, footage_s) for (way, asr), costs in runs.items()]))


def row(way: str, asr: str, costs: list[tuple[float, float, float]], footage_s: float) -> list[str]:
    """One line of the table."""
    walls, cpus, sizes = zip(*costs, strict=True)
    speeds = (spread([footage_s / spent for spent in all_spent]) for all_spent in (walls, cpus))
    return [way, asr, *speeds, spread(sizes, ".0f")]


def indexed(checkout: Path, clips: list[Path], asr: str) -> tuple[float, float, float, float]:
    """Seconds of footage, wall and CPU seconds, and MB of a new library made by that checkout's command."""
    with tempfile.TemporaryDirectory() as home:
        command = [sys.executable, "-m", "savecli", "index", *map(str, clips), "--asr", asr, "--json"]
        out, *costs = measured([*command, "--home", home], checkout)
    (summary,) = (r for r in map(json.loads, out.splitlines()) if r["event"] == "summary")
    if summary["n_indexed"] != len(clips):
        raise SystemExit(f"{summary['n_skipped']} clips were skipped")
    return summary["footage_s"], *costs


def measured(command: list[str], checkout: Path) -> tuple[str, float, float, float]:
    """What a command prints, its wall seconds, the CPU seconds and the MB of it and of its children."""
    watch = "import os,resource,subprocess,sys\nr=subprocess.run(sys.argv[1:])\n"
    watch += "u=resource.getrusage(resource.RUSAGE_CHILDREN)\n"
    watch += "print(u.ru_utime+u.ru_stime,u.ru_maxrss,file=sys.stderr)\nsys.exit(r.returncode)"
    env = {**INSTALLED, "PYTHONPATH": str(checkout)}
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", watch, *command], env=env, cwd=checkout, capture_output=True, text=True
    )
    wall_s = time.perf_counter() - started
    if done.returncode:
        raise SystemExit(done.stderr)
    cpu_s, size_kb = map(float, done.stderr.splitlines()[-1].split())
    return done.stdout, wall_s, cpu_s, size_kb / 1000 * 1.024


def straight(clips: list[Path], asr: str) -> None:
    """The same models, without any thought of speed."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import av
    import numpy as np

    from savecli import config, pipeline
    from savecli.media.decode.picture import Scaler
    from savecli.model.mel import log_mel_patches
    from savecli.model.mini import MiniNetworks
    from savecli.model.weights import bundled, locate

    settings = config.load(asr="openai/base" if asr != "off" else "off", device="cpu")
    card = json.loads((bundled("save-mini") / "model.json").read_text())
    (vision,) = locate("efficientnet-lite0", settings.model_dir).values()
    networks = MiniNetworks(bundled("save-mini"), vision, card["dim"], card["fusion"]["sizes"], device="cpu")
    transcriber = pipeline.make_transcriber(settings)
    for clip in clips:
        with av.open(str(clip)) as file:
            if file.streams.video:
                scaler, due_s = Scaler(resize_px=256, size_px=224, pixel_aspect=None), 0.0
                for picture in file.decode(video=0):
                    if (picture.time or 0.0) >= due_s:
                        networks.look(scaler(picture)[np.newaxis])
                        due_s += 1.0
        with av.open(str(clip)) as file:
            if not file.streams.audio:
                continue
            resampler = av.AudioResampler("flt", "mono", 16_000)
            sound = [
                out.to_ndarray()[0] for frame in file.decode(audio=0) for out in resampler.resample(frame)
            ]
        waveform = np.concatenate(sound)
        for at in range(0, len(waveform), 192_000):
            networks.listen(log_mel_patches(waveform[at : at + 192_000]))
        if transcriber is not None:
            transcriber._model.transcribe(
                waveform, beam_size=5, word_timestamps=True, fp16=False, verbose=None
            )


if __name__ == "__main__":
    main()
