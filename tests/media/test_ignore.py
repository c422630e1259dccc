"""`.saveignore`: what is left out, from where on, and what is said of a file that cannot be used."""

from __future__ import annotations

import os

import pytest

from savecli.media import ignore
from savecli.media.scan import Found, Unreadable, scan

MP4 = b"\0\0\0\x18ftypisom\0\0\2\0isomiso2" + bytes(64)


@pytest.fixture
def library(tmp_path):
    for name in (
        "a.mp4",
        "a.raw.mp4",
        "trip/b.mp4",
        "trip/b.raw.mp4",
        "trip/raw/c.mp4",
        "raw/d.mp4",
        "raw.mp4",
    ):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_bytes(MP4)
    return tmp_path


def found(*paths, **options):
    items = list(scan(paths, **options))
    assert all(isinstance(item, Found) for item in items), items
    return [str(item.path.relative_to(paths[0])) for item in items]


ALL = ["a.mp4", "a.raw.mp4", "raw/d.mp4", "raw.mp4", "trip/b.mp4", "trip/b.raw.mp4", "trip/raw/c.mp4"]


@pytest.mark.parametrize(
    ("lines", "left_out"),
    [
        ("", []),
        ("# *.mp4\n\n   \n", []),
        ("*.raw.mp4", ["a.raw.mp4", "trip/b.raw.mp4"]),
        ("*.raw.mp4\r\nraw.mp4\r\n", ["a.raw.mp4", "trip/b.raw.mp4", "raw.mp4"]),
        ("raw/", ["trip/raw/c.mp4", "raw/d.mp4"]),
        ("/raw/", ["raw/d.mp4"]),
        ("raw.mp4/", []),
        ("trip/raw", ["trip/raw/c.mp4"]),
        ("*.mp4\n!a.mp4", [name for name in ALL if name != "a.mp4"]),
        ("!a.mp4\n*.mp4", ALL),
        ("trip/\n!trip/b.mp4", ["trip/b.mp4", "trip/b.raw.mp4", "trip/raw/c.mp4"]),
        ("**/c.mp4", ["trip/raw/c.mp4"]),
        ("\ufeffa.mp4", ["a.mp4"]),
    ],
)
def test_patterns_leave_out(library, lines, left_out):
    (library / ".saveignore").write_bytes(lines.encode())
    assert found(library) == [name for name in ALL if name not in left_out]


def test_a_file_holds_for_its_folder_and_what_is_below(library):
    (library / "trip" / ".saveignore").write_text("*.raw.mp4\n/raw/\n")
    assert found(library) == [name for name in ALL if name not in ("trip/b.raw.mp4", "trip/raw/c.mp4")]


def test_an_inner_file_takes_back_what_an_outer_one_leaves_out(library):
    (library / ".saveignore").write_text("*.raw.mp4\n")
    (library / "trip" / ".saveignore").write_text("!b.raw.mp4\n")
    assert found(library) == [name for name in ALL if name != "a.raw.mp4"]


def test_what_is_named_is_looked_through_whatever_is_above(library):
    (library / ".saveignore").write_text("trip/\n*.mp4\n")
    assert found(library) == []
    assert found(library / "trip") == ["b.mp4", "b.raw.mp4", "raw/c.mp4"]


def test_exclude_comes_on_top(library):
    (library / ".saveignore").write_text("trip/\n!a.mp4\n")
    assert found(library, exclude=["a*"]) == ["raw/d.mp4", "raw.mp4"]


def test_a_name_that_is_no_unicode_can_be_left_out(library):
    strange = library / os.fsdecode(b"caf\xe9.mp4")
    strange.write_bytes(MP4)
    (library / ".saveignore").write_bytes(b"caf\xe9*\n")
    assert found(library) == ALL


@pytest.mark.parametrize("kind", ["no pattern", "a folder", "a pipe"])
@pytest.mark.timeout(20)
def test_a_folder_whose_wishes_cannot_be_read_is_left_alone_and_told(library, kind):
    wishes = library / "trip" / ".saveignore"
    match kind:
        case "no pattern":
            wishes.write_text("a.mp4\n!\n")
        case "a folder":
            wishes.mkdir()
        case "a pipe":
            os.mkfifo(wishes)
    items = list(scan([library]))
    (problem,) = (item for item in items if isinstance(item, Unreadable))
    assert problem.path == wishes
    assert problem.error.hint
    names = [str(item.path.relative_to(library)) for item in items if isinstance(item, Found)]
    assert names == [name for name in ALL if not name.startswith("trip")]


def test_no_such_file_costs_no_import(library, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pathspec", None)
    assert found(library) == ALL
    (library / ignore.NAME).touch()
    with pytest.raises(ImportError):
        found(library)
