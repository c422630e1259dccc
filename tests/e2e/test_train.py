"""A small network is converted, trained, interrupted and goes on, by the installed command."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

MAKE = """
import sys
from pathlib import Path
from savecli.model import checkpoint
from savecli.model.dims import ModelDims
from savecli.model.init import initialise
from savecli.model.network import Save
from savecli.toy import make_toy

folder = Path(sys.argv[1])
clip = {
    "embed_dim": 64,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1},
}
small = {"audio_width": 64, "audio_layers": 1, "audio_heads": 1, "n_queries": 2}
dims = ModelDims(clip=clip, **small, resampler_layers=1, fusion_layers=1)
network = Save(dims)
initialise(network, seed=1)
checkpoint.write_reference(folder / "pytorch_model.bin.4", network.state_dict(), dims)
make_toy(folder / "toy", n_train=4, n_test=2, seed=3)
"""
SIZES = ("--batch-size", "12", "--n-frames", "2", "--n-val", "0", "--save-every", "1", "--log-every", "1")


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A checkpoint as the reference writes it, and a benchmark of four videos to train on."""
    pytest.importorskip("espeakng_loader")
    folder = tmp_path_factory.mktemp("small")
    subprocess.run([sys.executable, "-c", MAKE, folder], check=True)
    return folder


@pytest.fixture
def train(made, save):
    """The command, and the words that train the small network into a folder."""

    def words(out, *more, epochs):
        places = ("--data", made / "toy", "--cache", made / "clips", "--out", out)
        begin = ("--init", made / "pytorch_model.bin.4", "--device", "cpu", "--epochs", epochs)
        return "train", "msrvtt", *places, *begin, *SIZES, "--json", *more

    return save.using(OMP_NUM_THREADS="1"), words


def steps(records):
    return [record["step"] for record in records if record["event"] == "step"]


def test_a_checkpoint_is_converted_trained_and_converted_back(made, train, tmp_path):
    save, words = train
    (told,) = save("model", "convert", made / "pytorch_model.bin.4", tmp_path / "ours", "--json").records
    assert (told["format"], told["from source"]) == ("save", "pytorch_model.bin.4")
    run = save(*words(tmp_path / "run", epochs=1))
    assert (run.code, run.err) == (0, "")
    assert steps(run.records) == [1, 2]
    (trained,) = run.events("trained")
    assert run.events("evaluated")[-1]["split"] == "test"
    back = save("model", "convert", trained["path"], tmp_path / "pytorch_model.bin.0", "--to", "reference")
    assert back.code == 0
    assert "n_frames 2" in back.out  # what that format has no place for


def test_an_interrupted_training_says_so_and_goes_on(train, tmp_path):
    save, words = train
    out = tmp_path / "run"
    with save.running(*words(out, epochs=40)) as running:
        while running.next_event()["event"] != "step":
            pass
        while running.next_event()["event"] != "step":
            pass
        second = save(*words(out, epochs=40))
        ended = running.end(signal.SIGINT)
    assert (second.code, second.out) == (2, "")
    assert "another process trains" in second.err
    assert ended.code == 130
    assert "the next run goes on from here" in ended.err
    assert "Traceback" not in ended.err
    assert [path for path in out.iterdir() if path.name.startswith((".check", ".best", ".."))] == []
    with save.running(*words(out, epochs=40)) as running:
        begins = running.next_event()
        while begins["event"] != "begins":
            begins = running.next_event()
        first = running.next_event()
        while first["event"] != "step":
            first = running.next_event()
        running.end(signal.SIGINT)
    assert begins["n_done"] >= 1
    assert first["step"] == begins["n_done"] + 1
    logged = [json.loads(line)["step"] for line in (out / "log.jsonl").read_text().splitlines()]
    assert logged[0] == 1


def test_an_interrupt_while_decoding_is_no_failure_either(train, tmp_path, made):
    save, words = train
    with save.running(*words(tmp_path / "run", "--cache", tmp_path / "clips", epochs=1)) as running:
        assert running.next_event()["event"] == "preparing"
        ended = running.end(signal.SIGINT)
    assert ended.code == 130
    assert "Traceback" not in ended.err
    assert not list((tmp_path / "clips").rglob("*.part"))
