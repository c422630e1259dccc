"""Spans of files -> one MP4 without encoding anything: fast and lossless, but only from key frames on.

A span then begins at the last key frame at or before its start, as no picture after that can be shown
without it, and ends a few pictures late at most.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from savecli.errors import MediaError
from savecli.media.cut import Span
from savecli.media.decode.container import keep_only, opened, packets, tame
from savecli.media.encode import created
from savecli.media.footage import Tally

if TYPE_CHECKING:
    from av.container import InputContainer, OutputContainer
    from av.packet import Packet
    from av.stream import Stream

# What the MP4 registration authority lists and players know (https://mp4ra.org/registered-types/sampleentries).
_PICTURES = frozenset({"h264", "hevc", "av1", "libdav1d", "vp9", "libvpx-vp9", "mpeg4"})
_SOUNDS = frozenset({"aac", "mp3", "mp3float", "ac3", "eac3", "opus", "libopus", "flac", "alac"})
_ROUNDING_S = 1e-3
_HINT = "leave out --fast: the clips are then encoded anew"


def copy(path: Path, spans: Sequence[Span], *, tell: Callable[[float], None] = lambda _: None) -> list[float]:
    """Write spans one after the other, from key frame on.

    Args:
        path: of the MP4, written in place: give a temporary one.
        spans: in order; at least one; all of one kind of pictures and sound.
        tell: told the seconds that are written.

    Returns:
        How many seconds before its start each span begins.

    Raises:
        MediaError: a file cannot be read, or its streams not be put in an MP4, or not be joined.
        ValueError: no span.
    """
    if not spans:
        raise ValueError("nothing to cut")
    for span in spans:
        _check(span, spans[0])
    early_s = []
    at_s = late_s = 0.0
    with created(path, movflags="+faststart") as target:
        streams: list[Stream] = []
        for span in spans:
            begins_s = _begins_s(span)
            early_s.append(max(0.0, span.start_s - begins_s))
            with opened(span.source.timeline.path) as container:
                streams = streams or _streams(target, container, span)
                ends_s = at_s
                for packet, decoded_s, shown_s in _copied(container, span, streams, begins_s, at_s):
                    # The next span's first picture is decoded as long before it is shown as any here.
                    late_s = max(late_s, shown_s - decoded_s)
                    length_s = float((packet.duration or 0) * packet.time_base)
                    ends_s = max(ends_s, shown_s + length_s, decoded_s + length_s + late_s)
                    tell(ends_s)
                    target.mux(packet)
            at_s = ends_s
    return early_s


def _check(span: Span, first: Span) -> None:
    """Refuse what an MP4 cannot hold, and what does not go on as it began."""
    timeline = span.source.timeline
    name = timeline.path.name
    for codec, known in ((timeline.video_codec, _PICTURES), (timeline.audio_codec, _SOUNDS)):
        if codec and codec not in known:
            raise MediaError(f"an MP4 holds no {codec}, as {name} has it", hint=_HINT)
    if any(track.shifts for track in _tracks(span)):
        raise MediaError(f"the clock of {name} leaps, so it cannot be copied", hint=_HINT)
    if _kind(span) != _kind(first):
        other = first.source.timeline.path.name
        raise MediaError(f"{name} is of another codec, size or sound than {other}", hint=_HINT)


def _tracks(span: Span) -> list[Any]:
    timeline = span.source.timeline
    return [track for track in (timeline.video, *timeline.audio[:1]) if track is not None]


def _kind(span: Span) -> tuple[object, ...]:
    """What must be equal for two spans to be joined; the decoder's own settings say most of it."""
    with opened(span.source.timeline.path) as container:
        kind: list[object] = [span.source.turns]
        for track in _tracks(span):
            stream = container.streams[track.index]
            context = stream.codec_context
            kind += [context.name, context.extradata]
            kind += [getattr(context, name, None) for name in ("width", "height", "sample_rate")]
        return tuple(kind)


def _begins_s(span: Span) -> float:
    keys = span.source.timeline.key_frame_times_s
    if not keys:
        return span.start_s
    return keys[max(0, bisect_right(keys, span.start_s + _ROUNDING_S) - 1)]


def _streams(target: OutputContainer, container: InputContainer, span: Span) -> list[Stream]:
    return [
        target.add_stream_from_template(container.streams[track.index], opaque=True)
        for track in _tracks(span)
    ]


def _copied(
    container: InputContainer, span: Span, streams: Sequence[Stream], begins_s: float, at_s: float
) -> Iterator[tuple[Packet[Any], float, float]]:
    """The packets of a span in the order to write them, with their times of decoding and of show."""
    indices = [track.index for track in _tracks(span)]
    sources = [container.streams[index] for index in indices]
    keep_only(container, set(indices))
    origin_s = span.source.timeline.origin_s
    if begins_s > 0:
        container.seek(round((begins_s + origin_s) / (sources[0].time_base or 1)), stream=sources[0])
    waiting, ended, last_s = set(indices[:1]), set[int](), dict.fromkeys(indices, 0.0)
    for packet in packets(container, tuple(sources), Tally()):
        index = packet.stream_index
        tame(packet)
        if packet.pts is None or packet.dts is None or index in ended:
            continue
        decoded_s, shown_s = (float(t * packet.time_base) - origin_s for t in (packet.dts, packet.pts))
        # A picture that is decoded early may be shown after others, which then belong here too.
        if decoded_s >= span.end_s and shown_s > last_s[index]:
            ended.add(index)
            if len(ended) == len(sources):
                return
            continue
        # What comes before the key frame, or belongs to an open group of pictures before it, cannot be shown.
        if shown_s < begins_s - _ROUNDING_S or (index in waiting and not packet.is_keyframe):
            continue
        waiting.discard(index)
        last_s[index] = max(last_s[index], shown_s)
        ticks = round((at_s - begins_s - origin_s) / packet.time_base)
        packet.pts, packet.dts, packet.stream = (
            packet.pts + ticks,
            packet.dts + ticks,
            streams[indices.index(index)],
        )
        yield packet, decoded_s - begins_s + at_s, shown_s - begins_s + at_s
