"""Join cgroups, then become another program: `enter.py [--background] FOLDER… -- PROGRAM ARGUMENT…`

A program for a plain interpreter. A process must be in its cgroup before it makes a cgroup namespace or starts anything in
a host, and only the process itself can see to that without a race. With --background its caller gets control back at once.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path


def main(arguments: list[str]) -> None:
    if arguments[0] == "--background":
        arguments = arguments[1:]
        if os.fork():
            os._exit(0)  # so that whoever called need not wait for a host to end
        os.setsid()
    split = arguments.index("--")
    for folder in arguments[:split]:
        Path(folder, "cgroup.procs").write_text("0")
    program = arguments[split + 1 :]
    os.execvp(program[0], program)


if __name__ == "__main__":
    main(sys.argv[1:])
