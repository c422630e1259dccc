"""The training itself: what it will do, its steps, its evaluations, its result, as events."""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from savecli.bench.datasets import Clip, Dataset
from savecli.bench.metrics import Recall
from savecli.errors import ConfigError, SaveError
from savecli.events import Evaluated, Preparing, Stepped, Trained, TrainingBegins, TrainingEvent
from savecli.model import checkpoint
from savecli.model.inputs import tokenise
from savecli.model.optim import BertAdam, clip_and_step, parameter_groups
from savecli.model.parallel import Team, local_device, team
from savecli.model.step import LossOptions, Step
from savecli.model.vision import choose_device
from savecli.prepare import Shelf, prepare_all
from savecli.train.begin import begin
from savecli.train.folder import Folder, Place
from savecli.train.measure import inputs_of, measure
from savecli.train.options import Options
from savecli.train.samples import Batch, Samples, loaded
from savecli.train.taught import Lessons


def train(options: Options, dataset: Dataset, *, model_dir: Path) -> Iterator[TrainingEvent]:
    """Trains to the end, or on from where an earlier run of the same options was stopped.

    The epoch that is kept is the one with the best text-to-video R@1 on `dataset.val` (of equal ones, the
    later); the last, where there is nothing to validate on. It alone is measured on `dataset.test`.

    Args:
        options: what to train.
        dataset: on what.
        model_dir: where public weights were pulled to.

    Raises:
        WeightsError: weights to begin with that are missing or do not fit.
        ConfigError: options that make no sense, or not those of the training in `options.out`.
        SaveError: a disk that cannot be written, or a loss that is no number any more.
    """
    device = local_device(choose_device(options.device))
    with team(device) as members, Folder(options.out, options, writes=members.is_first) as folder:
        training = _Training(options, dataset, model_dir, device, members, folder)
        for event in chain(training.prepare(), training.run()):
            # Each process knows the same, but for the videos that it alone could not decode.
            if members.is_first or (isinstance(event, Preparing) and event.reason):
                yield event


