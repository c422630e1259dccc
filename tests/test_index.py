"""The index flow on real files, with an encoder that knows colours: what is read, what is left alone."""

from __future__ import annotations

import os
import shutil
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from savecli.datatypes import Utterance, Volume
from savecli.errors import MediaCrash, MediaTimeout, SpeechError, StoreError, WeightsError
from savecli.events import Indexed, Moved, Planned, Progress, Removed, Skipped, Summary, Unchanged
from savecli.index import N_ATTEMPTS, Options, index, news_in_s
from savecli.media.volumes import Volumes
from savecli.missing import DAY_S
from savecli.pipeline import Pipeline
from savecli.search import search
from savecli.store import Store

COLOURS = ("red", "green", "blue")
SAID = Utterance(start_s=0.5, end_s=1.0, text="green words")


class Bench:
    """A folder of videos, a store, and a count of how often the models were loaded."""

    def __init__(self, folder, store, decoder, encoder):
        self.folder, self.store, self.encoder, self.decoder = folder, store, encoder, decoder
        self.transcriber = None
        self.n_opened = 0
        self.n_closed = 0
        self.mounts = {}
        self.mount(Path("/"), "root")
        self.now = 1_790_000_000.0

    @contextmanager
    def open_pipeline(self):
        self.n_opened += 1
        try:
            yield Pipeline(self.decoder, self.encoder, self.transcriber)
        finally:
            self.n_closed += 1

    def options(self, *paths, **options):
        asr = self.transcriber.name if self.transcriber else "off"
        return Options(paths=paths or (self.folder,), asr=asr, **options)

    def look(self):
        return Volumes(self.mounted_at)

    def mounted_at(self, path):
        """The volume at the lowest of the mount points above `path`."""
        return self.mounts[
            max((m for m in self.mounts if m in (path, *path.parents)), key=lambda m: len(m.parts))
        ]

    def mount(self, folder, name):
        folder.mkdir(exist_ok=True, parents=True)
        self.mounts[folder] = Volume(identity=f"uuid:{name}", mount=folder, label=name)

    def unmount(self, folder):
        """What was in it is out of sight; the mount point stays. Returns where it is kept."""
        del self.mounts[folder]
        kept = folder.rename(folder.with_name(folder.name + " unplugged"))
        folder.mkdir()
        return kept

    def remount(self, folder, name):
        """Puts back what `unmount` took away."""
        folder.rmdir()
        folder.with_name(folder.name + " unplugged").rename(folder)
        self.mount(folder, name)

    def events(self, *paths, **options):
        chosen = self.options(*paths, **options)
        return index(chosen, self.store, self.open_pipeline, look=self.look, now=lambda: self.now)

    def has_news(self, *paths, **options):
        chosen = self.options(*paths, **options)
        return news_in_s(chosen, self.store, look=self.look, now=lambda: self.now) is not None

    def run(self, *paths, **options):
        """All events but progress."""
        return [e for e in self.events(*paths, **options) if not isinstance(e, Progress)]


@pytest.fixture
def bench(tmp_path, colour_store, decoder, encoder):
    (tmp_path / "videos").mkdir()
    return Bench(tmp_path / "videos", colour_store, decoder, encoder)


@pytest.fixture
def two(bench, colour_video):
    """A red and a blue video."""
    return [colour_video(bench.folder / f"{colour}.mp4", colour) for colour in ("blue", "red")]


@pytest.fixture
def broken(bench):
    path = bench.folder / "broken.mp4"
    path.write_bytes(b"\0\0\0\x18ftypisom" + bytes(5000))
    return path


def kinds(events):
    return [type(event) for event in events]


def found(bench, query):
    results = search(query, bench.store, bench.encoder)
    return [moment.path.name for moment in results.moments]


