"""What a lab computes before it touches the machine."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest

from gitopsd.lab import cgroups, network, root
from gitopsd.model.errors import GitopsdError


def test_the_first_lab_takes_the_first_subnet_and_the_next_one_what_is_free() -> None:
    first = network.free_subnet([])
    assert str(first) == "10.97.0.0/24"
    assert str(network.free_subnet([first, ipaddress.IPv4Network("10.97.1.128/25")])) == "10.97.2.0/24"


def test_a_default_route_takes_no_subnet_away() -> None:
    assert str(network.free_subnet([ipaddress.IPv4Network("0.0.0.0/0")])) == "10.97.0.0/24"


def test_a_machine_that_routes_the_whole_pool_elsewhere_is_told_so() -> None:
    with pytest.raises(GitopsdError, match=r"no /24 of 10.97.0.0/16 is free"):
        network.free_subnet([ipaddress.IPv4Network("10.0.0.0/8")])


def test_hosts_have_addresses_by_their_number() -> None:
    subnet = ipaddress.IPv4Network("10.97.3.0/24")
    assert [network.address_of(subnet, number) for number in (1, 2, 10)] == ["10.97.3.11", "10.97.3.12", "10.97.3.20"]


def test_hierarchies_of_both_versions_are_read_with_what_it_takes_to_mount_them_again() -> None:
    mountinfo = (
        "25 1 0:22 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n"
        "26 25 0:23 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
        "27 25 0:24 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n"
        "28 25 0:25 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate\n"
        "29 25 0:26 / /mnt/elsewhere rw - cgroup2 cgroup2 rw\n"
    )
    assert [(h.mountpoint[15:], h.version, h.options) for h in cgroups.parse_hierarchies(mountinfo)] == [
        ("cpu,cpuacct", 1, "cpu,cpuacct"),
        ("systemd", 1, "none,name=systemd"),
        ("unified", 2, ""),
    ]


def test_programs_that_run_containers_or_unpack_archives_are_found_wherever_they_lie(tmp_path: Path) -> None:
    for path in (
        "usr/bin/docker",
        "usr/bin/python3",
        "usr/bin/ipcs",
        "usr/sbin/iptables-save",
        "usr/local/bin/git",
        "usr/lib/git-core/git",
    ):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    (tmp_path / "bin").symlink_to("usr/bin")
    assert root.hidden_programs(tmp_path) == ["usr/lib/git-core", "usr/local/bin/git", "usr/sbin/iptables-save", "usr/bin/docker"]
