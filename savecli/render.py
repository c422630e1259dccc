"""Records -> what a person or a program reads. The only module that prints.

Results go to stdout, progress and warnings to stderr. Text that comes from files (names, what is said) never
reaches a terminal raw: control characters could move the cursor or set the window's title.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn
from rich.table import Table
from rich.text import Text

from savecli import datatypes as records
from savecli.datatypes import Check, Results, Transcript
from savecli.store import Counts, KnownFile, StoredSegment, StoredVideo

JOINERS = "\u200c\u200d"  # they hold emoji and several scripts together, and move no cursor
MODALITIES = ("seen", "said")
PIPE_COLUMNS = 10_000  # a table in a pipe is for grep and cut: no row may be folded


def plain(text: object) -> str:
    """Text without control characters, safe on any terminal and in any encoding."""
    shown = "".join(c if c.isprintable() or c in JOINERS else "\N{REPLACEMENT CHARACTER}" for c in str(text))
    return shown.encode("utf-8", "replace").decode("utf-8")


def clock(seconds: float) -> str:
    """1:02:03, 2:03: as players write times; rounded down to the second they jump to."""
    minutes, whole_s = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{whole_s:02}" if hours else f"{minutes}:{whole_s:02}"


def line(record: Mapping[str, Any]) -> None:
    """One JSON object on one line of stdout; names in any encoding come back from their escapes."""
    sys.stdout.write(json.dumps(record, default=str) + "\n")
    sys.stdout.flush()


def warn(message: str, hint: str = "") -> None:
    """A message for a person, on stderr."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print(Text(plain(message)))
    if hint:
        console.print(Text(f"  {plain(hint)}", style="dim"))


def out() -> Console:
    """Stdout for people; a pipe gets no colour and no wrapping."""
    piped = not sys.stdout.isatty()
    return Console(highlight=False, soft_wrap=piped, width=PIPE_COLUMNS if piped else None)


# -- index ---------------------------------------------------------------------------------------------------


def index_json(events: Iterable[records.Event]) -> records.Summary:
    """Events as JSON lines; progress is left out."""
    for event in events:
        if not isinstance(event, records.Planned | records.Progress):
            line(event_record(event))
        if isinstance(event, records.Summary):
            summary = event
    return summary


def event_record(event: records.Event) -> dict[str, Any]:
    """An event as the contract in docs/cli.md has it."""
    name = type(event).__name__.lower()
    match event:
        case records.Indexed():
            fields: dict[str, Any] = {
                "path": event.path,
                "duration_s": round(event.duration_s, 3),
                "n_segments": event.n_segments,
                "has_audio": event.has_audio,
                "speech_s": round(event.speech_s, 2),
                "elapsed_s": round(event.elapsed_s, 3),
                "notes": list(event.notes),
                "partial": event.partial,
            }
        case records.Moved():
            fields = {"path": event.path, "old_path": event.old_path}
        case records.Skipped():
            fields = {"path": event.path, "reason": event.reason, "hint": event.hint, "known": event.known}
        case records.Summary():
            fields = {
                "n_indexed": event.n_indexed,
                "n_unchanged": event.n_unchanged,
                "n_moved": event.n_moved,
                "n_skipped": event.n_skipped,
                "footage_s": round(event.footage_s, 3),
                "elapsed_s": round(event.elapsed_s, 3),
                "stage_s": {stage: round(seconds, 3) for stage, seconds in event.stage_s.items()},
            }
        case _:
            fields = {"path": getattr(event, "path", None)}
    return {"event": name, **fields}


def index_table(
    events: Iterable[records.Event], *, quiet: bool = False, verbose: bool = False
) -> records.Summary:
    """Events as lines, with a progress bar where somebody watches."""
    with _Watch(quiet=quiet) as watch:
        for event in events:
            watch.see(event)
            text = _index_line(event, verbose=verbose)
            if text is not None and not quiet:
                watch.print(text)
            if isinstance(event, records.Summary):
                summary = event
    if not quiet:
        _print_summary(summary)
    return summary


