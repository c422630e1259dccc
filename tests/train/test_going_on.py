"""Trainings that go on, and mistakes that are told before anything is lost."""

from __future__ import annotations

import json
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from savecli.bench.datasets import load
from savecli.errors import ConfigError, SaveError
from savecli.events import Stepped, Trained, TrainingBegins
from savecli.model import optim
from savecli.model.teacher_file import WIDTH, TeacherFeatures, write_teacher
from savecli.train import loop
from savecli.train.loop import train


def run(options, dataset):
    return list(train(options, dataset, model_dir=Path("/nowhere")))


def of(kind, events):
    return [event for event in events if isinstance(event, kind)]


def records(folder):
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "elapsed_s"} for line in lines]


@pytest.mark.parametrize("stop_after", [1, 2])
def test_steps_across_the_ends_of_epochs(options, dataset, tmp_path, stop_after):
    """Two batches an epoch, three a step: an epoch ends within a step, and the last batches make none."""
    chosen = {"epochs": 4, "batch_size": 24, "accumulate": 3, "save_every": 1}
    whole = run(options(**chosen), dataset)
    (begins,) = of(TrainingBegins, whole)
    assert [event.step for event in of(Stepped, whole)] == [1, 2] == list(range(1, begins.n_steps + 1))
    stopped = options(**chosen, out=tmp_path / "stopped")
    going = train(stopped, dataset, model_dir=Path("/nowhere"))
    next(event for event in going if isinstance(event, Stepped) and event.step == stop_after)
    going.close()
    run(stopped, dataset)
    assert records(tmp_path / "stopped") == records(tmp_path / "run")
    again = run(stopped, dataset)
    assert of(Stepped, again) == []
    assert len(of(Trained, again)) == 1
    assert records(tmp_path / "stopped") == records(tmp_path / "run")


def test_an_epoch_within_a_step_is_saved_by_the_next_step(options, dataset):
    chosen = options(epochs=2, batch_size=16, accumulate=2)  # three batches an epoch, steps after 2, 4, 6
    going = train(chosen, dataset, model_dir=Path("/nowhere"))
    next(event for event in going if isinstance(event, Stepped) and event.step == 3)
    going.close()
    assert (chosen.out / "checkpoint-000002").is_dir()


def test_a_run_that_is_closed_leaves_no_thread_and_no_lock(options, dataset):
    before = set(threading.enumerate())
    going = train(options(), dataset, model_dir=Path("/nowhere"))
    next(event for event in going if isinstance(event, Stepped))
    with pytest.raises(SaveError, match="another process"):
        run(options(), dataset)
    going.close()
    left = [t for t in set(threading.enumerate()) - before if t.name.startswith("ThreadPool")]
    assert left == []
    assert of(Trained, run(options(epochs=2), dataset))


def test_moved_videos_go_on_and_others_are_noted(options, dataset, toy, tmp_path):
    chosen = options(epochs=1)
    run(chosen, dataset)
    moved = tmp_path / "moved"
    shutil.copytree(toy, moved)
    events = run(replace(chosen, data=moved), load("msrvtt", moved, n_val=2))
    assert of(Stepped, events) == []
    assert not any("are not those" in note for note in of(TrainingBegins, events)[0].notes)
    fewer = replace(dataset, train=dataset.train[1:])
    assert any("are not those" in note for note in of(TrainingBegins, run(chosen, fewer))[0].notes)


def test_a_mistake_can_be_corrected(options, dataset):
    with pytest.raises(ConfigError, match="do not fill"):
        run(options(batch_size=64), dataset)
    with pytest.raises(ConfigError, match="make no step"):
        run(options(accumulate=7), dataset)
    assert of(Trained, run(options(epochs=1), dataset))


def test_gradients_that_are_no_numbers_are_never_saved(options, dataset, monkeypatch):
    monkeypatch.setattr(loop, "clip_and_step", lambda *_, **__: float("nan"))
    with pytest.raises(SaveError, match="gradients is no number"):
        run(options(save_every=1), dataset)
    assert list(options().out.glob("checkpoint-*")) == []
    assert optim.clip_and_step is not loop.clip_and_step


def teacher(path, ids):
    rows = np.random.default_rng(1).standard_normal((len(ids), WIDTH)).astype(np.float32)
    features = TeacherFeatures(
        video_ids=tuple(ids), sources=("x",) * len(ids), audio=rows, video=rows[::-1].copy(), teacher="t"
    )
    write_teacher(path, features)
    return path


def test_a_teacher_is_learnt_from_if_it_knows_the_videos(options, dataset, tmp_path):
    known = [clip.video_id for clip in dataset.train]
    other = teacher(tmp_path / "other", ["x", "y"])
    with pytest.raises(ConfigError, match="knows none"):
        run(options(teacher=other), dataset)
    events = run(options(teacher=teacher(tmp_path / "some", known[1:]), epochs=1), dataset)
    assert any("nothing of 1 training videos" in note for note in of(TrainingBegins, events)[0].notes)
    assert all(event.distillation > 0 for event in of(Stepped, events))


NONSENSE = {
    "n_queries": -1,
    "fusion_layers": "many",
    "audio_heads": 7,
    "audio_patch": 0,
    "audio_stride": 0,
    "n_mels": 64,
    "n_words": 16,
    "colour": "red",
    "clip": {"embed_dim": 32},
}


@pytest.mark.parametrize("name", NONSENSE)
def test_sizes_that_make_no_network_are_told(options, dataset, sizes, tmp_path, name):
    sizes.write_text(json.dumps({**json.loads(sizes.read_text()), name: NONSENSE[name]}))
    with pytest.raises(ConfigError) as told:
        run(options(), dataset)
    assert str(sizes) in told.value.message
    assert not (tmp_path / "run" / "options.json").exists()


def test_positions_are_as_many_as_clip_s_text_has(options, dataset):
    with pytest.raises(ConfigError) as told:
        run(options(n_frames=78), dataset)
    assert "77" in told.value.message


def test_what_cannot_be_heeded_beside_a_checkpoint_is_told(options, dataset, tmp_path):
    trained = of(Trained, run(options(epochs=1), dataset))[0].path
    given = {"out": tmp_path / "more", "from_scratch": False, "dims": None, "init": trained, "epochs": 1}
    for name, value in (("n_queries", 5), ("fusion_layers", 2), ("clip", "ViT-L-14")):
        with pytest.raises(ConfigError, match=f"--{name.replace('_', '-')}"):
            run(options(**given, **{name: value}), dataset)
    assert of(Trained, run(options(**given, n_queries=2), dataset))
