"""Which volume a file lies on, and whether a file that cannot be found is gone or only out of reach.

A volume is known by an identity that stays with it from mount to mount:

- a network share by its address;
- on Linux a file system by the id that statfs gives, where that comes from the file system itself (ext4,
  btrfs, ZFS, tmpfs), and by its UUID (/dev/disk/by-uuid) where statfs only repeats the number of the device
  (XFS, FAT, NTFS): https://man7.org/linux/man-pages/man2/statfs.2.html;
- on Windows by its serial number, which Python gives as `st_dev`;
- anywhere else, and where none of this is there, by name and size. Such an identity is called weak.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from savecli.datatypes import Volume

MOUNTS = Path("/proc/self/mountinfo")
_DISKS = Path("/dev/disk")
_NETWORK = re.compile(r"(nfs|cifs|smb|afs|ceph|gluster|9p|virtiofs|davfs|fuse\.)")
_WEAK = "weak:"


class Volumes:
    """The volumes as they are mounted at the moment when this is made.

    Args:
        mounted_at: a path without links -> the volume that it lies on; None asks this machine.
    """

    def __init__(self, mounted_at: Callable[[Path], Volume] | None = None) -> None:
        self._mounted_at = mounted_at or _this_machine()
        self._listed: dict[Path, frozenset[str] | None] = {}

    def of(self, path: Path) -> Volume:
        """The volume of a path, which need not exist; links are followed."""
        return self._mounted_at(_real(path))

    def is_mounted(self, path: Path, volume: Volume) -> bool:
        """Whether `volume` is mounted where it was when `path` was seen on it, and is not an empty shell."""
        now = self.of(path)
        at_its_place = (now.identity, now.mount) == (volume.identity, volume.mount)
        return at_its_place and self._names(now.mount) != frozenset()

    def is_gone(self, path: Path, volume: Volume | None) -> bool:
        """Whether a file is certain to have been removed or renamed: False if it is there, or in any doubt.

        It is, if its volume is mounted at its place and holds anything at all, and the nearest folder above
        it that still exists can be listed and has no such entry. Of a file whose volume is not known, the
        folder that it lay in must still be there and hold something: a mount point that lost its volume is
        empty.
        """
        if is_there(path) is not False:
            return False
        real = _real(path)
        folder, name = real.parent, real.name
        if volume is None:
            names = self._names(folder)
            return bool(names) and name not in (names or ())
        if not self.is_mounted(path, volume):
            return False
        while not os.path.lexists(folder) and folder != folder.parent:
            folder, name = folder.parent, folder.name
        names = self._names(folder)
        return (
            self._mounted_at(folder).identity == volume.identity and names is not None and name not in names
        )

    def _names(self, folder: Path) -> frozenset[str] | None:
        """What a folder lists; None where it cannot be listed."""
        if folder not in self._listed:
            try:
                with os.scandir(folder) as entries:
                    self._listed[folder] = frozenset(entry.name for entry in entries)
            except OSError:
                self._listed[folder] = None
        return self._listed[folder]


def is_weak(volume: Volume) -> bool:
    """Whether another volume could have the same identity, or this one another after the next mount."""
    return volume.identity.startswith(_WEAK)


def is_there(path: Path) -> bool | None:
    """Whether a path leads to something; None where that cannot be told."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return None
    return True


def absent(files: Mapping[Path, Volume | None], volumes: Volumes) -> dict[Path, str]:
    """Those of `files` that cannot be opened now, each with the label of its drive if that is not mounted.

    The label is "" where the drive is mounted or not known, so that the file itself is not there.
    """
    away = {}
    for path, volume in files.items():
        if not is_there(path):
            unplugged = volume is not None and not volumes.is_mounted(path, volume)
            away[path] = volume.label if volume is not None and unplugged else ""
    return away


def _real(path: Path) -> Path:
    # Not Path.resolve, which raises where links lead round in a circle.
    return Path(os.path.realpath(path))


def _this_machine() -> Callable[[Path], Volume]:
    try:
        return _Linux(MOUNTS.read_bytes()).mounted_at
    except OSError:
        return _portable


class _Mount(NamedTuple):
    """A line of mountinfo: kind of file system, what is mounted, and the number of its device."""

    kind: str
    source: str
    device: int