def test_a_first_run_tells_its_plan_each_video_and_a_summary(bench, two):
    planned, first, second, summary = bench.run()
    assert planned == Planned(n_files=2, n_bytes=sum(path.stat().st_size for path in two))
    assert [first.path, second.path] == two
    assert first.n_segments == 1
    assert first.has_audio
    assert first.duration_s == pytest.approx(2, abs=0.1)
    assert first.stage_s.keys() >= {"decode", "see", "store"}
    assert (summary.n_indexed, summary.n_unchanged, summary.n_skipped) == (2, 0, 0)
    assert summary.footage_s == pytest.approx(first.duration_s + second.duration_s)
    assert bench.n_opened == bench.n_closed == 1
    assert found(bench, "red") == ["red.mp4"]


def test_each_video_is_stored_before_it_is_told(bench, two):
    for event in bench.events():
        if isinstance(event, Indexed):
            assert bench.store.video(event.path) is not None


def test_a_second_run_reads_nothing(bench, two):
    bench.run()
    before = bench.store.counts()
    again = bench.run()
    assert again[:2] == [Unchanged(path=path) for path in two]
    assert again[2] == Planned(n_files=0, n_bytes=0)
    assert again[3].n_unchanged == 2
    assert bench.n_opened == 1, "no model is loaded for nothing"
    assert bench.store.counts() == before


def test_an_empty_folder_is_an_empty_run(bench):
    planned, summary = bench.run()
    assert planned.n_files == summary.n_indexed == 0
    assert bench.n_opened == 0


def test_a_changed_file_is_read_again(bench, two, colour_video):
    bench.run()
    colour_video(two[1], "green", "green")
    events = bench.run()
    assert kinds(events) == [Unchanged, Planned, Indexed, Summary]
    assert events[2].path == two[1]
    assert found(bench, "green") == ["red.mp4"]
    assert found(bench, "red") == [], "what it showed before is gone"
    assert bench.store.counts().n_videos == 2


def test_a_touched_file_is_known_by_its_content(bench, two):
    bench.run()
    os.utime(two[0], ns=(1, 1))
    assert kinds(bench.run()) == [Unchanged, Planned, Unchanged, Summary]
    assert bench.n_opened == 1
    assert kinds(bench.run()) == [Unchanged, Unchanged, Planned, Summary], "its new time is remembered"


def test_a_moved_file_keeps_what_is_known_of_it(bench, two):
    bench.run()
    target = bench.folder / "deeper" / "renamed.mp4"
    target.parent.mkdir()
    two[1].rename(target)
    events = bench.run()
    assert Moved(path=target, old_path=two[1]) in events
    assert events[-1].n_moved == 1
    assert bench.n_opened == 1
    assert set(bench.store.known()) == {two[0], target}
    assert found(bench, "red") == ["renamed.mp4"]


def test_a_copy_is_found_without_being_read(bench, two):
    bench.run()
    copy = shutil.copyfile(two[1], bench.folder / "z copy.mp4")
    event = next(e for e in bench.run() if isinstance(e, Indexed))
    assert event.path == copy
    assert event.notes[-1] == f"a copy of {two[1]}"
    assert bench.n_opened == 1
    assert bench.store.counts().n_videos == 2
    assert bench.store.video(copy).paths == (two[1], copy)


def test_two_copies_in_one_run_are_read_once(bench, two):
    shutil.copyfile(two[1], bench.folder / "z copy.mp4")
    events = bench.run()
    assert events[-1].n_indexed == 3
    assert len(bench.encoder.seen) == 2


def test_one_bad_file_stops_no_other(bench, two, broken):
    events = bench.run()
    assert kinds(events) == [Planned, Indexed, Skipped, Indexed, Summary]
    skipped = events[2]
    assert skipped.path == broken
    assert skipped.reason
    assert skipped.hint
    assert not skipped.known
    assert events[-1].n_skipped == 1


def test_a_failure_is_remembered_until_the_file_changes(bench, broken, colour_video):
    first = next(e for e in bench.run() if isinstance(e, Skipped))
    n_opened = bench.n_opened
    again = next(e for e in bench.run() if isinstance(e, Skipped))
    assert again.known
    assert (again.reason, again.hint) == (first.reason, first.hint)
    assert bench.n_opened == n_opened
    colour_video(broken, "red")
    assert kinds(bench.run()) == [Planned, Indexed, Summary]
    assert bench.store.known()[broken].reason is None


