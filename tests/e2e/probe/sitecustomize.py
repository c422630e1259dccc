"""First on a child's PYTHONPATH: refuses sockets, and writes down what the process did.

In the folder $SAVE_PROBE: a line in `sockets` and in `processes` for each, and `modules` for what was loaded
at the end. The decoder's process inherits it. Unix sockets reach no network: they are let through, and have a
line in `local`.
"""

import atexit
import os
import sys
from pathlib import Path

FOLDER = Path(os.environ["SAVE_PROBE"])
AF_UNIX = 1  # without importing socket, which not every command does
NETWORK = {"socket.connect", "socket.bind", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"}


def note(file, line):
    with (FOLDER / file).open("a") as out:
        out.write(f"{line}\n")


def watch(event, arguments):
    if event in NETWORK and getattr(arguments[0], "family", None) == AF_UNIX:
        note("local", f"{event} {arguments[1:]}")
    elif event in NETWORK:
        note("sockets", f"{event} {arguments[1:]}")
        raise PermissionError("this process may not use the network")
    if event == "subprocess.Popen":
        note("processes", arguments[1])


sys.addaudithook(watch)
atexit.register(lambda: note("modules", "\n".join(sorted(sys.modules))))
