"""A library in one file: what comes out goes in again, joined with what is there; nothing hostile does."""

from __future__ import annotations

import json
import os
import shutil
import stat
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from savecli.datatypes import Volume
from savecli.errors import StoreError
from savecli.store import Store
from savecli.store.archive import Archive
from savecli.store.merge import require_identity
from savecli.store.outcomes import Added, Joined, Kept, Left
from savecli.store.records import Headway

A, B, C, D = Path("/v/a.mp4"), Path("/v/b.mp4"), Path("/v/c.mp4"), Path("/v/d.mp4")
ODD = Path("/v") / os.fsdecode(b'\xff "\n.mp4')
DISK = Volume(identity="uuid-1", mount=Path("/v"), label="Disk")


def writing(home, samples):
    return Store.open(home, identity=samples.IDENTITY, mode="write")


def told(events):
    return [event for event in events if not isinstance(event, Headway)]


def export(home, target, **options):
    with Store.open(home, identity=None, mode="read") as store:
        return told(store.export(target, **options))[-1]


def merged(home, target, samples):
    with Archive(target) as archive:
        require_identity(archive, samples.IDENTITY)
        list(archive.check())
        with writing(home, samples) as store:
            events = told(store.merge(archive))
            assert store.check() == []
            return events


def state(home):
    """All that a person can see of a store, whatever numbers things have."""
    with Store.open(home, identity=None, mode="read") as store:
        videos = {}
        for video in store.videos():
            segments = store.stored_segments(video.video_id)
            ids = [segment.segment_id for segment in segments]
            spoken, times = store.utterances(ids), store.frame_times(ids)
            videos[video.video_id] = (
                video,
                [(s.start_s, s.end_s, times[s.segment_id].tolist(), spoken[s.segment_id]) for s in segments],
                [
                    [r.tolist() for r in store.rows(k, ids).values()]
                    for k in ("seen", "frames", "heard", "said")
                ],
                [[r.tolist() for r in store.rows(k, ids).values()] for k in ("fused", "parts")],
                store.transcript(video.video_id),
            )
        files = {p: f for p, f in store.known().items() if f.fingerprint}
        return videos, files, store.identity, dict(store.settings)


@pytest.fixture
def filled(home, samples):
    with writing(home, samples) as store:
        samples.add(store, A, samples.content(1, 3), notes=["a note"], volume=DISK)
        samples.add(store, ODD, samples.content(2, 2), partial=True)
        samples.add(store, B, samples.content(9, 2))
        samples.add(store, C, samples.content(5, 0))
        store.link(D, 1000, 5, samples.content(1).fingerprint)
        store.unlink(B)  # rows between others that are dead
        store.fail(Path("/v/x.mp4"), 1, 1, "broken", "mend it")
        store.settings["k"] = "10"
    return home


@pytest.fixture
def target(tmp_path):
    return tmp_path / "library.save"


def test_what_comes_out_goes_in_again(filled, target, tmp_path, samples):
    written = export(filled, target)
    assert (written.n_videos, written.n_segments, written.n_files) == (3, 5, 4)
    assert written.size_bytes == target.stat().st_size
    events = merged(tmp_path / "other", target, samples)
    assert [type(event) for event in events] == [Added] * 3
    assert state(tmp_path / "other") == state(filled)
    again = tmp_path / "again.save"
    export(tmp_path / "other", again)
    assert again.read_bytes() == target.read_bytes(), "the same library is the same file"
    assert merged(tmp_path / "other", again, samples) == []


def test_an_empty_library(home, target, tmp_path, samples):
    writing(home, samples).close()
    assert export(home, target).n_videos == 0
    assert merged(tmp_path / "other", target, samples) == []