def test_force_reads_everything_again(bench, two, broken):
    bench.run()
    events = bench.run(force=True)
    assert kinds(events) == [Planned, Indexed, Skipped, Indexed, Summary]
    assert not events[2].known
    assert bench.store.known()[broken].attempts == 2
    assert bench.store.counts().n_videos == 2


def test_a_name_that_only_claims_to_be_a_video_is_told(bench, two):
    (bench.folder / "notes.mp4").write_text("shopping list")
    (bench.folder / "notes.txt").write_text("shopping list")
    skipped = [e for e in bench.run() if isinstance(e, Skipped)]
    assert [event.path.name for event in skipped] == ["notes.mp4"]
    assert "plain text" in skipped[0].reason


def test_a_path_that_is_not_there_is_told(bench):
    skipped, *_ = bench.run(bench.folder / "nowhere")
    assert isinstance(skipped, Skipped)
    assert "no such file" in skipped.reason


def test_left_out_names_stay_out(bench, two):
    assert [e.path.name for e in bench.run(exclude=("blue*",)) if isinstance(e, Indexed)] == ["red.mp4"]


def test_a_file_that_goes_away_before_its_turn_is_told(bench, two):
    events = bench.events()
    next(events)
    two[0].unlink()
    rest = [e for e in events if not isinstance(e, Progress)]
    assert kinds(rest) == [Skipped, Indexed, Summary]
    assert rest[0].path == two[0]


def test_a_file_that_goes_away_while_it_is_read_is_not_stored(bench, two):
    kept = []
    for event in bench.events():
        kept.append(event)
        if isinstance(event, Progress) and (event.path, event.stage) == (two[0], "see"):
            two[0].unlink(missing_ok=True)
    skipped = next(e for e in kept if isinstance(e, Skipped))
    assert skipped.path == two[0]
    assert "went away" in skipped.reason
    assert bench.store.video(two[0]) is None
    assert kept[-1].n_indexed == 1


def test_a_file_that_still_grows_is_read_in_the_next_run(bench, two):
    for event in bench.events(two[0]):
        if isinstance(event, Progress):
            with two[0].open("ab") as file:
                file.write(b"\0\0\0\x08free")
        if isinstance(event, Skipped):
            assert "while it was read" in event.reason
    assert bench.store.video(two[0]) is None
    assert kinds(bench.run(two[0])) == [Planned, Indexed, Summary]


@pytest.mark.parametrize(
    "error", [WeightsError("no weights"), SpeechError("no engine")], ids=["weights", "speech"]
)
def test_what_no_file_would_survive_ends_the_run(bench, two, parrot, error):
    bench.transcriber = parrot(error=error)
    with pytest.raises(type(error), match=error.message):
        bench.run()
    assert bench.n_closed == 1
    assert bench.store.known() == {}, "no file is blamed"
    assert bench.store.check() == []
    bench.transcriber = None
    assert bench.run()[-1].n_indexed == 2


def test_models_that_do_not_load_end_the_run_after_what_needs_none(bench, two):
    bench.run(two[0])

    @contextmanager
    def missing():
        raise WeightsError("not there")
        yield

    bench.open_pipeline = missing
    events = bench.events()
    assert next(events) == Unchanged(path=two[0])
    assert isinstance(next(events), Planned)
    with pytest.raises(WeightsError):
        next(events)


def test_an_encoder_of_another_width_harms_nothing(bench, two, monkeypatch):
    bench.run(two[0])
    narrow = bench.encoder._embed
    monkeypatch.setattr(bench.encoder, "_embed", lambda media: _narrower(narrow(media)))
    with pytest.raises(StoreError, match="numbers"):
        bench.run()
    assert bench.store.check() == []
    assert found(bench, "blue") == ["blue.mp4"]


