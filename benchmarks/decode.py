"""Which decoder? One frame a second from every video of a folder: ours, plain sequential PyAV, and decord.

    python benchmarks/decode.py FOLDER

CPU seconds of all threads, so that a busy machine matters less; "x" is footage over CPU time. Ours takes
the nearest key frame where they are dense enough, the others the exact frame. decord is asked for the
frames that its own times say are shown; each of its pictures is looked up among all of plain decoding,
and "off" is how far the time it claims is from that of the picture it gave. Near-still scenes may raise it.
"""

import json
import subprocess
import sys
import time
from bisect import bisect_right
from pathlib import Path

import av
import numpy as np

from savecli.media.decode import frames, probe
from savecli.media.scan import Found, scan

RESIZE_PX, SIZE_PX = 256, 224
LOOK_PX = 32
TIME_LIMIT_S = 300
# Grey levels between a picture and its nearest at LOOK_PX: above it, it is a different picture.
SAME = 3.0


def look(image):
    """(LOOK_PX, LOOK_PX) float32 grey, to tell pictures apart."""
    frame = image if isinstance(image, av.VideoFrame) else av.VideoFrame.from_ndarray(image)
    grey = frame.reformat(LOOK_PX, LOOK_PX, "gray", interpolation="AREA").to_ndarray().astype(np.float32)
    return np.rot90(grey, round(frame.rotation / 90))


def ours(path, targets):
    return [(f.time_s, None) for f in frames(probe(path), targets, resize_px=RESIZE_PX, size_px=SIZE_PX)]


def plain(path, targets):
    """Decode everything, scale what is asked for."""
    found, held, rest = [], None, list(targets)
    with av.open(str(path)) as container:
        stream = container.streams.best("video")
        stream.codec_context.thread_count = 1
        origin_s = float((stream.start_time or 0) * stream.time_base)
        for frame in container.decode(stream):
            while rest and held is not None and rest[0] < frame.time - origin_s:
                found.append((held.time, held.reformat(RESIZE_PX, RESIZE_PX, "rgb24").to_ndarray()))
                rest.pop(0)
            held = frame
    return found


def by_decord(path, targets):
    import decord

    reader = decord.VideoReader(str(path), ctx=decord.cpu(0), num_threads=1)
    starts = reader.get_frame_timestamp(range(len(reader)))[:, 0].astype(float)
    order = np.argsort(starts, kind="stable")
    at = [int(order[max(bisect_right(starts[order], t) - 1, 0)]) for t in targets]
    images = reader.get_batch(at).asnumpy()
    return [(float(starts[i]), image) for i, image in zip(at, images, strict=True)]


def how_far_off(path, got):
    """Worst distance, s, between claimed time and the time of the picture given, and how many are wrong."""
    with av.open(str(path)) as container:
        stream = container.streams.best("video")
        truth = [(frame.time, look(frame)) for frame in container.decode(stream)]
    times_s = np.array([t for t, _ in truth])
    pictures = np.stack([p for _, p in truth])
    off = []
    for claimed_s, image in got:
        unlike = np.abs(pictures - look(image)).mean(axis=(1, 2))
        # Still scenes repeat a picture: of all that look the same, the nearest in time counts.
        same = times_s[unlike <= max(unlike.min() + 0.5, SAME * (unlike.min() > SAME))]
        off.append(float(np.abs(same - times_s[0] - claimed_s).min()))
    frame_s = float(np.median(np.diff(times_s))) if len(times_s) > 1 else 0.04
    return max(off), sum(o > 1.5 * frame_s for o in off)


def measure(path):
    """One line of the table, as a dict."""
    timeline = probe(path)
    row = {"file": path.name, "container": timeline.container.split(",")[0], "s": timeline.video_end_s}
    if not timeline.has_video:
        return row
    targets = list(np.arange(0.5, timeline.video_end_s, 1.0)) or [0.0]
    for name, decode in (("ours", ours), ("plain", plain), ("decord", by_decord)):
        started_s = time.process_time()
        try:
            got = decode(path, targets)
        except Exception as error:  # noqa: BLE001 - decord raises what it likes: that is the result
            row[name] = type(error).__name__
            continue
        row[name] = time.process_time() - started_s
        if name == "decord":
            row["off"], row["wrong"] = how_far_off(path, got)
            row["frames"] = len(got)
    return row


def show(row):
    cells = [f"{row['file'][:22]:22} {row['container']:9} {row['s']:7.2f} s"]
    for name in ("ours", "plain", "decord"):
        cost = row.get(name, "-")
        cells.append(f"{name} {row['s'] / cost:7.1f}x" if isinstance(cost, float) else f"{name} {cost:>8}")
    if "off" in row:
        cells.append(f"off {row['off']:.2f} s, {row['wrong']}/{row['frames']} wrong")
    print("  ".join(cells), flush=True)


def main(folder):
    rows = []
    for found in scan([folder]):
        if not isinstance(found, Found):
            continue
        # A process for each: decord may crash, and keeps what it has allocated.
        one = [sys.executable, __file__, "--one", str(found.path)]
        try:
            done = subprocess.run(one, capture_output=True, text=True, timeout=TIME_LIMIT_S, check=True)
        except subprocess.SubprocessError as error:
            print(f"{found.path.name[:22]:22} {type(error).__name__}", flush=True)
            continue
        rows.append(json.loads(done.stdout.splitlines()[-1]))
        show(rows[-1])
    names = [
        name for name in ("ours", "plain", "decord") if any(isinstance(r.get(name), float) for r in rows)
    ]
    common = [row for row in rows if all(isinstance(row.get(name), float) for name in names)]
    for name in names:
        footage_s, cost_s = sum(row["s"] for row in common), sum(row[name] for row in common)
        print(f"{name:7} {footage_s / cost_s:6.1f}x over the {len(common)} files that all of these read")


if __name__ == "__main__":
    if sys.argv[1] == "--one":
        print(json.dumps(measure(Path(sys.argv[2]))))
    else:
        main(Path(sys.argv[1]))
