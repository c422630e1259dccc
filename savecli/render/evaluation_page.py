"""An evaluation as one HTML file: its tables, and the queries that went worst with what came instead.

Nothing in it is loaded from elsewhere and nothing runs: pictures are within, and the page forbids the rest.
"""

from __future__ import annotations

from base64 import b64encode
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from savecli import page
from savecli.page import head, safe
from savecli.render.basics import busy
from savecli.render.evaluating import N_TOP, new_file, refuse
from savecli.render.evaluation_words import Grid, facts, grids, title

if TYPE_CHECKING:
    from savecli.bench.report import Answer, Report

N_WORST = 40
STYLE = """
.wide { overflow-x: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
td, th { padding: .25rem .7rem .25rem 0; text-align: right; white-space: nowrap;
  border-bottom: 1px solid var(--line) }
td:first-child, th:first-child { text-align: left }
dl { display: grid; grid-template-columns: minmax(6rem, max-content) 1fr; gap: .2rem 1rem; margin: 1rem 0 }
dt { color: var(--soft) } dd { margin: 0 }
.note, .warn { margin: .3rem 0; font-size: .9rem } .warn { color: var(--warn); font-weight: 600 }
article { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; padding: .8rem;
  margin: .8rem 0 }
.row { display: flex; flex-wrap: wrap; gap: .6rem; margin-top: .6rem }
figure { margin: 0; width: 10rem; max-width: 100%; border: 2px solid transparent; border-radius: .4rem }
figure.right { border-color: var(--good) } .right, .right figcaption { color: var(--good) }
p.right { margin: 0 0 .3rem }
.picture { padding-top: 56.25%; background: var(--line) center / contain no-repeat; border-radius: .3rem;
  print-color-adjust: exact; -webkit-print-color-adjust: exact }
figcaption { font-size: .85rem; padding: .2rem }
ol { margin: .4rem 0 0; padding-left: 1.6rem }
"""


def write_page(
    report: Report,
    path: Path,
    thumbnail: Callable[[Path], bytes | None],
    *,
    six: bool = False,
    n_worst: int = N_WORST,
    quiet: bool = False,
) -> None:
    """Write a page for a person who wants to know what goes wrong.

    Args:
        report: what was found.
        path: a new file.
        thumbnail: the picture of a video's file as JPEG, None where there is none.
        six: whether the sum over both directions is told.
        n_worst: queries of each direction.
        quiet: show no spinner while pictures are made.

    Raises:
        ConfigError: where the file is there already, or cannot be written.
    """
    refuse(path)
    worst = {direction: _worst(answers, n_worst) for direction, answers in report.answers.items()}
    with nullcontext() if quiet else busy("pictures for the page"):
        pictures = _pictures(report.paths, worst, thumbnail)
    names = {video_id: f"p{i}" for i, video_id in enumerate(pictures)}
    captions = defaultdict(list)
    for answer in report.answers.get("t2v", ()):
        captions[answer.video_id].append(answer.query)
    with new_file(path) as file:
        file.write(head(f"{title(report)}, {report.model}"))
        file.write(f"<style>{page.STYLE}{STYLE}")
        for video_id, jpeg in pictures.items():
            data = b64encode(jpeg).decode()
            file.write(f".{names[video_id]} {{ background-image: url(data:image/jpeg;base64,{data}) }}\n")
        file.write(f"</style>\n</head>\n<body>\n<h1>{safe(title(report))}, {safe(report.model)}</h1>\n")
        file.writelines(_grid(grid) for grid in grids(report, six=six))
        file.write("<h2>What was measured</h2>\n<dl>\n")
        file.writelines(f"<dt>{safe(name)}</dt><dd>{safe(value)}</dd>\n" for name, value in facts(report))
        file.write("</dl>\n")
        for direction, answers in worst.items():
            file.write(_heading(direction, answers, report.answers[direction]))
            file.writelines(
                _found_videos(answer, names)
                if direction == "t2v"
                else _found_captions(answer, names, captions)
                for answer in answers
            )
        file.write("</body>\n</html>\n")


def _worst(answers: Iterable[Answer], n: int) -> list[Answer]:
    """Those whose right answer did not come first, the last ranks first; without a rank is worse than any."""
    wrong = [answer for answer in answers if answer.rank != 1]
    return sorted(wrong, key=lambda answer: (answer.rank == 0, answer.rank), reverse=True)[:n]


