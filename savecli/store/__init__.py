"""What was seen and said in every video, on disk, and found again by likeness."""

from savecli.store.records import (
    Counts,
    Hit,
    Kind,
    KnownFile,
    Problem,
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
    "Store",
    "StoredGraph",
    "StoredSegment",
    "StoredVideo",
]
