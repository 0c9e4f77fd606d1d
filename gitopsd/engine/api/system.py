"""/_ping, /version, /info."""

from __future__ import annotations

import os
import platform
import socket
import time

from gitopsd.dockerapi.errors import ApiError
from gitopsd.engine.api.engine import Engine
from gitopsd.engine.api.router import API_VERSION, OLDEST, Route, json_response
from gitopsd.engine.daemon.times import rfc3339
from gitopsd.engine.http.server import Request, Response


async def ping(engine: Engine, request: Request, _: dict[str, str]) -> Response:
    headers = {"Builder-Version": "1", "Cache-Control": "no-cache, no-store, must-revalidate", "Pragma": "no-cache",
               "Swarm": "inactive", "Content-Type": "text/plain; charset=utf-8"}  # fmt: skip
    if request.method == "HEAD":
        return Response(200, b"", {**headers, "Content-Length": "0"})
    return Response(200, b"OK", headers)


async def version(engine: Engine, request: Request, _: dict[str, str]) -> Response:
    system = os.uname()
    details = {
        "ApiVersion": API_VERSION,
        "Arch": architecture(),
        "KernelVersion": system.release,
        "MinAPIVersion": OLDEST,
        "Os": "linux",
        "GitCommit": "",
        "GoVersion": f"python{platform.python_version()}",
        "BuildTime": "",
    }
    return json_response(
        {
            "Platform": {"Name": "gitopsd-engine"},
            "Components": [{"Name": "Engine", "Version": engine.version, "Details": {**details, "Experimental": "false"}}],
            "Version": engine.version,
            **details,
        }
    )


async def info(engine: Engine, request: Request, _: dict[str, str]) -> Response:
    states = [container.state for container in engine.containers.all()]
    return json_response(
        {
            "ID": engine.instance,
            "Containers": len(states),
            "ContainersRunning": states.count("running"),
            "ContainersPaused": 0,
            "ContainersStopped": len(states) - states.count("running"),
            "Images": engine.images.count(),
            "Driver": "overlay2",
            "DriverStatus": [["Backing Filesystem", "extfs"]],
            "DockerRootDir": engine.data_root,
            "Plugins": {
                "Volume": ["local"],
                "Network": ["bridge", "host", "null"],
                "Authorization": None,
                "Log": ["json-file", "local"],
            },
            "MemoryLimit": True,
            "SwapLimit": True,
            "CpuCfsPeriod": True,
            "CpuCfsQuota": True,
            "CPUShares": True,
            "CPUSet": True,
            "PidsLimit": True,
            "IPv4Forwarding": True,
            "Debug": False,
            "NFd": len(os.listdir("/proc/self/fd")),
            "SystemTime": rfc3339(time.time_ns()),
            "LoggingDriver": "json-file",
            "CgroupDriver": "systemd" if engine.cgroups.needs_scope else "cgroupfs",
            "CgroupVersion": str(engine.cgroups.layout.version),
            "KernelVersion": os.uname().release,
            "OperatingSystem": operating_system(),
            "OSVersion": "",
            "OSType": "linux",
            "Architecture": os.uname().machine,
            "NCPU": len(os.sched_getaffinity(0)),
            "MemTotal": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            "IndexServerAddress": "https://index.docker.io/v1/",
            "RegistryConfig": {
                "IndexConfigs": {},
                "InsecureRegistryCIDRs": ["127.0.0.0/8"],
                "Mirrors": sorted(engine.images.mirrors.values()),
            },
            "HttpProxy": "",
            "HttpsProxy": "",
            "NoProxy": "",
            "Name": socket.gethostname(),
            "Labels": [],
            "ExperimentalBuild": False,
            "ServerVersion": engine.version,
            "Runtimes": {"gitopsd": {"path": "gitopsd"}},
            "DefaultRuntime": "gitopsd",
            "Swarm": {
                "LocalNodeState": "inactive",
                "NodeID": "",
                "NodeAddr": "",
                "ControlAvailable": False,
                "RemoteManagers": None,
            },
            "LiveRestoreEnabled": True,
            "SecurityOptions": ["name=cgroupns"],
            "Warnings": ["WARNING: no seccomp profile yet: run no images that you do not trust"],
        }
    )


async def plugin(_: Engine, __: Request, names: dict[str, str]) -> Response:
    """There are none; `docker inspect` asks for one after all else."""
    raise ApiError(404, f'plugin "{names["name"]}" not found')


def architecture() -> str:
    """The machine as Go names it."""
    machine = os.uname().machine
    return {"x86_64": "amd64", "aarch64": "arm64", "riscv64": "riscv64"}.get(machine, machine)


def operating_system() -> str:
    try:
        with open("/etc/os-release", encoding="utf-8") as file:
            values: dict[str, str] = {name: value.strip() for name, _, value in (line.partition("=") for line in file)}
    except OSError:
        return "Linux"
    return values.get("PRETTY_NAME", "Linux").strip('"')


ROUTES: list[Route] = [
    ("GET", "/_ping", ping),
    ("GET", "/version", version),
    ("GET", "/info", info),
    ("GET", "/plugins/{name*}/json", plugin),
]
