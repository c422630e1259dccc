import os
import shutil
import time
from pathlib import Path

import pytest

from savecli.datatypes import Volume
from savecli.errors import MediaError, MediaUnfinished
from savecli.media import scan as module
from savecli.media.scan import Found, Unreadable, fingerprint, is_as_found, rest_s, scan, settled
from savecli.media.signature import kind_of
from savecli.media.volumes import Volumes

MP4 = b"\0\0\0\x18ftypisom\0\0\2\0isomiso2" + bytes(64)
MKV = b"\x1a\x45\xdf\xa3" + bytes(64)
TS = (b"\x47" + bytes(187)) * 8


def found(*paths: Path, **options) -> list[str]:
    return [x.path.name for x in scan(paths, **options) if isinstance(x, Found)]


def unreadable(*paths: Path, **options) -> dict[str, MediaError]:
    return {x.path.name: x.error for x in scan(paths, **options) if isinstance(x, Unreadable)}


def test_content_counts_and_not_the_name(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(MP4)
    (tmp_path / "b").write_bytes(MKV)
    (tmp_path / "c.dat").write_bytes(TS)
    (tmp_path / "d.txt").write_text("nothing to see")
    (tmp_path / "e.ts").write_text("const typescript = true")
    (tmp_path / "f.m4a").write_bytes(b"\0\0\0\x18ftypM4A \0\0\2\0" + bytes(64))
    assert found(tmp_path) == ["a.mp4", "b", "c.dat"]
    assert unreadable(tmp_path) == {}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"plain words", "plain text"),
        ("grün".encode() * 3000, "plain text"),
        (b"\xff\xd8\xff\xe0" + bytes(99), "JPEG"),
        (b"#EXTM3U\nhttp://127.0.0.1/x.ts", "playlist"),
        (b"ffconcat version 1.0\nfile /etc/hostname", "list of other files"),
        (bytes(1000), "zero bytes"),
        (b"\x01\xfe\0\x99" * 50, "unknown"),
    ],
)
def test_a_false_name_is_reported(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "x.mp4").write_bytes(content)
    error = unreadable(tmp_path)["x.mp4"]
    assert reason in error.message
    assert error.hint


def test_a_named_file_must_be_a_video(tmp_path: Path) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("hello")
    assert unreadable(notes)["notes.txt"].hint
    assert "no such file" in unreadable(tmp_path / "gone")["gone"].message


def test_hidden_and_system_folders(tmp_path: Path) -> None:
    for folder in (".cache", "@eaDir", "#recycle", "$RECYCLE.BIN", ".Trash-1000", "lost+found", "ok"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"in {folder}.mp4").write_bytes(MP4)
    (tmp_path / "._ok.mp4").write_bytes(MP4)
    assert found(tmp_path) == ["in ok.mp4"]
    assert len(found(tmp_path, include_hidden=True)) == 8
    assert found(tmp_path / ".cache") == ["in .cache.mp4"]


def test_exclude(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    for name in ("a.mp4", "b.draft.mp4", "raw/c.mp4"):
        (tmp_path / name).write_bytes(MP4)
    assert found(tmp_path, exclude=["*.draft.*", "raw"]) == ["a.mp4"]
    assert found(tmp_path, exclude=[f"{tmp_path}/raw/*"]) == ["a.mp4", "b.draft.mp4"]


def test_what_is_excluded_is_not_even_looked_at(tmp_path: Path) -> None:
    (tmp_path / "dead.mp4").symlink_to(tmp_path / "nowhere")
    assert list(unreadable(tmp_path)) == ["dead.mp4"]
    assert unreadable(tmp_path, exclude=["dead*"]) == {}


def test_a_known_file_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).write_bytes(MP4)
    asked, opened, real = [], [], module._open_regular
    monkeypatch.setattr(module, "_open_regular", lambda path: opened.append(path.name) or real(path))

    def is_known(path: Path, size_bytes: int, mtime_ns: int) -> bool:
        asked.append((path, size_bytes, mtime_ns))
        return path.name == "a.mp4"

    assert found(tmp_path, is_known=is_known) == ["a.mp4", "b.mp4"]
    assert opened == ["b.mp4"]
    status = (tmp_path / "a.mp4").stat()
    assert asked[0] == (tmp_path / "a.mp4", status.st_size, status.st_mtime_ns)


def test_each_file_is_told_with_what_it_lies_on(tmp_path: Path) -> None:
    drive = tmp_path / "drive"
    (drive / "deep").mkdir(parents=True)
    (tmp_path / "a.mp4").write_bytes(MP4)
    (drive / "deep" / "b.mp4").write_bytes(MP4)
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "c.mp4").symlink_to(drive / "deep" / "b.mp4")

    def mounted_at(path: Path) -> Volume:
        mount = drive if drive in (path, *path.parents) else Path("/")
        return Volume(identity=f"uuid:{mount.name}", mount=mount, label=mount.name)

    volumes = Volumes(mounted_at)
    lying = {x.path.name: x.volume.label for x in scan([tmp_path], volumes=volumes) if isinstance(x, Found)}
    assert lying == {"a.mp4": "", "b.mp4": "drive"}
    linked = {x.path.name: x.volume.label for x in scan([tmp_path / "root"], volumes=volumes)}
    assert linked == {"c.mp4": "drive"}
    named = [x.volume.label for x in scan([drive / "deep" / "b.mp4"], volumes=volumes)]
    assert named == ["drive"]


