"""Measure a build of 20 steps with 10,000 files in its context: empty cache, everything cached, one file changed.

Run as root: `PYTHONPATH=. python tests/bench/build.py [FOLDER]`.  Out: a line a case, the cached one the median of nine.
"""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

from gitopsd.engine.runtime.launcher import Launcher
from tests.engine.builder.rig import Rig, tar

STEPS = [
    "FROM busybox:stable",
    *(f"RUN echo {number} > /f{number}" for number in range(10)),
    "WORKDIR /app",
    "ENV PORT=80",
    "COPY src/p1 /one/",
    "COPY src /app/src",
    *(f"RUN echo {number} > /g{number}" for number in range(5)),
]
IGNORE = "**/*.pyc\n**/node_modules\n.git\ndocs/**/*.md\n!docs/README.md\n"


def main() -> None:
    folder = Path(tempfile.mkdtemp(dir=sys.argv[1] if len(sys.argv) > 1 else "/var/tmp"))
    launcher = Launcher()
    launcher.start()
    try:
        rig = Rig(folder, launcher)
        files = {f"src/p{number % 97}/q{number % 13}/file{number}.py": f"print({number})\n" * 40 for number in range(10_000)}
        context = {"Dockerfile": "\n".join(STEPS) + "\n", ".dockerignore": IGNORE, **files}
        print(f"{len(STEPS)} steps, {len(files)} files, {len(tar(context)) >> 20} MiB")
        print(f"empty cache      {timed(rig, tar(context)):8.0f} ms")
        cached = [timed(rig, tar(context)) for _ in range(9)]
        assert rig.hits == 18
        print(f"all cached       {statistics.median(cached):8.0f} ms   (best {min(cached):.0f})")
        changed = {**context, "src/p1/q1/file1.py": "changed"}
        print(f"one file changed {timed(rig, tar(changed)):8.0f} ms")
    finally:
        launcher.close()
        shutil.rmtree(folder)


def timed(rig: Rig, data: bytes) -> float:
    started = time.perf_counter()
    rig.build_tar(data)
    return (time.perf_counter() - started) * 1000


if __name__ == "__main__":
    main()
