"""Find the moment in your own videos by what is seen, heard and said.

`savecli.open_library` is for programs; importing this package loads none of it before that is asked for.
"""

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from savecli.api import Library, open_library

# onnxruntime reports to its makers from 1.29 on unless it is told not to, by this and before it is imported;
# its own disable_telemetry_events() comes too late.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

__version__ = "0.1.0"
__all__ = ["Library", "__version__", "open_library"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - https://peps.python.org/pep-0562/
    if name not in ("Library", "open_library"):
        raise AttributeError(f"module 'savecli' has no attribute {name!r}")
    from savecli import api

    return getattr(api, name)
