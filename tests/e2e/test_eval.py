"""`save eval` as a person runs it: numbers on stdout, everything else on stderr, and a run that goes on."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
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
make_toy(folder / "toy", n_train=2, n_test=8, seed=3)
"""
TIMES = ("elapsed_s", "encode_s")
N_VIDEOS = 8


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A toy of eight test videos, and a SAVE checkpoint as the reference writes it."""
    pytest.importorskip("espeakng_loader")
    folder = tmp_path_factory.mktemp("small")
    subprocess.run([sys.executable, "-c", MAKE, folder], check=True)
    return folder


@pytest.fixture
def run(made, save):
    """`save eval toy` with the small network; `--cache` and more may be given."""
    quick = save.using(OMP_NUM_THREADS="1")
    given = ("eval", "toy", "--data", made / "toy", "--device", "cpu")

    def run_(*more, model=made / "pytorch_model.bin.4"):
        return quick(*given, "--model", model, *more)

    return run_


def numbers(ran):
    assert ran.code == 0, ran.err
    (record,) = ran.records
    return {name: value for name, value in record.items() if name not in TIMES}


def test_json_is_one_object_that_says_all_that_was_measured(run, tmp_path):
    ran = run("--json", "--cache", tmp_path / "cache", model="save-mini")
    found = numbers(ran)
    assert ran.err == ""
    assert (found["benchmark"], found["split"], found["n_listed"]) == ("toy", "", N_VIDEOS)
    assert (found["n_videos"], found["n_captions"], found["missing"]) == (N_VIDEOS, 3 * N_VIDEOS, 0)
    assert (found["without_audio"], found["frames"], found["search"]) == (0, 12, "exact")
    assert found["checkpoint"]["name"] == "save-mini"
    assert len(found["checkpoint"]["sha256"]) == 64
    for direction in ("t2v", "v2t"):
        assert {"R@1", "R@5", "R@10", "MdR", "MnR"} <= found[direction].keys()
    assert found["t2v"]["SumR"] == pytest.approx(
        sum(found["t2v"][name] for name in ("R@1", "R@5", "R@10")), abs=1e-3
    )
    # What is said is what an untrained ear and eye find: the made-up shapes and sounds are nobody's photos.
    assert found["by_kind"]["speech"]["R@1"] >= 75
    less = numbers(run("--json", "--cache", tmp_path / "cache", "--ablate", "speech", model="save-mini"))
    assert less["ablated"] == ["speech"]
    assert less["by_kind"]["speech"]["R@1"] <= found["by_kind"]["speech"]["R@1"] - 40


def test_killed_at_any_instant_it_goes_on(run, made, save, tmp_path):
    whole = numbers(run("--json", "--cache", tmp_path / "whole"))
    cache = tmp_path / "cache"
    words = (
        "eval",
        "toy",
        "--data",
        made / "toy",
        "--device",
        "cpu",
        "--json",
        "--cache",
        cache,
        "--jobs",
        "1",
    )
    for _ in range(2):
        before = len(list(cache.rglob("*.safetensors")))
        with save.using(OMP_NUM_THREADS="1").running(
            *words, "--model", made / "pytorch_model.bin.4"
        ) as running:
            while running.process.poll() is None and len(list(cache.rglob("*.safetensors"))) < before + 3:
                time.sleep(0.01)
            running.end(signal.SIGKILL)
    kept = {path: path.stat().st_mtime_ns for path in cache.rglob("*.safetensors")}
    assert kept
    assert numbers(run("--json", "--cache", cache)) == whole
    # What was kept is not made again.
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def test_tables_files_and_a_graph(run, tmp_path):
    cache = ("--cache", tmp_path / "cache")
    ran = run(*cache, "--hnsw", "--csv", tmp_path / "a.csv", "--html", tmp_path / "a.html", "--six")
    assert (ran.code, ran.err) == (0, "")
    assert "R@1" in ran.out
    assert "HNSW" in ran.out
    assert len((tmp_path / "a.csv").read_text().splitlines()) == 1 + 4 * N_VIDEOS
    page = (tmp_path / "a.html").read_text()
    assert page.count("data:image/jpeg;base64") >= 1
    again = run(*cache, "--csv", tmp_path / "a.csv")
    assert (again.code, again.out) == (2, "")
    assert "there already" in again.err
    ran = run(*cache, "--markdown")
    assert "| t2v |" in ran.out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("nothing-of-the-kind",), "there is no benchmark"),
        (("msrvtt",), "--data DIR, or SAVE_DATA"),
        (("msrvtt",), "MSRVTT_JSFUSION_test.csv"),
        (("charades",), "Charades_v1_test.csv"),
        (("toy", "--split", "9k"), "no split"),
        (("toy", "--part", "val"), "no validation videos"),
        (("vatex", "--data", "{made}"), "not below"),
        (("toy", "--data", "{made}/toy", "--asr", "gone.json"), "neither a file nor"),
        (("toy", "--data", "{made}/toy", "--model", "gone"), "there is no model"),
        (("toy", "--data", "{made}/toy", "--model", "{made}"), "cannot read"),
        (("toy", "--csv", "{made}/one", "--html", "{made}/one"), "both name"),
        (("toy", "--hnsw", "usearch", "--exact"), "either --hnsw or --exact"),
        (("toy", "--hnsw", "usearch", "--dual-softmax"), "dual softmax"),
    ],
)
def test_a_mistake_is_told_in_a_sentence(save, made, words, told):
    ran = save("eval", *(word.format(made=made) for word in words))
    assert (ran.code, ran.out) == (2, "")
    assert told in ran.err


def test_one_s_own_table(save, made, tmp_path):
    videos = sorted((made / "toy" / "videos").glob("*.mp4"))[:3]
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    rows = [(videos[0], "a"), (videos[1], "b"), (videos[1], "c"), ("broken.mp4", "d"), ("gone.mp4", "e")]
    table = tmp_path / "own.jsonl"
    lines = [json.dumps({"video": str(path), "caption": f"caption {text}"}) for path, text in rows]
    table.write_text("\n".join(lines))
    given = ("--model", made / "pytorch_model.bin.4", "--asr", "off", "--cache", tmp_path / "cache")
    ran = save.using(OMP_NUM_THREADS="1")("eval", table, *given, "--json")
    found = numbers(ran)
    assert (found["benchmark"], found["speech"]) == ("csv", "none")
    assert (found["n_listed"], found["n_videos"], found["n_captions"]) == (4, 2, 3)
    assert found["missing_ids"] == ["gone.mp4"]
    assert found["broken"] == {"broken.mp4": "the content is plain text, not a video"}
    table.write_text(lines[3] + "\n")
    ran = save("eval", table, *given)
    assert (ran.code, ran.out) == (2, "")
    assert "not one of the 1 videos can be read" in ran.err


def test_without_a_voice_there_is_no_toy(save, tmp_path):
    (tmp_path / "espeakng_loader.py").write_text("raise ImportError('not installed')\n")
    ran = save.using(PYTHONPATH=str(tmp_path))("eval", "toy", "--data", tmp_path / "new")
    assert (ran.code, ran.out) == (2, "")
    assert "savecli[toy]" in ran.err
    assert not (tmp_path / "new").exists()
