import random
from pathlib import Path

import pytest

from gitopsd.engine.daemon import logs
from gitopsd.engine.runtime import logfile
from gitopsd.engine.runtime.logfile import LogWriter


def write(folder: Path, pieces: list[tuple[int, bytes]]) -> None:
    writer = LogWriter(str(folder))
    for number, (stream, data) in enumerate(pieces):
        writer.write(stream, data, 10**9 * (number + 1))


def test_the_last_lines_are_joined_from_pieces_of_their_own_stream(tmp_path: Path) -> None:
    write(tmp_path, [(1, b"one\ntw"), (2, b"err\n"), (1, b"o\nthr"), (1, b"ee\nrest")])
    lines, position = last_lines(tmp_path, 3)
    assert [data for _, _, data in lines] == [b"two\n", b"three\n", b"rest"]
    assert lines[0][1] == 10**9, "a line has the time of its first part"
    assert logs.read_batch(str(tmp_path), position) == []


def last_lines(folder: Path, count: int) -> tuple[list[logs.Record], logs.Position]:
    last = logs.LastLines(str(folder), count)
    try:
        return [record for batch in last for record in batch], last.position
    finally:
        last.close()


def lines_of(pieces: list[tuple[int, bytes]]) -> list[tuple[int, int, bytes]]:
    """Stream, number of the first piece, text of each line, in the order in which they end; the slow and plain way."""
    open_lines: dict[int, tuple[int, bytes]] = {}
    found: list[tuple[int, int, bytes]] = []
    for number, (stream, data) in enumerate(pieces):
        for piece in data.splitlines(keepends=True):
            first, line = open_lines.pop(stream, (number, b""))
            if piece.endswith(b"\n"):
                found.append((stream, first, line + piece))
            else:
                open_lines[stream] = (first, line + piece)
    return found + [(stream, first, line) for stream, (first, line) in open_lines.items()]


def test_the_last_lines_are_those_of_the_plain_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logfile, "FILE_LIMIT", 300)
    monkeypatch.setattr(logs, "_BATCH", 64)
    chance = random.Random(7)
    for case in range(60):
        folder = tmp_path / str(case)
        folder.mkdir()
        pieces = [
            (
                chance.choice([1, 1, 2]),
                b"".join(chance.choice([b"a", b"bc", b"\n", b"\n"]) for _ in range(chance.randrange(1, 9))),
            )
            for _ in range(chance.randrange(25))
        ]
        write(folder, pieces)
        expected = lines_of(pieces)
        for count in (0, 1, 2, 3, 7, 1000):
            lines, _ = last_lines(folder, count)
            plain = expected[max(0, len(expected) - count) :]
            for stream in (1, 2):
                assert b"".join(data for found, _, data in lines if found == stream) == b"".join(
                    data for found, _, data in plain if found == stream
                ), (pieces, count)
            if plain:
                assert lines[0][:2] == (plain[0][0], 10**9 * (plain[0][1] + 1)), (pieces, count)


def test_a_log_of_empty_lines_is_read_back_in_little_memory(tmp_path: Path) -> None:
    """20 million of them took 5 GB."""
    tracemalloc = pytest.importorskip("tracemalloc")  # PyPy has none
    write(tmp_path, [(1, b"\n" * logfile.RECORD_LIMIT) for _ in range(120)])
    tracemalloc.start()
    try:
        last = logs.LastLines(str(tmp_path), 30_000_000)
        assert sum(len(data) for batch in last for *_, data in batch) == 120 * logfile.RECORD_LIMIT
        last.close()
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


def test_times_stand_before_lines_and_not_before_pieces() -> None:
    stamper = logs.Stamper()
    text = b"".join(stamper.stamp(record) for record in [(1, 1, b"a"), (1, 2, b"b\nc\n"), (2, 3, b"e\n")])
    assert [line.partition(b" ")[2] for line in text.splitlines()] == [b"ab", b"c", b"e"]


def test_reading_goes_on_through_the_files_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logfile, "FILE_LIMIT", 200)
    write(tmp_path, [(1, b"%03d\n" % number) for number in range(90)])
    position, found = logs.beginning(str(tmp_path)), []
    while batch := logs.read_batch(str(tmp_path), position):
        found += [data for _, _, data in batch]
    assert len(logfile.numbers(str(tmp_path))) == logfile.FILES_KEPT
    assert found == [b"%03d\n" % number for number in range(90 - len(found), 90)]


def test_a_torn_record_is_ignored_and_cut_off_by_the_next_writer(tmp_path: Path) -> None:
    write(tmp_path, [(1, b"whole\n")])
    with open(tmp_path / "1", "ab") as file:
        file.write(logfile.HEADER.pack(100, 1, 5) + b"torn")
    assert [data for *_, data in logs.read_batch(str(tmp_path), logs.beginning(str(tmp_path)))] == [b"whole\n"]
    LogWriter(str(tmp_path)).write(1, b"after\n", 7)
    assert [data for *_, data in logs.read_batch(str(tmp_path), logs.beginning(str(tmp_path)))] == [b"whole\n", b"after\n"]


def test_a_log_is_never_larger_than_its_files(tmp_path: Path) -> None:
    writer = LogWriter(str(tmp_path))
    for _ in range(400):
        writer.write(1, b"x" * logfile.RECORD_LIMIT, 1)
    total = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert total <= logfile.FILES_KEPT * logfile.FILE_LIMIT


def test_a_folder_that_has_gone_drops_records_and_raises_nothing(tmp_path: Path) -> None:
    writer = LogWriter(str(tmp_path / "not-there"))
    writer.write(1, b"x", 1)
    assert writer.dropped == 1