def _narrower(embedding):
    cut = [getattr(embedding, kind)[:, :3] for kind in ("seen", "frames", "said")]
    return type(embedding)(seen=cut[0], frames=cut[1], said=cut[2])


def test_a_run_that_is_given_up_keeps_what_it_told(bench, two):
    events = bench.events()
    for event in events:
        if isinstance(event, Indexed):
            break
    events.close()
    assert bench.n_closed == 1, "the models are let go"
    assert set(bench.store.known()) == {two[0]}
    assert bench.store.check() == []
    assert kinds(bench.run()) == [Unchanged, Planned, Indexed, Summary]


def test_a_run_that_is_given_up_in_the_middle_of_a_video_keeps_nothing_of_it(bench, two):
    events = bench.events()
    while not isinstance(next(events), Progress):
        pass
    events.close()
    assert bench.store.known() == {}
    assert bench.store.check() == []
    assert bench.run()[-1].n_indexed == 2


def test_what_is_said_is_found(bench, two, parrot):
    bench.transcriber = parrot(SAID)
    first = next(e for e in bench.run() if isinstance(e, Indexed))
    assert first.speech_s == pytest.approx(0.5)
    assert bench.store.video(first.path).asr == "parrot"
    assert bench.store.transcript(bench.store.video(first.path).video_id).utterances == (SAID,)


def test_videos_read_with_speech_turned_off_are_counted_later(bench, two, colour_video, parrot):
    colour_video(bench.folder / "mute.mp4", "green", loudness=None)
    assert bench.run()[-1].n_without_speech == 0
    bench.transcriber = parrot()
    assert bench.run()[-1].n_without_speech == 2, "the one without sound has nothing to say"
    bench.run(force=True)
    assert bench.run()[-1].n_without_speech == 0


def test_a_link_and_its_target_are_one_file(bench, two):
    (bench.folder / "link.mp4").symlink_to(two[0])
    assert bench.run()[-1].n_indexed == 2


def test_a_name_that_is_no_unicode_is_read_and_found_again(bench, two):
    strange = bench.folder / os.fsdecode(b"caf\xe9 \xff.mp4")
    two[1].rename(strange)
    assert bench.run()[-1].n_indexed == 2
    assert bench.run()[-1].n_unchanged == 2
    assert search("red", bench.store, bench.encoder).moments[0].path == strange


# -- files that go away --------------------------------------------------------------------------------------


@pytest.fixture
def usb(bench, colour_video):
    """A drive with a red and a blue video in a folder, beside a green one at home; all are indexed."""
    drive = bench.folder.parent / "media" / "usb"
    bench.mount(drive, "USB")
    for colour in ("blue", "red"):
        colour_video(drive / "trip" / f"{colour}.mp4", colour)
    colour_video(bench.folder / "green.mp4", "green")
    assert bench.run(drive, bench.folder)[-1].n_indexed == 3
    return drive


def missing(bench):
    return {path.name for path, file in bench.store.known().items() if file.missing_since is not None}


def drives(bench, query):
    results = search(query, bench.store, bench.encoder, look=bench.look)
    return [(moment.path.name, moment.mounted, moment.drive) for moment in results.moments]


def test_each_file_is_stored_with_what_it_lies_on(bench, usb):
    labels = {path.name: file.volume.label for path, file in bench.store.known().items()}
    assert labels == {"blue.mp4": "USB", "red.mp4": "USB", "green.mp4": "root"}


def test_a_removed_file_is_marked_and_forgotten_a_month_later(bench, usb):
    (usb / "trip" / "red.mp4").unlink()
    events = bench.run(usb)
    assert kinds(events) == [Unchanged, Planned, Summary]
    assert (events[-1].n_missing, events[-1].n_removed) == (1, 0)
    assert missing(bench) == {"red.mp4"}
    assert drives(bench, "red") == [("red.mp4", False, "")]
    bench.now += 30 * DAY_S
    events = bench.run(usb)
    assert kinds(events) == [Unchanged, Planned, Removed, Summary]
    assert events[2].path == usb / "trip" / "red.mp4"
    assert (events[-1].n_missing, events[-1].n_removed) == (0, 1)
    assert found(bench, "red") == []
    assert bench.store.check() == []