def test_two_libraries_are_joined(filled, target, tmp_path, samples):
    export(filled, target)
    other = tmp_path / "other"
    with writing(other, samples) as store:
        samples.add(store, Path("/w/a.mp4"), samples.content(1, 3))
        samples.add(store, ODD, samples.content(7, 1))
        samples.add(store, Path("/w/e.mp4"), samples.content(8, 1))
        store.settings["k"] = "20"
    one, two, five = (samples.content(seed).fingerprint for seed in (1, 2, 5))
    with Archive(target) as archive, Store.open(other, identity=None, mode="read") as store:
        planned = told(store.merge_plan(archive))
    assert planned == [
        Joined(video_id=one, path=A),
        Joined(video_id=one, path=D),
        Kept(video_id=two, path=ODD),
        Left(video_id=two),
        Added(video_id=five, paths=(C,)),
    ]
    before = state(other)[0]
    assert len(before) == 3, "a plan changes nothing"
    assert merged(other, target, samples) == planned
    videos, files, _, settings = state(other)
    assert videos[one][0].paths == (A, D, Path("/w/a.mp4"))
    assert files[A].volume == DISK
    assert files[ODD].fingerprint == samples.content(7).fingerprint
    assert settings == {"k": "20"}
    assert two not in videos
    assert videos[samples.content(8).fingerprint] == before[samples.content(8).fingerprint]


def test_a_file_that_failed_here_and_is_the_same_there_is_known_now(filled, target, tmp_path, samples):
    export(filled, target)
    with writing(tmp_path / "other", samples) as store:
        store.fail(A, 1000, 1, "no memory", "try again")
        store.fail(C, 77, 1, "broken", "")
    events = merged(tmp_path / "other", target, samples)
    assert Kept(video_id=samples.content(5).fingerprint, path=C) in events
    with Store.open(tmp_path / "other", identity=None, mode="read") as store:
        known = store.known()
    assert (known[A].fingerprint, known[A].reason) == (samples.content(1).fingerprint, None)
    assert (known[C].fingerprint, known[C].reason) == (None, "broken")


def test_an_import_that_stops_leaves_whole_videos(home, target, tmp_path, samples, monkeypatch):
    with writing(home, samples) as store:
        for seed in range(1, 11):
            samples.add(store, Path(f"/v/{seed}.mp4"), samples.content(seed, 2))
    export(home, target)
    monkeypatch.setattr("savecli.store.merge._BATCH_VIDEOS", 6)
    other = tmp_path / "other"
    with Archive(target) as archive, writing(other, samples) as store:
        for event in store.merge(archive):
            if isinstance(event, Added) and event.paths == (Path("/v/8.mp4"),):
                break
    with writing(other, samples) as store:
        assert store.check() == []
        assert 0 < len(store.videos()) < 8
    merged(other, target, samples)
    assert state(other) == state(home)


def test_nothing_is_written_over_or_through_a_link(filled, target, tmp_path):
    target.write_text("mine")
    with pytest.raises(StoreError, match="exists already"):
        export(filled, target)
    assert target.read_text() == "mine"
    victim, link = tmp_path / "victim", tmp_path / "link.save"
    victim.write_text("mine")
    link.symlink_to(victim)
    dangling = tmp_path / "dangling.save"
    dangling.symlink_to(tmp_path / "nowhere")
    for name in (link, dangling):
        with pytest.raises(StoreError, match="exists already"):
            export(filled, name)
        export(filled, name, force=True)
        assert not name.is_symlink()
    assert victim.read_text() == "mine"
    assert not (tmp_path / "nowhere").exists()
    export(filled, target, force=True)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert not list(tmp_path.glob("*.part"))


