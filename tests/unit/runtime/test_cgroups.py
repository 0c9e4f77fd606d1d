"""Cgroup files are written beneath a root that is an argument, so a temporary folder stands for the kernel's."""

from pathlib import Path

import pytest

from gitopsd.engine.runtime.cgroups import Cgroups
from gitopsd.engine.runtime.cgroups.layout import Layout, detect
from gitopsd.engine.runtime.cgroups.v2 import weight

V1 = """\
25 24 0:22 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
26 25 0:23 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
27 25 0:24 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
28 25 0:25 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids
29 25 0:26 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
"""
V2 = "30 24 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"


def test_version_1_is_found_also_with_an_empty_version_2_beside_it() -> None:
    layout = detect(V1)
    assert layout.version == 1
    assert layout.mounts == {
        "cpu": "/sys/fs/cgroup/cpu,cpuacct", "cpuacct": "/sys/fs/cgroup/cpu,cpuacct",
        "memory": "/sys/fs/cgroup/memory", "pids": "/sys/fs/cgroup/pids",
    }  # fmt: skip
    assert layout.roots == ["/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup/memory", "/sys/fs/cgroup/pids"]


def test_hierarchies_that_nothing_is_made_in_are_known_by_their_names_in_proc() -> None:
    line = "31 25 0:27 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n32 25 0:28 / /net rw - cgroup cgroup rw,net_cls,net_prio\n"
    others = detect(V1 + line).others
    assert (others["name=systemd"], others["net_cls"], others[""]) == ("/sys/fs/cgroup/systemd", "/net", "/sys/fs/cgroup/unified")
    assert not {"memory", "cpu"} & set(others)
    assert detect(V2).others == {}


def test_version_2_is_found() -> None:
    assert (detect(V2).version, detect(V2).roots) == (2, ["/sys/fs/cgroup"])


def test_no_hierarchy_is_an_error_that_says_what_was_expected() -> None:
    with pytest.raises(LookupError, match="expected cgroup2"):
        detect("1 0 0:1 / / rw - ext4 /dev/vda rw\n")


def test_names_carry_the_instance() -> None:
    assert Cgroups("k7q2m", Layout(1, {}), has_systemd=False).path("abc") == "gitopsd-k7q2m/abc"
    systemd = Cgroups("k7q2m", Layout(2, {}), has_systemd=True)
    assert systemd.path("abc") == "gitopsd.slice/gitopsd-k7q2m.slice/gitopsd-k7q2m-abc.scope"
    assert systemd.slice_name == "gitopsd-k7q2m.slice"


@pytest.fixture
def v2(tmp_path: Path) -> Path:
    """A version 2 hierarchy, as far as files go."""
    (tmp_path / "cgroup.controllers").write_text("cpu memory pids")
    (tmp_path / "cgroup.subtree_control").write_text("")
    for parent in ("gitopsd-k7q2m", "gitopsd-k7q2m/abc"):
        folder = tmp_path / parent
        folder.mkdir()
        (folder / "cgroup.controllers").write_text("cpu memory pids")
    (tmp_path / "gitopsd-k7q2m/abc/payload").mkdir()
    (tmp_path / "gitopsd-k7q2m/abc/payload/memory.swap.max").write_text("")
    return tmp_path


def test_version_2_gets_its_limits_and_controllers_along_the_whole_way(v2: Path) -> None:
    cgroups = Cgroups("k7q2m", Layout(2, {"unified": str(v2)}), has_systemd=False)
    resources = {
        "memory": {"limit": 100, "swap": 150},
        "cpu": {"quota": 50, "period": 1000, "shares": 1024},
        "pids": {"limit": 7},
    }
    monitor, payload = cgroups.create("abc", resources)
    folder = v2 / "gitopsd-k7q2m/abc/payload"
    assert payload == [f"{folder}/cgroup.procs"]
    assert monitor == [f"{v2}/gitopsd-k7q2m/abc/monitor/cgroup.procs"]
    assert (folder / "memory.max").read_text() == "100"
    assert (folder / "memory.swap.max").read_text() == "50"
    assert (folder / "cpu.max").read_text() == "50 1000"
    assert (folder / "cpu.weight").read_text() == str(weight(1024))
    assert (folder / "pids.max").read_text() == "7"
    cgroups.update("abc", {"memory": {"limit": -1}, "cpu": {"quota": -1}, "pids": {"limit": -1}})
    assert (folder / "memory.max").read_text() == "max"
    assert (folder / "cpu.max").read_text() == "max 100000"


def test_shares_become_weights_at_both_ends() -> None:
    assert [weight(2), weight(1024), weight(262144)] == [1, 39, 10000]
