"""What was seen and said in every video, on disk, and found again by likeness."""

from savecli.store.records import (
    Counts,
    Hit,
    Kind,
    KnownFile,
    Problem,
    SearchKind,
    StoredGraph,
    StoredSegment,
    StoredVideo,
)
from savecli.store.store import Store
from savecli.store.words import Spoken

__all__ = [
    "Counts",
    "Hit",
    "Kind",
    "KnownFile",
    "Problem",
    "SearchKind",
    "Spoken",
    "Store",
    "StoredGraph",
    "StoredSegment",
    "StoredVideo",
]