def test_a_link_in_the_place_of_the_unfinished_file_is_not_followed(filled, target, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("mine")
    part = target.with_name(target.name + ".part")
    part.symlink_to(victim)
    with pytest.raises(StoreError, match="in the way"):
        export(filled, target)
    export(filled, target, force=True)
    assert victim.read_text() == "mine"


@pytest.mark.parametrize("name", ["store/catalog.db", "store/graphs/x.save", "missing/x.save", "folder"])
def test_places_that_are_no_place_for_an_export(filled, tmp_path, name):
    (tmp_path / "folder").mkdir()
    (filled / "graphs").mkdir()
    before = (filled / "catalog.db").read_bytes()
    with pytest.raises(StoreError, match=r"in the store itself|cannot write|is a folder"):
        export(filled, tmp_path / name, force=True)
    assert (filled / "catalog.db").read_bytes() == before
    assert list((tmp_path / "folder").iterdir()) == []


def test_damaged_rows_are_not_exported(filled, target):
    path = filled / "frames-g0001.f16"
    content = bytearray(path.read_bytes())
    content[0] ^= 1
    path.write_bytes(content)
    with pytest.raises(StoreError, match="damaged") as caught:
        export(filled, target)
    assert "verify --repair" in caught.value.hint
    assert list(target.parent.glob("library*")) == []


def test_another_model_is_refused_by_name(filled, target, samples):
    export(filled, target)
    with Archive(target) as archive, pytest.raises(StoreError, match="model tiny; here it is model huge"):
        require_identity(archive, samples.IDENTITY | {"model": "huge"})


def test_exporting_and_importing_take_the_memory_of_some_videos(tmp_path, samples, monkeypatch):
    monkeypatch.setattr("savecli.store.merge._BATCH_VIDEOS", 8)

    def peak(n_videos):
        folder = tmp_path / str(n_videos)
        with writing(folder, samples) as store:
            for seed in range(n_videos):
                samples.add(store, Path(f"/v/{seed}.mp4"), samples.many(seed, 30))
        file = folder.with_suffix(".save")
        tracemalloc.start()
        with Store.open(folder, identity=None, mode="read") as store:
            for _ in store.export(file):
                pass
        with Archive(file) as archive, writing(folder.with_suffix(".in"), samples) as store:
            for _ in archive.check():
                pass
            for _ in store.merge(archive):
                pass
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(2)
    few, many = peak(12), peak(60)
    assert many < 1.3 * few


# What a hostile or damaged file may be: every one of these is refused before anything is written.


def rebuilt(source, target, *, change=None, members=None, compression=zipfile.ZIP_STORED, fix=True):
    """The archive again, with some members changed; `fix` makes the manifest agree with them."""
    with zipfile.ZipFile(source) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    content |= members or {}
    manifest = json.loads(content.pop("manifest.json"))
    if fix:
        manifest["crc32"] = {name: __import__("zlib").crc32(data) for name, data in content.items()}
    manifest = change(manifest) if change else manifest
    with zipfile.ZipFile(target, "w", compression) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
        archive.writestr("manifest.json", manifest if isinstance(manifest, str) else json.dumps(manifest))
    return target


def lines(source):
    with zipfile.ZipFile(source) as archive:
        return [json.loads(line) for line in archive.read("videos.jsonl").splitlines()]


def refused(path, home, samples, match):
    before = state(home)
    with pytest.raises(StoreError, match=match) as caught:
        merged(home, path, samples)
    assert caught.value.hint
    assert state(home) == before
    assert {p.name for p in home.parent.iterdir()} <= {"store", "library.save", "bad.save", "own", "new"}


@pytest.fixture
def own(tmp_path, samples):
    """A store that something may be imported into."""
    with writing(tmp_path / "own", samples) as store:
        samples.add(store, Path("/w/1.mp4"), samples.content(3, 2))
    return tmp_path / "own"


def test_what_is_rebuilt_without_a_change_is_taken(filled, target, own, tmp_path, samples):
    export(filled, target)
    assert merged(own, rebuilt(target, tmp_path / "bad.save"), samples)


MANIFESTS = {
    "newer": lambda m: m | {"format": 2},
    "is none": lambda m: m | {"format": True},
    "manifest is none": lambda m: m | {"dim": 1 << 40},
    "its manifest": lambda m: {"format": 1},
    "no whole export: Expecting": lambda m: "{",
    "no whole export: a record": lambda m: "[" * 60_000,
    "its manifest is": lambda m: "[1]",
    "manifest": lambda m: m | {"settings": {"k": ["x"]}},
    "two sizes of rows": lambda m: m | {"dim": 8},
    "size than the manifest": lambda m: m | {"dim": 8, "identity": {}},
    "another size": lambda m: m | {"n_rows": {**m["n_rows"], "seen": 1 << 50}},
    "other members": lambda m: m | {"n_rows": {k: n for k, n in m["n_rows"].items() if k != "parts"}},
    "manifest i": lambda m: m | {"n_rows": {**m["n_rows"], "../x": 0}},
    "not what the manifest": lambda m: m | {"crc32": {}},
    "number of videos": lambda m: m | {"n_videos": 99},
}


@pytest.mark.parametrize("match", MANIFESTS)
def test_a_manifest_that_lies(filled, target, own, tmp_path, samples, match):
    export(filled, target)
    refused(rebuilt(target, tmp_path / "bad.save", change=MANIFESTS[match]), own, samples, match)


@pytest.mark.parametrize(
    ("members", "match"),
    [
        ({"../../evil": b"x"}, "other members"),
        ({"/etc/evil": b"x"}, "other members"),
        ({"seen.f16": b"x"}, "another size"),
        ({"videos.jsonl": b""}, "rows of no video"),
        ({"videos.jsonl": b'{"a": 1}\n'}, "not have the fields"),
        ({"videos.jsonl": b"[" * 100_000 + b"\n"}, "no end"),
        ({"videos.jsonl": b"1" * 5000 + b"\n"}, "no whole export"),
        ({"videos.jsonl": b"{}"}, "has no end"),
        ({"videos.jsonl": b"\xff\xfe\n"}, "no whole export"),
    ],
)
def test_members_that_are_wrong(filled, target, own, tmp_path, samples, members, match):
    export(filled, target)
    refused(rebuilt(target, tmp_path / "bad.save", members=members), own, samples, match)


def with_record(record, **changes):
    return {**record, **changes}


RECORDS = {
    "a number for a name": lambda r: with_record(r, fingerprint=5),
    "no name": lambda r: with_record(r, fingerprint=""),
    "more": lambda r: with_record(r, more=1),
    "NaN": lambda r: with_record(r, duration_s=float("nan")),
    "for ever": lambda r: with_record(r, speech_s=float("inf")),
    "before the beginning": lambda r: with_record(r, duration_s=-1.0),
    "a word for a flag": lambda r: with_record(r, partial=1),
    "no path": lambda r: with_record(r, files=[["", *r["files"][0][1:]]]),
    "a path with a hole": lambda r: with_record(r, files=[["/v/\0", *r["files"][0][1:]]]),
    "a path of no bytes": lambda r: with_record(r, files=[["/v/\ud800", *r["files"][0][1:]]]),
    "one path twice": lambda r: with_record(r, files=[r["files"][0]] * 2),
    "half a volume": lambda r: with_record(r, files=[[*r["files"][0][:3], "x", None, None]]),
    "a huge file": lambda r: with_record(r, files=[["/v/a.mp4", 1 << 70, 1, None, None, None]]),
    "an unknown kind": lambda r: with_record(r, spans={**r["spans"], "smelt": [0, 0]}),
    "rows beyond reason": lambda r: with_record(r, spans={**r["spans"], "seen": [1 << 40, 0]}),
    "fewer than no rows": lambda r: with_record(r, spans={**r["spans"], "seen": [-1, 0]}),
    "another checksum": lambda r: with_record(r, spans={**r["spans"], "seen": [r["spans"]["seen"][0], 1]}),
    "a segment less": lambda r: with_record(r, parts=r["parts"][1:]),
    "backwards": lambda r: with_record(r, parts=[[9.0, 1.0, *p[2:]] for p in r["parts"]]),
    "other times": lambda r: with_record(r, parts=[[*p[:3], [*p[3], 1.0]] for p in r["parts"]]),
    "a text for a time": lambda r: with_record(r, parts=[["0", *p[1:]] for p in r["parts"]]),
    "too deep": lambda r: with_record(r, parts={"a": 1}),
    "said nowhere": lambda r: with_record(r, spoken=[[0.0, 1.0, "x", [], 99]]),
    "said before": lambda r: with_record(r, spoken=[[0.0, 1.0, "x", [], -1]]),
    "no words": lambda r: with_record(r, spoken=[[0.0, 1.0, "x", [[0.0, 1.0]], None]]),
    "no Unicode": lambda r: with_record(r, spoken=[[0.0, 1.0, "\udfff", [], None]]),
    "notes": lambda r: with_record(r, notes="abc"),
}


@pytest.mark.parametrize("name", RECORDS)
def test_records_that_are_no_videos(filled, target, own, tmp_path, samples, name):
    export(filled, target)
    records = lines(target)
    records[0] = RECORDS[name](records[0])
    text = "".join(json.dumps(record) + "\n" for record in records).encode()
    bad = rebuilt(target, tmp_path / "bad.save", members={"videos.jsonl": text})
    refused(bad, own, samples, "no video|damaged|more rows than|no whole export")


@pytest.mark.parametrize("again", ["fingerprint", "files"])
def test_a_video_or_a_path_twice(filled, target, own, tmp_path, samples, again):
    export(filled, target)
    records = lines(target)
    records[1][again] = records[0][again]
    text = "".join(json.dumps(record) + "\n" for record in records).encode()
    bad = rebuilt(
        target,
        tmp_path / "bad.save",
        members={"videos.jsonl": text},
        change=lambda m: m | {"n_files": 5 if again == "files" else 4},
    )
    refused(bad, own, samples, "twice")


@pytest.mark.parametrize(
    ("kind", "number"), [("seen", np.nan), ("heard", np.inf), ("parts", np.nan), ("said", 9)]
)
def test_rows_that_are_no_embeddings(filled, target, own, tmp_path, samples, kind, number):
    import zlib

    export(filled, target)
    with zipfile.ZipFile(target) as archive:
        rows = np.frombuffer(archive.read(f"{kind}.f16"), np.float16).copy()
    rows[3] = number
    records, place = lines(target), 0
    for record in records:
        n_rows = record["spans"][kind][0]
        content = rows[place * samples.DIM : (place + n_rows) * samples.DIM].tobytes()
        record["spans"][kind][1] = zlib.crc32(content)
        place += n_rows
    text = "".join(json.dumps(record) + "\n" for record in records).encode()
    members = {"videos.jsonl": text, f"{kind}.f16": rows.tobytes()}
    refused(rebuilt(target, tmp_path / "bad.save", members=members), own, samples, "no embeddings")


def test_what_is_compressed_is_refused_before_it_is_unpacked(filled, target, own, tmp_path, samples):
    export(filled, target)
    bomb = rebuilt(target, tmp_path / "bad.save", compression=zipfile.ZIP_DEFLATED)
    refused(bomb, own, samples, "manifest is none")


def test_claims_of_the_directory_are_not_believed(filled, target, own, tmp_path, samples):
    export(filled, target)
    content = target.read_bytes()
    bad = tmp_path / "bad.save"
    end = content.rindex(b"PK\x05\x06")
    long = bytearray(content)
    long[end + 12 : end + 16] = (end - 1).to_bytes(4, "little")  # the directory is the whole file
    for damage in (long, content[: len(content) // 2], content[:-30], content[:4], b""):
        bad.write_bytes(damage)
        refused(bad, own, samples, "no whole export")


def test_every_cut_and_many_flips_are_refused_or_change_nothing(filled, target, own, tmp_path, samples):
    export(filled, target)
    whole = state(filled)
    content, bad = target.read_bytes(), tmp_path / "bad.save"
    rng = np.random.default_rng(0)
    n_refused = 0
    for place in rng.integers(0, len(content), 150).tolist():
        flipped = bytearray(content)
        flipped[place] ^= 1 << int(rng.integers(8))
        bad.write_bytes(flipped)
        try:
            shutil.rmtree(tmp_path / "new", ignore_errors=True)
            merged(tmp_path / "new", bad, samples)
        except StoreError:
            n_refused += 1
        else:
            assert state(tmp_path / "new") == whole, "a flip in a date or an attribute"
    assert n_refused > 120
    for length in rng.integers(0, len(content), 30).tolist():
        bad.write_bytes(content[:length])
        refused(bad, own, samples, "no whole export")


def test_what_is_no_file(tmp_path, target):
    os.mkfifo(target)
    for path, match in ((target, "is no file"), (tmp_path, "is no file"), (tmp_path / "x", "cannot read")):
        with pytest.raises(StoreError, match=match):
            Archive(path)
