"""Make, find and take down a lab.

In: a folder for its state, on a real file system (upper layers of overlays lie there).  Out: `Lab`, with its hosts.

Rule: a lab's id and subnet are written down before anything carries them, and everything made carries the id; so `down` finds all
of it, also after a maker that was killed half way, and may be called as often as one likes.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import fcntl
import ipaddress
import json
import os
import re
import secrets
import shlex
import shutil
import socket
import struct
import subprocess
import sys
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gitopsd.hosts.install import remove_tree
from gitopsd.lab import cgroups, network, root
from gitopsd.model.errors import GitopsdError, Where

PROGRAMS = {"ip": "iproute2", "unshare": "util-linux", "nsenter": "util-linux", "mount": "mount", "ssh-keygen": "openssh-client",
            "/usr/sbin/sshd": "openssh-server", "sudo": "sudo"}  # fmt: skip
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8"}
"""What a command on a host finds, instead of this machine's."""
_BOOT_S = 30.0
_HERE = Path(__file__).parent


@dataclass(frozen=True)
class LabHost:
    name: str
    number: int
    address: str
    host_key: str
    """`ssh-ed25519 AAAA…`, for `host_keys` of the fleet file."""
    pid: int
    """Process 1 of the host, as this machine counts; 0 when it does not run."""
    folder: Path
    """`upper` (what it changed of its root) and `engine` (its /var/lib/gitopsd-engine) are in here."""


@dataclass(frozen=True)
class Lab:
    id: str
    state_dir: Path
    subnet: str
    gateway: str
    """The address of this machine on the hosts' bridge."""
    key: Path
    """The private key that `root` and `deploy` (passwordless sudo) accept on every host."""
    hosts: tuple[LabHost, ...]

    def host(self, name: str) -> LabHost:
        for host in self.hosts:
            if host.name == name:
                return host
        raise GitopsdError(
            "lab-no-host", f"no host {name} in {self.state_dir}", hint=f"it has {', '.join(h.name for h in self.hosts)}"
        )


def up(count: int, state_dir: Path) -> Lab:
    """Bring a lab to `count` running hosts; those that run already are left alone."""
    _check_machine()
    state_dir.mkdir(parents=True, exist_ok=True)
    state_dir = state_dir.resolve()
    _check_file_system(state_dir)
    if not 1 <= count <= 200:
        raise GitopsdError("lab-count", f"{count} hosts: between 1 and 200 can be made")
    with _locked(state_dir):
        record = _read_record(state_dir)
        if record is None:
            record = _found(state_dir)
        lab_id, subnet = record["id"], ipaddress.IPv4Network(record["subnet"])
        network.make_bridge(lab_id, subnet)
        names = {f"lab-{number}": network.address_of(subnet, number) for number in range(1, max(count, record["count"]) + 1)}
        record["count"] = len(names)
        _write_record(state_dir, record)
        running = {host.name for host in read(state_dir).hosts if host.pid}
        missing = [number for number in range(1, len(names) + 1) if f"lab-{number}" not in running]
        with concurrent.futures.ThreadPoolExecutor(max_workers=4) as pool:
            boots = [pool.submit(_boot, state_dir, record, number, names) for number in missing]
        for boot in boots:
            boot.result()
    return read(state_dir)


def read(state_dir: Path) -> Lab:
    """The lab in this folder, with what runs of it; without one an error."""
    state_dir = state_dir.resolve()
    record = _read_record(state_dir)
    if record is None:
        raise GitopsdError(
            "lab-not-there", f"no lab in {state_dir}", hint="gitopsd lab up 2; one elsewhere: --state-dir, GITOPSD_STATE_DIR"
        )
    subnet = ipaddress.IPv4Network(record["subnet"])
    hosts: list[LabHost] = []
    for number in range(1, record["count"] + 1):
        folder = state_dir / "hosts" / f"lab-{number}"
        key = folder / "host_key.pub"
        host_key = " ".join(key.read_text().split()[:2]) if key.exists() else ""
        address = network.address_of(subnet, number)
        hosts.append(LabHost(folder.name, number, address, host_key, _running_pid(folder), folder))
    return Lab(record["id"], state_dir, record["subnet"], str(subnet[1]), state_dir / "key", tuple(hosts))


