"""The kernel's switches for networks, in /proc/sys/net.

Rule: read before writing, since setting `ip_forward` also resets switches of every interface.
"""

from __future__ import annotations

from gitopsd.dockerapi.errors import ApiError

_ROOT = "/proc/sys/net/"


def read(name: str) -> str:
    """The value of `ipv4/ip_forward` and the like; empty where the kernel does not have it."""
    try:
        with open(_ROOT + name, encoding="ascii") as file:
            return file.read().strip()
    except FileNotFoundError:
        return ""


def write(what: str, name: str, value: str) -> bool:
    """Set a switch; False when it was so already. ApiError when the host does not let us."""
    if read(name) == value:
        return False
    try:
        with open(_ROOT + name, "w", encoding="ascii") as file:
            file.write(value)
    except OSError as error:
        raise ApiError(500, f"{what}: {_ROOT}{name} must be {value} and cannot be set: {error.strerror}") from error
    return True