class _Training:
    """One process's part of a training."""

    def __init__(
        self,
        options: Options,
        dataset: Dataset,
        model_dir: Path,
        device: torch.device,
        members: Team,
        folder: Folder,
    ) -> None:
        self._options, self._dataset, self._members, self._device = options, dataset, members, device
        self._folder = folder
        self._samples([clip for clip in dataset.train if clip.path is not None])  # before hours of decoding
        self._lessons = Lessons(options.teacher, device) if options.teacher else None
        self._network, notes = begin(options, model_dir)
        self._network.to(device)
        self._notes = [*dataset.notes, *notes]
        clips = (*dataset.train, *dataset.val, *dataset.test)
        sounds = {clip.path: clip.sound for clip in clips if clip.path is not None and clip.sound is not None}
        self._shelf = Shelf(options.cache, checkpoint.media_spec(self._network.dims), sounds)
        if self._lessons is None and options.distillation:
            self._notes.append(
                "no teacher: trained without soft-ALBEF (save train teacher makes its features)"
            )
        self._is_half = _is_half(options.precision, device)

    def prepare(self) -> Iterator[Preparing]:
        """Decodes what is not decoded yet; every process its share."""
        clips = [*self._dataset.train, *self._dataset.val, *self._dataset.test]
        paths = list(dict.fromkeys(clip.path for clip in clips if clip.path is not None))
        mine = [p for p in paths[self._members.rank :: self._members.size] if not self._shelf.has(p)]
        options = self._options
        done = prepare_all(mine, self._shelf, n_workers=options.n_workers, stall_s=options.stall_s)
        for n, (path, error) in enumerate(done, 1):
            yield Preparing(n_done=n, n_videos=len(mine), path=path, reason=error.message if error else "")
        self._members.wait()

    def run(self) -> Iterator[TrainingEvent]:
        """Everything after the preparation."""
        options = self._options
        train, val, test = (
            self._usable(getattr(self._dataset, split), split) for split in ("train", "val", "test")
        )
        if not val:
            self._notes.append("nothing to choose an epoch by: the last one is kept")
        samples = self._samples(train)
        optimiser = self._optimiser(samples)
        if self._lessons:
            self._notes += self._lessons.notes([clip.video_id for clip in train])
        self._folder.claim()
        self._members.wait()
        place = self._resumed(samples, self._folder.load(self._network, optimiser))
        yield TrainingBegins(
            n_samples=len(samples),
            n_train=len(train),
            n_val=len(val),
            n_test=len(test),
            n_steps=samples.n_batches * options.epochs // options.accumulate,
            n_done=place.step,
            device=str(self._device),
            precision="bf16" if self._is_half else "fp32",
            notes=tuple(self._notes),
        )
        place = yield from _Epochs(self, samples, optimiser, val, place).run()
        yield from self._finish(place, test)

    def _samples(self, clips: Sequence[Clip]) -> Samples:
        options, members = self._options, self._members
        samples = Samples(
            clips, batch_size=options.batch_size, rank=members.rank, size=members.size, seed=options.seed
        )
        if samples.n_batches * options.epochs < options.accumulate:
            raise ConfigError(
                f"{samples.n_batches * options.epochs} batches in all make no step of {options.accumulate}",
                hint="a smaller --accumulate or --batch-size, or more --epochs",
            )
        return samples

    def _resumed(self, samples: Samples, place: Place) -> Place:
        """The place, which names the samples from now on.

        Raises:
            ConfigError: processes that see different videos or checkpoints would wait for each other in vain.
        """
        if not self._members.agree(f"{samples.digest} {place}"):
            raise ConfigError(
                "the processes see different videos or checkpoints",
                hint="give all of them the same --data, --cache and --out",
            )
        if place.samples not in ("", samples.digest):
            self._notes.append(
                f"the captions or videos are not those that this training had up to step {place.step}"
            )
        return replace(place, samples=samples.digest)

    def _usable(self, clips: Sequence[Clip], split: str) -> list[Clip]:
        usable = [clip for clip in clips if clip.path is not None and self._shelf.has(clip.path)]
        if len(usable) < len(clips):
            self._notes.append(f"{len(clips) - len(usable)} of {len(clips)} {split} videos cannot be used")
        return usable

    def _optimiser(self, samples: Samples) -> BertAdam:
        options = self._options
        groups = parameter_groups(
            self._network,
            lr=options.lr,
            clip_lr=options.clip_lr,
            query_lr=options.query_lr,
            weight_decay=options.weight_decay,
            freeze=options.freeze,
        )
        n_steps = (samples.n_batches + options.accumulate - 1) / options.accumulate * options.epochs
        return BertAdam(groups, n_steps=n_steps, warmup=options.warmup)

    def _finish(self, place: Place, test: Sequence[Clip]) -> Iterator[TrainingEvent]:
        best = self._folder.best(place.best_epoch)
        self._members.wait()
        if best is None or not self._members.is_first:
            return
        if test:
            self._network.load_state_dict(checkpoint.read(best)[1])
            yield self.evaluated(place, place.best_epoch, test, "test")
        yield Trained(epoch=place.best_epoch, path=best)

    def evaluated(self, place: Place, epoch: int, clips: Sequence[Clip], split: str) -> Evaluated:
        """Measures the network, and says so in the log."""
        options = self._options
        t2v, v2t = measure(
            self._network,
            clips,
            self._shelf,
            n_workers=options.n_workers,
            no_audio=options.no_audio,
            no_speech=options.no_speech,
        )
        is_best = split == "val" and t2v.r1 >= place.best_score
        event = Evaluated(epoch=epoch, split=split, t2v=_named(t2v), v2t=_named(v2t), is_best=is_best)
        self._folder.log(
            {
                "step": place.step,
                "epoch": epoch,
                "split": split,
                "t2v": dict(event.t2v),
                "v2t": dict(event.v2t),
            }
        )
        return event