def test_sweeping_forgets_at_once_and_only_what_is_gone(bench, usb):
    (usb / "trip" / "red.mp4").unlink()
    events = bench.run(usb, sweep=True)
    assert [e.path.name for e in events if isinstance(e, Removed)] == ["red.mp4"]
    assert {path.name for path in bench.store.known()} == {"blue.mp4", "green.mp4"}


def test_only_what_was_asked_for_is_looked_after(bench, usb):
    (usb / "trip" / "red.mp4").unlink()
    assert bench.run(bench.folder, sweep=True)[-1].n_missing == 0
    assert missing(bench) == set()


def test_a_copy_of_a_forgotten_file_keeps_the_video(bench, usb):
    copy = shutil.copyfile(usb / "trip" / "red.mp4", bench.folder / "copy.mp4")
    bench.run(bench.folder)
    (usb / "trip" / "red.mp4").unlink()
    bench.run(usb, sweep=True)
    assert found(bench, "red") == ["copy.mp4"]
    assert bench.store.video(copy).paths == (copy,)


def test_a_file_that_is_back_is_missing_no_more(bench, usb):
    red = usb / "trip" / "red.mp4"
    kept = red.rename(usb / "kept")
    bench.run(usb, exclude=("kept",))
    assert missing(bench) == {"red.mp4"}
    kept.rename(red)
    assert bench.has_news(usb)
    assert bench.run(usb)[-1].n_missing == 0
    assert missing(bench) == set()
    assert not bench.has_news(usb)


def test_an_unplugged_drive_loses_nothing_and_is_told(bench, usb):
    bench.unmount(usb)
    for options in ({}, {"sweep": True}):
        events = bench.run(usb, **options)
        assert kinds(events) == [Planned, Skipped, Summary]
        assert events[1].path == usb
        assert "the store knows 2 there on drive USB, which is not mounted" in events[1].reason
        assert events[1].hint
        assert (events[2].n_away, events[2].n_missing, events[2].n_removed) == (2, 0, 0)
    assert missing(bench) == set()
    assert drives(bench, "red") == [("red.mp4", False, "USB")]
    bench.remount(usb, "USB")
    assert bench.run(usb)[-1].n_unchanged == 2
    assert drives(bench, "red") == [("red.mp4", True, "")]


def test_a_drive_below_the_folder_is_counted_and_no_fault(bench, usb):
    bench.unmount(usb)
    events = bench.run(usb.parent.parent)
    assert not any(isinstance(e, Skipped) for e in events)
    assert events[-1].n_away == 2


def test_a_mount_point_that_is_gone_loses_nothing(bench, usb):
    bench.unmount(usb)
    usb.rmdir()
    events = bench.run(usb, sweep=True)
    assert kinds(events) == [Skipped, Planned, Summary]
    assert "no such file" in events[0].reason
    assert len(bench.store.known()) == 3


def test_a_share_that_came_up_empty_loses_nothing(bench, usb):
    shutil.rmtree(usb / "trip")
    events = bench.run(usb, sweep=True)
    assert "USB" in next(e.reason for e in events if isinstance(e, Skipped))
    assert len(bench.store.known()) == 3


def test_another_drive_at_the_same_place_takes_nothing_from_the_first(bench, usb, colour_video):
    bench.unmount(usb)
    bench.mount(usb, "OTHER")
    colour_video(usb / "trip" / "red.mp4", "green", "green")
    colour_video(usb / "trip" / "new.mp4", "blue", "blue")
    skipped = next(e for e in bench.run(usb, sweep=True) if isinstance(e, Skipped))
    assert "another drive, USB, was indexed at this place" in skipped.reason
    assert "save forget" in skipped.hint
    assert bench.store.known()[usb / "trip" / "red.mp4"].reason is None
    assert found(bench, "red") == ["red.mp4"]
    assert ("red.mp4", True, "") in drives(bench, "red"), "something of its name can be opened"
    assert bench.run(usb, force=True)[-1].n_skipped == 0, "unless it is wanted"
    assert found(bench, "red") == []


