"""The zipapp's first file: unpack once, run from there ever after.  [syntax of Python 3.6, to say that 3.9 is needed]

In: the archive that Python was started with.  Out: `gitopsd.engine.main`, run from a folder that is named by the archive's SHA-256.

Rule 1: a folder is complete when it has its name: unpacked, compiled and synced under another one, then renamed.
Rule 2: code is run from a folder only if it is ours and nobody else can write to it.
Rule 3: where no folder can be had the code is run from the archive, which is right and slow: Python never keeps the bytecode of what
it reads from an archive (374 ms at each start against 35), and bytecode cannot be shipped, as each Python has its own.

The daemon and its like unpack below their data root, where docs/state.md has it. Others use that if it is there, else the cache
of their user.
"""

import hashlib
import importlib
import os
import stat
import sys

DATA_ROOT = "/var/lib/gitopsd-engine"
_SERVERS = ("daemon", "registry", "supervise")


def main() -> None:
    if sys.version_info < (3, 9):  # noqa: UP036  whoever gets here with an older one is told so
        sys.exit(f"gitopsd-engine needs python3 3.9 or newer, this is {sys.version.split()[0]}")
    archive = sys.path[0]
    with open(archive, "rb") as file:
        digest = hashlib.sha256(file.read()).hexdigest()
    sys.path[0] = find_folder(archive, digest, sys.argv[1:]) or archive
    sys.exit(importlib.import_module("gitopsd.engine.main").main())


def find_folder(archive: str, digest: str, arguments: "list[str]") -> str:
    """The folder with the archive's content, unpacked into the first place where that is possible; empty if there is none."""
    own = os.path.join(data_root(arguments), "engine")
    is_server = bool(arguments) and arguments[0] in _SERVERS
    if is_usable(os.path.join(own, digest)):
        return os.path.join(own, digest)
    home = os.path.expanduser("~")
    cache = os.environ.get("XDG_CACHE_HOME") or (os.path.join(home, ".cache") if os.path.isdir(home) else "")
    places = [os.path.join(cache, "gitopsd-engine")] if cache else []
    if is_server and os.geteuid() == 0:
        places.insert(0, own)
    for place in places:
        folder = os.path.join(place, digest)
        if is_usable(folder):
            return folder
        try:
            unpack(archive, place, digest)
        except OSError:
            continue  # a full or read-only disk, a home that is not there
        if is_usable(folder):
            return folder
    return ""


def data_root(arguments: "list[str]") -> str:
    for number, argument in enumerate(arguments):
        if argument == "--data-root" and number + 1 < len(arguments):
            return arguments[number + 1]
        if argument.startswith("--data-root="):
            return argument.split("=", 1)[1]
    return DATA_ROOT


def is_usable(folder: str) -> bool:
    """Whether it is there and only root or we could have put anything into it."""
    try:
        found = os.lstat(folder)
        above = os.lstat(os.path.dirname(folder))
    except OSError:
        return False
    owners = (0, os.geteuid())
    return all(
        stat.S_ISDIR(status.st_mode) and status.st_uid in owners and not status.st_mode & 0o022 for status in (found, above)
    ) and os.access(folder, os.R_OK | os.X_OK)


def unpack(archive: str, place: str, digest: str) -> None:
    import compileall
    import py_compile
    import shutil
    import zipfile

    os.makedirs(place, 0o700, exist_ok=True)
    temporary = os.path.join(place, f"{digest}.{os.getpid()}.tmp")
    try:
        os.mkdir(temporary, 0o700)
        with zipfile.ZipFile(archive) as content:
            content.extractall(temporary)
        # names in tracebacks are those that the folder will have; the bytecode never looks at its source again
        compileall.compile_dir(
            temporary,
            stripdir=temporary,
            prependdir=os.path.join(place, digest),
            quiet=2,
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )
        sync_tree(temporary)
        try:
            os.rename(temporary, os.path.join(place, digest))
        except OSError:
            if not os.path.isdir(os.path.join(place, digest)):  # else another process was as quick
                raise
        sync(place)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)  # noqa: TID251  our own files


def sync_tree(top: str) -> None:
    for folder, _, names in os.walk(top):
        for name in names:
            sync(os.path.join(folder, name))
        sync(folder)


def sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    main()
