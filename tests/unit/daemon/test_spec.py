from __future__ import annotations

from typing import Any

import pytest

from gitopsd.dockerapi import create
from gitopsd.dockerapi.errors import ApiError
from gitopsd.engine.daemon import spec


def made(image: dict[str, Any] | None = None, **body: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    config, host, _ = create.read({"Image": "busybox", **body})
    return spec.merge_config(config, image if image is not None else {"Cmd": ["sh"]}), host


def test_the_image_s_command_is_used_unless_the_container_has_an_entrypoint_of_its_own() -> None:
    image = {"Entrypoint": ["/entry"], "Cmd": ["default"]}
    assert made(image)[0]["Cmd"] == ["default"]
    assert made(image, Cmd=["own"])[0] == {**made(image, Cmd=["own"])[0], "Entrypoint": ["/entry"], "Cmd": ["own"]}
    assert made(image, Entrypoint=["/mine"])[0]["Cmd"] is None


def test_an_image_without_a_command_cannot_be_run_without_one() -> None:
    with pytest.raises(ApiError, match="no command specified"):
        made({})


def test_environment_adds_to_the_image_s_and_a_bare_name_takes_one_away() -> None:
    config, _ = made({"Cmd": ["sh"], "Env": ["A=1", "B=2", "PATH=/bin"]}, Env=["B=3", "A"])
    assert config["Env"] == ["B=3", "PATH=/bin"]
    assert made()[0]["Env"] == [f"PATH={spec.DEFAULT_PATH}"]


def test_a_partial_health_check_keeps_the_image_s_test() -> None:
    image = {"Cmd": ["sh"], "Healthcheck": {"Test": ["CMD", "probe"], "Retries": 5}}
    merged = made(image, Healthcheck={"Interval": 10**9})[0]["Healthcheck"]
    assert (merged["Test"], merged["Retries"], merged["Interval"]) == (["CMD", "probe"], 5, 10**9)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, {"memory": {"limit": -1, "swap": -1}, "cpu": {"quota": -1}, "pids": {"limit": spec.PIDS_LIMIT}}),
        ({"Memory": 8 << 20}, {"memory": {"limit": 8 << 20, "swap": 16 << 20}}),
        ({"Memory": 8 << 20, "MemorySwap": -1}, {"memory": {"limit": 8 << 20, "swap": -1}}),
        ({"NanoCpus": 500_000_000}, {"cpu": {"quota": 50_000, "period": 100_000}}),
        ({"PidsLimit": -1}, {"pids": {"limit": -1}}),
        ({"PidsLimit": 10}, {"pids": {"limit": 10}}),
    ],
    ids=["nothing", "memory", "swap without limit", "half a processor", "pids without limit", "pids"],
)
def test_limits_become_oci_resources(asked: dict[str, Any], expected: dict[str, Any]) -> None:
    resources = spec.resources(made(HostConfig=asked)[1])
    assert {key: resources[key] for key in expected} == expected


def runtime(**body: Any) -> dict[str, Any]:
    config, host = made(**body)
    config["Hostname"] = "h"
    return spec.runtime_config("c", config, host, [], {"hosts": "/x/hosts"}, "/root", "cg", is_v2=True)


def test_isolation_is_docker_s_default() -> None:
    config = runtime()
    assert {entry["type"] for entry in config["linux"]["namespaces"]} == {"pid", "mount", "uts", "ipc", "cgroup", "network"}
    assert len(config["process"]["capabilities"]["bounding"]) == 14
    assert "/proc/kcore" in config["linux"]["maskedPaths"]
    assert "/proc/sys" in config["linux"]["readonlyPaths"]
    assert config["linux"]["resources"]["devices"][0] == {"allow": False, "type": "a", "access": "rwm"}
    by_place = {mount["destination"]: mount for mount in config["mounts"]}
    assert "ro" in by_place["/sys"]["options"]
    assert "ro" in by_place["/sys/fs/cgroup"]["options"]
    assert by_place["/etc/hosts"]["source"] == "/x/hosts"


def test_the_host_s_network_is_a_namespace_less_and_keeps_its_sysctls() -> None:
    config = runtime(HostConfig={"NetworkMode": "host"})
    assert "network" not in {entry["type"] for entry in config["linux"]["namespaces"]}
    assert config["linux"]["sysctl"] == {}


@pytest.mark.parametrize("name", ["kernel.core_pattern", "vm.swappiness", "net/../kernel/core_pattern", "net.ipv4./../x"])
def test_a_sysctl_of_the_whole_machine_is_refused(name: str) -> None:
    with pytest.raises(ApiError, match="sysctl"):
        runtime(HostConfig={"Sysctls": {name: "1"}})


def test_tmpfs_is_closed_unless_it_is_opened() -> None:
    mounts = runtime(HostConfig={"Tmpfs": {"/a": "", "/b": "exec,size=1m"}})["mounts"]
    by_place = {mount["destination"]: mount["options"] for mount in mounts}
    assert by_place["/a"] == ["noexec", "nosuid", "nodev"]
    assert by_place["/b"] == ["nosuid", "nodev", "size=1m"]