def test_a_library_that_was_copied_to_a_new_drive_goes_on_there(bench, usb, colour_video):
    bench.mount(usb, "NEW")
    colour_video(usb / "trip" / "red.mp4", "green", "green")
    events = bench.run(usb)
    assert kinds(events) == [Unchanged, Planned, Indexed, Summary]
    assert {file.volume.label for file in bench.store.known([usb]).values()} == {"NEW"}


def test_a_file_whose_drive_is_away_was_not_moved(bench, usb):
    away = bench.unmount(usb)
    copy = shutil.copyfile(away / "trip" / "red.mp4", bench.folder / "copy.mp4")
    event = next(e for e in bench.run() if isinstance(e, Indexed))
    assert event.path == copy
    assert set(bench.store.video(copy).paths) == {copy, usb / "trip" / "red.mp4"}


def test_a_file_that_moved_to_another_drive_is_moved(bench, usb):
    target = bench.folder / "red.mp4"
    shutil.move(usb / "trip" / "red.mp4", target)
    assert Moved(path=target, old_path=usb / "trip" / "red.mp4") in bench.run(bench.folder)
    assert bench.store.known()[target].volume.label == "root"


def test_a_renamed_folder_is_moved_and_leaves_nothing_missing(bench, usb):
    (usb / "trip").rename(usb / "journey")
    events = bench.run(usb)
    assert (events[-1].n_moved, events[-1].n_missing) == (2, 0)
    assert bench.n_opened == 1
    assert {path.parent.name for path in bench.store.known([usb])} == {"journey"}


def test_of_two_files_in_the_place_of_one_the_first_has_moved(bench, usb):
    red = usb / "trip" / "red.mp4"
    for name in ("x.mp4", "y.mp4"):
        shutil.copyfile(red, usb / name)
    red.unlink()
    events = bench.run(usb)
    assert Moved(path=usb / "x.mp4", old_path=red) in events
    (copy,) = (e for e in events if isinstance(e, Indexed))
    assert (copy.path, copy.notes[-1]) == (usb / "y.mp4", f"a copy of {usb / 'x.mp4'}")
    assert (events[-1].n_moved, events[-1].n_indexed, events[-1].n_missing) == (1, 1, 0)
    assert bench.store.video(usb / "y.mp4").paths == (usb / "x.mp4", usb / "y.mp4")


@pytest.mark.parametrize("n_together", [1, 2, 100])
def test_moves_are_told_in_order_and_written_before_they_are_told(bench, usb, monkeypatch, n_together):
    monkeypatch.setattr("savecli.index.N_TOGETHER", n_together)
    (usb / "trip").rename(usb / "journey")
    shutil.copyfile(bench.folder / "green.mp4", usb / "journey" / "copy.mp4")
    told = []
    for event in bench.events(usb):
        if isinstance(event, Moved | Indexed):
            told.append(event.path.name)
            assert bench.store.video(event.path) is not None
        if isinstance(event, Moved):
            assert bench.store.video(event.old_path) is None
    assert told == ["blue.mp4", "copy.mp4", "red.mp4"]
    assert bench.store.check() == []


def test_a_file_that_is_left_out_now_is_not_missing(bench, usb):
    (usb / ".saveignore").write_text("red*")
    events = bench.run(usb, sweep=True)
    assert (events[-1].n_unchanged, events[-1].n_missing, events[-1].n_removed) == (1, 0, 0)
    assert len(bench.store.known()) == 3


def test_an_unchanged_run_writes_nothing(bench, usb):
    def revision():
        return bench.store._catalog.rows("SELECT revision FROM state")

    assert not bench.has_news(usb)
    before = revision()
    bench.run(usb)
    assert revision() == before


