"""Volumes are known by what they are, and a file counts as gone only where there is no doubt."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from savecli.datatypes import Volume
from savecli.media import volumes as module
from savecli.media.volumes import Volumes, absent, is_there, is_weak


class Machine:
    """A root file system and a drive at `usb`; tests unplug it, or plug another in."""

    def __init__(self, root: Path) -> None:
        self.mount = root / "usb"
        self.mount.mkdir()
        self.root = Volume(identity="uuid:root", mount=Path("/"), label="root")
        self.drive: Volume | None = Volume(identity="uuid:usb", mount=self.mount, label="USB")

    def mounted_at(self, path: Path) -> Volume:
        on_drive = path == self.mount or self.mount in path.parents
        return self.drive if self.drive and on_drive else self.root

    def look(self) -> Volumes:
        return Volumes(self.mounted_at)

    def unplug(self) -> None:
        """The mount point stays, and is empty."""
        shutil.rmtree(self.mount)
        self.mount.mkdir()
        self.drive = None


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


@pytest.fixture
def video(machine):
    path = machine.mount / "trip" / "a.mp4"
    path.parent.mkdir()
    path.touch()
    (path.parent / "b.mp4").touch()
    return path


def test_a_file_that_was_removed_is_gone(machine, video):
    volume = machine.look().of(video)
    assert volume == machine.drive
    assert not machine.look().is_gone(video, volume)
    video.unlink()
    assert machine.look().is_gone(video, volume)
    assert absent({video: volume}, machine.look()) == {video: ""}


@pytest.mark.parametrize("removed", ["trip", "trip/a.mp4"])
def test_a_file_is_gone_with_its_folder_as_long_as_the_drive_holds_anything(machine, video, removed):
    (machine.mount / "other").mkdir()
    volume = machine.look().of(video)
    target = machine.mount / removed
    shutil.rmtree(target) if target.is_dir() else target.unlink()
    assert machine.look().is_gone(video, volume)


def test_a_drive_that_is_wholly_empty_may_not_have_come_up(machine, video):
    volume = machine.drive
    shutil.rmtree(video.parent)
    assert not machine.look().is_gone(video, volume)
    assert absent({video: volume}, machine.look()) == {video: "USB"}


def test_a_file_on_an_unplugged_drive_is_out_of_reach(machine, video):
    volume = machine.drive
    machine.unplug()
    assert not machine.look().is_gone(video, volume)
    assert absent({video: volume}, machine.look()) == {video: "USB"}


def test_another_drive_at_the_same_place_says_nothing_of_the_first(machine, video):
    volume = machine.drive
    video.unlink()
    machine.drive = Volume(identity="uuid:other", mount=machine.mount, label="OTHER")
    assert not machine.look().is_gone(video, volume)
    assert absent({video: volume}, machine.look()) == {video: "USB"}


def test_a_drive_that_is_mounted_elsewhere_says_nothing_of_its_old_place(machine, video, tmp_path):
    volume = machine.drive
    machine.unplug()
    machine.mount = tmp_path / "elsewhere"
    machine.drive = Volume(identity="uuid:usb", mount=machine.mount, label="USB")
    (machine.mount / "trip").mkdir(parents=True)
    assert not machine.look().is_gone(video, volume)


def test_a_link_to_an_unplugged_drive_is_not_gone(machine, video, tmp_path):
    (tmp_path / "Videos").symlink_to(video.parent)
    linked = tmp_path / "Videos" / "a.mp4"
    volume = machine.look().of(linked)
    assert volume == machine.drive
    machine.unplug()
    assert not machine.look().is_gone(linked, volume)
    assert absent({linked: volume}, machine.look()) == {linked: "USB"}


def test_a_file_seen_before_volumes_were_known_is_gone_where_its_folder_has_others(machine, video):
    video.unlink()
    assert machine.look().is_gone(video, None)
    (video.parent / "b.mp4").unlink()
    assert not machine.look().is_gone(video, None), "an empty folder may be a mount point"
    video.parent.rmdir()
    assert not machine.look().is_gone(video, None)
    assert absent({video: None}, machine.look()) == {video: ""}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may look anywhere")
def test_what_cannot_be_looked_at_is_not_gone(machine, video):
    volume = machine.drive
    video.unlink()
    video.parent.chmod(0)
    try:
        assert is_there(video) is None
        assert not machine.look().is_gone(video, volume)
    finally:
        video.parent.chmod(0o700)


def test_a_folder_that_does_not_answer_is_no_proof(machine, video, monkeypatch):
    volume = machine.drive
    video.unlink()
    real = os.scandir

    def broken(folder):
        if Path(folder) == video.parent:
            raise OSError(5, "Input/output error")
        return real(folder)

    monkeypatch.setattr(module.os, "scandir", broken)
    assert not machine.look().is_gone(video, volume)


def test_a_name_that_is_listed_but_does_not_open_is_not_gone(machine, video):
    volume = machine.drive
    shutil.copy(video, video.parent / "c.mp4")
    video.unlink()
    video.symlink_to(machine.mount / "trip" / "a.mp4")  # to itself: there, and opened by nobody
    assert not machine.look().is_gone(video, volume)


def test_a_file_in_the_place_of_its_folder_removes_what_was_in_it(machine, video):
    volume = machine.drive
    shutil.rmtree(video.parent)
    video.parent.touch()
    assert machine.look().is_gone(video, volume) is False  # a file cannot be listed, so there is doubt


TABLE = rb"""22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 master:2 - ext4 /dev/root rw,discard
40 27 8:17 / /media/my\040drive rw - vfat /dev/sdb1 rw
41 27 0:50 / /mnt/nas rw - nfs4 nas:/export/video rw,vers=4.2
42 27 0:51 /sub /mnt/win rw - cifs //server/my\040share rw
43 41 8:17 /films /mnt/nas/bind rw - vfat /dev/sdb1 rw
44 27 8:33 / /mnt/over rw - xfs /dev/sdc1 rw
45 27 8:49 / /mnt/over rw - xfs /dev/sdd1 rw
46 27 0:52 / /home/u/cloud rw - fuse.sshfs u@host:/v rw
"""


@pytest.fixture
def linux(monkeypatch, tmp_path):
    """A table of mounts and udev's names; nothing of it is mounted here."""
    numbers.clear()
    for kind, name, device in (
        ("by-uuid", "1A2B-3C4D", (8, 17)),
        ("by-label", r"My\x20\xc3\xbc", (8, 17)),
        ("by-uuid", "second", (8, 49)),
    ):
        (tmp_path / kind).mkdir(exist_ok=True)
        (tmp_path / kind / name).touch()
        numbers[tmp_path / kind / name] = os.makedev(*device)
    monkeypatch.setattr(module, "_DISKS", tmp_path)
    monkeypatch.setattr(module.Path, "stat", _numbered(Path.stat))
    monkeypatch.setattr(module.os, "statvfs", lambda place: _Counted())
    return module._Linux(TABLE)


