"""Writing a small record so that it is whole or not there, whatever dies (docs/state.md, "durable").

In: a path of ours, its new content.  Out: nothing, once the content would survive a pulled plug.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from typing import Any

_TEMPORARY = ".new-"


def write_record(path: str, data: bytes, mode: int = 0o600) -> None:
    """Temporary name in the same folder, fsync, rename, fsync of the folder."""
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f"{_TEMPORARY}{name}-{os.getpid()}-{os.urandom(4).hex()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        os.rename(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise
    sync_folder(folder)


def write_json(path: str, value: Any) -> None:
    """The same for JSON, one line, readable."""
    write_record(path, (json.dumps(value, ensure_ascii=True) + "\n").encode())


def read_json(path: str, default: Any) -> Any:
    """What `write_json` wrote, or `default` if there is nothing."""
    try:
        with open(path, "rb") as file:
            return json.load(file)
    except FileNotFoundError:
        return default


def sync_folder(path: str) -> None:
    """Make names in a folder durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(path: str, mode: int = 0o700) -> None:
    """mkdir -p for a folder of ours; each new name is durable."""
    if os.path.isdir(path):
        return
    above = os.path.dirname(path)
    make_folder(above, mode)
    with suppress(FileExistsError):
        os.mkdir(path, mode)
        sync_folder(above)


def remove_leftovers(folder: str) -> None:
    """Remove what a killed `write_record` left; only its owner may, when it starts."""
    for name in os.listdir(folder):
        if name.startswith(_TEMPORARY):
            with suppress(FileNotFoundError):
                os.unlink(os.path.join(folder, name))