def test_a_file_that_was_just_written_is_news_when_it_has_rested(bench, two):
    def in_s(settle_s):
        return news_in_s(bench.options(settle_s=settle_s), bench.store, look=bench.look)

    assert in_s(0.0) == 0
    assert 0 < in_s(3600.0) <= 3600
    os.utime(two[0], (time.time() - 10, time.time() - 10))
    assert in_s(9.0) == 0, "one of them has rested"
    bench.run()
    assert in_s(3600.0) is None


@pytest.mark.parametrize("change", ["new", "changed", "removed", "drive"])
def test_news_are_what_a_run_would_write(bench, usb, colour_video, change):
    match change:
        case "new":
            colour_video(usb / "green.mp4", "green", "green")
        case "changed":
            colour_video(usb / "trip" / "red.mp4", "green", "green")
        case "removed":
            (usb / "trip" / "red.mp4").unlink()
        case "drive":
            bench.mount(usb, "NEW")
    assert bench.has_news(usb)
    assert not bench.has_news(bench.folder)
    bench.run(usb)
    assert not bench.has_news(usb)


# -- files that fail -----------------------------------------------------------------------------------------


class Failing:
    """A decoder that fails on every file in the way it is told to."""

    def __init__(self, error):
        self.error, self.n_probed = error, 0

    def probe(self, path):
        self.n_probed += 1
        raise self.error


@pytest.mark.parametrize("error", [MediaTimeout("no headway", hint="?"), MediaCrash("it crashed", hint="?")])
def test_what_may_have_been_the_machines_fault_is_tried_in_three_runs(bench, two, error):
    whole, bench.decoder = bench.decoder, Failing(error)
    for attempt in range(1, N_ATTEMPTS + 1):
        assert bench.has_news(two[0])
        skipped = next(e for e in bench.run(two[0]) if isinstance(e, Skipped))
        assert (skipped.reason, skipped.known) == (error.message, False)
        assert bench.store.known()[two[0]].attempts == bench.decoder.n_probed == attempt
    assert not bench.has_news(two[0])
    assert next(e for e in bench.run(two[0]) if isinstance(e, Skipped)).known
    assert bench.decoder.n_probed == N_ATTEMPTS
    bench.decoder = whole
    os.utime(two[0], ns=(1, 1))
    assert bench.run(two[0])[-1].n_indexed == 1, "it has changed, and has its chance"


def test_only_what_failed_is_retried(bench, two, broken, colour_video):
    bench.run()
    colour_video(bench.folder / "new.mp4", "green")
    events = bench.run(retry_failed=True)
    assert kinds(events) == [Planned, Skipped, Summary]
    assert (events[1].path, events[1].known) == (broken, False)
    assert bench.store.known()[broken].attempts == 2
    assert bench.run(bench.folder / "red.mp4", retry_failed=True)[0].n_files == 0


def test_all_that_failed_is_retried_where_no_folder_is_named(bench, two, broken):
    bench.run()
    chosen = Options(paths=(), retry_failed=True)
    events = list(index(chosen, bench.store, bench.open_pipeline, look=bench.look))
    assert [e.path for e in events if isinstance(e, Skipped)] == [broken]


def test_a_failed_file_that_is_gone_is_forgotten_like_any_other(bench, two, broken):
    bench.run()
    broken.unlink()
    assert [e.path for e in bench.run(sweep=True) if isinstance(e, Removed)] == [broken]
    assert bench.store.counts().n_failed == 0


# -- files that are being written ----------------------------------------------------------------------------


def test_a_file_that_was_just_written_is_left_in_peace_first(bench, two):
    started = time.time()
    events = bench.run(settle_s=0.6)
    assert events[-1].n_indexed == 2
    assert time.time() - two[1].stat().st_mtime >= 0.6
    assert time.time() - started < 30


