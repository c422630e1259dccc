"""The teacher's features, by batch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from savecli.errors import ConfigError
from savecli.model.step import Teacher
from savecli.model.teacher_file import read_teacher


class Lessons:
    """What the teacher says of videos, by their ids; it need not know all.

    Args:
        path: of the file of features.
        device: where batches go.

    Raises:
        WeightsError: no such file, or not one of features.
    """

    def __init__(self, path: Path, device: torch.device) -> None:
        features = read_teacher(path)
        self._path = path
        self._rows = {video_id: i for i, video_id in enumerate(features.video_ids)}
        self._audio, self._video = (torch.from_numpy(rows) for rows in (features.audio, features.video))
        self._device = device

    def notes(self, video_ids: Sequence[str]) -> list[str]:
        """What is to be said of a training on these videos.

        Raises:
            ConfigError: the teacher knows none of them: it was taught on others.
        """
        n_unknown = sum(video_id not in self._rows for video_id in video_ids)
        if n_unknown == len(video_ids):
            raise ConfigError(
                f"{self._path} knows none of the {n_unknown} training videos",
                hint="make it of this benchmark with save train teacher",
            )
        return [f"the teacher knows nothing of {n_unknown} training videos"] if n_unknown else []

    def of(self, video_ids: Sequence[str]) -> Teacher:
        """One row for each video; of those it does not know, any row, and the word that it does not."""
        rows = torch.tensor([self._rows.get(video_id, -1) for video_id in video_ids])
        return Teacher(
            audio=self._audio[rows].to(self._device),
            video=self._video[rows].to(self._device),
            knows=(rows >= 0).to(self._device),
        )