numbers: dict[Path, int] = {}


class _Counted:
    f_fsid, f_blocks, f_frsize = 0, 1000, 512


def _numbered(real):
    def stat(path, **options):
        class Status:
            st_rdev = numbers.get(path, 0)
            st_dev = 0

        return (
            Status() if path in numbers or str(path) in ("/", "/media/my drive", "/mnt/over") else real(path)
        )

    return stat


@pytest.mark.parametrize(
    ("path", "identity", "mount", "label"),
    [
        ("/media/my drive/a/b.mp4", "uuid:1A2B-3C4D", "/media/my drive", "My ü"),
        ("/media/my driver/a", "weak:ext4:/dev/root:512000", "/", "/"),
        ("/mnt/nas", "net:nfs4:nas:/export/video", "/mnt/nas", "nas:/export/video"),
        ("/mnt/nas/a.mp4", "net:nfs4:nas:/export/video", "/mnt/nas", "nas:/export/video"),
        ("/mnt/win/a", "net:cifs://server/my share", "/mnt/win", "//server/my share"),
        ("/mnt/over/a", "uuid:second", "/mnt/over", "over"),
        ("/home/u/cloud/a", "net:fuse.sshfs:u@host:/v", "/home/u/cloud", "u@host:/v"),
    ],
)
def test_the_table_of_mounts_tells_volumes(linux, path, identity, mount, label):
    assert linux.mounted_at(Path(path)) == Volume(identity=identity, mount=Path(mount), label=label)


