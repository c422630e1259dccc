"""What is said, word by word; where a moment begins and ends; and how long exact words take to find.

    python benchmarks/words.py ../shared/media [--home DIR] [--hours 10000] [--speech DIR]

The clips, their queries and sections are for reporting only: nothing in this project was chosen by them. The
transcripts of the large library are made up of 100,000 words that are as unevenly frequent as words are
(Zipf's law), 9,000 an hour.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from quality import SAID
from report import spread, table

from savecli import config, fold, pipeline
from savecli.datatypes import Ask, Moment, Results, Transcript, Utterance, Video, Where, Word
from savecli.index import Options, index
from savecli.query import parse, phrase
from savecli.search import Show, flow, search
from savecli.store import Store

N_WORDS = 5
REEL = "s_long.mp4"
N_VOCABULARY, WORDS_AN_HOUR, WORDS_AN_UTTERANCE = 100_000, 9000, 10
N_ASKED = 300
Place = tuple[str, float, float]


def main() -> None:
    """Index the clips once, ask everything, print Markdown."""
    parser = argparse.ArgumentParser()
    parser.add_argument("media", type=Path)
    parser.add_argument("--home", type=Path, help="keep the store of the clips here and use it again")
    parser.add_argument("--hours", type=int, default=10_000, help="of made-up speech")
    parser.add_argument("--speech", type=Path, help="keep the store of made-up speech here and use it again")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        settings = config.load(home=given.home or Path(folder) / "clips")
        encoder = pipeline.make_encoder(settings)
        rows = list(csv.DictReader((given.media / "manifest.csv").open()))
        clips = tuple(given.media.absolute() / row["file"] for row in rows)
        with Store.open(settings.store_dir, identity=encoder.identity, mode="write") as store:
            options = Options(paths=clips, asr=settings.asr)
            for _ in index(options, store, lambda: pipeline.open_pipeline(settings)):
                pass
            ways(rows, given.media, store, encoder)
            windows(rows, store, encoder)
            bounds(rows, given.media, store, encoder)
        latency(given.speech or Path(folder) / "speech", given.hours)


def ways(rows: list[dict[str, str]], media: Path, store: Store, encoder: pipeline.MiniEncoder) -> None:
    """Free text against each modality alone, by file."""
    answers: defaultdict[str, set[str]] = defaultdict(set)
    kinds = {}
    clips = [row for row in rows if row["file"] != REEL]
    for row in clips:
        for place, query in enumerate(row["queries"].split("|")):
            answers[query].add(row["file"])
            kinds[query] = "said" if (row["file"], place) in SAID else "seen"
    only = Where(below=tuple(media.absolute() / row["file"] for row in clips))
    lines = []
    for kind in ("seen", "said"):
        asked = [query for query in answers if kinds[query] == kind]
        for name, aim in (
            ("all three", "text"),
            ("--sees", "sees"),
            ("--hears", "hears"),
            ("--says", "says"),
        ):
            show = Show(top_k=5, threshold=0, by_video=True, copies=True)
            found = [search(Ask(**{aim: q}, where=only), store, encoder, show=show) for q in asked]
            files = [list(dict.fromkeys(m.path.name for m in one.moments)) for one in found]
            at = [
                sum(bool(answers[q] & set(names[:k])) for q, names in zip(asked, files, strict=True))
                / len(asked)
                for k in (1, 5)
            ]
            lines.append([kind, len(asked), name, *(f"{value:.2f}" for value in at)])
    print(f"The manifest's queries on its {len(clips)} clips, through `search`, by file:\n")
    print(table(["queries", "n", "asked of", "R@1", "R@5"], lines))


def windows(rows: list[dict[str, str]], store: Store, encoder: pipeline.MiniEncoder) -> None:
    """Every run of five words that is said, by --phrase, by --says, and quoted beside another text."""
    said = [(video.video_id, store.transcript(video.video_id)) for video in store.videos()]
    places: defaultdict[str, list[Place]] = defaultdict(list)
    for video_id, transcript in said:
        for text, start_s, end_s in runs(transcript):
            places[text].append((video_id, start_s, end_s))
    others = [row["queries"].split("|")[0] for row in rows]
    firsts, aimed, wins = [], [], []
    for number, (text, at) in enumerate(places.items()):
        exact = search(Ask(phrases=(phrase(text),)), store, None, top_k=5)
        firsts.append(is_at(exact.moments[:1], at))
        aimed.append(is_at(search(Ask(says=text), store, encoder, top_k=5, threshold=0).moments, at))
        beside = parse([f'"{text}"', others[number % len(others)]])
        wins.append(is_at(search(beside, store, encoder, top_k=1, threshold=0).moments, at))
    print(f"\nEvery run of {N_WORDS} words in the clips' transcripts, {len(places)} of them:\n")
    share = [f"{np.mean(values):.3f}" for values in (firsts, aimed, wins)]
    print(
        table(
            ["asked", "found"],
            [
                ["`--phrase`, the first moment", share[0]],
                ["`--says`, one of the first five", share[1]],
                ["quoted, beside a query about another clip: the first moment says it", share[2]],
            ],
        )
    )


def runs(transcript: Transcript) -> Iterator[Place]:
    """Runs of words as folded text with their span, across the utterances of a video."""
    words = [
        (token.text, word.start_s, word.end_s)
        for utterance in transcript.utterances
        for word in utterance.words
        for token in fold.tokens(word.text)
    ]
    for i in range(len(words) - N_WORDS + 1):
        run = words[i : i + N_WORDS]
        yield " ".join(text for text, _, _ in run), run[0][1], run[-1][2]


def is_at(moments: Sequence[Moment], places: Sequence[Place]) -> bool:
    """Whether one of the moments overlaps one of the places."""
    return any(
        moment.video_id == video_id and moment.start_s < end_s + 0.01 and start_s < moment.end_s + 0.01
        for moment in moments
        for video_id, start_s, end_s in places
    )


def bounds(rows: list[dict[str, str]], media: Path, store: Store, encoder: pipeline.MiniEncoder) -> None:
    """The first moment of the reel for queries about what its sections show, against the sections' times."""
    queries = {row["file"]: row["queries"].split("|") for row in rows}
    sections = list(csv.DictReader((media / "s_long_sections.csv").open()))
    asked = [
        (query, float(section["start_s"]), float(section["end_s"]))
        for section in sections
        for place, query in enumerate(queries[section["picture_from"]])
        if (section["picture_from"], place) not in SAID
    ]
    only = Where(below=(media.absolute() / REEL,))
    lines = []
    refined = flow.bounds.refined
    for name, refine in (("whole segments", lambda draft, *_: draft), ("refined, as shipped", refined)):
        flow.bounds.refined = refine
        ious = [
            overlap(search(Ask(text=query, where=only), store, encoder, top_k=1, threshold=0), start_s, end_s)
            for query, start_s, end_s in asked
        ]
        right = [iou for iou in ious if iou]
        lines.append(
            [
                name,
                f"{np.mean(ious):.2f}",
                f"{np.mean([iou >= 0.5 for iou in ious]):.2f}",
                f"{len(right)} of {len(ious)}",
                f"{np.mean(right):.2f}",
            ]
        )
    flow.bounds.refined = refined
    print(f"\nMoments of {REEL} against its {len(sections)} sections, the first moment of each query:\n")
    print(table(["ends", "mean IoU", "R@1, IoU .5", "in the right section", "mean IoU of those"], lines))


