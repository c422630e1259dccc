"""The evaluation itself: features, scores, ranks, as events, and the report at the end."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from savecli.bench.metrics import recall, t2v_ranks
from savecli.bench.records import Clip, Dataset
from savecli.bench.report import GraphLoss, Report
from savecli.config import Config
from savecli.errors import DatasetError
from savecli.evaluate.answers import measured
from savecli.evaluate.candidates import loss, masked, proposed
from savecli.evaluate.collect import NEEDS_MB, Collected
from savecli.evaluate.models import Features, Gallery, Model, Rows, open_model
from savecli.evaluate.options import MINI, Options
from savecli.evaluate.speech import Given, Own, Silence, Speech
from savecli.events import Encoding, EvaluationEvent, Scoring
from savecli.model.weights import known
from savecli.pipeline import make_transcriber
from savecli.prepare import Kept, each
from savecli.senses import Transcriber

FED: Mapping[str, tuple[int, int]] = {
    "msrvtt": (12, 32),
    "vatex": (12, 32),
    "lsmdc": (12, 32),
    "charades": (32, 64),
}
"""Frames and words that SAVE's own trainings on a benchmark read (docs/save.md)."""


def evaluate(options: Options, dataset: Dataset, config: Config) -> Iterator[EvaluationEvent | Report]:
    """Tells how far it is, and at the end what was found.

    Args:
        options: what to measure.
        dataset: a benchmark of which `options.part` was loaded.
        config: settings of this run; its `asr` is heeded where the dataset has no transcripts.

    Raises:
        DatasetError: there is nothing to search, or no video can be read.
        WeightsError, SpeechError, StoreError: a model, a transcriber or an engine that is not there.
        ConfigError: a device that is not there, or a precision that does not go with it.
        SaveError: features cannot be kept.
    """
    started = time.perf_counter()
    clips = getattr(dataset, options.part)
    if not clips:
        raise DatasetError(f"{dataset.name} has no {options.part} videos here", hint="--part, or --split")
    kept = Kept(options.cache, needs_mb=NEEDS_MB)
    model = open_model(options.model, config, kept, options.precision)
    speech = _speech(options, dataset, config, kept)
    collected = Collected(model, speech, kept)
    broken = yield from _bring(options, clips, collected, config.stall_s)
    missing = tuple(clip.video_id for clip in clips if not _has_file(clip))
    there = [clip for clip in clips if clip.video_id not in {*broken, *missing}]
    if not there:
        reason = next(iter(broken.values()), "no file is there")
        raise DatasetError(
            f"not one of the {len(clips)} videos can be read: {reason}", hint="is --data the right folder?"
        )
    lacks = Lacks()
    gallery = model.gather(_loaded(there, collected, model, lacks), options.ablate)
    encode_s = time.perf_counter() - started
    exact = yield from _score(there, collected, gallery)
    score, graph = _through(options.engine, exact, there, collected, gallery)
    searched = _Searched(clips=there, missing=missing, broken=broken, lacks=lacks, score=score, graph=graph)
    report = _report(options, dataset, model, searched)
    yield replace(
        report,
        n_listed=len(clips),
        speech=speech.name,
        encode_s=encode_s,
        elapsed_s=time.perf_counter() - started,
        notes=(*dataset.notes, *_notes(options, dataset, model, speech, exact)),
    )


@dataclass(slots=True)
class Lacks:
    """How many videos of a gallery have no sound, and in how many nothing is said."""

    n_sounds: int = 0
    n_speeches: int = 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Searched:
    """A gallery of `clips`, and the (Q, V) scores of their captions with them."""

    clips: Sequence[Clip]
    missing: tuple[str, ...]
    broken: Mapping[str, str]
    lacks: Lacks
    score: Rows
    graph: GraphLoss | None


def _report(options: Options, dataset: Dataset, model: Model, searched: _Searched) -> Report:
    """All but what the whole run alone knows."""
    found = measured(
        searched.score,
        searched.clips,
        dataset.name,
        dual_softmax=options.dual_softmax,
        reference=options.reference_metrics,
    )
    return Report(
        benchmark=dataset.name,
        # No published number is of another part.
        split=dataset.split if options.part == "test" else f"{dataset.split} {options.part}".strip(),
        n_listed=len(searched.clips),
        n_videos=len(searched.clips),
        n_captions=len(searched.score),
        missing=searched.missing,
        broken=searched.broken,
        n_without_audio=searched.lacks.n_sounds,
        n_without_speech=searched.lacks.n_speeches,
        speech="",
        model=model.name,
        sha256=model.sha256,
        n_frames=model.n_frames,
        n_words=model.n_words,
        search="hnsw" if options.engine else "exact",
        loss=searched.graph,
        ties="reference" if options.reference_metrics else "against the model",
        dual_softmax=options.dual_softmax,
        ablated=options.ablate,
        device=model.device,
        precision=model.precision,
        elapsed_s=0.0,
        encode_s=0.0,
        t2v=found.t2v,
        v2t=found.v2t,
        by_kind=found.by_kind,
        answers=found.answers,
        paths={clip.video_id: clip.path for clip in searched.clips if clip.path is not None},
    )


