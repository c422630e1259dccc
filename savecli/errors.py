"""Everything `save` raises on purpose.

::

    SaveError            expected: the command line prints message and hint, and exits 2
    ├── MediaError       a file that cannot be read as a video
    │   ├── MediaTimeout   ... or that keeps the decoder busy without getting anywhere
    │   ├── MediaCrash     ... or that the decoder does not survive
    │   ├── UnseekableError   ... or in which a time cannot be reached by a seek
    │   ├── NoPictureError   ... or that is no image, where one was looked for
    │   └── MediaUnfinished   ... as it is still being written; it has not failed
    ├── SpeechError      a transcriber that cannot run
    ├── WeightsError     weights that are missing, damaged or of the wrong shape
    ├── StoreError       a store that cannot be opened, locked or trusted
    │   └── StoreBusy      ... as somebody else is writing into it
    ├── QueryError       a query that asks for nothing
    ├── DatasetError     a benchmark whose files are missing or damaged
    └── ConfigError      a setting that makes no sense

Anything else that escapes is a bug, and is shown as one.
"""


class SaveError(Exception):
    """An expected failure: what happened, and what the reader can do about it.

    Args:
        message: one sentence, without a full stop, naming the thing that failed.
        hint: what to type or to look at next; empty only where nothing helps.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[object, ...]:
        # Keyword-only arguments do not survive the default pickling, and a MediaError crosses a
        # process border on its way out of the decode worker.
        return (_rebuild, (type(self), self.message, self.hint))


def _rebuild(kind: type[SaveError], message: str, hint: str) -> SaveError:
    return kind(message, hint=hint)


class MediaError(SaveError):
    """A file that cannot be read as a video."""


class MediaTimeout(MediaError):  # noqa: N818 - a time-out is what it is
    """A file on which the decoder made no headway within its time limit."""


class MediaCrash(MediaError):  # noqa: N818
    """A file on which the decoder's process died, be it the file's fault or the machine's."""


class UnseekableError(MediaError):
    """A file in which a time cannot be reached by a seek: all that lies before must be read."""


class MediaUnfinished(MediaError):  # noqa: N818
    """A file that is still being written: the next run will find it whole."""


class NoPictureError(MediaError):
    """A file that is no image: it may be a video, sound or text."""


class SpeechError(SaveError):
    """A transcriber that cannot run."""


class WeightsError(SaveError):
    """Weights that are missing, damaged or of the wrong shape."""


class StoreError(SaveError):
    """A store that cannot be opened, locked or trusted."""


class StoreBusy(StoreError):  # noqa: N818
    """A store that somebody else is writing into."""


class QueryError(SaveError):
    """A query that asks for nothing."""


class DatasetError(SaveError):
    """A benchmark whose files are missing or damaged."""


class ConfigError(SaveError):
    """A setting that makes no sense."""
