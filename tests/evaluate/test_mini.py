"""save-mini is measured as it is used: the order of videos is the one that a search of a store gives."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from savecli import config as settings
from savecli.bench.records import Clip, Dataset
from savecli.datatypes import Ask
from savecli.evaluate.collect import Collected
from savecli.evaluate.mini import Mini
from savecli.evaluate.speech import Given
from savecli.index import Options as Indexing
from savecli.index import index
from savecli.media.encode import SAMPLE_RATE_HZ, write_video
from savecli.media.worker import Decoder
from savecli.pipeline import Pipeline, make_encoder
from savecli.prepare import Kept
from savecli.search import gather, search
from savecli.store import Store

LENGTHS_S = (5, 26, 38)
CAPTIONS = (
    ("a red wall", "a loud beep", "someone talks about the violin"),
    ("noise on a screen", "the sound of the sea", "a green field"),
    ("a blue sky", "a whistle and then silence", "nothing happens"),
)


@pytest.fixture(scope="module")
def films(tmp_path_factory) -> Dataset:
    """Three videos of one, two and three segments; each segment looks and sounds otherwise."""
    folder, rng, clips = tmp_path_factory.mktemp("films"), np.random.default_rng(4), []
    for number, (length_s, captions) in enumerate(zip(LENGTHS_S, CAPTIONS, strict=True)):
        colours = rng.integers(0, 256, (length_s // 6 + 1, 4, 4, 3), np.uint8)
        frames = [colours[second // 6].repeat(24, 0).repeat(24, 1) for second in range(length_s)]
        time_s = np.arange(length_s * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
        pitch_hz = 200 * (1 + number) * (1 + time_s // 10)
        tone = 0.3 * np.sin(2 * np.pi * pitch_hz * time_s) * (time_s % 20 < 14)
        path = folder / f"film{number}.mp4"
        write_video(path, frames, fps=1, waveform=tone.astype(np.float32))
        clips.append(Clip(video_id=path.stem, path=path, captions=captions))
    return Dataset(name="csv", split="", train=(), val=(), test=tuple(clips))


@pytest.fixture(scope="module")
def stored(films, tmp_path_factory, model_dir):
    """The same videos, indexed; and the encoder."""
    encoder = make_encoder(settings.load(model_dir=model_dir, device="cpu", home=model_dir))
    folder = films.test[0].path.parent
    with Store.open(tmp_path_factory.mktemp("store"), identity=encoder.identity, mode="write") as store:

        class Opened:
            def __enter__(self):
                self.decoder = Decoder()
                return Pipeline(self.decoder, encoder, None)

            def __exit__(self, *_):
                self.decoder.close()

        list(index(Indexing(paths=(folder,)), store, Opened))
        assert sorted(video.n_segments for video in store.videos()) == [1, 2, 3]
        yield store, encoder


def test_videos_are_ranked_as_a_search_ranks_them(run, films, stored):
    store, encoder = stored
    _, report = run(of=films)
    for answer in report.answers["t2v"]:
        found = search(answer.query, store, encoder, top_k=100, threshold=0.0)
        shown = [moment.path.stem for moment in found.moments if moment.score > 0]
        # What nothing speaks for has the score 0 in a search; here it still has its place by the evidence.
        expected = list(dict.fromkeys(shown))
        assert [name for name, _ in answer.top if name in expected] == expected
        if answer.video_id in expected and len(expected) == len(films.test):
            assert answer.rank == 1 + expected.index(answer.video_id)
    assert {answer.video_id for answer in report.answers["t2v"]} == {"film0", "film1", "film2"}


def test_a_video_is_worth_its_best_segment(films, stored, config, decoder, tmp_path):
    store, encoder = stored
    model = Mini(config)
    library = model.gather(features(model, films, decoder, tmp_path), ())
    captions = [caption for clip in films.test for caption in clip.captions]
    (found,) = library.scores(captions, model.read(captions))
    fingerprints = {path.stem: video.video_id for video in store.videos() for path in video.paths}
    for column, clip in enumerate(films.test):
        ids = [s.segment_id for s in store.stored_segments(fingerprints[clip.video_id])]
        segments = gather(store, ids)
        for row, caption in enumerate(captions):
            (query,) = encoder.queries(Ask(text=caption))
            best = encoder.score.evidence(query, segments).total.max()
            assert found[row, column] == pytest.approx(best, abs=0.02)  # a store keeps 16 bits


def features(model, films, decoder, tmp_path):
    collected = Collected(model, Given(tmp_path / "none.json"), Kept(tmp_path / "cache", needs_mb=1))
    for clip in films.test:
        collected.bring(clip, decoder)
    return [collected.of(clip) for clip in films.test]


def test_what_is_ablated_is_not_there_and_all_else_is(films, config, decoder, tmp_path):
    model = Mini(config)
    spoken = replace(
        films, test=tuple(replace(c, speech="the violin is in the old castle") for c in films.test)
    )
    given = features(model, spoken, decoder, tmp_path)
    whole, mute, deaf, apart = (
        model.gather(given, ablated)._segments for ablated in ((), ("speech",), ("audio",), ("fusion",))
    )
    kinds = ("seen", "frames", "heard", "said", "fused", "parts")

    def rows(segments):
        return {kind: getattr(segments, kind).rows for kind in kinds}

    n_rows = {name: len(found) for name, found in rows(whole).items()}
    assert whole.n == 6
    assert all(n_rows.values())
    for other, lost in ((mute, ("said",)), (deaf, ("heard",)), (apart, ("fused", "parts"))):
        found = rows(other)
        assert {kind: len(some) for kind, some in found.items()} == {**n_rows, **dict.fromkeys(lost, 0)}
        for kind in {*kinds[:4]} - {*lost}:
            np.testing.assert_array_equal(found[kind], rows(whole)[kind])
    assert np.abs(mute.parts.rows.reshape(6, 3, -1)[:, 2]).max() == 0
    assert np.abs(deaf.parts.rows.reshape(6, 3, -1)[:, 1]).max() == 0
    assert np.abs(whole.parts.rows.reshape(6, 3, -1)[:, 1:]).max(axis=(1, 2)).min() > 0
    assert [set(words) for words in mute.spoken] == [set()] * 6
    assert {word for words in whole.spoken for word in words} >= {"violin", "castl", "old"}
