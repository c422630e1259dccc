"""What a `save bench` found, made up."""

from __future__ import annotations

from savecli.figures import Figures, Memory


def figures(**changes: object) -> Figures:
    """Two videos, 100 s; with these changes."""
    fields = {
        "machine": "a machine",
        "asr": "base",
        "device": "auto",
        "jobs": 2,
        "n_videos": 2,
        "n_skipped": 0,
        "footage_s": 100.0,
        "speech_s": 30.0,
        "n_segments": 9,
        "load_s": 1.0,
        "wall_s": 5.0,
        "stage_s": {"decode": 4.0, "hear": 6.0, "see": 2.0, "store": 0.0},
        "cpu_s": 9.0,
        "decoder_cpu_s": 1.0,
        "memory": Memory(together=900.0, command=800.0, decoder=90.0),
        "index_bytes": 1000,
        "first_search_s": 0.1,
        "searches_s": tuple(number / 1000 for number in range(100, 0, -1)),
    }
    return Figures(**fields | changes)