def test_a_file_that_is_still_being_written_is_left_for_the_next_run(bench, two, monkeypatch):
    def write_on(_):
        with two[0].open("ab") as file:
            file.write(b"\0\0\0\x08free")

    os.utime(two[1], ns=(1, 1))
    with monkeypatch.context() as patch:
        patch.setattr(time, "sleep", write_on)
        events = bench.run(settle_s=60)
    assert kinds(events) == [Planned, Indexed, Skipped, Summary], "what is at rest comes first"
    assert events[2].unfinished
    assert "still being written" in events[2].reason
    assert two[0] not in bench.store.known(), "it has not failed"
    assert bench.run()[-1].n_indexed == 1


# -- several files at a time ---------------------------------------------------------------------------------


@pytest.fixture
def many(bench, colour_video):
    """Seven videos, one of which cannot be read, and one twice."""
    names = ("red", "green", "blue", "red green", "green blue", "blue red red")
    paths = [colour_video(bench.folder / f"{n} {name}.mp4", *name.split()) for n, name in enumerate(names)]
    shutil.copyfile(paths[0], bench.folder / "0 red again.mp4")
    (bench.folder / "3 broken.mp4").write_bytes(b"\0\0\0\x18ftypisom" + bytes(5000))
    return paths


def kept(store):
    """What a store holds, by path, without what depends on the order."""
    return {
        path.name: (video.duration_s, store.transcript(video.video_id))
        for video in store.videos()
        for path in video.paths
    }


def test_several_files_at_a_time_give_the_same_library(bench, many, parrot, tmp_path, encoder):
    bench.transcriber = parrot(SAID)
    events = bench.run(jobs=3)
    together, answers = kept(bench.store), [set(found(bench, colour)) for colour in COLOURS]
    assert (events[-1].n_indexed, events[-1].n_skipped) == (7, 1)
    assert len(bench.encoder.seen) == 10, "a copy is not read again"
    assert bench.store.check() == []
    with Store.open(tmp_path / "other", identity=encoder.identity, mode="write") as store:
        bench.store = store
        bench.run(jobs=1)
        assert kept(store) == together
        assert [set(found(bench, colour)) for colour in COLOURS] == answers
    assert bench.n_opened == bench.n_closed == 2, "the models are opened once for all"


def test_no_decoder_outlives_a_run_of_several(bench, many):
    started = []
    real = Pipeline.twin
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Pipeline, "twin", lambda self: started.append(real(self)) or started[-1])
        bench.run(jobs=3)
    assert len(started) == 2
    assert [[one._child for one in twin._decoders] for twin in started] == [[None]] * 2


def test_no_more_is_made_ready_than_there_are_files(bench, many, monkeypatch):
    made = []
    real = Pipeline.twin
    monkeypatch.setattr(Pipeline, "twin", lambda self: made.append(1) or real(self))
    bench.run(jobs=100_000)
    assert 0 < len(made) < 10


def test_each_of_several_videos_is_stored_before_it_is_told(bench, many):
    for event in bench.events(jobs=3):
        if isinstance(event, Indexed):
            assert bench.store.video(event.path) is not None
        if isinstance(event, Skipped):
            assert bench.store.known()[event.path].reason


def test_a_run_of_several_that_is_given_up_keeps_what_it_told(bench, many):
    events, told = bench.events(jobs=3), []
    for event in events:
        if isinstance(event, Indexed):
            told.append(event.path)
            break
    events.close()
    assert bench.n_closed == 1
    good = [path for path, file in bench.store.known().items() if file.reason is None]
    assert good == told
    assert bench.store.check() == []
    assert bench.run(jobs=3)[-1].n_indexed == 6


def test_what_no_file_would_survive_ends_a_run_of_several(bench, many, parrot):
    bench.transcriber = parrot(error=SpeechError("no engine"))
    with pytest.raises(SpeechError):
        bench.run(jobs=3)
    assert bench.n_closed == 1
    assert [path for path, file in bench.store.known().items() if file.reason is None] == []
    bench.transcriber = None
    assert bench.run(jobs=2)[-1].n_indexed == 7