class _Epochs:
    """The steps of a training, from a place on."""

    def __init__(
        self, of: _Training, samples: Samples, optimiser: BertAdam, val: Sequence[Clip], place: Place
    ) -> None:
        self._of, self._samples, self._optimiser, self._val, self._place = of, samples, optimiser, val, place
        options, network = of._options, of._network
        losses = LossOptions(
            beta=options.beta,
            margin=options.margin,
            distillation=options.distillation,
            reference_gather=options.reference_gather,
        )
        step = Step(network, losses, of._members)
        self._step: torch.nn.Module = step if of._members.size == 1 else DistributedDataParallel(step)
        self._summed = [0.0, 0.0]
        self._since = time.monotonic()

    def run(self) -> Generator[TrainingEvent, None, Place]:
        """Yields the events; returns the last place."""
        options, samples = self._of._options, self._samples
        owed = False
        n_done = self._place.epoch * samples.n_batches + self._place.batch
        for epoch in range(self._place.epoch, options.epochs):
            first = n_done - epoch * samples.n_batches
            batches = loaded(samples.epoch(epoch, first), self._of._shelf, n_workers=options.n_workers)
            for number, batch in enumerate(batches, first + 1):
                n_done += 1
                steps = n_done % options.accumulate == 0
                self._accumulate(batch, steps=steps)
                if steps:
                    self._place = replace(self._place, step=self._place.step + 1, epoch=epoch, batch=number)
                    yield self._stepped(epoch, len(batch.samples))
                    if owed or self._place.step % options.save_every == 0:
                        self._save()
                        owed = False
            yield from self._end(epoch)
            # Gradients of batches that made no step yet would be lost: then the next step saves.
            if n_done % options.accumulate == 0 or epoch == options.epochs - 1:
                self._place = replace(self._place, epoch=epoch + 1, batch=0)
                self._save()
            else:
                owed = True
        return self._place

    def _accumulate(self, batch: Batch, *, steps: bool) -> None:
        of, options = self._of, self._of._options
        inputs = inputs_of(batch, of._network, no_audio=options.no_audio, no_speech=options.no_speech)
        captions = tokenise(
            [sample.caption for sample in batch.samples], of._network.dims.n_words, short_rule=True
        ).to(of._device)
        lesson = of._lessons.of([s.clip.video_id for s in batch.samples]) if of._lessons else None
        quiet: AbstractContextManager[object] = nullcontext()
        if isinstance(self._step, DistributedDataParallel) and not steps:
            quiet = self._step.no_sync()
        with quiet:
            with torch.autocast(of._device.type, torch.bfloat16, enabled=of._is_half):
                losses: tuple[Tensor, Tensor] = self._step(inputs, captions, lesson)
            (sum(losses) / options.accumulate).backward()  # type: ignore[union-attr]
        for i, value in enumerate(losses):
            self._summed[i] += float(value.detach()) / options.accumulate

    def _stepped(self, epoch: int, n_videos: int) -> Stepped:
        of, options = self._of, self._of._options
        retrieval, distillation = self._summed
        self._check_finite(retrieval + distillation, "loss")
        lr = options.lr * self._optimiser.rate(self._place.step - 1)
        norm = clip_and_step(of._network, self._optimiser, max_norm=options.grad_norm)
        self._check_finite(norm, "norm of the gradients")
        self._summed, now = [0.0, 0.0], time.monotonic()
        event = Stepped(
            step=self._place.step,
            epoch=epoch,
            retrieval=retrieval,
            distillation=distillation,
            lr=lr,
            grad_norm=norm,
            elapsed_s=now - self._since,
            n_videos=n_videos * of._members.size * options.accumulate,
        )
        self._since = now
        if event.step % options.log_every == 0 or event.step == 1:
            record = {
                "step": event.step,
                "epoch": epoch,
                "retrieval": retrieval,
                "distillation": distillation,
            }
            of._folder.log({**record, "lr": lr, "grad_norm": norm, "elapsed_s": round(event.elapsed_s, 4)})
        return event

    def _check_finite(self, value: float, what: str) -> None:
        if not math.isfinite(value):
            raise SaveError(
                f"the {what} is no number any more, at step {self._place.step}",
                hint=f"a lower --lr in a new --out; the last checkpoint in {self._of._options.out} is sound",
            )

    def _end(self, epoch: int) -> Iterator[Evaluated]:
        """Measures the epoch, and keeps it if it is the best so far."""
        of = self._of
        score = self._place.best_score
        if of._members.is_first and self._val:
            event = of.evaluated(self._place, epoch, self._val, "val")
            score = event.t2v["R@1"]
            yield event
        elif of._members.is_first:
            score = 0.0
        if of._members.is_first and score >= self._place.best_score:
            self._place = replace(self._place, best_epoch=epoch, best_score=score)
            provenance = {"training": of._options.to_json(), "epoch": epoch, "val_r1": score}
            of._folder.keep_best(of._network, epoch, provenance)
        of._members.wait()
        self._since = time.monotonic()

    def _save(self) -> None:
        self._of._folder.save(self._of._network, self._optimiser, self._place)


def _named(recall: Recall) -> dict[str, float]:
    return {
        "R@1": recall.r1,
        "R@5": recall.r5,
        "R@10": recall.r10,
        "MdR": recall.median_rank,
        "MnR": recall.mean_rank,
    }


def _is_half(precision: str, device: torch.device) -> bool:
    """Whether to compute in 16 bits where torch thinks it safe."""
    if precision == "auto":
        return device.type == "cuda" and torch.cuda.is_bf16_supported()
    if precision not in ("fp32", "bf16"):
        raise ConfigError(f"there is no precision {precision!r}", hint="auto, fp32 or bf16")
    return precision == "bf16"
