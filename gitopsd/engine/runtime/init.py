"""The first process of a container, from its fork to the exec of the user's program.

In: the monitor's specification (below).  Out: over `channel`, one packet with the sockets of the new network namespace; then, when the
monitor has said `start`, the exec; on a failure one packet with the error, then exit code 127 or 126 as a shell gives them.

Order: cgroup, namespaces, sockets, root, imports closed, wait for `start`, user and capabilities, exec. Mounting and the daemon's
work on the network go on side by side; what a container can see is prepared before it can run anything.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import resource
import signal
import socket
import stat
import struct
from typing import Any

from gitopsd.engine.kernel import mount as km
from gitopsd.engine.kernel import process
from gitopsd.engine.runtime import capabilities, guard, messages, rootfs, user

SOCKETS = ("route", "netfilter", "dns-udp", "dns-tcp")
_NETLINK_ROUTE, _NETLINK_NETFILTER = 0, 12
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1
_SHORT = {"mount": "mnt", "network": "net"}
_RESOLVER = "127.0.0.11"
_SHOWN = 256
_AT_FORKS = "RLIMIT_NPROC"


class ExecFailed(Exception):  # noqa: N818
    """The kernel, or a look-up before it, refuses to run the program; `code` is what a shell would exit with."""

    def __init__(self, number: int, argument: str, message: str) -> None:
        super().__init__(message)
        self.number, self.argument = number, argument
        self.code = 127 if number == errno.ENOENT else 126


def run(spec: dict[str, Any], channel: socket.socket) -> None:
    """Become the container. Never returns."""
    step = "cgroup"
    try:
        config = json.loads(spec["oci"])
        prepare(config["process"], spec["cgroup"]["payload"])
        step = "namespaces"
        kinds: set[str] = {entry["type"] for entry in config["linux"]["namespaces"] if "path" not in entry} - {"pid"}
        process.unshare(sum(process.NAMESPACES[_SHORT.get(kind, kind)] for kind in kinds))
        for entry in config["linux"]["namespaces"]:
            if "path" in entry:
                descriptor = os.open(entry["path"], os.O_RDONLY | os.O_CLOEXEC)
                process.setns(descriptor, 0)
                os.close(descriptor)
        if config.get("hostname"):
            socket.sethostname(config["hostname"])
        step = "network"
        if "network" in kinds:
            sockets = open_sockets()
            messages.send(channel, {"sockets": list(SOCKETS)}, [sock.fileno() for sock in sockets])
            for sock in sockets:
                sock.close()
        else:
            messages.send(channel, {"sockets": []})
        for name, value in config["linux"].get("sysctl", {}).items():
            write("/proc/sys/" + name.replace(".", "/"), value)
        step = "root"
        km.set_propagation("/", km.MS_REC | km.MS_SLAVE)
        os.umask(0)
        target = config["root"]["path"]
        rootfs.mount_overlay(spec["layers"], spec["overlay"], target)
        root = rootfs.make_root(target, config)
        guard.close_imports()
        rootfs.enter_root(root)
        os.umask(0o22)
        step = "start"
        message, _ = messages.receive(channel)
        if message.get("op") != "start":
            os._exit(1)
        step = "process"
        make_directory(config["process"])
        if config["root"].get("readonly", False):
            rootfs.make_read_only()
        execute(config["process"], become(config["process"]))
    except ExecFailed as error:
        fields = {"errno": error.number, "argument": error.argument}
        messages.send(channel, messages.error_of("exec-failed", str(error), **fields))
        os._exit(error.code)
    except messages.Closed:
        os._exit(1)
    except BaseException as error:  # noqa: BLE001  whatever it is, the monitor must hear of it
        messages.send(channel, messages.error_of("setup-failed", describe(error), step=step))
        os._exit(126)


def prepare(settings: dict[str, Any], cgroup: list[str]) -> None:
    """What is written through the host's /proc and cgroups, before anything of the container can stand in their place
    (CVE-2025-52881): untraceable (CVE-2016-9962), the container's cgroup, its score for the OOM killer. And no key of the engine's session."""
    process.set_dumpable(False)
    process.leave_session_keyring()
    process.set_parent_death_signal(signal.SIGKILL)
    for path in cgroup:
        write(path, "0")
    if "oomScoreAdj" in settings:
        write("/proc/self/oom_score_adj", str(settings["oomScoreAdj"]))


def open_sockets() -> list[socket.socket]:
    """Bring up the loopback, and open what a daemon needs to configure and serve this namespace from outside."""
    route = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_ROUTE)
    netfilter = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER)
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    request = struct.pack("16sH14x", b"lo", 0)
    flags: int = struct.unpack("16sH14x", fcntl.ioctl(udp, _SIOCGIFFLAGS, request))[1]
    fcntl.ioctl(udp, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | _IFF_UP))
    udp.bind((_RESOLVER, 0))
    tcp.bind((_RESOLVER, 0))
    tcp.listen(64)
    return [route, netfilter, udp, tcp]


def make_directory(settings: dict[str, Any]) -> None:
    """Make the working directory of an OCI `process` where it is missing: as Docker does for a container, but not for an exec. Raises ExecFailed."""
    path = settings["cwd"]
    if os.path.lexists(path):
        return
    uid, gid, _, _ = _resolve_user(settings)
    made = ""
    try:
        for name in path.strip("/").split("/"):
            made += "/" + name
            if not os.path.isdir(made):
                os.mkdir(made, 0o755)
                os.chown(made, uid, gid)
    except OSError as error:
        raise ExecFailed(error.errno or 0, path, f"mkdir of cwd ({_shown(path)!r}) failed: {describe(error)}") from error


def become(settings: dict[str, Any], forks: bool = False) -> dict[str, str]:
    """Take limits, working directory, user and capabilities of an OCI `process`; returns its environment. Raises ExecFailed.

    Who `forks` once more as that user takes the limit that counts it afterwards (`limit_processes`).
    """
    environment = dict(text.partition("=")[::2] for text in settings["env"])
    uid, gid, groups, home = _resolve_user(settings)
    environment.setdefault("HOME", home)
    limits: list[dict[str, Any]] = settings.get("rlimits", [])
    _set_limits([_room(limit) if forks and limit["type"] == _AT_FORKS else limit for limit in limits])
    enter_directory(settings["cwd"])
    capabilities.apply(settings["capabilities"]["bounding"], uid, gid, groups, settings.get("noNewPrivileges", False))
    process.set_dumpable(False)  # a change of user sets it to fs.suid_dumpable
    return environment


def execute(settings: dict[str, Any], environment: dict[str, str]) -> None:
    """Run the program of an OCI `process` that this one has become. Raises ExecFailed.

    Everything but the standard streams is closed on exec, the channel to the parent too: that it closes says that the program runs.
    """
    process.set_parent_death_signal(signal.SIGKILL)  # after the last change of user, which clears it
    process.close_on_exec_from(3)
    process.reset_signals()
    arguments: list[str] = settings["args"]
    _exec(arguments, environment)


def _resolve_user(settings: dict[str, Any]) -> tuple[int, int, list[int], str]:
    name = settings["user"].get("username", "")
    try:
        return user.resolve(name)
    except user.UserError as error:
        raise ExecFailed(errno.EINVAL, name, str(error)) from error


def enter_directory(path: str) -> None:
    """Go to the working directory; it must lie inside the root (CVE-2024-21626)."""
    try:
        os.chdir(path)
    except OSError as error:
        raise ExecFailed(error.errno or 0, path, f"chdir to cwd ({_shown(path)!r}) failed: {describe(error)}") from error
    try:
        inside = os.getcwd().startswith("/")
    except OSError:
        inside = False
    if not inside:
        raise ExecFailed(errno.EPERM, path, f"the working directory {_shown(path)!r} is outside the container's root")


def _exec(arguments: list[str], environment: dict[str, str]) -> None:
    """execve along PATH, as execvp(3) does."""
    name = arguments[0]
    if "/" in name:
        candidates = [name]
    else:
        candidates = [f"{folder or '.'}/{name}" for folder in environment.get("PATH", "").split(":")]
    refused: OSError | None = None
    for candidate in candidates:
        try:
            if "/" not in name and not _is_file(candidate):
                continue
            os.execve(candidate, arguments, environment)
        except (FileNotFoundError, NotADirectoryError) as error:
            if "/" in name or os.path.exists(candidate):
                refused = refused or error  # the file is there: its interpreter is not
        except OSError as error:
            refused = error
    if refused is None:
        raise ExecFailed(errno.ENOENT, name, f'exec: "{_shown(name)}": executable file not found in $PATH')
    raise ExecFailed(refused.errno or 0, name, f'exec: "{_shown(name)}": {os.strerror(refused.errno or 0).lower()}') from refused


def _shown(name: str) -> str:
    """A stranger's name, with room left for what is said of it."""
    return name if len(name) <= _SHOWN else f"{name[:_SHOWN]}..."


