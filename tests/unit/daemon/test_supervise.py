"""The log that supervisor and daemon share stays within bounds while both go on writing to it."""

from __future__ import annotations

import os
from pathlib import Path

from gitopsd.engine.daemon.supervise import turn_over


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
