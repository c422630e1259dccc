"""The scoring rule: evidence that adds up, its shares, and its chance in a library."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from savecli.model.score import (
    MODALITIES,
    TERMS,
    Background,
    Calibration,
    Candidates,
    Query,
    Score,
    Stack,
    Step,
)

DIM = 8
CALIBRATION = Calibration(
    gain=0.9, crowd=0.4, spread=0.7, level=0.5, bias=-1.5, prior_median=0.2, prior_spread=1.1, prior_n=20
)
RULE = Score(
    steps={
        "seen": Step(slope=22, centre=0.25, weight=0.6),
        "heard": Step(slope=16, centre=0.3, weight=0.5),
        "said": Step(slope=14, centre=0.4, weight=0.8),
        "fused": Step(slope=18, centre=0.2, weight=0.3),
    },
    words=0.3,
    sharpness=20.0,
    calibrations={"any": CALIBRATION} | dict.fromkeys(MODALITIES, replace(CALIBRATION, prior_median=0.1)),
    threshold=0.5,
)
SEEDS = st.integers(0, 2**32 - 1)
SENSES = st.lists(st.sets(st.sampled_from(MODALITIES)), max_size=6)
EVIDENCE = st.floats(0, 50)
PLAIN = Background(median=0.3, spread=1.0, n_segments=100)
NONE = np.zeros((0, DIM), np.float32)


def rows(rng: np.random.Generator, n: int) -> np.ndarray:
    made = rng.standard_normal((n, DIM)).astype(np.float32)
    return made / np.linalg.norm(made, axis=1, keepdims=True).clip(1e-12)


def library(rng: np.random.Generator, senses: list[set[str]]) -> Candidates:
    """Segments that have only what their set names; what is seen has a fused row, too."""
    made: dict[str, list[np.ndarray]] = {kind: [] for kind in (*TERMS, "frames", "parts")}
    for has in senses:
        frames = rows(rng, rng.integers(1, 5)) if "seen" in has else NONE
        made["frames"].append(frames)
        made["seen"].append(rows(rng, len(frames[:1])))
        for name in ("heard", "said"):
            made[name].append(rows(rng, rng.integers(1, 4)) if name in has else NONE)
        parts = rng.standard_normal((3, DIM)).astype(np.float32) if len(frames) else NONE
        for part, name in zip(parts, MODALITIES, strict=False):
            part *= name in has
        parts = parts / np.linalg.norm(parts.sum(axis=0)).clip(1e-9)
        made["parts"].append(parts)
        made["fused"].append(parts.sum(axis=0, keepdims=True) if len(parts) else NONE)
    spoken = [frozenset({"dog", "walk"}) if "said" in has else frozenset() for has in senses]
    stacks = {kind: Stack.of(each) for kind, each in made.items()}
    return Candidates(n=len(senses), spoken=spoken, **stacks)


def query(rng: np.random.Generator, *terms: str, **words: float) -> Query:
    return Query(text="a dog", rows=dict(zip(terms, rows(rng, len(terms)), strict=True)), words=words)


def cosines_of(asked: Query, candidates: Candidates, rule: Score = RULE) -> dict[str, np.ndarray]:
    """(n,) by term."""
    exact = np.array([[sum(asked.words.get(w, 0.0) for w in spoken) for spoken in candidates.spoken]])
    found = rule.cosines({term: row[None] for term, row in asked.rows.items()}, candidates, exact)
    return {term: values[0] for term, values in found.items()}


def one(**given: np.ndarray) -> Candidates:
    """A single segment with these rows."""
    stacks = {kind: Stack.of([given.get(kind, NONE)]) for kind in (*TERMS, "frames", "parts")}
    return Candidates(n=1, spoken=[frozenset()], **stacks)


# -- evidence ------------------------------------------------------------------------------------------------


@given(SEEDS, SENSES)
def test_the_contributions_add_up_to_the_evidence_of_all_terms(seed, senses):
    rng = np.random.default_rng(seed)
    candidates, asked = library(rng, senses), query(rng, *TERMS, dog=0.7, cat=0.3)
    evidence = RULE.evidence(asked, candidates)
    cosines = cosines_of(asked, candidates)
    expected = sum(RULE.steps[term](values) for term, values in cosines.items())
    np.testing.assert_allclose(evidence.total, expected, rtol=1e-9, atol=1e-12)
    assert evidence.by_modality.shape == (len(senses), 3)
    assert (evidence.by_modality >= 0).all()
    assert np.isfinite(evidence.by_modality).all()


@given(SEEDS, SENSES)
def test_what_a_segment_lacks_speaks_for_nothing(seed, senses):
    rng = np.random.default_rng(seed)
    evidence = RULE.evidence(query(rng, *TERMS, dog=1.0), library(rng, senses))
    for i, has in enumerate(senses):
        for column, name in enumerate(MODALITIES):
            if name not in has:
                assert evidence.by_modality[i, column] == 0


@given(SEEDS, SENSES, st.sampled_from(TERMS[:3]))
def test_a_query_of_one_modality_is_answered_by_that_one_alone(seed, senses, term):
    rng = np.random.default_rng(seed)
    evidence = RULE.evidence(query(rng, term), library(rng, senses))
    others = [column for column, name in enumerate(MODALITIES) if name != term]
    assert (evidence.by_modality[:, others] == 0).all()
    kind = "frames" if term == "seen" else term
    assert evidence.best.keys() == {kind}


@given(SEEDS, SENSES)
def test_best_rows_are_where_a_plain_search_finds_them(seed, senses):
    rng = np.random.default_rng(seed)
    candidates, asked = library(rng, senses), query(rng, *TERMS)
    best = RULE.evidence(asked, candidates).best
    for kind in ("frames", "heard", "said"):
        stack = getattr(candidates, kind)
        row = asked.rows["seen" if kind == "frames" else kind]
        for i in range(len(senses)):
            own = stack.rows[stack.owners == i]
            assert best[kind][i] == (int((own @ row).argmax()) if len(own) else -1)


def test_of_equal_rows_the_first_is_the_best_one():
    rng = np.random.default_rng(1)
    (row,) = asked = rows(rng, 1)
    low = -row[None]
    groups = [np.concatenate([low, asked, asked]), NONE, np.concatenate([asked, low, asked]), NONE]
    stack = Stack.of(groups)
    empty = Stack.of([NONE] * 4)
    candidates = Candidates(
        n=4,
        seen=empty,
        frames=None,
        heard=stack,
        said=empty,
        fused=empty,
        parts=empty,
        spoken=[frozenset()] * 4,
    )
    evidence = RULE.evidence(Query(text="", rows={"heard": row}), candidates)
    assert evidence.best["heard"].tolist() == [1, -1, 0, -1]
    assert (evidence.total > 0).tolist() == [True, False, True, False]


def test_no_segments_have_no_evidence():
    nothing = Stack.of([])
    kinds = dict.fromkeys((*TERMS, "frames", "parts"), nothing)
    evidence = RULE.evidence(query(np.random.default_rng(0), *TERMS), Candidates(n=0, spoken=[], **kinds))
    assert evidence.by_modality.shape == (0, 3)
    assert evidence.total.shape == (0,)


@given(SEEDS, st.integers(1, 5))
def test_a_segment_is_judged_the_same_in_any_company(seed, n):
    rng = np.random.default_rng(seed)
    senses = [set(MODALITIES) for _ in range(n)]
    asked = query(rng, *TERMS, dog=1.0)
    whole = library(np.random.default_rng(seed), senses)
    first = library(np.random.default_rng(seed), senses[:1])
    together, alone = (RULE.evidence(asked, c).by_modality[0] for c in (whole, first))
    np.testing.assert_allclose(together, alone, rtol=1e-5, atol=1e-9)


@given(SEEDS, st.sampled_from(["frames", "heard", "said"]))
def test_one_more_row_that_fits_never_lowers_the_evidence(seed, kind):
    rng = np.random.default_rng(seed)
    asked = query(rng, *TERMS)
    row = asked.rows["seen" if kind == "frames" else kind]
    given_ = {"seen": rows(rng, 1), **{k: rows(rng, 3) for k in ("frames", "heard", "said")}}
    more = given_ | {kind: np.concatenate([given_[kind][1:], row[None]])}
    assert RULE.evidence(asked, one(**more)).total >= RULE.evidence(asked, one(**given_)).total - 1e-6


# -- what is seen --------------------------------------------------------------------------------------------


@given(SEEDS, st.integers(1, 20), st.floats(0.5, 200))
def test_the_soft_maximum_lies_between_mean_and_maximum(seed, n_frames, sharpness):
    rng = np.random.default_rng(seed)
    asked, frames, pooled = query(rng, "seen"), rows(rng, n_frames), np.zeros((1, DIM), np.float32)
    cosines = cosines_of(asked, one(seen=pooled, frames=frames), replace(RULE, sharpness=sharpness))
    local = frames @ asked.rows["seen"]
    assert local.mean() - 1e-5 <= 2 * cosines["seen"][0] <= local.max() + 1e-5


def test_a_sharper_maximum_is_nearer_to_the_best_frame():
    rng = np.random.default_rng(3)
    asked, frames, pooled = query(rng, "seen"), rows(rng, 9), np.zeros((1, DIM), np.float32)
    soft = [
        2 * cosines_of(asked, one(seen=pooled, frames=frames), replace(RULE, sharpness=s))["seen"][0]
        for s in (1, 10, 1000)
    ]
    assert soft == sorted(soft)
    assert soft[-1] == pytest.approx((frames @ asked.rows["seen"]).max(), abs=3e-3)


def test_half_of_what_is_seen_is_the_pooled_row_or_all_of_it_where_frames_are_not_looked_at():
    rng = np.random.default_rng(4)
    asked, pooled, frame = query(rng, "seen"), rows(rng, 1), rows(rng, 1)
    row = asked.rows["seen"]
    both = one(seen=pooled, frames=frame)
    expected = (pooled @ row + frame @ row)[0] / 2
    assert cosines_of(asked, both)["seen"][0] == pytest.approx(expected, abs=1e-6)
    without = replace(both, frames=None)
    assert cosines_of(asked, without)["seen"][0] == pytest.approx((pooled @ row)[0], abs=1e-6)
    assert RULE.evidence(asked, without).best["frames"].tolist() == [-1]


# -- words ---------------------------------------------------------------------------------------------------


@given(SEEDS, st.floats(0.01, 1))
def test_exact_words_add_to_what_is_said_and_to_nothing_else(seed, share):
    rng = np.random.default_rng(seed)
    candidates = library(rng, [set(MODALITIES), {"seen", "heard"}])
    asked = query(rng, *TERMS)
    plain, exact = (cosines_of(q, candidates) for q in (asked, replace(asked, words={"dog": share})))
    for term in ("seen", "heard", "fused"):
        np.testing.assert_array_equal(plain[term], exact[term])
    assert exact["said"][0] == pytest.approx(plain["said"][0] + RULE.words * share)
    assert exact["said"][1] == -np.inf, "where nothing is said, no word counts"
    before, after = (RULE.evidence(q, candidates) for q in (asked, replace(asked, words={"dog": share})))
    assert after.by_modality[0, 2] > before.by_modality[0, 2]
    np.testing.assert_array_equal(after.by_modality[:, :2], before.by_modality[:, :2])


def test_words_that_are_not_spoken_add_nothing():
    rng = np.random.default_rng(5)
    candidates, asked = library(rng, [{"said"}]), query(rng, "said")
    cosines = [cosines_of(q, candidates)["said"][0] for q in (asked, replace(asked, words={"cat": 1.0}))]
    assert cosines[0] == cosines[1]


# -- the cohort ----------------------------------------------------------------------------------------------


def cohort(rng: np.random.Generator, n: int) -> dict[str, np.ndarray]:
    return {term: rows(rng, n) for term in TERMS}


@given(SEEDS, SENSES, st.integers(1, 5))
def test_what_other_queries_find_on_average_is_taken_off(seed, senses, n):
    rng = np.random.default_rng(seed)
    candidates, asked, others = library(rng, senses), query(rng, *TERMS, dog=0.7), cohort(rng, n)
    each = [Query(text="", rows={term: others[term][i] for term in TERMS}) for i in range(n)]
    found = RULE.evidence(asked, candidates).by_modality
    usual = np.mean([RULE.evidence(other, candidates).by_modality for other in each], axis=0)
    beyond = replace(RULE, cohort=others).evidence(asked, candidates)
    np.testing.assert_allclose(beyond.by_modality, found - usual, atol=1e-6)
    assert (beyond.shares >= 0).all()
    np.testing.assert_allclose(beyond.shares.sum(axis=1), [bool(has) for has in senses], atol=1e-9)


def test_a_segment_that_fits_every_query_is_no_hub():
    """It fits one query a little better than what answers it alone; another answers nothing else."""
    rng = np.random.default_rng(8)
    common, own = rows(rng, 2)
    asked = common + 0.9 * own
    asked /= np.linalg.norm(asked)
    candidates = Candidates(
        n=2,
        seen=Stack.of([common[None], own[None]]),
        frames=None,
        **{kind: Stack.of([NONE] * 2) for kind in ("heard", "said", "fused", "parts")},
        spoken=[frozenset()] * 2,
    )
    others = common + 0.3 * rows(rng, 20)
    rule = replace(RULE, cohort={"seen": others / np.linalg.norm(others, axis=1, keepdims=True)})
    plain, beyond = (r.evidence(Query(text="", rows={"seen": asked}), candidates) for r in (RULE, rule))
    assert plain.total.argmax() == 0
    assert beyond.total.argmax() == 1


def test_an_aimed_query_is_compared_with_what_the_cohort_finds_by_that_modality_alone():
    rng = np.random.default_rng(9)
    candidates, others = library(rng, [set(MODALITIES)] * 3), cohort(rng, 4)
    aimed = replace(RULE, cohort=others).evidence(query(rng, "said"), candidates)
    assert (aimed.by_modality[:, :2] == 0).all()


@given(SEEDS, SENSES, st.integers(1, 150))
def test_many_queries_at_once_find_what_each_finds_alone(seed, senses, n):
    rng = np.random.default_rng(seed)
    rule, candidates = replace(RULE, cohort=cohort(rng, 3)), library(rng, senses)
    asked = [query(rng, *TERMS, dog=float(rng.random())) for _ in range(n)]
    alone = [rule.evidence(one_, candidates).total for one_ in asked]
    np.testing.assert_allclose(rule.totals(asked, candidates), np.stack(alone), atol=1e-5)


# -- the fused row -------------------------------------------------------------------------------------------


def test_fused_evidence_goes_to_the_parts_in_proportion_to_what_they_brought():
    row = np.eye(DIM, dtype=np.float32)[0]
    other = np.eye(DIM, dtype=np.float32)[1]
    parts = np.stack([0.1 * row + 0.2 * other, 0.3 * row - 0.2 * other, 0.4 * row])
    fused = parts.sum(axis=0, keepdims=True)
    asked = Query(text="", rows={"fused": row})
    evidence = RULE.evidence(asked, one(fused=fused, parts=parts))
    np.testing.assert_allclose(evidence.by_modality[0] / evidence.total[0], [1 / 8, 3 / 8, 4 / 8], rtol=1e-5)
    assert evidence.total[0] == pytest.approx(RULE.steps["fused"](np.array([0.8]))[0], rel=1e-6)


def test_a_part_that_speaks_against_it_gets_nothing_and_the_frames_get_what_no_part_brought():
    row = np.eye(DIM, dtype=np.float32)[0]
    asked = Query(text="", rows={"fused": row})
    parts = np.stack([0.9 * row, -0.3 * row, 0.1 * row])
    mixed = RULE.evidence(asked, one(fused=parts.sum(axis=0, keepdims=True), parts=parts)).by_modality[0]
    np.testing.assert_allclose(mixed / mixed.sum(), [0.9, 0, 0.1], rtol=1e-5)
    against = RULE.evidence(asked, one(fused=-parts[:1], parts=-parts * [[1], [0], [0]])).by_modality[0]
    assert against[0] > 0
    assert against[1:].tolist() == [0, 0]


# -- steps and chances ---------------------------------------------------------------------------------------


@given(st.floats(-1, 1), st.floats(-1, 1), st.sampled_from(TERMS))
def test_a_step_rises_and_is_never_negative(low, high, term):
    low, high = sorted((low, high))
    below, above = RULE.steps[term](np.array([low, high]))
    assert 0 <= below <= above


def test_a_step_is_a_weighted_softplus_and_nothing_is_no_evidence():
    step = Step(slope=10, centre=0.3, weight=0.5)
    at, above, absent = step(np.array([0.3, 0.8, -np.inf]))
    assert at == pytest.approx(0.5 * np.log(2))
    assert above == pytest.approx(0.5 * np.log1p(np.exp(5)))
    assert absent == 0


@given(EVIDENCE, EVIDENCE)
def test_more_evidence_never_lowers_a_score(low, high):
    low, high = sorted((low, high))
    below, above = RULE.chance("any", np.array([low, high]), PLAIN)
    assert 0 < below <= above <= 1


def test_a_score_is_the_logistic_of_its_formula():
    (chance,) = RULE.chance("any", np.array([5.0]), PLAIN)
    logit = 0.9 * 5 - 0.4 * np.log(100) - 0.7 * 1.0 - 0.5 * 0.3 - 1.5
    assert chance == pytest.approx(1 / (1 + np.exp(-logit)))


def test_answers_that_are_nearly_certain_or_hopeless_still_differ():
    chances = RULE.chance("any", np.array([30.0, 38.0]), PLAIN)
    assert chances[0] < chances[1] <= 1
    bleak = replace(RULE, calibrations={"any": replace(CALIBRATION, bias=-200.0)})
    chances = bleak.chance("any", np.array([1.0, 2.0]), PLAIN)
    assert 0 < chances[0] < chances[1] < 1e-60


@given(EVIDENCE, st.integers(1, 10**6), st.integers(1, 10**6))
def test_in_a_larger_library_the_same_evidence_is_worth_no_more(evidence, n, n_more):
    few, many = (replace(PLAIN, n_segments=size) for size in (n, n + n_more))
    values = np.array([evidence])
    assert RULE.chance("any", values, many) <= RULE.chance("any", values, few)


@given(EVIDENCE, st.floats(0, 20), st.floats(0, 20))
def test_what_fits_everything_a_little_is_less_certain(evidence, spread, more):
    values = np.array([evidence])
    close, wide = (RULE.chance("any", values, replace(PLAIN, spread=s)) for s in (spread, spread + more))
    assert wide <= close
    low, high = (RULE.chance("any", values, replace(PLAIN, median=m)) for m in (spread, spread + more))
    assert high <= low


def test_without_a_library_the_background_is_the_prior():
    background = RULE.background("any", np.zeros(0), 0)
    assert (background.median, background.spread, background.n_segments) == (0.2, 1.1, 0)
    assert np.isfinite(RULE.chance("any", np.array([1.0]), background)).all()


def test_each_aim_has_a_calibration_of_its_own():
    alone = RULE.background("seen", np.zeros(0), 0)
    assert alone.median == 0.1
    assert Query(text="x", rows={"seen": NONE}).aim == "seen"
    assert Query(text="x", rows={"seen": NONE, "said": NONE}).aim == "any"


def test_a_small_library_is_believed_in_part_and_a_large_one_nearly_whole():
    evidence = np.linspace(0, 10, 101)
    few, many = (
        RULE.background("any", np.tile(evidence[::50], 1), 3),
        RULE.background("any", np.tile(evidence, 100), 10_100),
    )
    assert few.median == pytest.approx((3 * 5 + 20 * 0.2) / 23)
    assert many.median == pytest.approx(5, abs=0.02)
    assert many.spread == pytest.approx(4, abs=0.02)
    assert many.n_segments == 10_100


@given(st.lists(EVIDENCE, max_size=30))
def test_a_background_lies_between_library_and_prior(evidence):
    background = RULE.background("any", np.array(evidence), len(evidence))
    middle = float(np.median(evidence)) if evidence else 0.2
    assert min(middle, 0.2) - 1e-9 <= background.median <= max(middle, 0.2) + 1e-9
    assert background.spread >= 0


# -- json ----------------------------------------------------------------------------------------------------


def record() -> dict:
    made = asdict(replace(RULE, steps={}, calibrations={}))
    del made["cohort"]
    made["steps"] = {term: asdict(step) for term, step in RULE.steps.items()}
    return made | {"calibrations": {aim: asdict(one) for aim, one in RULE.calibrations.items()}}


def test_a_score_comes_back_from_json_as_it_was():
    assert Score.from_json(record(), {}) == RULE


@pytest.mark.parametrize("name", ["steps", "words", "sharpness", "calibrations", "threshold"])
def test_what_is_missing_from_json_is_an_error(name):
    made = record()
    del made[name]
    with pytest.raises(KeyError):
        Score.from_json(made, {})


@pytest.mark.parametrize("part", ["calibrations", "steps"])
def test_what_json_should_not_have_is_an_error(part):
    made = record()
    where = made[part]["seen"]
    where["width"] = 1
    with pytest.raises(TypeError):
        Score.from_json(made, {})
