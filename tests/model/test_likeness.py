"""Likeness to an example: 0 is usual, 1 is the same, and the reasons add up."""

from __future__ import annotations

import numpy as np
import pytest

from savecli.model.likeness import THRESHOLD, WEIGHTS, Example, likeness
from savecli.model.score import MODALITIES, Candidates, Stack

DIM = 64


def unit(rows):
    rows = np.atleast_2d(np.asarray(rows, np.float32))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def some(seed: int, n: int = 1) -> np.ndarray:
    return unit(np.random.default_rng(seed).standard_normal((n, DIM)))


def candidates(seen=(), heard=(), said=()) -> Candidates:
    n = max(len(seen), len(heard), len(said))
    nothing = np.zeros((0, DIM), np.float32)

    def stack(rows):
        return Stack.of([*rows, *[nothing] * (n - len(rows))])

    return Candidates(
        n=n,
        seen=stack([unit(r.mean(axis=0)) if len(r) else nothing for r in seen]),
        frames=stack(seen),
        heard=stack(heard),
        said=stack(said),
        fused=stack([]),
        parts=stack([]),
        spoken=[frozenset()] * n,
    )


LIBRARY = candidates(
    seen=[some(i, 4) for i in range(200, 300)],
    heard=[some(i, 3) for i in range(300, 400)],
    said=[some(i, 2) for i in range(400, 500)],
)


def shares(example: Example, found: Candidates):
    return likeness(example, found, LIBRARY).shares


def test_the_same_is_one_and_the_usual_is_nothing():
    rows = {"seen": some(1, 4), "heard": some(2, 3), "said": some(3, 2)}
    same = candidates(seen=[rows["seen"]], heard=[rows["heard"]], said=[rows["said"]])
    ((seen, heard, said),) = shares(Example(name="x", rows=rows), same)
    assert (seen, heard, said) == pytest.approx([WEIGHTS[m] for m in MODALITIES])
    strange = shares(Example(name="x", rows=rows), LIBRARY).sum(axis=1)
    assert np.median(strange) == pytest.approx(0, abs=0.05)
    assert strange.max() < THRESHOLD


def test_what_the_example_has_not_is_not_asked():
    picture = Example(name="x", rows={"seen": some(1)})
    found = candidates(seen=[some(1, 1), some(9, 4)], heard=[some(2), some(2)], said=[some(3), some(3)])
    result = shares(picture, found)
    assert result[0] == pytest.approx([1, 0, 0])
    assert result[:, 1:].sum() == 0


def test_a_sound_alone_counts_whole_and_a_segment_without_any_not_at_all():
    sound = Example(name="x", rows={"heard": some(2, 3)})
    result = shares(sound, candidates(seen=[some(1), some(1)], heard=[some(2, 3)]))
    assert result[0].sum() == pytest.approx(1)
    assert result[1].sum() == 0


def test_a_silent_copy_is_half_of_a_film_with_sound_and_words():
    film = Example(name="x", rows={"seen": some(1, 4), "heard": some(2, 3), "said": some(3)})
    assert shares(film, candidates(seen=[some(1, 4)])).sum() == pytest.approx(0.5)


def test_nearer_is_higher_and_never_beyond_its_bounds():
    row = some(1)
    rng = np.random.default_rng(0)
    noise = [0.0, 0.3, 0.8, 1.5, 10.0]
    found = candidates(seen=[unit(row + n * some(int(rng.integers(1000, 2000)))) for n in noise])
    scores = shares(Example(name="x", rows={"seen": row}), found).sum(axis=1)
    assert list(scores) == sorted(scores, reverse=True)
    assert scores.min() >= 0
    assert scores.max() <= 1


def test_a_part_of_a_segment_and_a_segment_of_a_film_are_the_same_thing():
    film = some(7, 60)
    one = candidates(seen=[film[12:24]])
    assert shares(Example(name="x", rows={"seen": film}), one).sum() == pytest.approx(1)
    assert shares(Example(name="x", rows={"seen": film[15:17]}), one).sum() == pytest.approx(1)


def test_it_tells_which_row_of_a_segment_is_most_alike():
    frames, windows = some(5, 6), some(6, 4)
    example = Example(name="x", rows={"seen": frames[4:5], "heard": windows[1:2]})
    found = candidates(seen=[some(8, 3), frames], heard=[some(9, 2), windows])
    best = likeness(example, found, LIBRARY).best
    assert (best["frames"][1], best["heard"][1]) == (4, 1)
    silent = candidates(seen=[frames, frames], heard=[windows])
    assert likeness(example, silent, LIBRARY).best["heard"][1] == -1


def test_in_a_library_where_all_is_alike_only_more_counts():
    middle = some(1)
    crowd = candidates(seen=[unit(middle + 0.5 * some(i)) for i in range(50, 150)])
    example = Example(name="x", rows={"seen": middle})
    usual = likeness(example, crowd, crowd).shares.sum(axis=1)
    assert np.median(usual) < 0.3
    beside_others = likeness(example, crowd, LIBRARY).shares.sum(axis=1)
    assert np.median(beside_others) > 0.8


def test_of_a_long_film_few_rows_are_looked_up():
    example = Example(name="x", rows={"seen": some(1, 100), "said": some(2, 50)})
    asked = example.asks()
    assert [term for term, _ in asked].count("seen") == 1
    assert 1 < [term for term, _ in asked].count("said") <= 4
    assert all(np.linalg.norm(row) == pytest.approx(1, abs=1e-5) for _, row in asked)
