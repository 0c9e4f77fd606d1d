"""Measure unpacking against `tar -x`: many small files, and few large ones; uncompressed and gzip.

Run: `PYTHONPATH=. python tests/bench/unpack.py [FOLDER]`.  Out: a line a case, median of five.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from gitopsd.engine.images.stream import Stream
from gitopsd.engine.images.unpack import unpack_layer


def ours(archive: Path, target: Path, compression: str, diff_id: str) -> None:
    child = os.fork()
    if child == 0:
        with open(archive, "rb") as blob:
            unpack_layer(
                {"compression": compression, "diff_id": diff_id},
                [blob.fileno(), os.open(target, os.O_RDONLY)],
            )
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


def theirs(archive: Path, target: Path, compression: str) -> None:
    flags = "-xzf" if compression else "-xf"
    subprocess.run(["tar", "--same-owner", "-p", flags, archive, "-C", target], check=True)
    if not compression:
        subprocess.run(["sha256sum", archive], check=True, stdout=subprocess.DEVNULL)  # ours checks the digest on the way


def main() -> None:
    folder = Path(tempfile.mkdtemp(dir=sys.argv[1] if len(sys.argv) > 1 else "/var/tmp"))
    try:
        small, large = folder / "small", folder / "large"
        for number in range(20_000):
            path = small / f"d{number // 100}"
            path.mkdir(parents=True, exist_ok=True)
            (path / f"file{number}").write_bytes(b"some text\n" * (number % 400))
        large.mkdir()
        for number in range(6):
            shutil.copy(sys.executable, large / str(number))
            with open(large / str(number), "ab") as file:
                file.write(os.urandom(30_000_000))
        for source, files in ((small, 20_000), (large, 6)):
            for compression in ("", "gzip"):
                archive = folder / "archive"
                subprocess.run(["tar", "-czf" if compression else "-cf", archive, "-C", source, "."], check=True)
                with open(archive, "rb") as file:
                    stream = Stream(file.fileno(), compression)
                    size = 0
                    while piece := stream.read():
                        size += len(piece)
                    diff_id = stream.finish()
                times: dict[str, list[float]] = {"ours": [], "tar": []}
                for _ in range(5):
                    for name in ("ours", "tar"):
                        target = folder / "target"
                        target.mkdir()
                        began = time.perf_counter()
                        if name == "ours":
                            ours(archive, target, compression, diff_id)
                        else:
                            theirs(archive, target, compression)
                        times[name].append(time.perf_counter() - began)
                        shutil.rmtree(target)
                for name, seconds in times.items():
                    median = statistics.median(seconds)
                    rates = f"{size / median / 1e6:7.0f} MB/s {files / median:8.0f} files/s"
                    print(f"{source.name:6} {compression or 'plain':6} {name:5} {median:6.2f} s {rates}")
    finally:
        shutil.rmtree(folder)


main()
