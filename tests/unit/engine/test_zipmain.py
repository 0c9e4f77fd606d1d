"""The zipapp's first file, run as the first file of small archives."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ZIPMAIN = Path(__file__).parents[3] / "gitopsd/engine/zipmain.py"
ENGINE = "import sys\ndef main():\n    print(__file__, *sys.argv[1:])\n    return 3\n"
ENV = {"PATH": os.environ["PATH"]}


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "engine.pyz"
    with zipfile.ZipFile(path, "w") as content:
        content.write(ZIPMAIN, "__main__.py")
        content.writestr("gitopsd/__init__.py", "")
        content.writestr("gitopsd/engine/__init__.py", "")
        content.writestr("gitopsd/engine/main.py", ENGINE)
    return path


def run(archive: Path, *arguments: str, cache: Path | None = None, **keywords: object) -> subprocess.CompletedProcess[str]:
    env = {**ENV, **({"XDG_CACHE_HOME": str(cache)} if cache else {"HOME": "/nonexistent"})}
    command = [sys.executable, "-I", "-S", str(archive), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=env, **keywords)  # type: ignore[call-overload]


def digest_of(archive: Path) -> str:
    return hashlib.sha256(archive.read_bytes()).hexdigest()


def test_a_client_runs_from_its_users_cache_with_its_arguments_and_exit_code(archive: Path, tmp_path: Path) -> None:
    for _ in range(2):
        done = run(archive, "ps", "--data-root", str(tmp_path / "none"), cache=tmp_path / "cache")
        folder = tmp_path / "cache/gitopsd-engine" / digest_of(archive)
        assert done.stdout.split()[:2] == [str(folder / "gitopsd/engine/main.py"), "ps"], done.stderr
        assert done.returncode == 3
    assert folder.stat().st_mode & 0o777 == 0o700
    assert list((tmp_path / "cache/gitopsd-engine").iterdir()) == [folder]


def test_bytecode_is_made_once_and_trusted(archive: Path, tmp_path: Path) -> None:
    run(archive, cache=tmp_path)
    main = tmp_path / "gitopsd-engine" / digest_of(archive) / "gitopsd/engine/main.py"
    main.write_text("raise SystemExit('read again')\n")
    assert run(archive, cache=tmp_path).returncode == 3


@pytest.mark.skipif(os.geteuid() != 0, reason="the data root belongs to root")
def test_a_daemon_runs_from_its_data_root_and_then_a_client_does_too(archive: Path, tmp_path: Path) -> None:
    root = tmp_path / "data"
    expected = str(root / "engine" / digest_of(archive) / "gitopsd/engine/main.py")
    assert run(archive, "supervise", "--", "daemon", f"--data-root={root}").stdout.split()[0] == expected
    assert run(archive, "ps", "--data-root", str(root)).stdout.split()[0] == expected


def test_another_archive_gets_another_folder(archive: Path, tmp_path: Path) -> None:
    run(archive, cache=tmp_path)
    with zipfile.ZipFile(archive, "a") as content:
        content.writestr("more", "")
    assert run(archive, cache=tmp_path).stdout.split()[0].startswith(str(tmp_path / "gitopsd-engine" / digest_of(archive)))


def test_a_folder_that_others_can_write_to_is_not_run(archive: Path, tmp_path: Path) -> None:
    run(archive, cache=tmp_path)
    folder = tmp_path / "gitopsd-engine" / digest_of(archive)
    for weak in (folder, folder.parent):
        weak.chmod(0o777)
        assert run(archive, cache=tmp_path).stdout.startswith(str(archive))
        weak.chmod(0o700)
    assert run(archive, cache=tmp_path).stdout.startswith(str(folder))


def test_a_link_in_place_of_the_folder_is_not_followed(archive: Path, tmp_path: Path) -> None:
    run(archive, cache=tmp_path)
    folder = tmp_path / "gitopsd-engine" / digest_of(archive)
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    assert run(archive, cache=tmp_path).stdout.startswith(str(archive))


def test_without_any_place_to_write_it_runs_from_the_archive(archive: Path) -> None:
    done = run(archive, "ps", "--data-root", "/nonexistent")
    assert (done.stdout.split()[0], done.returncode) == (f"{archive}/gitopsd/engine/main.py", 3)


def test_many_that_start_at_once_leave_one_folder(archive: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-I", "-S", str(archive)]
    env = {**ENV, "XDG_CACHE_HOME": str(tmp_path)}
    started = [subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) for _ in range(6)]
    folder = tmp_path / "gitopsd-engine" / digest_of(archive)
    assert {process.communicate()[0].split()[0] for process in started} == {str(folder / "gitopsd/engine/main.py")}
    assert list((tmp_path / "gitopsd-engine").iterdir()) == [folder]


def test_a_half_unpacked_folder_of_a_crash_is_not_taken_for_a_whole_one(archive: Path, tmp_path: Path) -> None:
    leftover = tmp_path / "gitopsd-engine" / f"{digest_of(archive)}.1.tmp"
    leftover.mkdir(parents=True)
    assert run(archive, cache=tmp_path).returncode == 3
