"""The index flow on real files, with an encoder that knows colours: what is read, what is left alone."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager

import pytest

from savecli.datatypes import Utterance
from savecli.errors import SpeechError, StoreError, WeightsError
from savecli.events import Indexed, Moved, Planned, Progress, Skipped, Summary, Unchanged
from savecli.index import Options, index
from savecli.pipeline import Pipeline
from savecli.search import search

SAID = Utterance(start_s=0.5, end_s=1.0, text="green words")


class Bench:
    """A folder of videos, a store, and a count of how often the models were loaded."""

    def __init__(self, folder, store, decoder, encoder):
        self.folder, self.store, self.encoder, self.decoder = folder, store, encoder, decoder
        self.transcriber = None
        self.n_opened = 0
        self.n_closed = 0

    @contextmanager
    def open_pipeline(self):
        self.n_opened += 1
        try:
            yield Pipeline(self.decoder, self.encoder, self.transcriber)
        finally:
            self.n_closed += 1

    def events(self, *paths, **options):
        asr = self.transcriber.name if self.transcriber else "off"
        chosen = Options(paths=paths or (self.folder,), asr=asr, **options)
        return index(chosen, self.store, self.open_pipeline)

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