def _index_line(event: records.Event, *, verbose: bool) -> Text | None:
    match event:
        case records.Indexed():
            said = f"{event.speech_s:.0f} s of speech" if event.speech_s else ""
            facts = ", ".join(filter(None, [clock(event.duration_s), said, *map(plain, event.notes)]))
            facts += f", in {event.elapsed_s:.1f} s"
            return Text.assemble(("indexed  ", "green"), plain(event.path), (f"  {facts}", "dim"))
        case records.Moved():
            return Text.assemble(("moved    ", "cyan"), f"{plain(event.old_path)} -> {plain(event.path)}")
        case records.Skipped() if verbose or not event.known:
            reason = Text.assemble(("skipped  ", "yellow"), plain(event.path), f": {plain(event.reason)}")
            return reason.append(f"\n         {plain(event.hint)}", "dim") if event.hint else reason
        case records.Unchanged() if verbose:
            return Text.assemble(("unchanged", "dim"), f" {plain(event.path)}")
    return None


def _print_summary(summary: records.Summary) -> None:
    done = f"{summary.n_indexed} indexed, {summary.n_unchanged} unchanged, {summary.n_skipped} skipped"
    done += f", {summary.n_moved} moved" if summary.n_moved else ""
    console = out()
    console.print(Text(done, style="bold"))
    if summary.footage_s:
        rate = f"{clock(summary.footage_s)} of footage in {clock(summary.elapsed_s)}: "
        rate += f"{summary.footage_s / summary.elapsed_s:.1f}x real time"
        console.print(Text(f"{rate}  ({_stages(summary.footage_s, summary.stage_s)})"))
    if summary.n_without_speech:
        message = f"{summary.n_without_speech} unchanged videos were indexed without speech"
        warn(message, "save index --force PATH listens to them")


def _stages(footage_s: float, stage_s: Mapping[str, float]) -> str:
    return ", ".join(
        f"{stage} {footage_s / seconds:.0f}x" for stage, seconds in stage_s.items() if seconds > 0
    )


class _Watch:
    """The progress of an index run: a bar on stderr, always moving, where that is a terminal."""

    def __init__(self, *, quiet: bool) -> None:
        console = Console(stderr=True, highlight=False)
        columns = (SpinnerColumn(), BarColumn(bar_width=20), TextColumn("{task.description}"))
        self._bar = Progress(
            *columns, console=console, transient=True, disable=quiet or not console.is_terminal
        )
        self._task = self._bar.add_task("looking through folders", total=None)
        self._n_files = self._n_done = self._n_bytes = self._n_bytes_done = 0
        self._footage_s = 0.0
        self._stage_s: defaultdict[str, float] = defaultdict(float)
        self._started = time.monotonic()

    def __enter__(self) -> _Watch:
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def print(self, text: Text) -> None:
        """A result line: above the bar where both are one terminal."""
        if sys.stdout.isatty() and not self._bar.disable:
            self._bar.console.print(text, soft_wrap=True)
        else:
            out().print(text)

    def see(self, event: records.Event) -> None:
        """Take note of an event."""
        match event:
            case records.Planned():
                self._n_files, self._n_bytes = event.n_files, event.n_bytes
                self._describe("loading models" if event.n_files else "nothing new")
            case records.Progress():
                verb = {"see": "seeing", "hear": "listening"}[event.stage]
                self._describe(
                    f"{verb} {clock(event.done_s)} of {clock(event.duration_s)}  {plain(event.path.name)}"
                )
            case records.Indexed():
                self._n_done += 1
                self._n_bytes_done += event.size_bytes
                self._footage_s += event.duration_s
                for stage, seconds in event.stage_s.items():
                    self._stage_s[stage] += seconds

    def _describe(self, current: str) -> None:
        parts = [f"{self._n_done}/{self._n_files}"]
        if self._n_bytes_done:
            rate = self._footage_s / (time.monotonic() - self._started)
            # How long the rest is, is known once it is read; until then, as long for its bytes as what was.
            left_s = max(0.0, self._footage_s * (self._n_bytes / self._n_bytes_done - 1))
            parts.append(f"{clock(left_s)} of footage left, ETA {clock(left_s / rate)}")
            parts.append(f"{rate:.0f}x real time: {_stages(self._footage_s, self._stage_s)}")
        self._bar.update(
            self._task,
            total=max(1, self._n_bytes),
            completed=self._n_bytes_done,
            description="  ".join(parts) + f"\n{current}",
        )


# -- search --------------------------------------------------------------------------------------------------


