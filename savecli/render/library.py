"""Videos, counts, weights and checks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from rich.table import Table
from rich.text import Text

from savecli.datatypes import Check, Transcript
from savecli.events import Relinked
from savecli.plain import plain
from savecli.render.basics import clock, line, out, place
from savecli.store import Counts, KnownFile, StoredSegment, StoredVideo

NOWHERE: Mapping[Path, str] = MappingProxyType({})


def video_record(video: StoredVideo, away: Mapping[Path, str] = NOWHERE) -> dict[str, Any]:
    """A stored video as `save list --json` has it; `away` as `savecli.library.away` tells it."""
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
        "mounted": any(path not in away for path in video.paths),
        "away": [{"path": path, "drive": away[path] or None} for path in video.paths if path in away],
    }


def failure_record(path: Path, file: KnownFile) -> dict[str, Any]:
    """A file that could not be indexed as `save list --json` has it."""
    return {"path": path, "skipped": file.reason, "hint": file.hint, "attempts": file.attempts}


def list_table(
    videos: Iterable[StoredVideo], failed: Mapping[Path, KnownFile], away: Mapping[Path, str] = NOWHERE
) -> None:
    """The videos in the store, and the files that could not be indexed."""
    table = Table(box=None, pad_edge=False)
    columns = [("length", "right"), ("speech", "right"), ("", "left"), ("video", "left")]
    for name, justify in [*columns, *([("state", "left")] if away else [])]:
        table.add_column(name, justify=justify, overflow="fold")  # type: ignore[arg-type]
    for video in videos:
        for path in video.paths:
            speech = clock(video.speech_s) if video.speech_s else ""
            notes = f"  ({', '.join(map(plain, video.notes))})" if video.notes else ""
            named = Text.assemble(plain(path), (notes, "dim"))
            state = Text(place(away[path]) if path in away else "", style="yellow")
            row = (clock(video.duration_s), speech, video.language, named, state)
            table.add_row(*row[: len(table.columns)])
    for path, file in failed.items():
        skipped = Text.assemble(plain(path), (f"  (skipped: {plain(file.reason)})", "yellow"))
        table.add_row("", "", "", skipped)
    out().print(table)


def failed_table(failed: Mapping[Path, KnownFile]) -> None:
    """The files that could not be indexed, with reason, hint, and how often they were tried."""
    for path, file in failed.items():
        tried = "once" if file.attempts == 1 else f"{file.attempts} times"
        told = Text.assemble((plain(path), "bold"), (f"\n    {plain(file.reason)}", "yellow"))
        told.append(f"  (tried {tried})", "dim")
        out().print(told.append(f"\n    {plain(file.hint)}", "dim") if file.hint else told)
    if not failed:
        out().print(Text("no file has failed"))


def show_json(
    video: StoredVideo,
    segments: Iterable[StoredSegment],
    transcript: Transcript,
    away: Mapping[Path, str] = NOWHERE,
) -> None:
    """A video, its segments and what is said in it, as one object."""
    line(
        {
            **video_record(video, away),
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


def show_table(
    video: StoredVideo,
    segments: Iterable[StoredSegment],
    transcript: Transcript,
    away: Mapping[Path, str] = NOWHERE,
) -> None:
    """A video, segment by segment."""
    console = out()
    for path in video.paths:
        state = f"  ({place(away[path])})" if path in away else ""
        console.print(Text.assemble((plain(path), "bold"), (state, "yellow")))
    heard = "speech turned off" if video.asr == "off" else f"heard by Whisper {video.asr}"
    heard += f", spoken language {video.language}" if video.language else ""
    facts = [clock(video.duration_s), f"segments: {video.n_segments}", heard, *map(plain, video.notes)]
    console.print(Text(", ".join(facts), style="dim"))
    for segment in segments:
        said = " ".join(u.text for u in transcript.within(segment.start_s, segment.end_s))
        span = (f"{clock(segment.start_s)}-{clock(segment.end_s)}", "green")
        console.print(Text.assemble(span, (f"  {segment.n_frames} frames  ", "dim"), plain(said)))


def status(
    counts: Counts,
    model: Mapping[str, str],
    settings: Mapping[str, tuple[str, str]],
    away: Mapping[Path, str] = NOWHERE,
    *,
    as_json: bool,
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
        "not_there": sum(not drive for drive in away.values()),
    }
    drives = Counter(drive for drive in away.values() if drive)
    if as_json:
        chosen = {name: {"value": value, "source": source} for name, (value, source) in settings.items()}
        line({**facts, "not_mounted": dict(drives), "model": dict(model), "settings": chosen})
        return
    table = Table(box=None, show_header=False, pad_edge=False)
    rows = {**facts, **{f"model {k}": v for k, v in model.items()}}
    for name, value in rows.items():
        table.add_row(Text(name.replace("_", " "), style="dim"), Text(plain(value)))
    for drive, n_files in sorted(drives.items()):
        table.add_row(Text(place(drive), style="dim"), Text(str(n_files)))
    for name, (value, source) in settings.items():
        told = Text.assemble(plain(value), (f"  ({plain(source)})", "dim"))
        table.add_row(Text(name.replace("_", " "), style="dim"), told)
    out().print(table)


def relinked_record(file: Relinked) -> dict[str, Any]:
    """A file of a library that moved as `save relink --json` has it."""
    if file.reason:
        return {"event": "left", "path": file.old_path, "new_path": file.path, "reason": file.reason}
    return {"event": "relinked", "path": file.path, "old_path": file.old_path}


def relinked(files: Sequence[Relinked], *, dry_run: bool, as_json: bool) -> int:
    """Each file that moved or was left, and how many; returns how many were left."""
    n_left = sum(bool(file.reason) for file in files)
    if as_json:
        for file in files:
            line(relinked_record(file))
        counted = {"n_relinked": len(files) - n_left, "n_left": n_left, "dry_run": dry_run}
        line({"event": "summary", **counted})
        return n_left
    for file in files:
        if file.reason:
            left = Text.assemble(("left     ", "yellow"), f"{plain(file.old_path)}: {plain(file.reason)}")
            out().print(left.append(f"\n         {plain(file.path)}", "dim"))
        elif dry_run:
            moved = f"{plain(file.old_path)} -> {plain(file.path)}"
            out().print(Text.assemble(("relink   ", "cyan"), moved))
    done = "would be relinked; nothing was changed" if dry_run else "relinked"
    out().print(Text(f"{len(files) - n_left} {done}, {n_left} left as they were", style="bold"))
    return n_left


def weights_table(rows: Iterable[Mapping[str, str]]) -> None:
    """One line for each set of weights."""
    table = Table(box=None, pad_edge=False)
    for name in ("name", "role", "size", "licence", "state", "origin"):
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(Text(plain(row[str(column.header)])) for column in table.columns))
    out().print(table)


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
