"""A file -> its Timeline, its frames and its waveform. The only importer of PyAV.

PyAV carries its own FFmpeg in its wheel, opens what people have, gives true times and survives damage;
`benchmarks/decode.py` holds it against decord, the other candidate. Nothing here is safe against a file made
to hang or to exhaust memory: use `savecli.media.worker.Decoder`, which runs the same calls in a process
with limits.
"""

from savecli.media.decode.frames import frames
from savecli.media.decode.photo import photo
from savecli.media.decode.source import look
from savecli.media.decode.still import stills
from savecli.media.decode.timeline import probe
from savecli.media.decode.waveform import waveform

__all__ = ["frames", "look", "photo", "probe", "stills", "waveform"]