def _is_file(path: str) -> bool:
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except OSError:
        return False


def _set_limits(limits: list[dict[str, Any]]) -> None:
    """Resource limits, as far as this machine lets the engine go itself."""
    for limit in limits:
        kind = getattr(resource, limit["type"])
        soft, hard = limit["soft"], limit["hard"]
        try:
            resource.setrlimit(kind, (soft, hard))
        except (ValueError, OSError):
            most = resource.getrlimit(kind)[1]
            resource.setrlimit(kind, (min(soft, most, key=_height), min(hard, most, key=_height)))


def _height(limit: int) -> int:
    """Unlimited, which is -1, is the highest."""
    return limit % (1 << 64)


def limit_processes(settings: dict[str, Any]) -> None:
    _set_limits([limit for limit in settings.get("rlimits", []) if limit["type"] == _AT_FORKS])


def _room(limit: dict[str, Any]) -> dict[str, Any]:
    """As high as it may be."""
    highest = max(limit["hard"], resource.getrlimit(getattr(resource, limit["type"]))[1], key=_height)
    return {**limit, "soft": highest, "hard": highest}


def write(path: str, text: str) -> None:
    """Into a file of the kernel's, in one call."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def describe(error: BaseException) -> str:
    """An error in one clause, with its path."""
    if isinstance(error, OSError) and error.errno:
        place = f" {error.filename}" if error.filename else ""
        return f"{error.strerror or os.strerror(error.errno)}{place}"
    return f"{type(error).__name__}: {error}"


def read_spec(descriptor: int) -> dict[str, Any]:
    """The JSON in a descriptor that the daemon wrote; the descriptor is closed."""
    with os.fdopen(descriptor, "rb") as file:
        file.seek(0)
        return json.loads(file.read().decode("utf-8", "surrogateescape"))
