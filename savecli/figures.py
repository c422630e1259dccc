"""What `save bench` and `save doctor --tune` find: frozen records, and the sums over them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

HOUR_S = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Peaks, in MB of memory that is in use, mapped weights included.

    Attributes:
        together: of the command and all its decoders at one time.
        command, decoder: of the command, and of the largest of its decoders.
    """

    together: float
    command: float
    decoder: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """How fast this machine indexed some videos, and searched what it had indexed.

    Attributes:
        machine: in a line.
        asr, device, jobs: the settings.
        n_videos, n_skipped: that were indexed, and that could not be.
        footage_s: length of what was indexed.
        speech_s: of it, with speech.
        n_segments: that it came to.
        load_s: it took this long to load the models.
        wall_s: it took this long to index the footage, once they were loaded.
        stage_s: the time that files spent in "decode", "hear", "see" and "store"; of several files, or
            segments of one, at a time it adds up.
        cpu_s: CPU time of all processes.
        decoder_cpu_s: of it, that of the decoders.
        memory: None where the system does not tell.
        index_bytes: of all files of the store, less what an empty one takes.
        first_search_s: with the store opened and the text model loaded for it.
        searches_s: later ones.
    """

    machine: str
    asr: str
    device: str
    jobs: int
    n_videos: int
    n_skipped: int
    footage_s: float
    speech_s: float
    n_segments: int
    load_s: float
    wall_s: float
    stage_s: Mapping[str, float]
    cpu_s: float
    decoder_cpu_s: float
    memory: Memory | None
    index_bytes: int
    first_search_s: float
    searches_s: tuple[float, ...]

    @property
    def stage_cpu_s(self) -> dict[str, float]:
        """CPU time by stage: that of the decoders, and the rest by the time spent in each other stage."""
        own = {stage: seconds for stage, seconds in self.stage_s.items() if stage != "decode"}
        share = (self.cpu_s - self.decoder_cpu_s) / (sum(own.values()) or 1.0)
        return {"decode": self.decoder_cpu_s, **{stage: share * seconds for stage, seconds in own.items()}}

    @property
    def limit(self) -> tuple[str, float]:
        """The stage with most CPU time, and its share of all."""
        by_stage = self.stage_cpu_s
        stage = max(by_stage, key=by_stage.__getitem__)
        return stage, by_stage[stage] / (sum(by_stage.values()) or 1.0)

    def search_s(self, share: float) -> float:
        """What the given share of later searches do not exceed: .5 for the median."""
        return sorted(self.searches_s)[min(len(self.searches_s) - 1, int(share * len(self.searches_s)))]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """One choice was tried out.

    Attributes:
        setting, value: "jobs" or "asr", and what it was set to.
        x: footage, or speech, in a second, in seconds.
    """

    setting: str
    value: str
    x: float