def down(state_dir: Path) -> None:
    """Take a lab away, whatever is there of it, files included. Without a lab it does nothing."""
    state_dir = state_dir.resolve()
    if not state_dir.is_dir():
        return
    with _locked(state_dir):
        record = _read_record(state_dir)
        if record is not None:
            cgroups.kill(record["id"])
            cgroups.remove(record["id"])
            network.remove(record["id"])
        if (state_dir / "hosts").is_dir():
            remove_tree(str(state_dir / "hosts"))
        for name in ("key", "key.pub", "lab.json"):  # the record last: until here `down` can go on where it was stopped
            (state_dir / name).unlink(missing_ok=True)
        (state_dir / "lock").unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        state_dir.rmdir()


def reset(state_dir: Path, name: str, *, wipe: bool = True) -> LabHost:
    """Pull the plug of one host and boot it again, from an empty disk or (not `wipe`) from the one it had."""
    state_dir = state_dir.resolve()
    with _locked(state_dir):
        lab = read(state_dir)
        host = lab.host(name)
        _stop(lab.id, host)
        if wipe:
            for part in ("upper", "work", "root", "engine"):
                with contextlib.suppress(OSError):
                    remove_tree(str(host.folder / part))
        names = {other.name: other.address for other in lab.hosts}
        _boot(state_dir, {"id": lab.id, "subnet": lab.subnet}, host.number, names)
    return read(state_dir).host(name)


def join_argv(lab: Lab, name: str, argv: Sequence[str]) -> list[str]:
    """The command on this machine that runs `argv` as root in a host, in its namespaces and its cgroup."""
    host = lab.host(name)
    if not host.pid:
        raise GitopsdError("lab-host-down", f"{name} does not run", Where(host=name), hint=f"gitopsd lab up {len(lab.hosts)}")
    folders = cgroups.make(lab.id, name)
    inner = [folder / "init" if (folder / "init").is_dir() else folder for folder in folders]
    enter = [sys.executable, "-I", "-S", str(_HERE / "enter.py"), *map(str, inner), "--"]
    return [*enter, "nsenter", f"--target={host.pid}", "--all", "--", *argv]


def execute(
    lab: Lab, name: str, argv: Sequence[str], stdin: bytes = b"", timeout_s: float = 60
) -> subprocess.CompletedProcess[bytes]:
    """Run a command as root in a host, without SSH, and wait for it."""
    return subprocess.run(join_argv(lab, name, argv), input=stdin, capture_output=True, timeout=timeout_s, env=ENVIRONMENT)


def _boot(state_dir: Path, record: dict[str, Any], number: int, names: dict[str, str]) -> None:
    name = f"lab-{number}"
    lab_id, subnet = record["id"], ipaddress.IPv4Network(record["subnet"])
    folder = state_dir / "hosts" / name
    _stop(lab_id, LabHost(name, number, names[name], "", 0, folder))
    if not (folder / "host_key").exists():
        folder.mkdir(parents=True, exist_ok=True)
        _make_key(folder / "host_key", name)
    shutil.rmtree(folder / "work", ignore_errors=True)  # noqa: TID251  the overlay's, never deep
    for part in ("work", "root", "engine"):
        (folder / part).mkdir(exist_ok=True)
    if not (folder / "upper").exists():
        (folder / "upper.new").mkdir(exist_ok=True)
        authorized = (state_dir / "key.pub").read_text()
        root.prepare(folder / "upper.new", Path("/"), name, folder / "host_key", authorized, names)
        (folder / "upper.new").rename(folder / "upper")
    folders = cgroups.make(lab_id, name)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    spec: dict[str, Any] = {
        "name": name,
        "folder": str(folder),
        "address": names[name],
        "prefix": subnet.prefixlen,
        "gateway": str(subnet[1]),
        "hierarchies": [(h.mountpoint, h.version, h.options) for h in cgroups.read_hierarchies()],
        "talk": theirs.fileno(),
    }
    python = [sys.executable, "-I", "-S"]
    unshare = ["unshare", "--mount", "--net", "--pid", "--uts", "--ipc", "--cgroup", "--fork", "--kill-child=SIGKILL", "--"]
    init = [*python, str(_HERE / "init.py"), json.dumps(spec)]
    enter = [*python, str(_HERE / "enter.py"), "--background", *map(str, folders), "--", *unshare, *init]
    with ours, (folder / "log").open("ab") as log:
        ours.settimeout(_BOOT_S)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        subprocess.run(enter, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=[theirs.fileno()], check=True)
        theirs.close()
        try:
            pid = _receive(ours, b"here")
            (folder / "pid").write_text(f"{pid} {_start_time(pid)}\n")
            cgroups.settle(folders, [pid, _parent(pid)])
            network.plug_in(lab_id, number, pid)
            ours.send(b"plugged")
            _receive(ours, b"ready")
        except (OSError, GitopsdError) as error:
            said = error.message if isinstance(error, GitopsdError) else (str(error) or "no answer")
            raise GitopsdError("lab-boot", f"did not start: {said}", Where(host=name), hint=f"see {folder / 'log'}") from error


