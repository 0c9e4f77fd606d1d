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
    lines, position = logs.lines_back(str(tmp_path), 3)
    assert [data for _, _, data in lines] == [b"two\n", b"three\n", b"rest"]
    assert lines[0][1] == 10**9, "a line has the time of its first part"
    assert logs.read_batch(str(tmp_path), position) == []


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
