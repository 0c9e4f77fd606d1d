"""--chmod, beside what chmod(1) does."""

import subprocess
from pathlib import Path

import pytest

from gitopsd.engine.builder.errors import BuildError
from gitopsd.engine.builder.mode import ModeChange

CHANGES = [
    "0755",
    "644",
    "4755",
    "00644",
    "u=rwX,go=rX",
    "+x",
    "a-w",
    "u+s,g-r",
    "o=u",
    "g=u,o=",
    "ugo=rwx",
    "=r",
    "u=rw,g=u-w",
    "+t",
    "go-rwx+X",
    "u-s",
]


@pytest.mark.parametrize("text", CHANGES)
@pytest.mark.parametrize("mode", [0o644, 0o755, 0o600, 0o4711])
@pytest.mark.parametrize("is_folder", [False, True])
def test_a_change_does_what_chmod_does(tmp_path: Path, text: str, mode: int, is_folder: bool) -> None:
    path = tmp_path / "x"
    path.mkdir() if is_folder else path.touch()
    path.chmod(mode)
    subprocess.run(["sh", "-c", 'umask 0; exec chmod -- "$1" "$2"', "sh", text, str(path)], check=True)
    expected = path.stat().st_mode & 0o7777
    if is_folder:  # GNU's chmod leaves a folder's setuid and setgid alone when octal digits or = do not name them
        expected = expected & 0o1777 | ModeChange(text).apply(mode, True) & 0o6000
    assert ModeChange(text).apply(mode, is_folder) == expected


@pytest.mark.parametrize("text", ["", "8", "07777777", "rwx", "u", "u=z", "u=r,", "x=r", "0o755", "77"])
def test_text_that_is_no_change_is_refused(text: str) -> None:
    with pytest.raises(BuildError, match="--chmod="):
        ModeChange(text) if text else ModeChange(",")
