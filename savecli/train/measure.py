"""How well a network finds the videos of some clips by their captions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from savecli.bench import metrics
from savecli.bench.datasets import Clip
from savecli.model.batch import make_inputs
from savecli.model.gallery import encode_gallery, score_texts
from savecli.model.network import Inputs, Save
from savecli.prepare import Shelf
from savecli.train.samples import Batch, Sample, loaded

VIDEOS_AT_ONCE = 32


def inputs_of(batch: Batch, network: Save, *, no_audio: bool, no_speech: bool) -> Inputs:
    """A batch's videos as the network reads them, without what an ablation takes away."""
    return make_inputs(
        [video.frames for video in batch.videos],
        [None if no_audio else video.fbank for video in batch.videos],
        [None if no_speech else sample.clip.speech for sample in batch.samples],
        network.dims,
        network.device,
    )


def measure(
    network: Save, clips: Sequence[Clip], shelf: Shelf, *, n_workers: int, no_audio: bool, no_speech: bool
) -> tuple[metrics.Recall, metrics.Recall]:
    """Text to video and video to text, every caption a query, every clip in the gallery."""
    score, targets = score_all(
        network, clips, shelf, n_workers=n_workers, no_audio=no_audio, no_speech=no_speech
    )
    t2v, v2t = metrics.t2v_ranks(score, targets), metrics.v2t_ranks(score, targets)
    return metrics.recall(t2v), metrics.recall(v2t)


def score_all(
    network: Save,
    clips: Sequence[Clip],
    shelf: Shelf,
    *,
    n_workers: int = 1,
    no_audio: bool = False,
    no_speech: bool = False,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """(Q, V) scores of all captions, clip by clip, with all clips; (Q,) the clip of each caption."""
    singles = [Sample(clip=clip, caption="") for clip in clips]
    batches = (tuple(singles[i : i + VIDEOS_AT_ONCE]) for i in range(0, len(singles), VIDEOS_AT_ONCE))

    def inputs() -> Iterator[Inputs]:
        for batch in loaded(batches, shelf, n_workers=n_workers):
            yield inputs_of(batch, network, no_audio=no_audio, no_speech=no_speech)

    captions = [caption for clip in clips for caption in clip.captions]
    targets = np.repeat(np.arange(len(clips)), [len(clip.captions) for clip in clips])
    was_training = network.training
    network.eval()
    score = score_texts(network, encode_gallery(network, inputs()), captions, short_rule=True)
    network.train(was_training)
    return score, targets
