"""A video's length -> its segments, and a segment -> the times of its frames. Arithmetic only."""

from __future__ import annotations

import math
from itertools import pairwise

from savecli.datatypes import Segment


def segments(duration_s: float, *, window_s: float = 12.0, stub_s: float = 3.0) -> tuple[Segment, ...]:
    """Cut ``[0, duration_s)`` into half-open segments without gap or overlap.

    Every segment is `window_s` long but the last, which is between `stub_s` and ``window_s + stub_s``:
    a shorter rest joins its neighbour. A video that fits into one window is one segment of its own length.

    Raises:
        ValueError: a length that is negative or not finite, or a window that is not positive.
    """
    if not (0 <= duration_s < math.inf and 0 < window_s < math.inf and 0 <= stub_s < math.inf):
        raise ValueError(f"no segments of {window_s} s (stub {stub_s} s) in {duration_s} s")
    if duration_s == 0:
        return ()
    n_full = int(duration_s // window_s)
    # Bounds are products and not running sums, so that an hour in, they are still exact.
    bounds = [i * window_s for i in range(n_full + 1) if i * window_s < duration_s]
    if len(bounds) > 1 and duration_s - bounds[-1] < min(stub_s, window_s):
        bounds.pop()
    bounds.append(duration_s)
    return tuple(Segment(start_s=start, end_s=end) for start, end in pairwise(bounds))


def frame_times(segment: Segment, n_frames: int, *, window_s: float) -> tuple[float, ...]:
    """The times to look at in `segment`, counted from its start: the centres of `n_frames` equal parts.

    A segment longer than `window_s` (one that a stub joined) keeps the pace of a full window's frames only
    as far as `n_frames` allow: its parts are longer, and their number is the same.

    Raises:
        ValueError: fewer than one frame, or a window that is not positive.
    """
    if n_frames < 1 or not window_s > 0:
        raise ValueError(f"no {n_frames} frames in a window of {window_s} s")
    return tuple(segment.length_s * (2 * i + 1) / (2 * n_frames) for i in range(n_frames))


def sampled_frames(n_frames: int, fps: float, max_frames: int, *, per_s: int = 1) -> tuple[int, ...]:
    """The numbers of the frames that SAVE was trained on, of a file that claims `n_frames` at `fps`.

    Every ``int(fps)``-th frame, so at 29.97 a little more than one in a second, or for more `per_s` every
    ``round(fps / per_s)``-th; where those are more than `max_frames`, as many of them, evenly spread from
    first to last. Source: SAVE, supplementary preprocessing (docs/save.md).

    Raises:
        ValueError: less than one frame a second (SAVE has no answer to that), or no frame wanted.
    """
    if not (1 <= fps < math.inf and max_frames >= 1):
        raise ValueError(f"no {max_frames} frames at {fps} a second")
    shown = range(0, n_frames, int(fps) if per_s == 1 else max(1, round(fps / per_s)))
    if len(shown) <= max_frames or max_frames == 1:
        return tuple(shown[:max_frames])
    # In floats and in this order, as numpy's linspace has it: some whole numbers come out just below.
    pace = (len(shown) - 1) / (max_frames - 1)
    return (*(shown[int(i * pace)] for i in range(max_frames - 1)), shown[-1])
