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

__all__ = [
    "Counts",
    "Hit",
    "Kind",
    "KnownFile",
    "Problem",
    "SearchKind",
    "Store",
    "StoredGraph",
    "StoredSegment",
    "StoredVideo",
]
