"""One call for all formats: check, look at the files, write aside, give the names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from savecli.datatypes import Moment
from savecli.export.edl import edl
from savecli.export.fcpxml import fcpxml
from savecli.export.options import Exported, Facts, Options
from savecli.export.otio import otio
from savecli.export.playlist import playlist
from savecli.export.sheet import pictures, sheet
from savecli.export.subtitles import subtitles
from savecli.export.table import table
from savecli.export.take import Take, takes
from savecli.export.target import Target, aside, check
from savecli.media.worker import Decoder

READS_FILES = frozenset({".mp4", ".edl", ".fcpxml", ".otio"})
"""What cannot be written of a file that is out of reach."""
_EARLY_S = 0.05
Tell = Callable[[float], None]


def export(
    numbered: Sequence[tuple[int, Moment]],
    target: Target,
    options: Options,
    facts: Facts,
    *,
    tell: Tell = lambda _: None,
) -> Exported:
    """Write moments.

    Args:
        numbered: moments with their ranks in the search, in the order to write them.
        target: where, and so in which format.
        options: how.
        facts: what the store knows of their videos.
        tell: told the share that is done, 0..1, where it takes a while.

    Raises:
        ConfigError: the target is there already, or cannot be written.
        MediaError: a video is not there now, or cannot be read.
        QueryError: no moment, one past the end of its video, or too many for the format.
    """
    with Decoder(stall_s=options.stall_s) as decoder:
        reads = target.suffix in READS_FILES
        made = takes(numbered, facts, pad_s=options.pad_s, decoder=decoder if reads else None)
        paths = target.names(made)
        check(paths, made, force=options.force)
        groups = [[take] for take in made] if target.each else [made]
        notes: list[str] = []
        length_s = sum(take.length_s for take in made)
        with aside(paths, make_folder=target.is_folder) as places:
            done_s = 0.0
            for place, group in zip(places, groups, strict=True):
                told = _share(tell, done_s, sum(take.length_s for take in group), length_s)
                notes += _write(place, paths[0].parent, group, target.suffix, options, facts, decoder, told)
                done_s += sum(take.length_s for take in group)
    return Exported(paths=tuple(paths), n_moments=len(made), length_s=length_s, notes=tuple(notes))


def _share(tell: Tell, done_s: float, part_s: float, whole_s: float) -> Tell:
    """What takes the seconds written of one file, and tells the share of all."""

    def told(at_s: float) -> None:
        tell((done_s + min(max(at_s, 0.0), part_s)) / whole_s)

    return told


def _write(
    place: Path,
    folder: Path,
    made: Sequence[Take],
    suffix: str,
    options: Options,
    facts: Facts,
    decoder: Decoder,
    tell: Tell,
) -> list[str]:
    """One file; returns what a person should know of it."""
    if suffix == ".mp4":
        return _clips(place, made, options, tell)
    plain_texts: dict[str, Callable[[Sequence[Take], Options], str]] = {
        ".edl": edl,
        ".fcpxml": fcpxml,
        ".otio": otio,
        ".csv": table,
    }
    if suffix in plain_texts:
        text = plain_texts[suffix](made, options)
    elif suffix == ".srt":
        text = subtitles(made, facts.utterances)
    elif suffix == ".html":
        text = sheet(made, options, pictures(decoder))
    else:
        text = playlist(made, options, folder)
    # Names that are no text in any encoding keep their bytes in a playlist and a table.
    place.write_bytes(text.encode("utf-8", "surrogateescape"))
    return [] if text else [f"nothing is said in {', '.join(f'moment {take.number}' for take in made)}"]


def _clips(place: Path, made: Sequence[Take], options: Options, tell: Tell) -> list[str]:
    from savecli.media.copy import copy
    from savecli.media.cut import Span, cut

    spans = [Span(source=take.known, start_s=take.start_s, end_s=take.end_s) for take in made]
    if not options.fast:
        cut(place, spans, tell=tell)
        return []
    early_s = copy(place, spans, tell=tell)
    return [
        f"moment {take.number} begins {early:.1f} s early, at a key frame"
        for take, early in zip(made, early_s, strict=True)
        if early > _EARLY_S
    ]
