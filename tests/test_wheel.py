"""The wheel is what a user gets: it holds the weights and the manifest, and works away from the checkout."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

from savecli import __version__

ROOT = Path(__file__).resolve().parents[1]
BUILD = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built by the backend itself: no network, and nothing written into the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-c", BUILD, folder], cwd=ROOT, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def unpacked(wheel, tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    with ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def names(wheel):
    with ZipFile(wheel) as archive:
        return archive.namelist()


@pytest.mark.parametrize(
    "name",
    [
        "savecli/cli/__init__.py",
        "savecli/model/manifest.json",
        "savecli/weights/save-mini/model.json",
        "savecli/weights/save-mini/fusion.safetensors",
        "savecli/weights/save-mini/CARD.md",
    ],
)
def test_it_holds(wheel, name):
    assert name in names(wheel)


def test_it_holds_every_module(wheel):
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "savecli").rglob("*.py")}
    assert modules <= set(names(wheel))


def test_it_holds_nothing_but_the_package(wheel):
    inside = re.compile(rf"savecli/|savecli-{re.escape(__version__)}\.dist-info/")
    assert [name for name in names(wheel) if not inside.match(name)] == []
    assert [name for name in names(wheel) if "test" in name or "__pycache__" in name] == []


def test_it_installs_the_command_and_its_licence(unpacked):
    (facts,) = unpacked.glob("*.dist-info")
    assert "save = savecli.__main__:main" in (facts / "entry_points.txt").read_text()
    assert list(facts.rglob("LICENSE"))


def test_an_unpacked_copy_finds_its_own_weights(unpacked, tmp_path):
    code = (
        f"import sys; sys.path.insert(0, {str(unpacked)!r})\n"
        "from savecli.model import weights\n"
        "print(weights.bundled('save-mini'))\n"
        "print(len(weights.manifest()))\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    folder, n_entries = run.stdout.splitlines()
    assert Path(folder) == unpacked / "savecli" / "weights" / "save-mini"
    assert int(n_entries) > 0
