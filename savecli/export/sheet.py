"""A contact sheet: one HTML file with a picture of each moment, its words, and a link that plays it.

Nothing in it is loaded from elsewhere: it can be mailed, and opened without a network. The links lead to the
files as they lie on this machine.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence

from savecli import page
from savecli.errors import MediaError
from savecli.export.options import Options
from savecli.export.take import MODALITIES, Take, file_url
from savecli.media.worker import Decoder
from savecli.page import head, safe

WIDTH_PX, HEIGHT_PX = 480, 270
STYLE = """
main { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(min(100%, 17rem), 1fr)) }
article { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; overflow: hidden;
  display: flex; flex-direction: column; break-inside: avoid }
a { color: inherit } a:focus-visible { outline: 3px solid var(--good); outline-offset: 2px }
.picture { display: flex; aspect-ratio: 16 / 9; background: #000; align-items: center;
  justify-content: center; color: #9aa0ab; text-decoration: none; position: relative }
.picture img { position: absolute; inset: 0; width: 100%; height: 100%; object-fit: contain }
.told { padding: .6rem .8rem .8rem } .told p { margin: .3rem 0 0 }
.why { display: flex; height: .4rem; border-radius: .2rem; overflow: hidden; background: var(--line);
  margin-top: .5rem }
.seen { background: #3b7dd8 } .heard { background: #c9822b } .said { background: #3f9e63 }
.legend { white-space: nowrap }
.key { display: inline-block; width: .7rem; height: .7rem; border-radius: .15rem; margin: 0 .3rem 0 .4rem }
q { font-style: italic }
@media print { a { text-decoration: none } .why, .key { print-color-adjust: exact;
  -webkit-print-color-adjust: exact } }
"""


def sheet(takes: Sequence[Take], options: Options, picture: Callable[[Take], bytes | None]) -> str:
    """The whole page.

    Args:
        takes: one card each.
        options: the title tells what was searched for.
        picture: of a take, as JPEG; None where there is none.
    """
    title = safe(options.title)
    keys = " ".join(
        f'<span class="legend"><span class="key {name}"></span>{name}</span>' for name in MODALITIES
    )
    n_videos = len({take.path for take in takes})
    told = f"{_count(len(takes), 'moment')} in {_count(n_videos, 'video')}"
    cards = "".join(_card(take, picture(take)) for take in takes)
    return (
        f"{head(options.title)}<style>{page.STYLE}{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n"
        f'<p class="note">{told}; the bar tells what speaks for each: {keys}</p>\n<main>\n{cards}</main>\n'
        "</body>\n</html>\n"
    )


def _card(take: Take, jpeg: bytes | None) -> str:
    moment = take.moment
    link = safe(f"{file_url(take.path)}#t={take.start_s:.3f},{take.end_s:.3f}")
    span = f"{_clock(take.start_s)}–{_clock(take.end_s)}"
    name = safe(take.path.name)
    if jpeg is None:
        shown = "no picture"
    else:
        shown = f'<img alt="" src="data:image/jpeg;base64,{b64encode(jpeg).decode()}">'
    shares = "".join(
        f'<span class="{part}" style="width:{100 * value:.1f}%"></span>'
        for part in MODALITIES
        if (value := min(1.0, max(0.0, moment.why.get(part, 0.0)))) > 0
    )
    said = f'<p dir="auto"><q>{safe(moment.snippet)}</q></p>\n' if moment.snippet else ""
    return (
        f'<article>\n<a class="picture" href="{link}" tabindex="-1" aria-hidden="true">{shown}</a>\n'
        f'<div class="told"><a href="{link}"><b>{take.number}. {name}</b> {span}</a>\n'
        f'<div class="why" role="img" aria-label="{safe(take.why)}">{shares}</div>\n'
        f"<p><small>{safe(take.why)}</small></p>\n{said}"
        f'<p><small dir="auto">{safe(take.path.parent)}</small></p></div>\n</article>\n'
    )


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def _clock(seconds: float) -> str:
    minutes, whole_s = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{whole_s:02}" if hours else f"{minutes}:{whole_s:02}"


def pictures(decoder: Decoder) -> Callable[[Take], bytes | None]:
    """What gives the picture of a take where it answers best; None where there is none."""
    from savecli.media.encode import to_jpeg

    def one(take: Take) -> bytes | None:
        # Read to its end: a stream that is left ends the decoder's process, and the next one starts anew.
        return next(iter(list(_stills(take))), None)

    def _stills(take: Take) -> Iterator[bytes]:
        time_s = min(max(take.moment.best_s, take.start_s), take.end_s)
        try:
            for frame in decoder.stills(take.path, (time_s,), width_px=WIDTH_PX, height_px=HEIGHT_PX):
                yield to_jpeg(frame.image)
        except MediaError:
            return

    return one
