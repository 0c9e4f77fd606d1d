"""Records on disk: JSON files that are whole or not there (docs/state.md, "Durable means").

Rule: a record is never changed in place: temporary name in the same folder, fsync, rename, fsync of the folder.
"""

from __future__ import annotations

import contextlib
import json
import os
from typing import Any


class Unreadable(ValueError):  # noqa: N818
    """A record is there and does not say what it should; the message names its path."""


def write_durably(path: str, data: bytes, mode: int = 0o600) -> None:
    """Put `data` at `path`; when this returns it survives a power cut. On an error what was there is still there."""
    temporary = f"{path}.tmp"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
    try:
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    sync_directory(os.path.dirname(path))


def write_record(path: str, record: Any) -> None:
    """`write_durably` of a JSON value."""
    write_durably(path, json.dumps(record, ensure_ascii=False, indent=1).encode("utf-8", "surrogateescape") + b"\n")


def read_record(path: str) -> Any:
    """The JSON value at `path`, None where there is no file; raises Unreadable for a file that is not JSON."""
    try:
        with open(path, "rb") as file:
            return json.loads(file.read().decode("utf-8", "surrogateescape"))
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"{path}: not a record: {error}") from error


def remove_durably(path: str) -> None:
    """Remove a file; when this returns it stays removed. No error when it is not there."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    sync_directory(os.path.dirname(path))


def make_directories_durably(path: str, mode: int = 0o700) -> None:
    """mkdir -p for folders of ours; when this returns their names survive a power cut."""
    if os.path.isdir(path):
        return
    above = os.path.dirname(path)
    make_directories_durably(above, mode)
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, mode)
    sync_directory(above)


def sync_directory(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
