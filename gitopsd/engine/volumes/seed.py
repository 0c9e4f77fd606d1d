"""A fresh volume begins with what the image has at its place. Runs in a worker, in a mount namespace of its own.

The copy is made beside the volume and put in its place whole, so a crash leaves an empty volume or a full one, never half of it
(CVE-2020-1726 is of that kind). Source paths are the image's: they are resolved beneath its root.

Rule: only an empty volume is filled. rename(2) takes the place of an empty folder and of no other, so what somebody wrote a moment ago stays too.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from contextlib import suppress

from gitopsd.dockerapi.values import Json
from gitopsd.engine.kernel import files, mount, process
from gitopsd.engine.paths.root import Root, remove_at

_UNFINISHED = ("_data.", "_view")


def seed(arguments: Json, descriptors: list[int]) -> Json:
    """`layers` folder, `lower` short ids top first, `path` in the image, `volume` folder that holds `_data`. Returns how many entries it copied."""
    volume: str = arguments["volume"]
    place, chance = os.path.join(volume, "_data"), os.urandom(8).hex()
    if os.listdir(place):
        return {"entries": 0}
    for name in os.listdir(volume):
        if name.startswith(_UNFINISHED):
            remove_at(os.path.join(volume, name))
    fresh, view = os.path.join(volume, f"_data.{chance}"), os.path.join(volume, f"_view.{chance}")
    os.mkdir(fresh, 0o755)
    os.mkdir(view, 0o700)
    process.unshare(process.CLONE_NEWNS)
    mount.set_propagation("/", mount.MS_REC | mount.MS_SLAVE)
    os.chdir(arguments["layers"])
    lower = arguments["lower"]
    if len(lower) > 1:
        mount.mount("overlay", view, "overlay", mount.MS_RDONLY, "lowerdir=" + ":".join(lower))
    else:
        mount.bind(lower[0], view, read_only=True)
    with Root.at(view) as image:
        try:
            source = image.open(arguments["path"], os.O_RDONLY | os.O_DIRECTORY)
        except (FileNotFoundError, NotADirectoryError):
            count = 0
        else:
            with Root(source) as folder, Root.at(fresh) as target:
                count = _copy(folder, target)
                _copy_owner(os.fstat(source), target.descriptor, ".")
                files.syncfs(target.descriptor)
    mount.unmount(view)
    os.rmdir(view)
    if count:
        try:
            os.rename(fresh, place)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            count = 0
    remove_at(fresh)
    return {"entries": count}


def _copy(source: Root, target: Root) -> int:
    """Copy a tree by descriptors, links as links. Sockets and pipes are left out."""
    count = 0
    links: dict[tuple[int, int], str] = {}
    for found in source.walk():
        status, path = found.status, found.path
        kind = stat.S_IFMT(status.st_mode)
        first = links.get((status.st_dev, status.st_ino))
        if first is not None and kind != stat.S_IFDIR:
            target.link(first, path)
            continue
        if kind == stat.S_IFDIR:
            os.close(target.make_directories(path))
        elif kind == stat.S_IFLNK:
            target.symlink(os.readlink(found.name, dir_fd=found.folder), path)
        elif kind == stat.S_IFREG:
            with (
                open(source.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as reader,
                open(target.create(path, 0o600), "wb") as writer,
            ):
                shutil.copyfileobj(reader, writer, 1 << 20)
        else:
            continue
        count += 1
        if status.st_nlink > 1 and kind != stat.S_IFDIR:
            links[status.st_dev, status.st_ino] = path
        with target.parent(path) as (folder, name):
            _copy_owner(status, folder, name)
    return count


def _copy_owner(status: os.stat_result, folder: int, name: str) -> None:
    os.chown(name, status.st_uid, status.st_gid, dir_fd=folder, follow_symlinks=False)
    if not stat.S_ISLNK(status.st_mode):
        os.chmod(name, stat.S_IMODE(status.st_mode), dir_fd=folder)
    with suppress(OSError):
        os.utime(name, ns=(status.st_atime_ns, status.st_mtime_ns), dir_fd=folder, follow_symlinks=False)
