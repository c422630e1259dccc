"""The nearest of other videos: the same as by brute force, in a space where common traits count less."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from savecli.datatypes import Embedding, Segment, Transcript, Video
from savecli.dupes import propose as module
from savecli.dupes.propose import K_NEAREST, LEAST, Library, Space, propose
from savecli.store import Store

DIM = 16


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def filled(tmp_path: Path):
    """Stores videos of random rows; returns the store, the rows as stored, and the library."""
    with Store.open(tmp_path / "store", identity={"model": "random", "dim": str(DIM)}, mode="write") as store:

        def fill(videos: list[np.ndarray]):
            for number, rows in enumerate(videos):
                spans = [Segment(start_s=12.0 * i, end_s=12.0 * (i + 1)) for i in range(len(rows))]
                nothing = np.zeros((0, DIM), np.float32)
                store.add(
                    Video(
                        path=Path(f"/v/{number}.mp4"),
                        fingerprint=f"{number:032x}",
                        size_bytes=1,
                        mtime_ns=1,
                        duration_s=12.0 * len(rows),
                        has_video=True,
                        has_audio=False,
                    ),
                    spans,
                    [Embedding(seen=row[None], frames=row[None], said=nothing) for row in rows],
                    Transcript(),
                    asr="off",
                    frame_times=[np.array([span.start_s]) for span in spans],
                )
            ids = [s.segment_id for video in store.videos() for s in store.stored_segments(video.video_id)]
            owners = [n for n, rows in enumerate(videos) for _ in rows]
            library = Library(ids=np.array(ids), videos=np.array(owners), asked=np.ones(len(ids), bool))
            stored = store.rows("seen", ids)
            nothing = np.zeros((0, DIM), np.float32)
            return store, np.concatenate([nothing, *(stored[i] for i in ids)]), library

        yield fill


def run(store, space, library):
    stages = propose(store, space, library)
    told = []
    while True:
        try:
            told.append(next(stages))
        except StopIteration as end:
            return told, list(zip(*(side.tolist() for side in end.value), strict=True))


def by_hand(rows, library):
    cosines = rows @ rows.T
    pairs = set()
    for i in np.nonzero(library.asked)[0]:
        near = [j for j in np.argsort(-cosines[i]) if library.videos[j] != library.videos[i]][:K_NEAREST]
        pairs |= {(min(i, j), max(i, j)) for j in near if cosines[i, j] >= LEAST}
    return sorted(pairs)


@pytest.mark.parametrize("block", [3, 7, 4096])
def test_pairs_are_those_of_brute_force_however_the_rows_are_cut_into_blocks(filled, monkeypatch, block):
    monkeypatch.setattr(module, "_BLOCK", block)
    rng = np.random.default_rng(block)
    centres = rng.standard_normal((5, DIM))
    videos = [
        unit(centres[rng.integers(0, 5, n)] + 0.5 * rng.standard_normal((n, DIM))) for n in (1, 4, 6, 9, 5)
    ]
    store, rows, library = filled(videos)
    space = Space(rows)
    told, pairs = run(store, space, library)
    assert pairs == by_hand(space(rows), library)
    assert len(pairs) > 10
    assert told[-1][0] == told[-1][1] == len(told)


def test_only_what_is_asked_for_is_proposed(filled):
    rng = np.random.default_rng(4)
    shared = rng.standard_normal((4, DIM))
    store, rows, library = filled([unit(shared), unit(shared + 0.01), unit(shared + 0.02)])
    asked = Library(ids=library.ids, videos=library.videos, asked=library.videos == 0)
    _, pairs = run(store, Space(rows), asked)
    assert pairs == by_hand(Space(rows)(rows), asked)
    assert all(0 in (library.videos[i], library.videos[j]) for i, j in pairs)


def test_a_library_without_pictures_or_with_one_video_has_no_pairs(filled):
    store, rows, library = filled([])
    assert run(store, Space(np.zeros((0, DIM), np.float32)), library)[1] == []
    store, rows, library = filled([unit(np.ones((5, DIM)))])
    assert run(store, Space(rows), library)[1] == []


def test_what_all_rows_have_in_common_counts_less_in_the_space_of_a_library():
    rng = np.random.default_rng(0)
    rows = unit(3 * np.eye(DIM)[0] + rng.standard_normal((400, DIM)))
    plain, turned = rows @ rows.T, Space(rows)(rows) @ Space(rows)(rows).T
    others = ~np.eye(400, dtype=bool)
    assert plain[others].mean() > 0.3
    assert abs(turned[others].mean()) < 0.1
    again = unit(rows + 0.1 * rng.standard_normal(rows.shape))
    assert np.einsum("ij,ij->i", Space(rows)(rows), Space(rows)(again)).mean() > 0.8


def test_two_videos_alone_are_not_told_apart_by_what_tells_them_apart():
    row = unit(np.random.default_rng(1).standard_normal((1, DIM)))
    near = unit(row + 0.1 * np.random.default_rng(2).standard_normal((1, DIM)))
    both = np.concatenate([row, near])
    assert (Space(both)(row) @ Space(both)(near).T).item() > 0.6