def overlap(results: Results, start_s: float, end_s: float) -> float:
    """Intersection over union of the first moment and a span."""
    moment = results.moments[0]
    both = min(moment.end_s, end_s) - max(moment.start_s, start_s)
    return max(0.0, both) / (max(moment.end_s, end_s) - min(moment.start_s, start_s))


def latency(folder: Path, n_hours: int) -> None:
    """How long exact words take in a large library; every answer is checked."""
    with Store.open(folder, identity={"model": "none", "dim": "4"}, mode="write") as store:
        speak(store, n_hours)
    with Store.open(folder, identity=None, mode="read") as store:
        videos = sorted(store.speaking())
        asked = list(some_runs(store, videos))
        lines = []
        for name, cut in (("five words", 5), ("two words", 2), ("one word", 1)):
            times_ms, n_right = [], 0
            for words, video_id in asked:
                text = " ".join(words[:cut])
                start = time.perf_counter()
                found = search(Ask(phrases=(phrase(text),)), store, None)
                times_ms.append(1e3 * (time.perf_counter() - start))
                n_right += is_listed(found, video_id)
            p99 = np.quantile(times_ms, 0.99)
            lines.append([name, spread(times_ms), f"{p99:.1f}", f"{n_right} of {len(asked)}"])
        lines.append(["a regular expression", *pattern(store, asked)])
    print(f"\nExact words among {n_hours:,} hours of speech, ms, one process with the store open:\n")
    print(table(["asked", "median (least to greatest)", "p99", "found, or more than are listed"], lines))


