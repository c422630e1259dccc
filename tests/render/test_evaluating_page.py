"""The page of an evaluation: whole, self-contained, and with nothing of a file's text taken for markup."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from savecli.bench.kinds import LEGEND
from savecli.bench.report import Answer
from savecli.errors import ConfigError
from savecli.render import evaluation_page
from savecli.render.evaluation_page import write_page

from ..bench.reports import found, report

EVIL = "</style><script>alert(1)</script>\" onerror='x' & \x1b]0;owned\x07 \u202e"
VOID = {"meta"}


class Page(HTMLParser):
    """Tags in order, texts by the tag around them; every tag that was opened is closed."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.texts = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append((self.open[-1] if self.open else "", data))

    def of(self, tag):
        return [text for where, text in self.texts if where == tag]

    def figures(self):
        """(class, picture class, label) of each figure."""
        classes = [given["class"] for tag, given in self.tags if tag == "figure"]
        pictures = [given for tag, given in self.tags if given.get("role") == "img"]
        return [
            (kind, picture["class"].split()[1:], picture["aria-label"])
            for kind, picture in zip(classes, pictures, strict=True)
        ]


def asked(rank, query=None, video_id=None, top=(("v1", 0.9), ("v2", 0.8))):
    return Answer(
        query=query or f"query of rank {rank}",
        video_id=video_id or f"v{rank}",
        kind="sound",
        rank=rank,
        top=top,
    )


PATHS = {f"v{i}": Path(f"/videos/v{i}.mp4") for i in range(60)}


def picture(path):
    return b"\xff\xd8" + path.name.encode()


def written(tmp_path, given, thumbnail=picture, **options):
    path = tmp_path / "page.html"
    write_page(given, path, thumbnail, **options)
    assert list(tmp_path.iterdir()) == [path]
    return path.read_text("utf-8")


def worst(**changes):
    answers = {
        "t2v": (asked(2), asked(1), asked(30), asked(0, video_id="v9"), asked(4)),
        "v2t": (
            asked(3, query="v4", video_id="v4", top=(("a dog", 0.5), ("query of rank 4", 0.25))),
            asked(1),
        ),
    }
    return report(**{"answers": answers, "paths": PATHS, **changes})


def test_a_page_tells_what_the_terminal_tells(tmp_path):
    page = Page(written(tmp_path, worst(by_kind={"both": found(n_queries=7)}, n_videos=997), six=True))
    cells = page.of("td")
    assert [*cells[:6]] == ["50.0", "75.0", "80.0", "1.5", "7.2", "205.0"]
    assert "216.2" in cells
    assert {"t2v", "v2t", "SAVE", "both"} <= set(page.of("th"))
    told = page.of("p")
    assert LEGEND in told
    assert any("sum of six: 385.0" in note for note in told)
    assert any("not comparable: 3 of the 1,000" in note for note in told)
    facts = dict(zip(page.of("dt"), page.of("dd"), strict=False))
    assert facts["checkpoint"] == "tiny, SHA-256 0123456789ab"


def test_the_worst_come_first_and_what_was_found_does_not_come(tmp_path):
    page = Page(written(tmp_path, worst()))
    headings = page.of("h3")
    assert headings == [
        "query of rank 0",
        "query of rank 30",
        "query of rank 4",
        "query of rank 2",
        "v4",
    ]
    assert page.of("small")[:2] == ["not counted · sound", "rank 30 · sound"]
    assert any("4 of 5 did not find what is right in first place" in note for note in page.of("p"))
    found = zip([given["class"] for tag, given in page.tags if tag == "li"], page.of("li"), strict=True)
    assert [(kind, text.strip()) for kind, text in found] == [
        ("wrong", "a dog"),
        ("right", "query of rank 4"),
    ]
    assert page.of("p")[-1] == "query of rank 4"  # what v4 should have found