def test_links_are_followed_once(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.mp4").write_bytes(MP4)
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    (tmp_path / "b").symlink_to(tmp_path / "a")
    (tmp_path / "hard.mp4").hardlink_to(tmp_path / "a" / "x.mp4")
    (tmp_path / "dead").symlink_to(tmp_path / "nowhere")
    (tmp_path / "dead.mp4").symlink_to(tmp_path / "nowhere")
    assert found(tmp_path) == ["x.mp4"]
    assert list(unreadable(tmp_path)) == ["dead.mp4"]
    (tmp_path / "a" / "loop").unlink()
    linked = [x.path for x in scan([tmp_path / "b"]) if isinstance(x, Found)]
    assert linked == [tmp_path / "b" / "x.mp4"]


@pytest.mark.timeout(20)
def test_a_pipe_named_like_a_video_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.mp4")
    assert "regular" in unreadable(tmp_path)["x.mp4"].message
    with pytest.raises(MediaError):
        fingerprint(tmp_path / "x.mp4")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_no_permission(tmp_path: Path) -> None:
    (tmp_path / "shut").mkdir(mode=0)
    (tmp_path / "x.mp4").write_bytes(MP4)
    (tmp_path / "x.mp4").chmod(0)
    (tmp_path / "y.mp4").write_bytes(MP4)
    assert all("permission" in error.message for error in unreadable(tmp_path).values())
    assert list(unreadable(tmp_path)) == ["shut", "x.mp4"]
    assert found(tmp_path) == ["y.mp4"]
    (tmp_path / "shut").chmod(0o700)


def test_names_that_are_no_text(tmp_path: Path) -> None:
    name = os.fsdecode(b"bad\xff\xfe.mp4")
    try:
        (tmp_path / name).write_bytes(MP4)
    except OSError:
        pytest.skip("the file system takes no such name")
    assert found(tmp_path) == [name]


def test_fingerprint_sees_head_middle_tail_and_size(tmp_path: Path) -> None:
    whole = bytearray(os.urandom(1_000_000))
    file = tmp_path / "x"
    seen = set()
    for change in (None, 0, 500_000, 999_999):
        altered = bytearray(whole)
        if change is not None:
            altered[change] ^= 1
        file.write_bytes(altered)
        seen.add(fingerprint(file))
    file.write_bytes(whole + b"\0")
    seen.add(fingerprint(file))
    assert len(seen) == 5
    assert all(len(digest) == 32 for digest in seen)
    file.write_bytes(whole)
    assert fingerprint(Path(shutil.copy(file, tmp_path / "copy"))) == fingerprint(file)


def only(path: Path) -> Found:
    (one,) = scan([path])
    assert isinstance(one, Found)
    return one


def test_a_file_at_rest_is_taken_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video = tmp_path / "x.mp4"
    video.write_bytes(MP4)
    monkeypatch.setattr(module.time, "sleep", lambda _: pytest.fail("it waited"))
    now = time.time()
    for mtime_s in (now - 2.1, now + 3600, 0):
        os.utime(video, (mtime_s, mtime_s))
        assert settled(only(video), 2.0) == only(video)
    os.utime(video, (now - 2.1, now - 2.1))
    before = only(video)
    video.write_bytes(MP4 * 2)  # since it was found
    os.utime(video, (now - 2.1, now - 2.1))
    assert settled(before, 2.0).size_bytes == 2 * len(MP4)


def test_a_file_that_was_just_written_is_looked_at_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = tmp_path / "x.mp4"
    video.write_bytes(MP4)
    waited = []
    monkeypatch.setattr(module.time, "sleep", waited.append)
    assert settled(only(video), 5.0) == only(video)
    assert 4 < waited[0] <= 5

    def write_on(_: float) -> None:
        with video.open("ab") as file:
            file.write(MP4)

    monkeypatch.setattr(module.time, "sleep", write_on)
    with pytest.raises(MediaUnfinished, match="still being written"):
        settled(only(video), 5.0)
    monkeypatch.setattr(module.time, "sleep", lambda _: video.unlink())
    with pytest.raises(MediaUnfinished):
        settled(only(video), 5.0)


def test_a_file_that_went_away_is_unfinished(tmp_path: Path) -> None:
    video = tmp_path / "x.mp4"
    video.write_bytes(MP4)
    one = only(video)
    assert is_as_found(one)
    video.unlink()
    assert not is_as_found(one)
    with pytest.raises(MediaUnfinished, match="went away"):
        settled(one, 0.0)


def test_rest_is_counted_from_the_last_change() -> None:
    now = time.time()
    assert rest_s(int((now - 1) * 1e9), 3.0) == pytest.approx(2, abs=0.2)
    assert rest_s(int((now - 3.1) * 1e9), 3.0) == 0
    assert rest_s(int((now + 5) * 1e9), 3.0) == 0
    assert rest_s(int(now * 1e9), 0.0) == 0


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (MP4, "mp4"),
        (b"\0\0\0\x08wide\0\0\1\0mdat", "mp4"),
        (MKV, "matroska"),
        (b"RIFF\0\0\0\0AVI LIST", "avi"),
        (b"\0\0\1\xba\x44" + bytes(20), "mpeg"),
        (b"\0\0\1\xb3" + bytes(20), "mpegvideo"),
        (TS, "mpegts"),
        (bytes(40) + TS, "mpegts"),
        ((bytes(4) + b"\x47" + bytes(187)) * 8, "mpegts"),
        (b"FLV\x01\x05", "flv"),
        (b"OggS" + bytes(24) + b"\x80theora", "ogg"),
        (b"OggS" + bytes(24) + b"\x01vorbis", ""),
        (b"RIFF\0\0\0\0WAVEfmt ", ""),
        (b"G" * 5000, ""),
        (b"", ""),
    ],
)
def test_kind_of(head: bytes, kind: str) -> None:
    assert kind_of(head) == kind