def _pictures(
    paths: Mapping[str, Path],
    worst: Mapping[str, list[Answer]],
    thumbnail: Callable[[Path], bytes | None],
) -> dict[str, bytes]:
    """Of every video that is shown, once, by its id."""
    shown: dict[str, None] = {}
    for direction, answers in worst.items():
        for answer in answers:
            shown[answer.video_id] = None
            if direction == "t2v":
                shown.update(dict.fromkeys(video_id for video_id, _ in answer.top[:N_TOP]))
    found = {video_id: thumbnail(paths[video_id]) for video_id in shown if video_id in paths}
    return {video_id: jpeg for video_id, jpeg in found.items() if jpeg}


def _grid(grid: Grid) -> str:
    made = [f"<h2>{safe(grid.title[:1].upper() + grid.title[1:])}</h2>\n"] if grid.title else []
    made += [f'<p class="warn">{safe(warning)}</p>\n' for warning in grid.warnings]
    heads = "".join(f'<th scope="col">{safe(head)}</th>' for head in grid.heads)
    made.append(f'<div class="wide"><table>\n<tr>{heads}</tr>\n')
    for first, *rest in grid.rows:
        cells = "".join(f"<td>{safe(cell)}</td>" for cell in rest)
        made.append(f'<tr><th scope="row">{safe(first)}</th>{cells}</tr>\n')
    made.append("</table></div>\n")
    made += [f'<p class="note">{safe(note)}</p>\n' for note in grid.notes]
    return "".join(made)


def _heading(direction: str, worst: list[Answer], answers: tuple[Answer, ...]) -> str:
    name = "Worst queries, text to video" if direction == "t2v" else "Worst queries, video to text"
    n_wrong = sum(answer.rank != 1 for answer in answers)
    told = f"{n_wrong:,} of {len(answers):,} did not find what is right in first place"
    if len(worst) < n_wrong:
        told += f"; the worst {len(worst):,} of them"
    told += "; beside what is right, the five best with their scores"
    return f'<h2>{name}</h2>\n<p class="note">{told}</p>\n'


def _found_videos(answer: Answer, names: Mapping[str, str]) -> str:
    found = "".join(
        _figure(video_id, f"{i}. {score:.3g}", names, right=video_id == answer.video_id)
        for i, (video_id, score) in enumerate(answer.top[:N_TOP], 1)
    )
    right = _figure(answer.video_id, "right", names, right=True)
    return f'{_asked(answer)}<div class="row">\n{right}{found}</div>\n</article>\n'


def _found_captions(answer: Answer, names: Mapping[str, str], captions: Mapping[str, list[str]]) -> str:
    own = captions.get(answer.video_id, [])
    found = "".join(
        f'<li dir="auto" class="{"right" if text in own else "wrong"}">{safe(text)} '
        f"<small>{score:.3g}</small></li>\n"
        for text, score in answer.top[:N_TOP]
    )
    right = "".join(f'<p class="right" dir="auto">{safe(text)}</p>\n' for text in own[:N_TOP])
    query = _figure(answer.video_id, "query", names, right=False)
    told = f'<div class="row">\n{query}<div>{right}</div></div>\n<ol>\n{found}</ol>\n'
    return f"{_asked(answer)}{told}</article>\n"


def _asked(answer: Answer) -> str:
    rank = f"rank {answer.rank:,}" if answer.rank else "not counted"
    kind = f" · {safe(answer.kind)}" if answer.kind else ""
    return f'<article>\n<h3 dir="auto">{safe(answer.query)}</h3>\n<small>{rank}{kind}</small>\n'


def _figure(video_id: str, label: str, names: Mapping[str, str], *, right: bool) -> str:
    picture = names.get(video_id)
    spoken = video_id if picture else f"{video_id}, no picture"
    return (
        f'<figure class="{"right" if right else "wrong"}">'
        f'<div class="picture {picture or ""}" role="img" aria-label="{safe(spoken)}"></div>'
        f"<figcaption>{safe(label)} <b>{safe(video_id)}</b></figcaption></figure>\n"
    )
