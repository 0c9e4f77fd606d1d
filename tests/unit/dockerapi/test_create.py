from typing import Any

import pytest

from gitopsd.dockerapi import create
from gitopsd.dockerapi.errors import ApiError

# what the docker CLI 28 sends for `docker run busybox`
CLI = {
    "Hostname": "", "Domainname": "", "User": "", "AttachStdin": False, "AttachStdout": True, "AttachStderr": True, "Tty": False,
    "OpenStdin": False, "StdinOnce": False, "Env": None, "Cmd": None, "Image": "busybox", "Volumes": {}, "WorkingDir": "",
    "Entrypoint": None, "OnBuild": None, "Labels": {},
    "HostConfig": {
        "Binds": None, "ContainerIDFile": "", "LogConfig": {"Type": "", "Config": {}}, "NetworkMode": "default", "PortBindings": {},
        "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0}, "AutoRemove": False, "VolumeDriver": "", "VolumesFrom": None,
        "ConsoleSize": [0, 0], "CapAdd": None, "CapDrop": None, "CgroupnsMode": "", "Dns": [], "DnsOptions": [], "DnsSearch": [],
        "ExtraHosts": None, "GroupAdd": None, "IpcMode": "", "Cgroup": "", "Links": None, "OomScoreAdj": 0, "PidMode": "",
        "Privileged": False, "PublishAllPorts": False, "ReadonlyRootfs": False, "SecurityOpt": None, "UTSMode": "", "UsernsMode": "",
        "ShmSize": 0, "Isolation": "", "CpuShares": 0, "Memory": 0, "NanoCpus": 0, "CgroupParent": "", "BlkioWeight": 0,
        "BlkioWeightDevice": [], "BlkioDeviceReadBps": [], "BlkioDeviceWriteBps": [], "BlkioDeviceReadIOps": [],
        "BlkioDeviceWriteIOps": [], "CpuPeriod": 0, "CpuQuota": 0, "CpuRealtimePeriod": 0, "CpuRealtimeRuntime": 0, "CpusetCpus": "",
        "CpusetMems": "", "Devices": [], "DeviceCgroupRules": None, "DeviceRequests": None, "MemoryReservation": 0, "MemorySwap": 0,
        "MemorySwappiness": -1, "OomKillDisable": False, "PidsLimit": 0, "Ulimits": [], "CpuCount": 0, "CpuPercent": 0,
        "IOMaximumIOps": 0, "IOMaximumBandwidth": 0, "MaskedPaths": None, "ReadonlyPaths": None,
    },
    "NetworkingConfig": {"EndpointsConfig": {"default": {"IPAMConfig": None, "Links": None, "Aliases": None, "MacAddress": ""}}},
}  # fmt: skip


def test_what_the_docker_cli_sends_asks_for_nothing_that_is_not_there() -> None:
    config, host, endpoints = create.read(CLI)
    assert config["Image"] == "busybox"
    assert host["NetworkMode"] == "default"
    assert host["ShmSize"] == 64 << 20
    assert list(endpoints) == ["default"]


@pytest.mark.parametrize(
    ("field", "value"),
    [("Privileged", True), ("PidMode", "host"), ("Devices", [{"PathOnHost": "/dev/sda"}]), ("Init", True), ("Links", ["a:b"]),
     ("NetworkMode", "container:x"), ("UsernsMode", "host"), ("SecurityOpt", ["apparmor=x"]),
     ("LogConfig", {"Type": "syslog"}), ("VolumesFrom", ["x"]), ("Annotations", {"a": "b"}),
     ("BlkioDeviceReadBps", [{"Path": "/dev/null", "Rate": 1}])],
)  # fmt: skip
def test_what_is_not_there_yet_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(ApiError, match=field) as caught:
        create.read({"Image": "x", "HostConfig": {field: value}})
    assert (caught.value.status, caught.value.code) == (501, "not-there-yet")


@pytest.mark.parametrize(
    ("body", "words"),
    [({"HostConfig": {"LogConfig": {"Config": {"max-size": "1m"}}}}, "LogConfig.Config max-size"),
     ({"MacAddress": "02:42:ac:11:00:02"}, "MacAddress"),
     *(({"NetworkingConfig": {"EndpointsConfig": {"front": endpoint}}}, f"front.{key}")
       for key, endpoint in (("DriverOpts", {"DriverOpts": {"a": "b"}}), ("IPv6Address", {"IPAMConfig": {"IPv6Address": "fe80::2"}})))],
)  # fmt: skip
def test_what_is_not_there_yet_is_refused_where_it_stands(body: dict[str, Any], words: str) -> None:
    with pytest.raises(ApiError, match=f"{words} is not there yet") as caught:
        create.read({"Image": "x", **body})
    assert caught.value.status == 501


def test_what_concerns_the_client_alone_is_kept_for_it() -> None:
    _, host, _ = create.read({"Image": "x", "HostConfig": {"ContainerIDFile": "/tmp/id"}})
    assert (host["ContainerIDFile"], host["LogConfig"]["Type"]) == ("/tmp/id", "json-file"), (
        "docker-py asks for output of json-file alone"
    )


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "Image is missing"),
        ({"Image": "x", "Env": "A=1"}, "Env must be a list of strings"),
        ({"Image": "x", "Env": ["=1"]}, "expected NAME=value"),
        ({"Image": "x", "WorkingDir": "relative"}, "not an absolute path"),
        ({"Image": "x", "ExposedPorts": {"99999/tcp": {}}}, "invalid port"),
        ({"Image": "x", "Healthcheck": {"Test": ["RUN", "x"]}}, "unknown type 'RUN'"),
        ({"Image": "x", "HostConfig": {"Memory": 1024}}, "6MB"),
        ({"Image": "x", "HostConfig": {"Memory": "1g"}}, "must be a whole number"),
        ({"Image": "x", "HostConfig": {"NanoCpus": 1, "CpuQuota": 1}}, "cannot both be set"),
        ({"Image": "x", "HostConfig": {"RestartPolicy": {"Name": "sometimes"}}}, "unknown policy 'sometimes'"),
        ({"Image": "x", "HostConfig": {"AutoRemove": True, "RestartPolicy": {"Name": "always"}}}, "AutoRemove"),
        ({"Image": "x", "HostConfig": {"PortBindings": {"80/tcp": [{"HostPort": "http"}]}}}, "invalid port specification"),
        ({"Image": "x", "HostConfig": {"Mounts": [{"Type": "bind", "Source": "rel", "Target": "/x"}]}}, "must be absolute"),
    ],
)
def test_bad_input_is_named(body: dict[str, Any], words: str) -> None:
    with pytest.raises(ApiError, match=words) as caught:
        create.read(body)
    assert caught.value.status == 400