def moment_record(rank: int, moment: records.Moment) -> dict[str, Any]:
    """A moment as the contract in docs/cli.md has it."""
    return {
        "rank": rank,
        "path": moment.path,
        "start_s": round(moment.start_s, 3),
        "end_s": round(moment.end_s, 3),
        "score": round(moment.score, 4),
        # What is heard adds nothing until there is an audio branch; the key is part of the contract.
        "why": {name: round(moment.why.get(name, 0.0), 4) for name in ("seen", "heard", "said")},
        "snippet": moment.snippet,
        "best_s": round(moment.best_s, 3),
        "video_id": moment.video_id,
        "mounted": moment.mounted,
    }


def results_json(results: Results) -> None:
    """Moments as JSON lines."""
    for rank, moment in enumerate(results.moments, 1):
        line(moment_record(rank, moment))


def results_paths(results: Results) -> None:
    """The path of each video once, best first, as the bytes the file system knows."""
    for path in dict.fromkeys(moment.path for moment in results.moments):
        sys.stdout.buffer.write(plain(path).encode() if sys.stdout.isatty() else os.fsencode(path))
        sys.stdout.buffer.write(b"\n")
    sys.stdout.buffer.flush()


def results_table(query: str, results: Results) -> None:
    """Moments for a person."""
    console = out()
    if not results.moments:
        console.print(Text(f'nothing here matches "{plain(query)}"', style="bold"))
        if results.nearest:
            near = results.nearest
            where = f"{plain(near.path.name)} {clock(near.start_s)}-{clock(near.end_s)}"
            console.print(
                Text(f"the nearest is {where}, score {near.score:.2f}; --all shows all", style="dim")
            )
        return
    for rank, moment in enumerate(results.moments, 1):
        console.print(_moment_text(rank, moment))
    if not results.exact:
        warn("looked up in the graph: a near miss may be left out")


def _moment_text(rank: int, moment: records.Moment) -> Text:
    why = "  ".join(
        f"{name} {moment.why[name]:.2f}" for name in MODALITIES if moment.why.get(name, 0) >= 0.005
    )
    text = Text.assemble(
        (f"{rank:>2}. ", "dim"),
        (f"{clock(moment.start_s)}-{clock(moment.end_s)}", "bold green"),
        "  ",
        (plain(moment.path), "bold"),
        "" if moment.mounted else ("  (not there now)", "yellow"),
    )
    text.append(f"\n    {moment.score:.2f}", "cyan").append(f"  {why}  best at {clock(moment.best_s)}", "dim")
    if moment.snippet:
        text.append(f'\n    "{plain(moment.snippet)}"', "italic")
    return text


# -- library -------------------------------------------------------------------------------------------------


def video_record(video: StoredVideo) -> dict[str, Any]:
    """A stored video as `save list --json` has it."""
    return {
        "path": video.paths[0],
        "paths": list(video.paths),
        "video_id": video.video_id,
        "duration_s": round(video.duration_s, 3),
        "n_segments": video.n_segments,
        "has_video": video.has_video,
        "has_audio": video.has_audio,
        "speech_s": round(video.speech_s, 2),
        "language": video.language,
        "asr": video.asr,
        "notes": list(video.notes),
        "partial": video.partial,
        "indexed_at": round(video.indexed_at, 3),
    }


def list_table(videos: Iterable[StoredVideo], failed: Mapping[Path, KnownFile]) -> None:
    """The videos in the store, and the files that could not be indexed."""
    table = Table(box=None, pad_edge=False)
    for name, justify in (("length", "right"), ("speech", "right"), ("", "left"), ("video", "left")):
        table.add_column(name, justify=justify, overflow="fold")  # type: ignore[arg-type]
    for video in videos:
        for path in video.paths:
            speech = clock(video.speech_s) if video.speech_s else ""
            notes = f"  ({', '.join(map(plain, video.notes))})" if video.notes else ""
            named = Text.assemble(plain(path), (notes, "dim"))
            table.add_row(clock(video.duration_s), speech, video.language, named)
    for path, file in failed.items():
        skipped = Text.assemble(plain(path), (f"  (skipped: {plain(file.reason)})", "yellow"))
        table.add_row("", "", "", skipped)
    out().print(table)


