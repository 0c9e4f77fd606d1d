"""Who a process in a container runs as: `user[:group]` against the container's /etc/passwd and /etc/group.

Numbers are numbers, also when the image's passwd has such a name (CVE-2016-3697), and lie in 0..2^31-1 (CVE-2024-40635).
The files are the container's: opened without following links, regular files only, with a cap on their size
(CVE-2024-9676, CVE-2022-23648). No NSS: its libraries would be the container's.
"""

from __future__ import annotations

import errno
import os
import stat

_LIMIT = 1 << 20
_MAX_ID = (1 << 31) - 1


class UserError(Exception):
    """The user or group cannot be found or is out of range."""


def parse(text: str, passwd: bytes, group: bytes) -> tuple[int, int, list[int], str]:
    """User id, group id, all groups and home of `text` (`""`, `name`, `1000`, `name:group`, `1000:1000`).  [pure]

    The group itself is among the groups: a program that gives it up would else reach what its members may not (CVE-2022-36109).
    """
    name, _, group_name = text.partition(":")
    users = [fields for fields in _lines(passwd) if len(fields) >= 6]
    groups = [fields for fields in _lines(group) if len(fields) >= 4]
    if (name.isascii() and name.isdigit()) or not name:
        uid = _number(name or "0", "user")
        entry = next((fields for fields in users if fields[2] == str(uid)), None)
        gid = _number(entry[3], "group") if entry else 0
    else:
        entry = next((fields for fields in users if fields[0] == name), None)
        if entry is None:
            raise UserError(f"unable to find user {name}: no matching entries in passwd file")
        uid, gid = _number(entry[2], "user"), _number(entry[3], "group")
    extra: list[int] = []
    if group_name:
        if group_name.isascii() and group_name.isdigit():
            gid = _number(group_name, "group")
        else:
            found = next((fields for fields in groups if fields[0] == group_name), None)
            if found is None:
                raise UserError(f"unable to find group {group_name}: no matching entries in group file")
            gid = _number(found[2], "group")
    elif entry is not None:
        extra = [_number(fields[2], "group") for fields in groups if entry[0] in fields[3].split(",")]
    return uid, gid, [gid, *(number for number in extra if number != gid)], entry[5] if entry and entry[5] else "/"


def resolve(text: str) -> tuple[int, int, list[int], str]:
    """`parse` against the files of the root that this process is in."""
    return parse(text, read_file("/etc/passwd"), read_file("/etc/group"))


def read_file(path: str) -> bytes:
    """A regular file of at most 1 MiB, not through a symlink at its end; empty when there is none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return b""
        raise
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return b""
        if status.st_size > _LIMIT:
            raise UserError(f"{path} is larger than {_LIMIT} bytes")
        return os.read(descriptor, _LIMIT)
    finally:
        os.close(descriptor)


def _lines(data: bytes) -> list[list[str]]:
    return [line.split(":") for line in data.decode("utf-8", "surrogateescape").splitlines() if line and line[0] != "#"]


def _number(text: str, what: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) > _MAX_ID:
        raise UserError(f"{what} id {text!r} is not a number from 0 to {_MAX_ID}")
    return int(text)
