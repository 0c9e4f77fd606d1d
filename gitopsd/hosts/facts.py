"""What a host is, and what it lacks to run the engine.

In: a link.  Out: `Facts`, by one command on the host (`probe.py`), and from them everything that is missing, each with what to do.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from importlib import resources
from typing import Any, Literal

from gitopsd.hosts.link import PYTHON, Link
from gitopsd.model.errors import GitopsdError, Where

OLDEST_PYTHON = (3, 9)
OLDEST_KERNEL = (5, 10)
LEAST_FREE_BYTES = 200 << 20
_STARTER = "import sys; s = sys.stdin.read(); exec(compile(s, 'probe', 'exec'), {'SOURCE': s, '__name__': '__main__'})"
NO_OVERLAY_ON = ("overlay", "nfs", "nfs4", "vfat", "exfat", "fuse", "cifs", "9p")
_INSTALL = {"debian": "apt-get install", "ubuntu": "apt-get install", "alpine": "apk add", "rhel": "dnf install", "fedora": "dnf install",
            "suse": "zypper install", "arch": "pacman -S"}  # fmt: skip
_KERNEL_PACKAGES = {"ubuntu": "linux-modules-extra-$(uname -r)", "rhel": "kernel-modules", "fedora": "kernel-modules"}


@dataclass(frozen=True)
class Facts:
    login: str
    uid: int
    """Of the login user: the engine's socket will belong to it, and to no group, which others may be in."""
    python: str
    executable: str
    missing_modules: tuple[str, ...]
    kernel: str
    architecture: str
    os_name: str
    os_ids: tuple[str, ...]
    init: Literal["systemd", "other"]
    cgroup: Literal["v1", "v2", "hybrid", "none"]
    cpus: int
    memory_bytes: int
    disk: str
    """The file system where the data root is or will be."""
    free_bytes: int
    no_root: str
    """Why the login user cannot become root; empty: it can."""
    features: tuple[tuple[str, str], ...]
    """What the engine needs of the kernel, and why it is not to be had; empty: it is."""


@dataclass(frozen=True)
class Lack:
    what: str
    hint: str


def read_facts(link: Link) -> Facts:
    source = resources.files("gitopsd.hosts").joinpath("probe.py").read_text()
    done = link.run([*PYTHON, "-c", _STARTER], source.encode(), timeout_s=90)
    where = Where(host=link.name)
    said = done.stderr.decode(errors="replace").strip()
    if done.exit == 127:
        raise GitopsdError("host-no-python", "the host has no python3", where, "install the package python3")
    if done.exit and "No module named" in said:
        raise GitopsdError(
            "host-no-python", f"the host's python3 is not whole: {said.splitlines()[-1]}", where, "install the package python3"
        )
    if done.exit and "SyntaxError" in said:
        raise GitopsdError("host-old-python", "the host's python3 is older than 3.6", where, "install Python 3.9 or newer")
    if done.exit:
        raise GitopsdError(
            "host-probe", f"looking at the host failed: {(said.splitlines() or [f'exit code {done.exit}'])[-1]}", where
        )
    return parse_facts(done.stdout)


def parse_facts(data: bytes) -> Facts:
    said: dict[str, Any] = json.loads(data)
    features: dict[str, str] = said["features"] or {}
    return Facts(
        login=said["login"],
        uid=int(said["uid"]),
        python=said["python"],
        executable=said["executable"],
        missing_modules=tuple(said["missing_modules"]),
        kernel=said["kernel"],
        architecture=said["architecture"],
        os_name=said["os"]["name"],
        os_ids=(said["os"]["id"], *said["os"]["like"].split()),
        init=said["init"],
        cgroup=said["cgroup"],
        cpus=said["cpus"],
        memory_bytes=said["memory_bytes"],
        disk=said["disk"],
        free_bytes=said["free_bytes"],
        no_root=said["root"],
        features=tuple(features.items()),
    )


def lacks(facts: Facts) -> tuple[Lack, ...]:
    """Everything that stands in the way of the engine, so that a person can see to all of it at once."""
    found: list[Lack] = []
    if _version(facts.python) < OLDEST_PYTHON:
        found.append(Lack(f"python3 is {facts.python}, and 3.9 is needed", _install(facts, "python3", "a newer Python")))
    if facts.missing_modules:
        found.append(Lack(f"python3 lacks {', '.join(facts.missing_modules)}", _install(facts, "python3", "the whole of Python")))
    if _version(facts.kernel) < OLDEST_KERNEL:
        found.append(Lack(f"the kernel is {facts.kernel}, and 5.10 is needed", "a newer release of the distribution has one"))
    if facts.no_root:
        line = f"{facts.login} ALL=(ALL) NOPASSWD:ALL"
        found.append(
            Lack(f"{facts.login} cannot become root: {facts.no_root}", f"as root: echo '{line}' > /etc/sudoers.d/{facts.login}")
        )
    for name, reason in facts.features:
        if reason:
            modules = next((package for distribution, package in _KERNEL_PACKAGES.items() if distribution in facts.os_ids), "")
            hint = _install(facts, modules, "") if modules else f"modprobe {name.split()[0]}, or a kernel that has it"
            found.append(Lack(f"the kernel gives no {name}: {reason}", hint))
    if facts.cgroup == "none":
        found.append(Lack("no cgroups are mounted", "mount -t cgroup2 cgroup2 /sys/fs/cgroup, at each boot"))
    if facts.disk in NO_OVERLAY_ON or facts.disk.startswith("fuse"):
        found.append(
            Lack(f"/var/lib is on {facts.disk}, where overlays cannot be made", "mount ext4 or xfs at /var/lib/gitopsd-engine")
        )
    if facts.free_bytes < LEAST_FREE_BYTES:
        found.append(Lack(f"{facts.free_bytes >> 20} MiB are free at /var/lib, and 200 are needed", "make room"))
    return tuple(found)


def check(facts: Facts, host: str) -> None:
    """Raise with all that is missing, if anything is."""
    missing = lacks(facts)
    if missing:
        raise GitopsdError(
            "host-not-ready", "; ".join(lack.what for lack in missing), Where(host=host), "; ".join(lack.hint for lack in missing)
        )


def _install(facts: Facts, package: str, otherwise: str) -> str:
    command = next((_INSTALL[name] for name in facts.os_ids if name in _INSTALL), "")
    return f"{command} {package}" if command else f"install {otherwise or package}"


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", text)[:2])
