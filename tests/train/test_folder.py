"""A training's folder: one process at a time, whole or not there, and nothing left behind."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import pytest
from safetensors import SafetensorError

from savecli.errors import ConfigError, SaveError
from savecli.model.init import initialise
from savecli.model.network import Save
from savecli.model.optim import BertAdam, parameter_groups
from savecli.model.start import read_dims
from savecli.train import folder as module
from savecli.train.folder import Folder, Place


@pytest.fixture
def network(sizes):
    made = Save(read_dims(sizes))
    initialise(made, seed=1)
    return made


@pytest.fixture
def optimiser(network):
    groups = parameter_groups(network, lr=1.0, clip_lr=1.0, weight_decay=0.0, freeze=None)
    return BertAdam(groups, n_steps=4)


@pytest.fixture
def opened(options):
    chosen = options()
    with Folder(chosen.out, chosen) as folder:
        folder.claim()
        yield folder


def names(folder):
    return {path.name for path in folder.path.iterdir()} - {".lock", "options.json", "log.jsonl"}


def log(folder):
    return [json.loads(line) for line in (folder.path / "log.jsonl").read_text().splitlines()]


def test_one_process_at_a_time(options, opened):
    chosen = options()
    with pytest.raises(SaveError, match="another process trains"), Folder(chosen.out, chosen):
        pass
    with Folder(chosen.out, chosen, writes=False):  # a member of the same team
        pass
    opened.__exit__()
    with Folder(chosen.out, chosen):
        pass


def test_nothing_is_claimed_before_the_training_begins(options):
    with Folder(options().out, options()):
        pass
    other = options(lr=0.5)
    with Folder(other.out, other) as folder:
        folder.claim()
    with pytest.raises(ConfigError, match="lr was"):
        Folder(options().out, options())


def test_a_member_that_does_not_write_changes_nothing(options, network, optimiser):
    chosen = options()
    with Folder(chosen.out, chosen, writes=False) as folder:
        folder.claim()
        folder.log({"step": 1})
        folder.save(network, optimiser, Place(step=1))
    assert not chosen.out.exists()


def test_options_that_cannot_be_read_are_told(options):
    chosen = options()
    chosen.out.mkdir()
    for held in ("{", "[]", "\xff"):
        (chosen.out / "options.json").write_text(held, "latin-1")
        with pytest.raises(ConfigError, match=r"options\.json"):
            Folder(chosen.out, chosen)


def test_a_place_that_cannot_be_written_is_told(options, tmp_path):
    (tmp_path / "file").touch()
    places = [tmp_path / "file", tmp_path / "file" / "run"]
    if os.geteuid():
        (tmp_path / "closed").mkdir(mode=0o500)
        places.append(tmp_path / "closed" / "run")
    for place in places:
        chosen = options(out=place)
        with pytest.raises(SaveError, match="cannot write") as told, Folder(place, chosen):
            pass
        assert "--out" in told.value.hint


def test_what_a_killed_run_left_is_removed_and_nothing_else(options, opened):
    opened.__exit__()
    for left in (".checkpoint-000004", "..checkpoint-000004-x7", ".best-epoch-1-q"):
        (opened.path / left).mkdir()
        (opened.path / left / "model.safetensors").touch()
    (opened.path / "log.jsonl.77.part").touch()
    (opened.path / "notes.txt").touch()
    with Folder(options().out, options()):
        assert names(opened) == {"notes.txt"}


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), SafetensorError("No space left")])
def test_a_full_disk_is_told_and_leaves_what_was_there(opened, network, optimiser, monkeypatch, error):
    opened.save(network, optimiser, Place(step=1))

    def full(*_):
        raise error

    monkeypatch.setattr(module, "save_file", full)
    with pytest.raises(SaveError, match="No space left"):
        opened.save(network, optimiser, Place(step=2))
    assert names(opened) == {"checkpoint-000001"}
    assert opened.load(network, optimiser) == Place(step=1)


def test_an_epoch_that_ends_where_a_checkpoint_is_changes_its_place(opened, network, optimiser):
    opened.save(network, optimiser, Place(step=3, epoch=0, batch=3))
    ended = Place(step=3, epoch=1, batch=0, best_epoch=0, best_score=50.0, samples="x")
    opened.save(network, optimiser, ended)
    assert opened.load(network, optimiser) == ended


def test_the_last_two_checkpoints_stay(opened, network, optimiser):
    for step in (1, 2, 3, 1000000):
        opened.save(network, optimiser, Place(step=step))
    assert names(opened) == {"checkpoint-000003", "checkpoint-1000000"}


def test_the_weights_before_stay_until_a_checkpoint_names_the_next(opened, network, optimiser):
    opened.keep_best(network, 0, {})
    opened.save(network, optimiser, Place(step=1, epoch=1, best_epoch=0))
    opened.keep_best(network, 1, {})
    assert names(opened) == {"checkpoint-000001", "best-epoch-0", "best-epoch-1"}
    assert opened.best(0).name == "best-epoch-0"
    # Killed here, epoch 1 is trained again, and what comes of it counts.
    opened.keep_best(network, 1, {"again": True})
    assert json.loads((opened.best(1) / "model.json").read_text())["provenance"] == {"again": True}
    opened.save(network, optimiser, Place(step=2, epoch=2, best_epoch=1))
    assert names(opened) == {"checkpoint-000001", "checkpoint-000002", "best-epoch-1"}
    assert opened.best(0) is None


def test_the_log_forgets_what_is_done_anew(opened, network, optimiser):
    kept = [{"step": 1}, {"step": 2}, {"step": 2, "epoch": 0, "split": "val"}, {"step": 3}]
    anew = [{"step": 3, "epoch": 1, "split": "val"}, {"step": 3, "epoch": 0, "split": "test"}, {"step": 4}]
    for record in [*kept, *anew]:
        opened.log(record)
    with (opened.path / "log.jsonl").open("a") as file:
        file.write('{"step": 1, "retr')  # cut off by a crash
    opened.save(network, optimiser, Place(step=3, epoch=1))
    opened.load(network, optimiser)
    assert log(opened) == kept


def test_moved_data_is_the_same_training(options, opened, tmp_path):
    Folder(opened.path, replace(options(), data=tmp_path / "moved", asr=tmp_path / "said.json"))