def test_a_bind_mount_is_the_same_volume_at_another_place(linux, monkeypatch):
    numbers[Path("/mnt/nas/bind")] = 0
    bound, drive = linux.mounted_at(Path("/mnt/nas/bind/a.mp4")), linux.mounted_at(Path("/media/my drive/a"))
    assert bound.identity == drive.identity
    assert bound.mount == Path("/mnt/nas/bind")


def test_an_id_that_only_repeats_the_device_is_not_taken(linux, monkeypatch):
    monkeypatch.setattr(_Counted, "f_fsid", (8 << 8) | 17)
    assert linux.mounted_at(Path("/media/my drive/a")).identity == "uuid:1A2B-3C4D"


def test_an_id_of_the_file_system_itself_needs_no_udev(linux, monkeypatch):
    monkeypatch.setattr(_Counted, "f_fsid", 0xEC9A9A36A4794E08)
    assert linux.mounted_at(Path("/media/my drive/a")).identity == "fsid:ec9a9a36a4794e08"


def test_a_size_is_a_weak_identity():
    assert is_weak(Volume(identity="weak:vfat:/dev/sdb1:512", mount=Path("/x"), label="x"))
    assert not is_weak(Volume(identity="uuid:1", mount=Path("/x"), label="x"))


def test_this_machine_knows_its_volumes(tmp_path):
    here, root = Volumes().of(tmp_path / "none" / "a.mp4"), Volumes().of(Path("/"))
    assert root.mount == Path("/")
    assert here.mount in (tmp_path, *tmp_path.parents)
    assert Volumes().of(tmp_path) == here, "the same when asked again"
    assert not Volumes().is_gone(tmp_path, here)
    (tmp_path / "b.mp4").touch()
    assert Volumes().is_gone(tmp_path / "a.mp4", here)


def test_without_a_table_the_next_mount_point_above_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MOUNTS", tmp_path / "none")
    (tmp_path / "usb").mkdir()
    at = tmp_path / "usb"
    monkeypatch.setattr(module.os.path, "ismount", lambda path: Path(path) in (at, Path("/")))
    found = Volumes().of(at / "a" / "b.mp4")
    assert (found.mount, found.label) == (at, "usb")
    assert found.identity.startswith("weak:usb:")
    assert Volumes().of(tmp_path).mount == Path("/")


@pytest.fixture
def tmpfs(tmp_path):
    """A real volume that can be mounted and unmounted, where the tests may do that."""
    place = tmp_path / "mnt"
    place.mkdir()

    def mount() -> None:
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", place], capture_output=True)
        if done.returncode:
            pytest.skip(f"no right to mount: {done.stderr.decode().strip()}")

    if shutil.which("mount") is None:
        pytest.skip("no mount command")
    mount()
    yield place, mount
    subprocess.run(["umount", place], capture_output=True)


def test_a_real_mount_is_told_from_what_is_mounted_after_it(tmpfs):
    place, mount = tmpfs
    (place / "a.mp4").touch()
    (place / "b.mp4").touch()
    volume = Volumes().of(place / "a.mp4")
    assert volume.mount == place
    (place / "a.mp4").unlink()
    assert Volumes().is_gone(place / "a.mp4", volume)
    subprocess.run(["umount", place], check=True)
    assert not Volumes().is_gone(place / "a.mp4", volume)
    assert absent({place / "a.mp4": volume}, Volumes()) == {place / "a.mp4": "mnt"}
    mount()
    (place / "c.mp4").touch()
    assert not Volumes().is_gone(place / "a.mp4", volume), "another file system at the same place"
