"""A report to change."""

from __future__ import annotations

from savecli.bench.metrics import Recall
from savecli.bench.report import Report


def found(**changes):
    fields = {"r1": 50.0, "r5": 75.0, "r10": 80.0, "median_rank": 1.5, "mean_rank": 7.25, "n_queries": 4}
    return Recall(**{**fields, **changes})


def report(**changes):
    """Of MSR-VTT, whole."""
    fields = {
        "benchmark": "msrvtt",
        "split": "9k",
        "n_listed": 1000,
        "n_videos": 1000,
        "n_captions": 1000,
        "missing": (),
        "broken": {},
        "n_without_audio": 3,
        "n_without_speech": 40,
        "speech": "asr.json",
        "model": "tiny",
        "sha256": "0123456789abcdef" * 4,
        "n_frames": 12,
        "n_words": 32,
        "search": "exact",
        "loss": None,
        "ties": "against the model",
        "dual_softmax": False,
        "ablated": (),
        "device": "cpu",
        "elapsed_s": 62.5,
        "encode_s": 58.25,
        "t2v": found(),
        "v2t": found(r1=25.0),
        "by_kind": {},
        "answers": {"t2v": (), "v2t": ()},
        "paths": {},
    }
    return Report(**{**fields, **changes})
