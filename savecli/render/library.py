"""Videos, counts, weights and checks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from rich.text import Text

from savecli.datatypes import Check, Transcript
from savecli.events import Relinked
from savecli.plain import plain
from savecli.render.basics import clock, facts, line, out, place
from savecli.store import Counts, KnownFile, StoredSegment, StoredVideo

_MODEL_FACTS = {"dim": "dimensions"}
_SAID = {"": "-", "True": "yes", "False": "no"}
"""How values of settings are shown to a person."""
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
    """The videos in the store, and the files that could not be indexed: each path once, on one line."""
    rows = [(("length", "speech", ""), Text("video"))]
    for video in videos:
        length, speech = clock(video.duration_s), clock(video.speech_s) if video.speech_s else ""
        for path in video.paths:
            notes = f"  ({', '.join(map(plain, video.notes))})" if video.notes else ""
            state = f"  ({place(away[path])})" if path in away else ""
            named = Text.assemble(plain(path), (notes, "dim"), (state, "yellow"))
            rows.append(((length, speech, plain(video.language)), named))
    for path, file in failed.items():
        skipped = Text.assemble(plain(path), (f"  (skipped: {plain(file.reason)})", "yellow"))
        rows.append((("", "", ""), skipped))
    _in_columns(rows, ">><")


def _in_columns(rows: Sequence[tuple[Sequence[str], Text]], aligned: str) -> None:
    """Rows of cells, the first of them the heads, each row on one line, however long its last cell is.

    Args:
        rows: for each the cells but the last, and the last.
        aligned: "<" or ">" for each cell but the last.
    """
    console = out()
    widths = [max(map(len, column)) for column in zip(*(cells for cells, _ in rows), strict=True)]
    for i, (cells, last) in enumerate(rows):
        lead = "".join(
            f"{cell:{side}{width}}  " for cell, side, width in zip(cells, aligned, widths, strict=True)
        )
        console.print(Text.assemble(lead, last, style="" if i else "bold"))


def failed_table(failed: Mapping[Path, KnownFile]) -> None:
    """The files that could not be indexed, with reason, hint, and how often they were tried."""
    for path, file in failed.items():
        tried = "once" if file.attempts == 1 else f"{file.attempts} times"
        out().print(Text(plain(path), style="bold"))
        told = Text.assemble((f"    {plain(file.reason)}", "yellow"), (f"  (tried {tried})", "dim"))
        out(folds=True).print(told.append(f"\n    {plain(file.hint)}", "dim") if file.hint else told)
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
        told = Text.assemble(span, (f"  {segment.n_frames} frames  ", "dim"), plain(said))
        out(folds=True).print(told)


def status(
    counts: Counts | None,
    model: Mapping[str, str],
    settings: Mapping[str, tuple[str, str]],
    away: Mapping[Path, str] = NOWHERE,
    *,
    as_json: bool,
) -> None:
    """Counts, sizes, the model, and where each setting came from; `counts` is None before the first index."""
    counts = counts or Counts()
    per_hour_mb = counts.size_bytes / 1e6 / (counts.duration_s / 3600) if counts.duration_s else 0.0
    counted = {
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
        line({**counted, "not_mounted": dict(drives), "model": dict(model), "settings": chosen})
        return
    each_hour = f", {per_hour_mb:.1f} MB for an hour of footage" if per_hour_mb else ""
    facts(
        {
            **{name: counted[name] for name in ("videos", "files", "skipped")},
            "footage": clock(counts.duration_s),
            "speech": clock(counts.speech_s),
            **{name: counted[name] for name in ("segments", "utterances")},
            "size": f"{counts.size_bytes / 1e6:.1f} MB{each_hour}",
            "of forgotten videos": f"{counts.dead_share:.1%} of the rows",
            "not there": counted["not_there"],
            **{place(drive): n_files for drive, n_files in sorted(drives.items())},
            **({"model": _model_named(model)} if model else {}),
        }
    )
    out().print(Text("\nsettings", style="bold"))
    facts({name: _chosen(value, source) for name, (value, source) in settings.items()})


def _model_named(model: Mapping[str, str]) -> str:
    """What made the embeddings, in a line."""
    rest = [f"{_MODEL_FACTS.get(key, key)} {value}" for key, value in model.items() if key != "model"]
    return ", ".join([model.get("model", "of no name"), *rest])


def _chosen(value: str, source: str) -> Text:
    """A setting and where it came from."""
    return Text.assemble(_SAID.get(value, plain(value)), (f"  ({plain(source)})", "dim"))


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
    heads = ("name", "role", "size", "state")
    told: list[tuple[Sequence[str], Text]] = [(heads, Text("licence; origin"))]
    for row in rows:
        told.append(([plain(row[head]) for head in heads], Text(plain(f"{row['licence']}; {row['origin']}"))))
    _in_columns(told, "<<><")


def checks(found: Iterable[Check], versions: Mapping[str, str], *, as_json: bool) -> bool:
    """Each check as it is made; returns whether all were right."""
    everything_ok = True
    console = out(folds=True)
    for check in found:
        everything_ok &= check.ok
        if as_json:
            line({"check": check.name, "ok": check.ok, "message": check.message, "hint": check.hint})
            continue
        mark = ("ok      ", "green") if check.ok else ("wrong   ", "red")
        said = Text.assemble(mark, f"{check.name}: {plain(check.message)}")
        console.print(said.append(f"\n        {plain(check.hint)}", "dim") if check.hint else said)
    if not as_json:
        console.print(Text("  ".join(f"{name} {version}" for name, version in versions.items()), style="dim"))
    return everything_ok
