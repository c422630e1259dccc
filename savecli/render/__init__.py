"""Records -> what a person or a program reads. The only room that prints.

Results go to stdout, progress and warnings to stderr. Each file is imported when something of it is first
asked for: a search has no use for the tables of an evaluation, nor for what those import.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from savecli.render.basics import busy, clock, facts, line, out, say, warn, write
    from savecli.render.dupes import dupes_json, dupes_table, dupes_watch, twins_record
    from savecli.render.evaluating import markdown, record, refuse, show, watch, write_csv
    from savecli.render.evaluation_page import write_page
    from savecli.render.exporting import command_line, exported, exporting
    from savecli.render.indexing import event_record, index_json, index_table
    from savecli.render.keeping import library_exported, merged, past_headway, verified
    from savecli.render.library import (
        checks,
        failed_table,
        failure_record,
        list_table,
        relinked,
        show_json,
        show_table,
        status,
        video_record,
        weights_table,
    )
    from savecli.render.measuring import bench_record, bench_table, bench_watch, tune_watch, tuned
    from savecli.render.preview import HEIGHT_PX, WIDTH_PX, can_show
    from savecli.render.pulling import pull_json, pull_table
    from savecli.render.results import (
        asked,
        moment_record,
        query_heading,
        results_json,
        results_paths,
        results_paths0,
        results_table,
    )
    from savecli.render.training import training_json, training_table

_ROOMS = {
    "basics": "busy clock facts line out say warn write",
    "dupes": "dupes_json dupes_table dupes_watch twins_record",
    "evaluating": "markdown record refuse show watch write_csv",
    "evaluation_page": "write_page",
    "exporting": "command_line exported exporting",
    "indexing": "event_record index_json index_table",
    "keeping": "library_exported merged past_headway verified",
    "library": "checks failed_table failure_record list_table relinked show_json show_table status"
    " video_record weights_table",
    "measuring": "bench_record bench_table bench_watch tune_watch tuned",
    "preview": "HEIGHT_PX WIDTH_PX can_show",
    "pulling": "pull_json pull_table",
    "results": "asked moment_record query_heading results_json results_paths results_paths0 results_table",
    "training": "training_json training_table",
}
_HOMES = {name: room for room, names in _ROOMS.items() for name in names.split()}

__all__ = [
    "HEIGHT_PX",
    "WIDTH_PX",
    "asked",
    "bench_record",
    "bench_table",
    "bench_watch",
    "busy",
    "can_show",
    "checks",
    "clock",
    "command_line",
    "dupes_json",
    "dupes_table",
    "dupes_watch",
    "event_record",
    "exported",
    "exporting",
    "facts",
    "failed_table",
    "failure_record",
    "index_json",
    "index_table",
    "library_exported",
    "line",
    "list_table",
    "markdown",
    "merged",
    "moment_record",
    "out",
    "past_headway",
    "pull_json",
    "pull_table",
    "query_heading",
    "record",
    "refuse",
    "relinked",
    "results_json",
    "results_paths",
    "results_paths0",
    "results_table",
    "say",
    "show",
    "show_json",
    "show_table",
    "status",
    "training_json",
    "training_table",
    "tune_watch",
    "tuned",
    "twins_record",
    "verified",
    "video_record",
    "warn",
    "watch",
    "weights_table",
    "write",
    "write_csv",
    "write_page",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - https://peps.python.org/pep-0562/
    if name not in _HOMES:
        raise AttributeError(f"module 'savecli.render' has no attribute {name!r}")
    room = _HOMES[name]
    file = import_module(f"savecli.render.{room}")
    # All at once: `exporting` is the name of a file, too, which the import has just put here.
    globals().update({one: getattr(file, one) for one in _ROOMS[room].split()})
    return globals()[name]
