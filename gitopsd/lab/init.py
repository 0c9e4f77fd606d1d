"""Process 1 of a lab host: `init.py SPECIFICATION`, a program for a plain interpreter, in fresh namespaces.

In: a JSON text with the host's folders and addresses, and on descriptor `talk` a socket to whoever makes the lab.
Out: `here` (so that the maker learns which process this is, and plugs the network in), then `ready`, or what went wrong.
After that it reaps what dies and starts sshd again if that ends, until it is killed.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any


def main(spec: dict[str, Any]) -> None:
    talk = socket.socket(fileno=int(spec["talk"]))
    try:
        talk.sendall(b"here")
        if talk.recv(16) != b"plugged":
            return
        socket.sethostname(spec["name"])
        configure_network(spec)
        build_root(spec)
        Path("/run/sshd").mkdir(mode=0o755)
        sshd = start_sshd()
        wait_for_sshd(spec["address"], sshd)
    except Exception as error:
        said = getattr(error, "stderr", None) or b""
        talk.sendall(f"{error} {said.decode(errors='replace')}".strip().encode()[:4000])
        raise
    talk.sendall(b"ready")
    talk.close()
    while True:
        pid, _ = os.wait()
        if pid == sshd.pid:
            time.sleep(0.2)  # not in a circle at full speed, should it have nothing to listen on
            sshd = start_sshd()


def configure_network(spec: dict[str, Any]) -> None:
    commands = (
        "link set lo up",
        f"addr add {spec['address']}/{spec['prefix']} dev eth0",
        "link set eth0 up",
        f"route add default via {spec['gateway']}",
    )
    run("ip", "-batch", "-", stdin="\n".join(commands))


def build_root(spec: dict[str, Any]) -> None:
    """Mount the host's root with all that belongs in it, and make it ours; the machine's own is gone afterwards."""
    folder, root = spec["folder"], Path(spec["folder"], "root")
    layers = f"lowerdir=/,upperdir={folder}/upper,workdir={folder}/work"
    mount("overlay", root, "overlay", layers)
    hierarchies = spec["hierarchies"]
    mount("proc", root / "proc", "proc", "nosuid,nodev,noexec")
    mount("sysfs", root / "sys", "sysfs", "nosuid,nodev,noexec")
    mount("tmpfs", root / "run", "tmpfs", "nosuid,nodev,mode=755")
    mount("tmpfs", root / "tmp", "tmpfs", "nosuid,nodev,mode=1777")
    make_devices(root / "dev")
    if len(hierarchies) > 1:
        mount("tmpfs", root / "sys/fs/cgroup", "tmpfs", "nosuid,nodev,noexec,mode=755")
    for mountpoint, version, options in hierarchies:
        at = root / mountpoint.lstrip("/")
        at.mkdir(parents=True, exist_ok=True)
        mount("cgroup", at, "cgroup2" if version == 2 else "cgroup", options or "rw")
    engine = root / "var/lib/gitopsd-engine"
    engine.mkdir(parents=True, exist_ok=True)
    run("mount", "--bind", f"{folder}/engine", str(engine))
    os.chdir(root)
    Path("run/old").mkdir()
    run("pivot_root", ".", "run/old")
    os.chdir("/")
    run("umount", "-l", "/run/old")
    Path("/run/old").rmdir()


def make_devices(dev: Path) -> None:
    mount("tmpfs", dev, "tmpfs", "nosuid,mode=755")
    nodes = (("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0))
    for name, major, minor in nodes:
        os.mknod(dev / name, 0o020666, os.makedev(major, minor))
        (dev / name).chmod(0o666)
    for name, target in (
        ("fd", "/proc/self/fd"),
        ("stdin", "fd/0"),
        ("stdout", "fd/1"),
        ("stderr", "fd/2"),
        ("ptmx", "pts/ptmx"),
    ):
        (dev / name).symlink_to(target)
    for name in ("pts", "shm"):
        (dev / name).mkdir()
    mount("devpts", dev / "pts", "devpts", "newinstance,ptmxmode=0666,mode=620,gid=5")
    mount("tmpfs", dev / "shm", "tmpfs", "nosuid,nodev,mode=1777")


def start_sshd() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        ["/usr/sbin/sshd", "-D", "-e"], stdin=subprocess.DEVNULL, cwd="/", env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    )


def wait_for_sshd(address: str, sshd: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 10
    while True:
        if sshd.poll() is not None:
            raise RuntimeError(f"sshd ended with {sshd.returncode}")
        try:
            with socket.socket() as attempt:  # create_connection would import a codec from this machine's root, which is gone
                attempt.settimeout(1)
                attempt.connect((address, 22))
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return


def mount(source: str, target: Path, kind: str, options: str) -> None:
    run("mount", "-t", kind, "-o", options, source, str(target))


def run(*argv: str, stdin: str = "") -> None:
    subprocess.run(argv, input=stdin.encode(), check=True, capture_output=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