def show_json(video: StoredVideo, segments: Iterable[StoredSegment], transcript: Transcript) -> None:
    """A video, its segments and what is said in it, as one object."""
    line(
        {
            **video_record(video),
            "segments": [
                {"start_s": round(s.start_s, 3), "end_s": round(s.end_s, 3), "n_frames": s.n_frames}
                for s in segments
            ],
            "utterances": [
                {
                    "start_s": round(u.start_s, 3),
                    "end_s": round(u.end_s, 3),
                    "text": u.text,
                    "words": [[round(w.start_s, 3), round(w.end_s, 3), w.text] for w in u.words],
                }
                for u in transcript.utterances
            ],
        }
    )


def show_table(video: StoredVideo, segments: Iterable[StoredSegment], transcript: Transcript) -> None:
    """A video, segment by segment."""
    console = out()
    for path in video.paths:
        console.print(Text(plain(path), style="bold"))
    heard = "speech turned off" if video.asr == "off" else f"heard by Whisper {video.asr}"
    heard += f", spoken language {video.language}" if video.language else ""
    facts = [clock(video.duration_s), f"segments: {video.n_segments}", heard, *map(plain, video.notes)]
    console.print(Text(", ".join(facts), style="dim"))
    for segment in segments:
        said = " ".join(u.text for u in transcript.within(segment.start_s, segment.end_s))
        span = (f"{clock(segment.start_s)}-{clock(segment.end_s)}", "green")
        console.print(Text.assemble(span, (f"  {segment.n_frames} frames  ", "dim"), plain(said)))


def status(
    counts: Counts, model: Mapping[str, str], settings: Mapping[str, tuple[str, str]], *, as_json: bool
) -> None:
    """Counts, sizes, the model, and where each setting came from."""
    per_hour_mb = counts.size_bytes / 1e6 / (counts.duration_s / 3600) if counts.duration_s else 0.0
    facts = {
        "videos": counts.n_videos,
        "files": counts.n_files - counts.n_failed,
        "skipped": counts.n_failed,
        "footage_s": round(counts.duration_s, 1),
        "speech_s": round(counts.speech_s, 1),
        "segments": counts.n_segments,
        "utterances": counts.n_utterances,
        "size_bytes": counts.size_bytes,
        "mb_per_hour": round(per_hour_mb, 1),
        "dead_share": round(counts.dead_share, 3),
    }
    if as_json:
        chosen = {name: {"value": value, "source": source} for name, (value, source) in settings.items()}
        line({**facts, "model": dict(model), "settings": chosen})
        return
    table = Table(box=None, show_header=False, pad_edge=False)
    rows = {**facts, **{f"model {k}": v for k, v in model.items()}}
    for name, value in rows.items():
        table.add_row(Text(name.replace("_", " "), style="dim"), Text(plain(value)))
    for name, (value, source) in settings.items():
        told = Text.assemble(plain(value), (f"  ({plain(source)})", "dim"))
        table.add_row(Text(name.replace("_", " "), style="dim"), told)
    out().print(table)


def weights_table(rows: Iterable[Mapping[str, str]]) -> None:
    """One line for each set of weights."""
    table = Table(box=None, pad_edge=False)
    for name in ("name", "role", "size", "licence", "state", "origin"):
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(Text(plain(row[str(column.header)])) for column in table.columns))
    out().print(table)


def facts(record: Mapping[str, Any]) -> None:
    """Names and values for a person."""
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in record.items():
        table.add_row(Text(name, style="dim"), Text(plain(value)))
    out().print(table)


def say(body: str) -> None:
    """Lines of text that are ours, such as a model card."""
    out().print(Text("\n".join(plain(row) for row in body.split("\n"))))


def checks(found: Iterable[Check], versions: Mapping[str, str], *, as_json: bool) -> bool:
    """Each check as it is made; returns whether all were right."""
    everything_ok = True
    for check in found:
        everything_ok &= check.ok
        if as_json:
            line({"check": check.name, "ok": check.ok, "message": check.message, "hint": check.hint})
            continue
        mark = ("ok      ", "green") if check.ok else ("wrong   ", "red")
        said = Text.assemble(mark, f"{check.name}: {plain(check.message)}")
        out().print(said.append(f"\n        {plain(check.hint)}", "dim") if check.hint else said)
    if not as_json:
        out().print(Text("  ".join(f"{name} {version}" for name, version in versions.items()), style="dim"))
    return everything_ok


@contextmanager
def busy(message: str) -> Iterator[None]:
    """A spinner on stderr while something takes a moment."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    with console.status(message):
        yield
