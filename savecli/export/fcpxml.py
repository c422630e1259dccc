"""Final Cut Pro XML 1.10, which Final Cut and DaVinci Resolve read.

Each file is an asset in a format of its own rate; clips lie one after the other at the first file's rate. All
times are fractions of a second on frame boundaries, as the format demands
(https://developer.apple.com/documentation/professional-video-applications/fcpxml-reference).
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import ceil, floor
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from savecli.export.edl import first_frame
from savecli.export.options import Options
from savecli.export.take import Take, file_url
from savecli.export.timecode import editing_rate, frames
from savecli.media.footage import Source
from savecli.plain import plain

_VERSION = "1.10"
_CONFORMED = {
    **{
        Fraction(24_000, 1001): "23.98",
        Fraction(24): "24",
        Fraction(25): "25",
        Fraction(30_000, 1001): "29.97",
    },
    **{Fraction(30): "30", Fraction(48): "48", Fraction(50): "50", Fraction(60_000, 1001): "59.94"},
    **{Fraction(60): "60"},
}
_LAYOUTS = {0: "stereo", 1: "mono", 2: "stereo"}


def fcpxml(takes: Sequence[Take], options: Options) -> str:
    """The whole document."""
    root = Element("fcpxml", version=_VERSION)
    resources = SubElement(root, "resources")
    assets = _Resources(resources)
    rate = editing_rate(takes[0].known.rate)
    first = assets.asset(takes[0])
    event = SubElement(SubElement(root, "library"), "event", name="save")
    project = SubElement(event, "project", name=plain(options.title))
    n_channels = max(take.known.n_channels for take in takes)
    sequence = SubElement(
        project,
        "sequence",
        format=first.get("format") or assets.format(rate, 1920, 1080),
        tcStart="0s",
        tcFormat="NDF",
        audioLayout=_LAYOUTS.get(n_channels, "surround"),
        audioRate="48k",
    )
    spine = SubElement(sequence, "spine")
    at = 0
    for take in takes:
        at += _clip(spine, take, assets.asset(take), at, rate)
    sequence.set("duration", seconds(Fraction(at) / rate))
    ElementTree.indent(root)
    body = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE fcpxml>\n{body}\n'


def seconds(time_s: Fraction) -> str:
    """A time as the format writes it: `1001/30000s`, `12s`."""
    return f"{time_s.numerator}s" if time_s.denominator == 1 else f"{time_s.numerator}/{time_s.denominator}s"


class _Resources:
    """Formats and assets, each once."""

    def __init__(self, parent: Element) -> None:
        self._parent = parent
        self._formats: dict[tuple[Fraction, int, int], str] = {}
        self._assets: dict[Path, Element] = {}

    def format(self, rate: Fraction, width_px: int, height_px: int) -> str:
        """The id of a format."""
        key = (rate, width_px, height_px)
        if key not in self._formats:
            made = SubElement(self._parent, "format", id=self._id(), frameDuration=seconds(1 / rate))
            made.set("width", str(width_px))
            made.set("height", str(height_px))
            self._formats[key] = made.attrib["id"]
        return self._formats[key]

    def asset(self, take: Take) -> Element:
        """The asset of a take's file."""
        if take.path not in self._assets:
            self._assets[take.path] = self._make(take.path, take.known)
        return self._assets[take.path]

    def _make(self, path: Path, source: Source) -> Element:
        rate = editing_rate(source.rate)
        made = Element("asset", id="", name=plain(path.stem), start=seconds(_start(source)))
        made.set("duration", seconds(ceil(source.timeline.duration_s * rate) / rate))
        if source.rate:
            made.set("hasVideo", "1")
            made.set("format", self.format(rate, source.width_px, source.height_px))
            made.set("videoSources", "1")
        if source.n_channels:
            made.set("hasAudio", "1")
            made.set("audioSources", "1")
            made.set("audioChannels", str(source.n_channels))
            made.set("audioRate", str(source.sample_rate_hz))
        SubElement(made, "media-rep", kind="original-media", src=file_url(path))
        made.set("id", self._id())
        self._parent.append(made)
        return made

    def _id(self) -> str:
        return f"r{len(self._parent) + 1}"


def _start(source: Source) -> Fraction:
    rate = editing_rate(source.rate)
    return Fraction(first_frame(source, rate)) / rate


def _clip(spine: Element, take: Take, asset: Element, at: int, rate: Fraction) -> int:
    """One clip on the timeline; returns its length in the timeline's frames."""
    source = take.known
    own = editing_rate(source.rate) if source.rate else rate
    first, _ = frames(take.start_s, take.end_s, own)
    # Not past the end of the file, which Final Cut takes for missing footage.
    rest_s = ceil(source.timeline.duration_s * own) / own - first / own
    n_frames = max(1, min(ceil((take.end_s - float(first / own)) * rate - 1e-3), floor(rest_s * rate)))
    clip = SubElement(
        spine,
        "asset-clip",
        ref=asset.attrib["id"],
        offset=seconds(Fraction(at) / rate),
        name=plain(take.path.stem),
        start=seconds(_start(source) + Fraction(first) / own),
        duration=seconds(Fraction(n_frames) / rate),
        tcFormat="DF" if ";" in source.timecode else "NDF",
    )
    if asset.get("format"):
        clip.set("format", asset.attrib["format"])
    SubElement(clip, "note").text = "\n".join(filter(None, (take.why, plain(take.moment.snippet))))
    if source.rate and own != rate:
        conform = SubElement(clip, "conform-rate", scaleEnabled="0")
        if own in _CONFORMED:
            conform.set("srcFrameRate", _CONFORMED[own])
    return n_frames
