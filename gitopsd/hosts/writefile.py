"""Write one file on a host, by a few lines of Python there: to a temporary name, synced, renamed, the folder synced."""

from __future__ import annotations

from gitopsd.hosts.link import PYTHON, Link
from gitopsd.model.errors import GitopsdError, Where

_PROGRAM = """
import os, sys
path, mode = sys.argv[1], int(sys.argv[2], 8)
data = sys.stdin.buffer.read()
temporary = "%s.%d.tmp" % (path, os.getpid())
try:
    file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(file, "wb", closefd=False) as out:
            out.write(data)
        os.fchmod(file, mode)
        os.fsync(file)
    finally:
        os.close(file)
    os.rename(temporary, path)
    folder = os.open(os.path.dirname(path) or ".", os.O_RDONLY)
    os.fsync(folder)
except OSError as error:
    try:
        os.unlink(temporary)
    except OSError:
        pass
    sys.exit(str(error))
"""


def write(link: Link, data: bytes, path: str, mode: int, as_root: bool) -> None:
    done = link.run([*PYTHON, "-c", _PROGRAM, path, f"{mode:o}"], data, as_root=as_root)
    if done.exit:
        said = done.stderr.decode(errors="replace").strip().splitlines() or [f"exit code {done.exit}"]
        raise GitopsdError("host-put", f"cannot write {path}: {said[-1]}", Where(host=link.name, object=path))