def _stop(lab_id: str, host: LabHost) -> None:
    cgroups.kill(lab_id, host.name)
    cgroups.remove(lab_id, host.name)
    network.unplug(lab_id, host.number)
    (host.folder / "pid").unlink(missing_ok=True)


def _receive(talk: socket.socket, wanted: bytes) -> int:
    """Wait for a word from a host's init and return which process said it, as this machine counts."""
    data, ancillary, _, _ = talk.recvmsg(4096, socket.CMSG_SPACE(12))
    if data != wanted:
        raise GitopsdError("lab-boot", data.decode(errors="replace") or "it ended at once")
    return next((int(struct.unpack("iii", value)[0]) for _, kind, value in ancillary if kind == socket.SCM_CREDENTIALS), 0)


def _running_pid(folder: Path) -> int:
    try:
        pid, started = (folder / "pid").read_text().split()
        return int(pid) if _start_time(int(pid)) == started else 0
    except (OSError, ValueError):
        return 0


def _start_time(pid: int) -> str:
    """When a process started, in clock ticks since boot: with its number it names one process for ever."""
    fields = _stat(pid)
    if fields[0] == "Z":
        raise ProcessLookupError(pid)
    return fields[19]


def _parent(pid: int) -> int:
    return int(_stat(pid)[1])


def _stat(pid: int) -> list[str]:
    """The fields of /proc/<pid>/stat from the state on; the name before them may hold anything."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _found(state_dir: Path) -> dict[str, Any]:
    """Give a new lab its id, its subnet and its key."""
    _make_key(state_dir / "key", "gitopsd-lab")
    lock = Path("/run/lock/gitopsd-lab")
    lock.parent.mkdir(exist_ok=True)
    with lock.open("w") as others:  # two labs must not choose the same subnet
        fcntl.flock(others, fcntl.LOCK_EX)
        lab_id = "".join(secrets.choice("abcdefghijklmnopqrstuvwxyz234567") for _ in range(5))
        subnet = network.free_subnet(network.read_taken())
        record: dict[str, Any] = {"version": 1, "id": lab_id, "subnet": str(subnet), "count": 0}
        _write_record(state_dir, record)
        network.make_bridge(lab_id, subnet)
    return record


def _make_key(path: Path, comment: str) -> None:
    for leftover in (path, path.with_name(f"{path.name}.pub")):
        leftover.unlink(missing_ok=True)
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)], check=True, capture_output=True
    )


def _read_record(state_dir: Path) -> dict[str, Any] | None:
    try:
        return json.loads((state_dir / "lab.json").read_text())
    except FileNotFoundError:
        return None


def _write_record(state_dir: Path, record: dict[str, Any]) -> None:
    new = state_dir / "lab.json.new"
    new.write_text(json.dumps(record) + "\n")
    new.rename(state_dir / "lab.json")


@contextlib.contextmanager
def _locked(state_dir: Path) -> Generator[None]:
    with (state_dir / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _check_machine() -> None:
    if os.geteuid():
        raise GitopsdError(
            "lab-needs-root",
            f"a lab makes namespaces and networks, and user {os.geteuid()} may not",
            hint="sudo gitopsd lab up 2",
        )
    missing = sorted({package for program, package in PROGRAMS.items() if not shutil.which(program)})
    if missing:
        raise GitopsdError(
            "lab-missing", f"this machine lacks {', '.join(missing)}", hint=f"apt-get install {shlex.join(missing)}"
        )


def _check_file_system(folder: Path) -> None:
    kind, best = "", ""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        mountpoint = re.sub(r"\\(\d{3})", lambda octal: chr(int(octal[1], 8)), before.split()[4])
        if folder.is_relative_to(mountpoint) and len(mountpoint) >= len(best):
            kind, best = after.split()[0], mountpoint
    if kind not in ("ext4", "xfs", "btrfs", "tmpfs"):
        raise GitopsdError("lab-file-system", f"{folder} is on {kind}, which cannot hold the upper layers of overlays",
                           hint="give --state-dir a folder on ext4, xfs or btrfs")  # fmt: skip
