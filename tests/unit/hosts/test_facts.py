"""What a host lacks is said, all of it, with what to do."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from gitopsd.hosts.facts import Facts, check, lacks, parse_facts
from gitopsd.model.errors import GitopsdError

GOOD = parse_facts(
    json.dumps(
        {
            "login": "deploy", "uid": 1000, "python": "3.9.2", "executable": "/usr/bin/python3", "missing_modules": [],
            "kernel": "5.10.0-30-amd64", "architecture": "x86_64", "os": {"id": "debian", "like": "", "name": "Debian 11"},
            "init": "systemd", "cgroup": "v2", "cpus": 2, "memory_bytes": 1 << 30, "disk": "ext4", "free_bytes": 1 << 30,
            "root": "", "features": {"overlay": "", "bridge": ""},
        }
    ).encode()
)  # fmt: skip


def test_a_host_with_what_is_needed_lacks_nothing() -> None:
    assert lacks(GOOD) == ()
    check(GOOD, "a")


@pytest.mark.parametrize(
    ("facts", "what", "hint"),
    [
        pytest.param(replace(GOOD, python="3.8.10"), "python3 is 3.8.10, and 3.9 is needed", "apt-get install python3", id="python"),
        pytest.param(replace(GOOD, missing_modules=("ssl",)), "python3 lacks ssl", "apt-get install python3", id="a module"),
        pytest.param(
            replace(GOOD, missing_modules=("ssl",), os_ids=("alpine",)), "python3 lacks ssl", "apk add python3", id="a module elsewhere"
        ),
        pytest.param(replace(GOOD, kernel="5.4.0-80"), "the kernel is 5.4.0-80, and 5.10 is needed", "a newer release", id="the kernel"),
        pytest.param(
            replace(GOOD, no_root="sudo: a password is required"),
            "deploy cannot become root: sudo: a password is required",
            "echo 'deploy ALL=(ALL) NOPASSWD:ALL' > /etc/sudoers.d/deploy",
            id="sudo",
        ),
        pytest.param(
            replace(GOOD, features=(("overlay", "not in this kernel"),)),
            "the kernel gives no overlay: not in this kernel",
            "modprobe overlay",
            id="a feature",
        ),
        pytest.param(
            replace(GOOD, features=(("nf_tables", "no"),), os_ids=("rocky", "rhel")),
            "the kernel gives no nf_tables",
            "dnf install kernel-modules",
            id="a feature with a package",
        ),
        pytest.param(replace(GOOD, cgroup="none"), "no cgroups are mounted", "mount -t cgroup2", id="cgroups"),
        pytest.param(replace(GOOD, disk="nfs4"), "/var/lib is on nfs4, where overlays cannot be made", "mount ext4", id="the file system"),
        pytest.param(replace(GOOD, free_bytes=50 << 20), "50 MiB are free", "make room", id="room"),
    ],
)  # fmt: skip
def test_what_is_missing_is_named_with_what_to_do(facts: Facts, what: str, hint: str) -> None:
    (lack,) = lacks(facts)
    assert what in lack.what
    assert hint in lack.hint


def test_all_that_is_missing_is_said_at_once() -> None:
    with pytest.raises(GitopsdError) as caught:
        check(replace(GOOD, python="3.8.1", cgroup="none"), "a")
    assert (caught.value.code, caught.value.where.host) == ("host-not-ready", "a")
    assert caught.value.message == "python3 is 3.8.1, and 3.9 is needed; no cgroups are mounted"
