"""How fast this machine indexes some videos and searches them, in a throw-away library: `save bench`."""

from __future__ import annotations

import os
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from zlib import crc32

from savecli import machine
from savecli.config import Config
from savecli.errors import MediaError, SaveError
from savecli.events import Event, Indexed, Summary
from savecli.figures import Figures
from savecli.index import Options, index
from savecli.media.footage import Source
from savecli.media.scan import Found, scan
from savecli.media.worker import Decoder
from savecli.peaks import Peaks
from savecli.pipeline import Pipeline, make_encoder, open_pipeline
from savecli.search import search
from savecli.store import Counts, Store

N_PIECES = 5
"""Of so many files at least a long one is to be a part, so that one film does not stand for a library."""
LEAST_PIECE_S = 5.0
N_SEARCHES = 100
QUERIES = (
    "a dog on a beach",
    "a woman talks to the camera",
    "cars in a street at night",
    "waves and wind",
    "somebody laughs",
    "a red bicycle",
    "people at a table, eating",
    "how does this work",
    "snow on the mountains",
    "a child blows out candles",
)


def measure(paths: Sequence[Path], config: Config, *, limit_s: float) -> Generator[Event, None, Figures]:
    """Index the videos with these settings, and search them; nothing of the user's is written to.

    Args:
        paths: folders and files; none takes the sample videos.
        config: the settings; their home is not touched.
        limit_s: so many seconds of footage at most. Where there is more, files are drawn, always the same
            ones, and of long ones a part is taken.

    Yields:
        The events of the index run.

    Raises:
        SaveError: there is nothing that can be indexed, or the samples cannot be made.
    """
    with TemporaryDirectory(prefix="save-bench-") as folder:
        clips, n_unreadable = _clips(paths, Path(folder), limit_s, config.stall_s)
        config = replace(config, home=Path(folder) / "home")
        opened_s, speech_s = time.perf_counter(), 0.0
        with Peaks() as peaks:
            with open_pipeline(config) as pipeline:
                started_s, cpu_s = time.perf_counter(), _cpu_s()
                for event in index_all(clips, config, pipeline):
                    if isinstance(event, Indexed):
                        speech_s += float(event.speech_s)
                    if isinstance(event, Summary):
                        summary = event
                    yield event
                wall_s = time.perf_counter() - started_s
            spent = [after - before for before, after in zip(cpu_s, _cpu_s(), strict=True)]
        if not summary.n_indexed:
            raise MediaError("none of these videos could be indexed", hint="save index says why")
        counts = _counts(config.store_dir)
        # What any store takes, however little is in it, would count for much beside minutes of footage.
        empty = Path(folder) / "empty"
        Store.open(empty, identity=make_encoder(config).identity, mode="write").close()
        empty_bytes = _counts(empty).size_bytes
        first_s, *later_s = _searches(config)
    return Figures(
        machine=machine.describe(),
        asr=config.asr,
        device=config.device,
        jobs=config.jobs,
        n_videos=summary.n_indexed,
        n_skipped=n_unreadable + summary.n_skipped,
        footage_s=summary.footage_s,
        speech_s=speech_s,
        n_segments=counts.n_segments,
        load_s=started_s - opened_s,
        wall_s=wall_s,
        stage_s=dict(summary.stage_s),
        cpu_s=sum(spent),
        decoder_cpu_s=spent[1],
        memory=peaks.memory,
        index_bytes=counts.size_bytes - empty_bytes,
        first_search_s=first_s,
        searches_s=tuple(later_s),
    )


def index_all(clips: Sequence[Path], config: Config, pipeline: Pipeline) -> Iterator[Event]:
    """The events of indexing some files into the library in the settings' home, which is made."""
    identity = make_encoder(config).identity
    with Store.open(config.store_dir, identity=identity, mode="write") as store:
        options = Options(paths=tuple(clips), asr=config.asr, jobs=config.jobs)
        yield from index(options, store, lambda: nullcontext(pipeline))


def _counts(store_dir: Path) -> Counts:
    with Store.open(store_dir, identity=None, mode="read") as store:
        return store.counts()


def _cpu_s() -> tuple[float, float]:
    """CPU time of this process, and of its children that have ended."""
    times = os.times()
    return times.user + times.system, times.children_user + times.children_system


def _clips(paths: Sequence[Path], folder: Path, limit_s: float, stall_s: float) -> tuple[list[Path], int]:
    """To be indexed: files as they are, and in `folder` parts of long ones; how many are unreadable."""
    if not paths:
        from savecli.demo import make_samples

        try:
            paths = make_samples(folder / "videos")
        except SaveError as error:
            hint = f"{error.hint}\nor measure videos of your own: save bench PATH"
            raise SaveError(error.message, hint=hint) from error
    found: list[Path] = []
    problems: list[str] = []
    for item in scan(paths):
        if isinstance(item, Found):
            found.append(item.path)
        else:
            problems.append(f"{item.path}: {item.error.message}")
    n_unreadable = len(problems)
    # In an order that has nothing to do with folders and names, and is the same in the next run.
    found.sort(key=lambda path: (crc32(os.fsencode(path.name)), path))
    piece_s = max(LEAST_PIECE_S, limit_s / min(N_PIECES, len(found) or 1))
    clips: list[Path] = []
    left_s = limit_s
    with Decoder(stall_s=stall_s) as decoder:
        for path in found:
            if left_s < LEAST_PIECE_S:
                break
            source = None
            try:
                source = decoder.look(path)
                clip, length_s = _clip(source, folder / f"{len(clips)}.mp4", piece_s, left_s)
            except MediaError as error:
                problems.append(f"{path}: {error.message}")
                n_unreadable += source is None
                continue
            clips.append(clip)
            left_s -= length_s
    if not clips:
        named = ", ".join(map(str, paths))
        hint = "\n".join(problems[:3]) or "name a video, or a folder with some in it"
        raise MediaError(f"no video that can be measured is in {named}", hint=hint)
    return clips, n_unreadable


def _clip(source: Source, target: Path, piece_s: float, left_s: float) -> tuple[Path, float]:
    """The file, or a part out of its middle, with its length.

    Raises:
        MediaError: it is too long, and no part of it can be taken.
    """
    from savecli.media.copy import copy
    from savecli.media.cut import Span

    length_s, most_s = source.timeline.duration_s, min(piece_s, left_s)
    if length_s > most_s:
        start_s = (length_s - most_s) / 2
        try:
            early_s = copy(target, [Span(source=source, start_s=start_s, end_s=start_s + most_s)])
        except MediaError as error:
            if length_s > left_s:
                problem = f"it is longer than the limit, and no part can be taken: {error.message}"
                raise MediaError(problem, hint="give a greater --limit") from error
        else:
            return target, most_s + sum(early_s)
    return source.timeline.path, length_s


def _searches(config: Config) -> Iterator[float]:
    """How long each search takes, the first one with the library opened and the text model loaded."""
    started_s = time.perf_counter()
    with Store.open(config.store_dir, identity=None, mode="read") as store:
        encoder = make_encoder(config)
        for number in range(N_SEARCHES + 1):
            search(QUERIES[number % len(QUERIES)], store, encoder)
            yield time.perf_counter() - started_s
            started_s = time.perf_counter()