class _Linux:
    """The table of mounts, read once; volumes are asked for their identity when they are first needed."""

    def __init__(self, table: bytes) -> None:
        self._mounts = _parse(table)
        self._volumes: dict[Path, Volume] = {}

    def mounted_at(self, real: Path) -> Volume:
        place = self._place(real)
        if self._mounts[place].kind == "autofs":  # mounts when it is looked into
            is_there(real)
            self._mounts = _parse(MOUNTS.read_bytes())
            place = self._place(real)
        if place not in self._volumes:
            self._volumes[place] = _volume(place, self._mounts[place])
        return self._volumes[place]

    def _place(self, real: Path) -> Path:
        """The nearest folder above that is a mount point."""
        while real not in self._mounts and real != real.parent:
            real = real.parent
        self._mounts.setdefault(real, _Mount("", "", 0))  # no table shows the root of some chroots
        return real


def _parse(table: bytes) -> dict[Path, _Mount]:
    """Mounts by place; where one covers another, the upper one.

    https://man7.org/linux/man-pages/man5/proc_pid_mountinfo.5.html
    """
    mounts = {}
    for row in table.splitlines():
        fields = row.split(b" ")
        kind, source = fields[fields.index(b"-") + 1 :][:2]
        major, _, minor = fields[2].partition(b":")
        place = Path(os.fsdecode(_unescaped(fields[4])))
        mounts[place] = _Mount(
            os.fsdecode(kind), os.fsdecode(_unescaped(source)), os.makedev(int(major), int(minor))
        )
    return mounts


def _volume(place: Path, mount: _Mount) -> Volume:
    if (
        _NETWORK.match(mount.kind) and mount.source
    ):  # not touched: a server that is away answers late, or never
        return Volume(identity=f"net:{mount.kind}:{mount.source}", mount=place, label=mount.source)
    device = _device(mount)
    label = _links("by-label").get(device, place.name or str(place))
    return Volume(identity=_local_identity(place, mount, device), mount=place, label=label)


def _local_identity(place: Path, mount: _Mount, device: int) -> str:
    try:
        counted, number = os.statvfs(place), place.stat().st_dev
    except OSError:
        return f"{_WEAK}{mount.kind}:{mount.source}"
    if counted.f_fsid not in (0, _encoded(number), _encoded(device)):
        return f"fsid:{counted.f_fsid:x}"
    if uuid := _links("by-uuid").get(device):
        return f"uuid:{uuid}"
    return f"{_WEAK}{mount.kind}:{mount.source}:{counted.f_blocks * counted.f_frsize}"


def _device(mount: _Mount) -> int:
    """Of the disk: btrfs shows a number of its own in the table."""
    try:
        return Path(mount.source).stat().st_rdev or mount.device if mount.source[:1] == "/" else mount.device
    except OSError:
        return mount.device


def _encoded(device: int) -> int:
    """A device's number as the kernel writes it into f_fsid (new_encode_dev)."""
    minor = os.minor(device)
    return (minor & 0xFF) | (os.major(device) << 8) | ((minor & ~0xFF) << 12)


def _links(kind: str) -> dict[int, str]:
    """The names that udev gives to disks, by the number of the device."""
    found = {}
    try:
        for link in (_DISKS / kind).iterdir():
            found[link.stat().st_rdev] = re.sub(
                r"(\\x[0-9a-f]{2})+", lambda m: _unhex(m[0]), link.name, flags=re.IGNORECASE
            )
    except OSError:
        pass
    return found


def _unhex(escaped: str) -> str:
    return bytes.fromhex(escaped.replace("\\x", "")).decode("utf-8", "replace")


def _unescaped(field: bytes) -> bytes:
    return re.sub(rb"\\([0-7]{3})", lambda m: bytes([int(m[1], 8)]), field)


def _portable(place: Path) -> Volume:
    """Without a table of mounts: the nearest folder above that is a mount point."""
    while not os.path.ismount(place) and place != place.parent:
        place = place.parent
    name = place.name or str(place)
    try:
        if sys.platform == "win32":
            # The lower half alone: newer Pythons give 64 bits of it on NTFS.
            return Volume(identity=f"serial:{place.stat().st_dev & 0xFFFFFFFF:08x}", mount=place, label=name)
        counted = os.statvfs(place)
        size = str(counted.f_blocks * counted.f_frsize)
    except OSError:
        size = ""
    return Volume(identity=f"{_WEAK}{name}:{size}", mount=place, label=name)
