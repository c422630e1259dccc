"""From videos to numbers, with both models: what is measured, what is kept, what is left out."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace

import numpy as np
import pytest

from savecli.bench.datasets import load
from savecli.datatypes import Utterance
from savecli.errors import ConfigError, DatasetError, SaveError, WeightsError
from savecli.evaluate import candidates
from savecli.evaluate.options import Options
from savecli.evaluate.run import evaluate
from savecli.events import Encoding, Scoring
from savecli.media.encode import write_video
from savecli.model import checkpoint
from savecli.prepare import Shelf, prepare_all
from savecli.train.measure import measure

N_VIDEOS = 6


def same(one, other):
    """All numbers and ranks, but not the times."""
    assert (one.t2v, one.v2t, one.by_kind) == (other.t2v, other.v2t, other.by_kind)
    for direction in ("t2v", "v2t"):
        for a, b in zip(one.answers[direction], other.answers[direction], strict=True):
            assert (a.query, a.video_id, a.rank) == (b.query, b.video_id, b.rank)
            assert [score for _, score in a.top] == pytest.approx([score for _, score in b.top], abs=1e-4)


def entries(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


# -- what is measured --------------------------------------------------------------------------------------


def test_the_bundled_model_finds_what_is_said_in_the_toy(run):
    events, report = run()
    assert [type(event) for event in events[:N_VIDEOS]] == [Encoding] * N_VIDEOS
    assert [event.n_done for event in events[:N_VIDEOS]] == list(range(1, N_VIDEOS + 1))
    assert events[-1] == Scoring(n_done=3 * N_VIDEOS, n_total=3 * N_VIDEOS)
    assert (report.benchmark, report.n_listed, report.n_videos, report.n_captions) == ("toy", 6, 6, 18)
    assert (report.model, report.n_frames, report.search, report.ties) == (
        "save-mini",
        12,
        "exact",
        "against the model",
    )
    assert (report.missing, report.broken, report.n_without_audio, report.n_without_speech) == ((), {}, 0, 0)
    assert report.speech == "toy_asr_text.json"
    assert report.is_complete
    assert {kind: found.n_queries for kind, found in report.by_kind.items()} == dict.fromkeys(
        ("sound", "speech", "neither"), N_VIDEOS
    )
    assert report.by_kind["speech"].r1 == 100
    assert 0 < report.encode_s < report.elapsed_s
    assert len(report.sha256) == 64


def test_without_speech_what_is_said_is_not_found(run):
    _, whole = run()
    _, report = run(ablate=("speech",))
    assert report.ablated == ("speech",)
    assert report.by_kind["speech"].r1 <= whole.by_kind["speech"].r1 - 50
    assert report.by_kind["speech"].mean_rank >= whole.by_kind["speech"].mean_rank + 1


def test_a_save_network_is_measured_as_its_training_measures_it(run, dataset, network, tmp_path):
    loaded, card = checkpoint.load(network)
    shelf = Shelf(tmp_path / "clips", card.media)
    assert not [
        error for _, error in prepare_all([c.path for c in dataset.test], shelf, n_workers=2) if error
    ]
    for ablated in ((), ("audio",), ("speech",), ("speech", "audio")):
        _, report = run(model=str(network), ablate=ablated)
        t2v, v2t = measure(
            loaded,
            dataset.test,
            shelf,
            n_workers=1,
            no_audio="audio" in ablated,
            no_speech="speech" in ablated,
        )
        assert (report.t2v, report.v2t) == (t2v, v2t), ablated
    assert (report.n_frames, report.n_words, report.sha256) == (3, 32, card.sha256)
    assert report.model == str(network)


def test_each_ablation_changes_the_scores_of_a_save_network(run, network):
    def scores(ablate):
        return [
            score
            for answer in run(model=str(network), ablate=ablate)[1].answers["t2v"]
            for _, score in answer.top
        ]

    found = [scores(ablate) for ablate in ((), ("audio",), ("speech",), ("fusion",), ("fusion", "audio"))]
    for i, one in enumerate(found):
        assert all(one != pytest.approx(other, abs=1e-4) for other in found[:i])


def test_a_training_s_folder_stands_for_its_best_weights(run, network, tmp_path):
    with pytest.raises(WeightsError, match="there is no model"):
        run(model=str(tmp_path / "gone"))
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "options.json").write_text("{}")
    with pytest.raises(WeightsError, match="no result yet"):
        run(model=str(folder))
    shutil.copytree(network, folder / "best-epoch-10")
    (folder / "best-epoch-9").mkdir()
    _, report = run(model=str(folder))
    assert report.model == str(folder / "best-epoch-10")


def test_what_the_paper_reads_of_a_benchmark_is_told_where_the_network_reads_less(run, dataset, network):
    _, report = run(of=replace(dataset, name="charades"), model=str(network))
    assert [note for note in report.notes if "32 frames and 64 words" in note]
    _, report = run(of=replace(dataset, name="charades"))
    assert not [note for note in report.notes if "32 frames" in note]


# -- rules -------------------------------------------------------------------------------------------------


def test_other_rules_are_labelled(run, network):
    _, report = run(model=str(network), dual_softmax=True)
    assert report.dual_softmax
    assert report.t2v.n_queries == 18
    _, report = run(reference_metrics=True)
    assert report.ties == "reference"
    plain = run()[1]  # without ties all but the median of several captions is the same
    for found, wanted in ((report.t2v, plain.t2v), (report.v2t, plain.v2t)):
        assert replace(found, median_rank=0) == replace(wanted, median_rank=0)
    # save-mini's evidence is often below 0, where a dual softmax turns ranks around.
    _, report = run(dual_softmax=True)
    assert any("below 0" in note and "say nothing" in note for note in report.notes)
    assert not any("below 0" in note for note in plain.notes)
    with pytest.raises(ConfigError, match="dual softmax"):
        run(engine="usearch", dual_softmax=True)
    with pytest.raises(ConfigError, match="HNSW"):
        run(engine="usearch", reference_metrics=True)


@pytest.mark.parametrize("engine", ["usearch", "hnswlib"])
@pytest.mark.parametrize("is_mini", [True, False])
def test_a_graph_with_candidates_enough_loses_nothing(run, network, engine, is_mini):
    pytest.importorskip(engine)
    model = {} if is_mini else {"model": str(network)}
    _, exact = run(**model)
    _, report = run(**model, engine=engine)
    same(report, exact)
    assert (report.search, report.loss.engine, report.loss.n_candidates) == ("hnsw", engine, 200)
    assert (report.loss.recall_at_10, report.loss.exact) == (1.0, exact.t2v)


@pytest.mark.parametrize("is_mini", [True, False])
def test_a_graph_with_few_candidates_loses_what_it_says(run, network, monkeypatch, is_mini):
    monkeypatch.setattr(candidates, "N_CANDIDATES", 1)
    model = {} if is_mini else {"model": str(network)}
    exact, report = run(**model)[1], run(**model, engine="usearch")[1]
    assert 0 < report.loss.recall_at_10 < 1
    assert report.loss.exact == exact.t2v
    lost = 0
    for a, b in zip(report.answers["t2v"], exact.answers["t2v"], strict=True):
        names, known = ([name for name, _ in one.top] for one in (a, b))
        assert [n for n in names if n in known] == [n for n in known if n in names]
        lost += a.rank == N_VIDEOS and a.video_id not in names
        if a.video_id in names:
            assert a.rank == 1 + names.index(a.video_id) <= b.rank
    assert lost


# -- what is kept ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_mini", [True, False])
def test_other_metrics_ablations_and_graphs_encode_nothing_again(run, network, calls, is_mini):
    given = {"model": "save-mini" if is_mini else str(network)}
    _, first = run(**given)
    run(**given, ablate=("audio", "speech"))  # in SAVE's way, what is missing is encoded, but only once
    calls.clear()
    same(run(**given)[1], first)
    for more in (
        {"reference_metrics": True},
        {"dual_softmax": True},
        {"engine": "usearch"},
        *({"ablate": (name,)} for name in ("speech", "audio", "fusion")),
    ):
        run(**given, **more)
    assert calls == {}


@pytest.fixture
def small(run, network, tmp_path):
    """Runs of the network that is quick, with features of their own."""

    def run_(**given):
        return run(**{"model": str(network), "cache": tmp_path / "cache", **given})[1]

    return run_


def test_stopped_after_any_video_it_goes_on(small, run, config, dataset, network, tmp_path, calls):
    options = Options(cache=tmp_path / "cache", n_workers=1, model=str(network))
    going = evaluate(options, dataset, config)
    assert next(going).n_done == 1
    going.close()
    n_kept = calls["look"]
    assert 1 <= n_kept <= 3  # a worker may have been ahead
    calls.clear()
    report = small()
    assert calls["look"] == N_VIDEOS - n_kept
    same(report, run(model=str(network))[1])
    assert not [path for path in entries(tmp_path) if path.suffix != ".safetensors"]


def test_what_is_damaged_is_made_anew(small, tmp_path, calls):
    first, n_all = small(), dict(calls)
    for i, path in enumerate(entries(tmp_path / "cache")):
        path.write_bytes(path.read_bytes()[: i * 10])
    calls.clear()
    same(small(), first)
    assert calls == n_all
    calls.clear()
    small()
    assert calls == {}


def test_a_video_is_known_by_its_content(small, dataset, tmp_path, calls):
    videos = tmp_path / "videos"
    small()
    videos.mkdir()
    moved = [replace(c, path=shutil.copy(c.path, videos / f"{i}.mp4")) for i, c in enumerate(dataset.test)]
    calls.clear()
    small(of=replace(dataset, test=tuple(moved)))
    assert calls == {}
    with moved[0].path.open("ab") as file:
        file.write(b"\0" * 64)
    small(of=replace(dataset, test=tuple(moved)))
    assert (calls["look"], calls["hear"]) == (1, 1)


def test_another_network_or_transcript_is_another_matter(small, dataset, network, tmp_path, calls):
    small()
    calls.clear()
    other = tmp_path / "other"
    loaded, _ = checkpoint.load(network)
    loaded.logit_scale.data.add_(1)
    checkpoint.write(other, loaded, provenance={})
    small(model=str(other))
    assert calls["look"] == N_VIDEOS
    calls.clear()
    clips = (replace(dataset.test[0], speech="something else altogether"), *dataset.test[1:])
    small(of=replace(dataset, test=clips))
    assert calls == {"understand": 1}


def test_precisions_are_never_mixed_in_what_is_kept(run, network, tmp_path, calls):
    def n_looks(precision):
        calls.clear()
        _, report = run(model=str(network), cache=tmp_path / "features", precision=precision)
        assert report.precision == precision
        return calls["look"]

    assert [n_looks(name) for name in ("fp32", "int8", "bf16")] == [N_VIDEOS] * 3
    assert [n_looks(name) for name in ("fp32", "int8", "bf16")] == [0] * 3


def test_the_bundled_model_has_one_precision(tmp_path):
    with pytest.raises(ConfigError, match="save-mini has no int8") as caught:
        Options(cache=tmp_path, precision="int8")
    assert "--model" in caught.value.hint


def test_features_that_go_away_during_a_run_are_told(config, dataset, network, tmp_path):
    going = evaluate(Options(cache=tmp_path / "cache", model=str(network)), dataset, config)
    for _ in range(N_VIDEOS):
        next(going)
    shutil.rmtree(tmp_path / "cache")
    with pytest.raises(SaveError, match="removed during the run"):
        list(going)


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes anywhere")
def test_a_cache_that_cannot_be_written_is_told(small, tmp_path):
    (tmp_path / "cache").mkdir(mode=0o500)
    with pytest.raises(SaveError, match="cannot keep"):
        small()


# -- what is left out --------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_mini", [True, False])
def test_videos_that_are_missing_or_broken_are_named_and_their_captions_not_asked(
    run, dataset, network, tmp_path, is_mini
):
    broken, gone = tmp_path / "broken.mp4", tmp_path / "gone.mp4"
    broken.write_bytes(b"no video")
    a, b, c, *rest = dataset.test
    clips = (replace(a, path=None), replace(b, path=broken), replace(c, path=gone), *rest)
    model = "save-mini" if is_mini else str(network)
    events, report = run(of=replace(dataset, test=clips), model=model)
    assert report.missing == (a.video_id, c.video_id)
    assert report.broken == {b.video_id: "the content is plain text, not a video"}
    assert (report.n_listed, report.n_videos, report.n_captions) == (6, 3, 9)
    assert not report.is_complete
    assert report.paths == {clip.video_id: clip.path for clip in rest}
    told = [event for event in events if isinstance(event, Encoding) and event.reason]
    assert [(event.video_id, event.reason) for event in told] == list(report.broken.items())


def test_no_video_at_all_is_an_error(run, dataset, tmp_path):
    with pytest.raises(DatasetError, match="not one of the 6 videos can be read: no file"):
        run(of=replace(dataset, test=tuple(replace(c, path=tmp_path / "x.mp4") for c in dataset.test)))
    (tmp_path / "x.mp4").write_bytes(b"no video")
    with pytest.raises(DatasetError, match="not one of the 6 videos can be read: the content is plain text"):
        run(of=replace(dataset, test=tuple(replace(c, path=tmp_path / "x.mp4") for c in dataset.test)))


def test_a_part_without_videos_is_an_error(run):
    with pytest.raises(DatasetError, match="no val videos"):
        run(part="val")


def test_another_part_is_not_what_was_published(run, dataset):
    _, report = run(of=replace(dataset, name="msrvtt", split="9k", val=dataset.test, test=()), part="val")
    assert report.split == "9k val"


# -- sound and speech --------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_mini", [True, False])
def test_a_video_without_sound_or_speech_is_counted(run, dataset, network, tmp_path, is_mini):
    mute = tmp_path / "mute.mp4"
    write_video(mute, [np.full((64, 64, 3), 90, np.uint8)] * 20, fps=10)
    clips = (replace(dataset.test[0], path=mute), replace(dataset.test[1], speech=None), *dataset.test[2:])
    _, report = run(of=replace(dataset, test=clips), model="save-mini" if is_mini else str(network))
    assert (report.n_without_audio, report.n_without_speech) == (1, 1)


@pytest.mark.parametrize("is_mini", [True, False])
def test_a_file_of_sound_is_heard_in_place_of_the_video_s_own(run, dataset, network, calls, is_mini):
    a, b = dataset.test[:2]
    own = {"of": replace(dataset, test=(a, b)), "model": "save-mini" if is_mini else str(network)}
    # Each with the other's sound.
    other = {**own, "of": replace(dataset, test=(replace(a, sound=b.path), replace(b, sound=a.path)))}
    _, first = run(**own)
    calls.clear()
    _, report = run(**other)
    assert calls["hear"] == 2
    tops = [[s for answer in one.answers["t2v"] for _, s in answer.top] for one in (first, report)]
    assert tops[0] != pytest.approx(tops[1], abs=1e-4)
    same(run(**other, ablate=("audio",))[1], run(**own, ablate=("audio",))[1])


def test_our_own_speech_room_understands_what_is_not_given(run, toy, config, parrot, monkeypatch):
    without = replace(load("csv", toy / "toy_queries.csv", parts=("test",), with_speech=False), name="toy")
    listened = []

    def make(config):
        listened.append(config.asr)
        return parrot(Utterance(start_s=1.0, end_s=2.0, text="the violin is at the lighthouse"))

    monkeypatch.setattr("savecli.evaluate.run.make_transcriber", make)
    given = {"of": without, "config": replace(config, asr="base")}
    _, report = run(**given)
    assert (report.speech, report.n_without_speech) == ("asr base", 0)
    assert listened == ["base"]
    same(run(**given)[1], report)
    assert listened == ["base"]  # what was understood is kept
    run(**{**given, "config": replace(config, asr="base", language="en")})
    assert len(listened) == 2
    _, report = run(**given, ablate=("speech",))
    assert (report.speech, report.n_without_speech, len(listened)) == ("none", 6, 2)
    _, report = run(**{**given, "config": replace(config, asr="off")})
    assert (report.speech, report.n_without_speech) == ("none", 6)
