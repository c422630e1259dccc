"""Trainings from beginning to end, stopped anywhere, in one process and in two."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from savecli.bench.datasets import load
from savecli.errors import ConfigError, SaveError, WeightsError
from savecli.events import Evaluated, Preparing, Stepped, Trained, TrainingBegins
from savecli.model import checkpoint
from savecli.train.loop import train

MODELS = Path("/nowhere")


def run(options, dataset):
    return list(train(options, dataset, model_dir=MODELS))


def of(kind, events):
    return [event for event in events if isinstance(event, kind)]


def losses(folder):
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return {line["step"]: line["retrieval"] for line in lines if "retrieval" in line}


def weights(folder):
    (best,) = folder.glob("best-epoch-*")
    return checkpoint.read(best)[1]


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_training_tells_what_it_does_and_leaves_weights(options, dataset):
    events = run(options(), dataset)
    (begins,) = of(TrainingBegins, events)
    assert (begins.n_train, begins.n_val, begins.n_test) == (8, 2, 3)
    assert begins.n_samples == 8 * 6
    assert [event.step for event in of(Stepped, events)] == list(range(1, begins.n_steps + 1))
    assert all(math.isfinite(event.retrieval) for event in of(Stepped, events))
    measured = of(Evaluated, events)
    assert [event.split for event in measured] == ["val", "val", "test"]
    assert measured[-1].epoch == max(event.epoch for event in measured[:2] if event.is_best)
    (trained,) = of(Trained, events)
    network, card = checkpoint.load(trained.path)
    assert card.provenance["epoch"] == trained.epoch
    assert network.dims.n_frames == 3
    assert any("soft-ALBEF" in note for note in begins.notes)


def test_the_same_seed_is_the_same_training(options, dataset, tmp_path):
    run(options(), dataset)
    run(options(out=tmp_path / "again"), dataset)
    assert losses(tmp_path / "run") == losses(tmp_path / "again")
    assert same(weights(tmp_path / "run"), weights(tmp_path / "again"))


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("stop_after", [1, 2, 3, 4])
def test_stopped_anywhere_it_goes_on_to_the_same_end(options, dataset, tmp_path, stop_after, accumulate):
    chosen = {"epochs": 3, "save_every": 2, "batch_size": 12, "accumulate": accumulate}
    whole = options(**chosen)
    run(whole, dataset)
    stopped = options(**chosen, out=tmp_path / "stopped")
    steps = train(stopped, dataset, model_dir=MODELS)
    for event in steps:
        if isinstance(event, Stepped) and event.step == stop_after:
            break
    steps.close()
    (begins,) = of(TrainingBegins, run(stopped, dataset))
    assert begins.n_done in (stop_after - stop_after % 2, 4, 3, 2, 0)
    assert losses(tmp_path / "run") == losses(tmp_path / "stopped")
    assert same(weights(tmp_path / "run"), weights(tmp_path / "stopped"))


def test_a_finished_training_is_only_told_again(options, dataset):
    first = run(options(), dataset)
    again = run(options(), dataset)
    assert of(Stepped, again) == []
    assert of(Trained, again) == of(Trained, first)


def test_killed_at_any_instant(options, dataset, toy, tmp_path):
    """The installed command, killed for good while it trains, then given again."""
    chosen = options(epochs=4, save_every=1, batch_size=12)
    run(chosen, dataset)
    command = command_of(chosen, toy, tmp_path / "killed")
    for n_lines in (1, 3, 5):
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
            for _ in range(n_lines + 1):
                process.stdout.readline()
            process.kill()
    subprocess.run(command, check=True, capture_output=True)
    assert losses(tmp_path / "killed") == losses(tmp_path / "run")
    assert same(weights(tmp_path / "killed"), weights(tmp_path / "run"))


def command_of(options, toy, out, *launcher):
    flags = {
        "data": toy,
        "out": out,
        "cache": options.cache,
        "dims": options.dims,
        "epochs": options.epochs,
        "save-every": options.save_every,
        "batch-size": options.batch_size,
        "n-frames": options.n_frames,
        "lr": options.lr,
        "n-val": options.n_val,
        "log-every": 1,
        "device": "cpu",
    }
    given = [word for flag, value in flags.items() for word in (f"--{flag}", str(value))]
    return [sys.executable, *launcher, "-m", "savecli", "train", "msrvtt", "--from-scratch", "--json", *given]


def test_two_processes_train_as_one(options, dataset, toy, tmp_path):
    chosen = options(epochs=2, batch_size=12)
    run(chosen, dataset)
    launcher = ("-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "29541")
    command = command_of(chosen, toy, tmp_path / "two", *launcher)
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-2000:]
    alone, together = losses(tmp_path / "run"), losses(tmp_path / "two")
    assert alone.keys() == together.keys()
    for step, loss in alone.items():
        assert together[step] == pytest.approx(loss, abs=2e-3), step


def test_other_options_are_not_the_same_training(options, dataset):
    run(options(epochs=1), dataset)
    with pytest.raises(ConfigError, match="lr was"):
        run(options(epochs=1, lr=5e-4), dataset)


def test_a_folder_with_something_else_is_left_alone(options, dataset, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "holiday.jpg").write_bytes(b"x")
    with pytest.raises(ConfigError, match="holds no training"):
        run(options(), dataset)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["holiday.jpg"]


def test_a_damaged_checkpoint_is_told_and_the_one_before_is_there(options, dataset, tmp_path):
    run(options(epochs=2), dataset)
    *_, last = sorted((tmp_path / "run").glob("checkpoint-*"))
    (last / "optimiser.safetensors").write_bytes(b"x")
    with pytest.raises(WeightsError, match="cannot go on"):
        run(options(epochs=2), dataset)
    shutil.rmtree(last)
    assert of(Trained, run(options(epochs=2), dataset))


def test_a_loss_that_is_no_number_ends_it(options, dataset):
    with pytest.raises(SaveError, match="no number"):
        run(options(lr=1e30, epochs=4, warmup=0.01), dataset)


def test_without_held_out_videos_the_last_epoch_is_kept(options, toy):
    events = run(options(n_val=0), load("msrvtt", toy, n_val=0))
    assert [event.split for event in of(Evaluated, events)] == ["test"]
    assert of(Trained, events)[0].epoch == 1


def test_a_video_that_cannot_be_decoded_is_left_out(options, toy, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(toy, broken)
    (broken / "videos" / "video1.mp4").write_bytes(b"not a video")
    (broken / "videos" / "video2.mp4").unlink()
    chosen = replace(options(n_val=0), data=broken, cache=tmp_path / "clips")
    events = run(chosen, load("msrvtt", broken, n_val=0))
    assert [Path(e.path).name for e in of(Preparing, events) if e.reason] == ["video1.mp4"]
    assert of(TrainingBegins, events)[0].n_train == 8


def test_a_file_of_sound_is_trained_on_in_place_of_the_video_s_own(options, dataset, tmp_path):
    broken = tmp_path / "video.wav"
    broken.write_bytes(b"no sound")
    clips = (replace(dataset.train[0], sound=broken), *dataset.train[1:])
    events = run(options(cache=tmp_path / "clips"), replace(dataset, train=clips))
    assert [e.reason for e in of(Preparing, events) if e.reason] == [
        "its sound video.wav: the content is plain text, not sound"
    ]
    assert of(TrainingBegins, events)[0].n_train == 7


def test_silence_and_speechlessness_train(options, dataset):
    events = run(options(no_audio=True, no_speech=True), dataset)
    assert all(math.isfinite(event.retrieval) for event in of(Stepped, events))


@pytest.mark.parametrize("padding", ["reference", "masked"])
def test_more_slots_than_frames(options, dataset, padding):
    events = run(options(n_frames=9, padding=padding), dataset)
    card = checkpoint.read(of(Trained, events)[0].path)[0]
    assert card.dims.reference_compat == (padding == "reference")
    assert all(math.isfinite(event.retrieval) for event in of(Stepped, events))


def test_bf16_trains_near_fp32(options, dataset, tmp_path):
    run(options(), dataset)
    run(options(precision="bf16", out=tmp_path / "half"), dataset)
    exact, half = losses(tmp_path / "run"), losses(tmp_path / "half")
    assert half[1] == pytest.approx(exact[1], abs=0.05)
    assert half != exact


def test_it_begins_with_a_checkpoint(options, dataset, tmp_path, sizes):
    trained = of(Trained, run(options(epochs=1), dataset))[0].path
    given = {
        "out": tmp_path / "more",
        "from_scratch": False,
        "dims": None,
        "init": trained,
        "epochs": 1,
        "lr": 0.0,
    }
    more = of(Trained, run(options(**given), dataset))[0].path
    assert same(checkpoint.read(more)[1], checkpoint.read(trained)[1])


def test_a_checkpoint_goes_on_with_its_own_padding_and_says_what_else_changes(options, dataset, tmp_path):
    masked = of(Trained, run(options(epochs=1, padding="masked"), dataset))[0].path
    given = {"out": tmp_path / "more", "from_scratch": False, "dims": None, "init": masked, "epochs": 1}
    events = run(options(**given, n_words=16), dataset)
    dims = checkpoint.read(of(Trained, events)[0].path)[0].dims
    assert not dims.reference_compat
    notes = of(TrainingBegins, events)[0].notes
    assert any("n_words was 32 in the checkpoint, and is 16 here" in note for note in notes)