def test_only_so_many_are_shown(tmp_path):
    many = {"t2v": tuple(asked(rank) for rank in range(2, 60)), "v2t": ()}
    seen = []
    text = written(tmp_path, worst(answers=many), lambda path: seen.append(path) or picture(path), n_worst=3)
    page = Page(text)
    assert page.of("h3") == [f"query of rank {rank}" for rank in (59, 58, 57)]
    assert any("the worst 3 of them" in note for note in page.of("p"))
    assert sorted(path.stem for path in seen) == ["v1", "v2", "v57", "v58", "v59"]  # each once


def test_the_right_video_is_marked_and_each_picture_is_there_once(tmp_path):
    text = written(tmp_path, worst(), lambda path: None if path.stem == "v1" else picture(path))
    figures = Page(text).figures()
    assert figures[0] == ("right", ["p0"], "v9")
    assert figures[1:3] == [("wrong", [], "v1, no picture"), ("wrong", ["p1"], "v2")]
    of_the_second = figures[-4:-1]  # whose rank is 2, and which is among the five
    assert [kind for kind, _, _ in of_the_second] == ["right", "wrong", "right"]
    assert figures[-1] == ("wrong", ["p3"], "v4")
    named = re.findall(r"\.(p\d+) \{ background-image", text)
    assert len(named) == len(set(named)) == 4
    assert text.count("data:image/jpeg;base64,/9h2OS5tcDQ=") == 1  # v9.mp4's


def test_a_page_loads_nothing_and_runs_nothing(tmp_path):
    text = written(tmp_path, worst())
    page = Page(text)
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "link", "iframe", "img", "object", "base"})
    assert not any(
        name.startswith("on") or name in ("src", "href") for _, given in page.tags for name in given
    )
    assert re.findall(r"url\((?!data:image/jpeg;base64,[\w+/=]*\))", text) == []
    assert "@import" not in text
    policy = next(given["content"] for tag, given in page.tags if given.get("http-equiv"))
    assert policy.startswith("default-src 'none'")
    assert ("meta", {"charset": "utf-8"}) in page.tags
    assert "prefers-color-scheme: dark" in text
    assert any(given.get("name") == "viewport" for _, given in page.tags)


def test_no_text_of_a_file_is_markup(tmp_path):
    given = worst(
        benchmark=EVIL,
        split="",
        model=EVIL,
        speech=EVIL,
        missing=(EVIL,),
        n_videos=999,
        broken={EVIL: EVIL},
        notes=(EVIL,),
        by_kind={EVIL: found()},
        paths={EVIL: Path("/x.mp4")},
        answers={
            "t2v": (asked(5, query=EVIL, video_id=EVIL, top=((EVIL, 1.0),)),),
            "v2t": (asked(5, query=EVIL, video_id=EVIL, top=((EVIL, 1.0),)),),
        },
    )
    text = written(tmp_path, given)
    page = Page(text)
    assert {tag for tag, _ in page.tags}.isdisjoint({"script"})
    assert not any("onerror" in given for _, given in page.tags)
    assert len(page.of("style")) == 1
    assert "owned" in text
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert sum("alert(1)" in shown for shown in page.of("h3")) == 2


def test_nothing_asked_and_nothing_wrong_make_a_page_too(tmp_path):
    assert Page(written(tmp_path, report())).of("h3") == []
    (tmp_path / "page.html").unlink()
    page = Page(written(tmp_path, worst(answers={"t2v": (asked(1),)})))
    assert any("0 of 1" in note for note in page.of("p"))


def test_a_page_that_is_there_is_refused_before_any_picture_is_made(tmp_path):
    path = tmp_path / "page.html"
    path.write_text("mine")
    with pytest.raises(ConfigError, match="there already"):
        write_page(worst(), path, lambda path: pytest.fail("a picture was made"))
    assert path.read_text() == "mine"


def test_quietly_there_is_no_spinner(tmp_path, monkeypatch):
    monkeypatch.setattr(evaluation_page, "busy", lambda said: pytest.fail("a spinner"))
    written(tmp_path, worst(), quiet=True)
