"""Fixtures for every room: an isolated home, no network, the shared media where they are."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

SHARED = Path(os.environ.get("SAVE_SHARED", Path(__file__).resolve().parents[2] / "shared"))


@pytest.fixture(autouse=True)
def _isolated(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No test sees the user's store, settings or network."""
    home = tmp_path_factory.mktemp("home")
    for name in list(os.environ):
        if name.startswith("SAVE_") and name != "SAVE_SHARED":
            monkeypatch.delenv(name)
    monkeypatch.setenv("SAVE_HOME", str(home / "save"))
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setattr(socket.socket, "connect", _refuse_network)


def _refuse_network(self: socket.socket, address: object) -> None:
    if self.family != socket.AF_UNIX:
        raise AssertionError(f"a test tried to reach {address}")


@pytest.fixture(scope="session")
def shared_media() -> Path:
    """Real clips with captions and broken files; absent outside our own workplace."""
    if not (SHARED / "media" / "manifest.csv").exists():
        pytest.skip("needs ../shared/media: real clips that are not ours to distribute")
    return SHARED / "media"