def _speech(options: Options, dataset: Dataset, config: Config, kept: Kept) -> Speech:
    if dataset.transcripts is not None:
        return Given(dataset.transcripts)
    if config.asr == "off" or "speech" in options.ablate:
        return Silence()
    *_, whisper = config.asr.split("/")
    weights = known(f"whisper-{whisper}").digest

    def opened() -> Transcriber:
        transcriber = make_transcriber(config)
        assert transcriber is not None  # noqa: S101 - not "off"
        return transcriber

    return Own(config.asr, opened, f"{config.asr} {weights} {config.language}", kept)


def _has_file(clip: Clip) -> bool:
    return clip.path is not None and clip.path.exists()


def _bring(
    options: Options, clips: Sequence[Clip], collected: Collected, stall_s: float
) -> Generator[Encoding, None, dict[str, str]]:
    """Sees to it that all features are there; returns why not, by the id of each video that is broken."""
    present = [clip for clip in clips if _has_file(clip)]
    broken: dict[str, str] = {}
    done = each(present, collected.bring, n_workers=options.n_workers, stall_s=stall_s)
    for n_done, (clip, error) in enumerate(done, 1):
        if error is not None:
            broken[clip.video_id] = error.message
        reason = broken.get(clip.video_id)
        yield Encoding(n_done=n_done, n_total=len(present), video_id=clip.video_id, reason=reason)
    return broken


def _loaded(clips: Sequence[Clip], collected: Collected, model: Model, lacks: Lacks) -> Iterator[Features]:
    """One after the other, and counted."""
    for clip in clips:
        features = collected.of(clip)
        lacks.n_sounds += not model.hears(features.media)
        lacks.n_speeches += features.speech is None
        yield features


def _score(clips: Sequence[Clip], collected: Collected, gallery: Gallery) -> Generator[Scoring, None, Rows]:
    """(Q, V) exact scores of all captions, clip by clip."""
    captions = [caption for clip in clips for caption in clip.captions]
    score = np.empty((len(captions), len(clips)), np.float32)
    yield Scoring(n_done=0, n_total=len(captions))
    n_done = 0
    for rows in gallery.scores(captions, collected.read(captions)):
        score[n_done : n_done + len(rows)] = rows
        n_done += len(rows)
        yield Scoring(n_done=n_done, n_total=len(captions))
    return score


def _through(
    engine: str | None, score: Rows, clips: Sequence[Clip], collected: Collected, gallery: Gallery
) -> tuple[Rows, GraphLoss | None]:
    """What a search through a graph sees of the scores, and what it loses; all of them without an engine."""
    if engine is None:
        return score, None
    captions = [caption for clip in clips for caption in clip.captions]
    targets = np.repeat(np.arange(len(clips)), [len(clip.captions) for clip in clips])
    asked = gallery.asked(captions, collected.read(captions))
    found = proposed(engine, gallery.indexed(), asked, len(clips))
    exact = recall(t2v_ranks(score, targets))
    return masked(score, found), loss(engine, score, found, exact)


def _notes(options: Options, dataset: Dataset, model: Model, speech: Speech, score: Rows) -> Iterator[str]:
    """What a reader of the numbers should know."""
    if options.model == MINI and isinstance(speech, Given):
        yield f"{speech.name} says no times: each text counts as spoken from start to end at an even pace"
    fed = FED.get(dataset.name)
    if options.model != MINI and fed and fed != (model.n_frames, model.n_words):
        yield (
            f"the paper's trainings on {dataset.name} read {fed[0]} frames and {fed[1]} words; this one "
            f"says {model.n_frames} and {model.n_words} (save model convert --n-frames --n-words)"
        )
    if options.dual_softmax and (score < 0).any():
        share = 100 * float((score < 0).mean())
        yield (
            f"{share:.0f} % of the scores are below 0: a dual softmax, which is made for scores above it, "
            "ranks those the wrong way round, so these numbers say nothing"
        )
    if options.engine:
        yield "video to text is read off the same scores: captions that HNSW missed the video for come last"
