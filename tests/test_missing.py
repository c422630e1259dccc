"""When a file that is gone is forgotten, whatever the clock does, and what no look may take for gone."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from savecli.datatypes import Volume
from savecli.media.volumes import Volumes
from savecli.missing import DAY_S, LEAP_S, WAIT_S, has_leapt, is_due, losses

START = 1_790_000_000.0
USB = Volume(identity="uuid:usb", mount=Path("/v"), label="USB")


@pytest.mark.parametrize(
    ("clock", "now", "leapt"),
    [
        (START, START, False),
        (START, START + WAIT_S, False),
        (START, START + LEAP_S, False),
        (START, START + LEAP_S + 1, True),
        (START, START - 1, True),
        (0.0, START, True),
    ],
)
def test_a_clock_that_went_back_or_far_ahead_is_not_believed(clock, now, leapt):
    assert has_leapt(clock, now) == leapt


@pytest.mark.parametrize(
    ("missing_since", "days", "due"),
    [(None, 99, False), (START, 0, False), (START, 29.99, False), (START, 30, True), (START, -1, False)],
)
def test_thirty_days_must_pass(missing_since, days, due):
    assert is_due(missing_since, START + days * DAY_S) == due


# -- the rule at work ----------------------------------------------------------------------------------------


class Library:
    """A store with one video whose file is gone, and looks at it by a clock that may lie."""

    def __init__(self, store, folder):
        self.store, self.path = store, folder / "gone.mp4"
        (folder / "other.mp4").touch()
        self.volume = Volume(identity="uuid:usb", mount=folder, label="USB")
        self.away = False

    def look(self, now, **options):
        """One look, and what a run makes of it; whether the file is still known afterwards."""
        other = Volume(identity="uuid:other", mount=self.volume.mount, label="OTHER")
        volumes = Volumes(lambda _: other if self.away else self.volume)
        lost = losses(self.store.known(), {}, self.store, volumes, now=now, **options)
        if lost.due:
            self.store.unlink(*lost.due)
        if lost.is_news:
            self.store.survey(seen=lost.seen, missing=lost.gone, now=lost.now, afresh=lost.afresh)
        return self.path in self.store.known()


@pytest.fixture
def library(put, colour_store, tmp_path):
    folder = tmp_path / "drive"
    folder.mkdir()
    made = Library(colour_store, folder)
    put(made.path, ["red"], volume=made.volume)
    return made


def test_a_file_is_forgotten_by_the_first_run_after_thirty_days(library):
    assert library.look(START)
    assert library.store.known()[library.path].missing_since == START
    assert library.look(START + 29 * DAY_S)
    assert library.store.known()[library.path].missing_since == START
    assert not library.look(START + 30 * DAY_S)
    assert library.store.videos() == []


def test_one_later_run_is_enough(library):
    library.look(START)
    assert not library.look(START + 31 * DAY_S)


def test_no_wait_where_none_is_wanted(library):
    assert not library.look(START, sweep=True)


def test_a_drive_that_is_away_keeps_its_files_for_ever(library):
    library.look(START)
    library.away = True
    assert library.look(START + 100 * DAY_S)
    assert library.look(START + 110 * DAY_S, sweep=True)
    library.away = False
    assert not library.look(START + 120 * DAY_S)


def test_a_file_that_comes_back_starts_anew(library):
    library.look(START)
    library.path.touch()
    assert library.look(START + 20 * DAY_S)
    assert library.store.known()[library.path].missing_since is None
    library.path.unlink()
    library.look(START + 25 * DAY_S)
    assert library.look(START + 40 * DAY_S)
    assert not library.look(START + 55 * DAY_S)


def test_a_leap_of_one_run_delays_what_another_folder_misses(library, put, tmp_path):
    elsewhere = tmp_path / "drive" / "b.mp4"
    put(elsewhere, ["green"], volume=library.volume)
    library.look(START)
    far = START + 5 * 365 * DAY_S
    known = {library.path: library.store.known()[library.path]}
    lost = losses(known, {}, library.store, Volumes(lambda _: library.volume), now=far)
    assert (lost.afresh, lost.due) == (True, ())
    library.store.survey(seen={}, missing=lost.gone, now=far, afresh=lost.afresh)
    assert library.look(far + DAY_S)
    assert elsewhere in library.store.known()


def test_a_look_that_finds_nothing_new_is_no_news(library):
    volumes = Volumes(lambda _: library.volume)

    def news(now):
        return losses(library.store.known(), {}, library.store, volumes, now=now).is_news

    assert news(START)
    library.look(START)
    assert not news(START + 60)
    assert news(START + DAY_S), "the clock of the last look must not fall behind"
    assert news(START - 60)


def test_a_file_on_another_volume_than_before_is_news(library):
    library.path.touch()
    moved = Volume(identity="uuid:new", mount=library.volume.mount, label="NEW")
    for volume, is_news in ((library.volume, False), (moved, True)):
        found = {library.path: volume}
        lost = losses(library.store.known(), found, library.store, Volumes(lambda _: moved), now=START)
        assert lost.is_news == is_news
        assert dict(lost.seen) == ({library.path: moved} if is_news else {})


GAPS = st.floats(0.01, 170)
LIES = st.one_of(st.none(), st.floats(-5000, -0.1), st.floats(LEAP_S / DAY_S + 171, 20_000))


@given(runs=st.lists(st.tuples(GAPS, LIES), min_size=1, max_size=40))
def test_no_lie_of_the_clock_shortens_the_wait(runs):
    """The clock goes back by any step, or ahead by more than half a year; true days are counted beside it."""
    true_days = lie_days = 0.0
    missing_since, clock = START, START
    for gap_days, lie in runs:
        true_days += gap_days
        before = START + (true_days - gap_days + lie_days) * DAY_S
        lie_days += lie or 0.0
        now = START + (true_days + lie_days) * DAY_S
        assert clock == pytest.approx(before, rel=1e-12)  # the same days, added up in another order
        if has_leapt(clock, now):
            missing_since = now
        elif is_due(missing_since, now):
            assert true_days * DAY_S >= WAIT_S * (1 - 1e-9)
            return
        clock = now
