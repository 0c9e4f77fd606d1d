"""The daemon's parent: it finds itself in the background, and the log that it shares with the daemon stays within bounds."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from gitopsd.engine.daemon.supervise import turn_over

TOP = Path(__file__).parents[3]
PROGRAM = """import os, sys, time
sys.path.insert(0, {top!r})
if sys.argv[1] == "supervise":
    from gitopsd.engine.daemon.supervise import main
    sys.exit(main(sys.argv[2:]))
print("up", os.getcwd(), *sys.argv[1:], flush=True)
time.sleep(60)
"""


def test_a_long_log_is_emptied_and_its_end_kept(tmp_path: Path) -> None:
    log = tmp_path / "engine.log"
    ours = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    daemons = os.dup(ours)
    os.write(daemons, b"a" * 500)
    turn_over(ours, 1000)
    assert log.stat().st_size == 500, "it is not long yet"
    os.write(daemons, b"b" * 1000)
    turn_over(ours, 1000)
    os.write(daemons, b"next\n")
    assert log.read_bytes() == b"next\n"
    kept = tmp_path / "engine.log.1"
    assert kept.read_bytes() == b"b" * 1000
    assert kept.stat().st_mode & 0o777 == 0o600
    os.close(ours)
    os.close(daemons)


def test_what_is_no_log_to_append_to_is_left_alone(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    turn_over(writer, 0)
    file = os.open(tmp_path / "out", os.O_WRONLY | os.O_CREAT)
    os.write(file, b"x" * 10)
    turn_over(file, 5)
    moved = os.open(tmp_path / "moved", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(moved, b"x" * 10)
    (tmp_path / "moved").rename(tmp_path / "elsewhere")
    (tmp_path / "moved").write_bytes(b"new")
    turn_over(moved, 5)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["elsewhere", "elsewhere.1", "moved", "out"]
    assert (tmp_path / "moved").read_bytes() == b"new"
    for descriptor in (reader, writer, file, moved):
        os.close(descriptor)


def test_in_the_background_it_finds_what_was_named_from_here(tmp_path: Path) -> None:
    (tmp_path / "engine").write_text(PROGRAM.format(top=str(TOP)))
    words = ["./engine", "supervise", "--detach", "--log", "log", "--pid-file", "run/pid", "--", "daemon", "--data-root", "/x"]
    subprocess.run([sys.executable, *words], cwd=tmp_path, check=True, timeout=20)
    log, pid_file = tmp_path / "log", tmp_path / "run" / "pid"
    try:
        for _ in range(400):
            if log.exists() and "\n" in log.read_text():
                break
            time.sleep(0.02)
        assert log.read_text() == "up / daemon --data-root /x\n"
    finally:
        os.kill(int(pid_file.read_text()), signal.SIGTERM)