def pattern(store: Store, asked: Sequence[tuple[list[str], str]]) -> list[str]:
    """The same for a regular expression with two whole words in it."""
    times_ms, n_right = [], 0
    for words, video_id in asked[:30]:
        regex = rf"\b{words[0]} {words[1][:-1]}\w* {words[2]}\b"
        start = time.perf_counter()
        found = search(Ask(regexes=(regex,)), store, None)
        times_ms.append(1e3 * (time.perf_counter() - start))
        n_right += is_listed(found, video_id)
    return [spread(times_ms), f"{np.quantile(times_ms, 0.99):.1f}", f"{n_right} of {len(times_ms)}"]


def is_listed(found: Results, video_id: str) -> bool:
    """Whether a video is among the moments, or these are as many as are shown."""
    is_full = found.has_more or len(found.moments) == Show().top_k
    return is_full or any(moment.video_id == video_id for moment in found.moments)


def speak(store: Store, n_hours: int) -> None:
    """Fills a store with hours of made-up speech; goes on where it was left."""
    rng = np.random.default_rng(0)
    letters = np.array(list("etaoinshrdlucmfwypvbgkjqxz"))
    drawn = {"".join(rng.choice(letters, rng.integers(2, 11))) for _ in range(2 * N_VOCABULARY)}
    vocabulary = np.array(sorted(drawn))
    rng.shuffle(vocabulary)
    vocabulary = vocabulary[:N_VOCABULARY]
    reach = np.cumsum(1 / np.arange(1, N_VOCABULARY + 1))
    for hour in range(store.counts().n_videos, n_hours):
        own = np.random.default_rng(hour)
        drawn_at = np.searchsorted(reach, own.random(WORDS_AN_HOUR) * reach[-1])
        words = vocabulary[drawn_at.clip(0, N_VOCABULARY - 1)].reshape(-1, WORDS_AN_UTTERANCE).tolist()
        utterances = tuple(utterance(4.0 * i, own_words) for i, own_words in enumerate(words))
        video = Video(
            path=Path(f"/speech/{hour:05}.mp4"),
            fingerprint=f"{hour:032x}",
            size_bytes=1,
            mtime_ns=1,
            duration_s=3600,
            has_video=False,
            has_audio=True,
        )
        transcript = Transcript(language="en", language_probability=1.0, utterances=utterances)
        store.add(video, [], [], transcript, asr="made up", frame_times=[])


def utterance(start_s: float, words: Sequence[str]) -> Utterance:
    """Ten words in three and a half seconds."""
    times = [round(start_s + 0.35 * i, 2) for i in range(len(words))]
    timed = tuple(
        Word(start_s=at, end_s=round(at + 0.3, 2), text=w) for at, w in zip(times, words, strict=True)
    )
    return Utterance(start_s=start_s, end_s=start_s + 3.5, text=" ".join(words), words=timed)


def some_runs(store: Store, videos: Sequence[str]) -> Iterator[tuple[list[str], str]]:
    """Runs of five words somewhere, across utterances too, and the video that says them."""
    rng = np.random.default_rng(1)
    n_utterances = WORDS_AN_HOUR // WORDS_AN_UTTERANCE
    for _ in range(N_ASKED):
        video_id = videos[int(rng.integers(len(videos)))]
        some = store.utterances_from(video_id, int(rng.integers(n_utterances - 1)), 2)
        words = " ".join(u.text for u in some).split()
        at = int(rng.integers(len(words) - N_WORDS))
        yield words[at : at + N_WORDS], video_id


if __name__ == "__main__":
    main()
