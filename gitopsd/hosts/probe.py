"""What a host is, found out on the host itself: one program, sent as text, that prints JSON and changes nothing.  [python 3.6]

As root it tries what the engine will do, in namespaces of a child that are gone with it: this also loads the kernel's
modules, as the engine would. As another user it runs itself once more through sudo for that part. SOURCE is its own text.
"""

import ctypes
import errno
import json
import os
import platform
import pwd
import socket
import struct
import subprocess
import sys
import traceback
from typing import Callable

SOURCE = globals().get("SOURCE", "")
DATA_ROOT = "/var/lib/gitopsd-engine"
MODULES = ("asyncio", "hashlib", "select", "sqlite3", "ssl", "zlib")
NAMESPACES = (("mount", 0x20000), ("uts", 0x4000000), ("ipc", 0x8000000), ("pid", 0x20000000), ("network", 0x40000000),
              ("cgroup", 0x2000000))  # fmt: skip
RTM_NEWLINK, ACK_CREATE = 16, 0x605
NFNL_BATCH_BEGIN, NFNL_BATCH_END, NFT_NEWTABLE = 16, 17, 0xA00


def main() -> None:
    user = pwd.getpwuid(os.geteuid())
    facts: dict[str, object] = {
        "login": user.pw_name,
        "uid": user.pw_uid,
        "python": platform.python_version(),
        "executable": sys.executable,
        "missing_modules": [name for name in MODULES if not can_import(name)],
        "kernel": platform.release(),
        "architecture": platform.machine(),
        "os": read_os(),
        "init": "systemd" if os.path.isdir("/run/systemd/system") else "other",
        "cgroup": read_cgroup(),
        "cpus": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "root": "",
        "features": None,
    }
    facts.update(read_disk())
    if os.geteuid() == 0:
        facts["features"] = try_features()
    else:
        facts["root"], facts["features"] = ask_through_sudo()
    print(json.dumps(facts))


def can_import(name: str) -> bool:
    try:
        __import__(name)
    except ImportError:
        return False
    return True


def read_os() -> "dict[str, str]":
    found: dict[str, str] = {}
    for path in ("/etc/os-release", "/usr/lib/os-release"):
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                for line in file:
                    name, equals, value = line.strip().partition("=")
                    if equals:
                        found[name] = value.strip("'\"")
            break
        except OSError:
            continue
    return {"id": found.get("ID", ""), "like": found.get("ID_LIKE", ""), "name": found.get("PRETTY_NAME", "Linux")}


def read_cgroup() -> str:
    """`v2`, `v1` or `hybrid` (controllers in v1, v2 mounted without), or `none`."""
    kinds: dict[str, str] = {}
    with open("/proc/self/mountinfo") as file:
        for line in file:
            before, _, after = line.partition(" - ")
            kind = after.split()[0]
            if kind in ("cgroup", "cgroup2"):
                kinds.setdefault(kind, before.split()[4])
    if "cgroup" in kinds:
        return "hybrid" if "cgroup2" in kinds else "v1"
    return "v2" if "cgroup2" in kinds else "none"


def read_disk() -> "dict[str, object]":
    folder = DATA_ROOT
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    kind, best = "", ""
    with open("/proc/self/mountinfo") as file:
        for line in file:
            before, _, after = line.partition(" - ")
            mountpoint = before.split()[4]
            inside = mountpoint == "/" or folder == mountpoint or folder.startswith(mountpoint + "/")
            if inside and len(mountpoint) >= len(best):
                kind, best = after.split()[0], mountpoint
    space = os.statvfs(folder)
    return {"disk": kind, "free_bytes": space.f_bavail * space.f_frsize}


def ask_through_sudo() -> "tuple[str, object]":
    """Empty and the features, or why sudo does not work."""
    command = ["sudo", "-n", "--", sys.executable, "-I", "-S", "-"]
    try:
        done = subprocess.run(  # noqa: UP022  capture_output came with 3.7
            command,
            input=SOURCE.encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    except OSError as error:
        return f"sudo: {error.strerror}", None
    if done.returncode:
        return (done.stderr.decode(errors="replace").strip().splitlines() or ["sudo failed"])[-1], None
    return "", json.loads(done.stdout.decode())["features"]


def try_features() -> "dict[str, str]":
    """What the engine needs of the kernel: name to an empty text, or why not."""
    found: dict[str, str] = {}
    for name, flag in NAMESPACES:
        found["namespace " + name] = in_child(unshare, flag)
    found["overlay"] = in_child(try_overlay)
    found["bridge"] = in_child(try_link, b"bridge", b"probe0")
    found["veth"] = in_child(try_link, b"veth", b"probe0")
    found["nf_tables"] = in_child(try_table)
    found["pidfd"] = "" if hasattr(os, "pidfd_open") and not in_child(lambda: os.pidfd_open(os.getpid())) else "not there"
    found["seccomp"] = "" if os.path.exists("/proc/sys/kernel/seccomp") else "not there"
    return found


def in_child(work: "Callable[..., object]", *arguments: object) -> str:
    """Do something in a process of its own, so that what it does to itself is gone afterwards."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        said = "ended"
        try:
            work(*arguments)
            said = ""
        except OSError as error:
            said = error.strerror or str(error)
        except Exception:  # noqa: BLE001  whatever it is, it is why the feature is not to be had
            said = traceback.format_exc().splitlines()[-1]
        os.write(writer, said.encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        said = answer.read()
    os.waitpid(pid, 0)
    return said


def libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def unshare(flags: int) -> None:
    if libc().unshare(flags):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def try_overlay() -> None:
    unshare(0x20000)
    if libc().mount(b"probe", b"/", b"overlay", 0, None) and ctypes.get_errno() == errno.ENODEV:
        raise OSError(errno.ENODEV, "not in this kernel")
    # any other answer came from overlayfs itself: it wants folders


def try_link(kind: bytes, name: bytes) -> None:
    unshare(0x40000000)
    link = attribute(18, attribute(1, kind))
    message = struct.pack("=BxHiII", 0, 0, 0, 0, 0) + attribute(3, name + b"\0") + link
    ask(socket.NETLINK_ROUTE, frame(RTM_NEWLINK, ACK_CREATE, message))


def try_table() -> None:
    unshare(0x40000000)
    head = struct.pack("=BB", 2, 0)
    batch = struct.pack("=BBH", 0, 0, socket.htons(10))
    table = head + struct.pack("=H", 0) + attribute(1, b"probe\0")
    ask(12, frame(NFNL_BATCH_BEGIN, 1, batch) + frame(NFT_NEWTABLE, ACK_CREATE, table) + frame(NFNL_BATCH_END, 1, batch))


def ask(family: int, message: bytes) -> None:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, family) as netlink:
        netlink.settimeout(5)
        netlink.send(message)
        code = struct.unpack_from("=i", netlink.recv(65536), 16)[0]
    if code:
        raise OSError(-code, os.strerror(-code))


def frame(kind: int, flags: int, body: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, flags, 1, 0) + body


def attribute(kind: int, data: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)


if __name__ == "__main__":
    main()
