"""From what was asked (a create body) and what the image says to what is run (an OCI runtime config).  [pure]

Rules are Docker's: the image's environment, labels, ports and volumes are a base that the container adds to; an entrypoint of its own
drops the image's command. Isolation is Docker's default: namespaces, fourteen capabilities, masked paths, devices.
"""

from __future__ import annotations

import re
from typing import Optional

from gitopsd.dockerapi.errors import ApiError
from gitopsd.dockerapi.values import Json, mapping, texts
from gitopsd.engine.runtime.capabilities import bounded

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
MASKED = [
    "/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
    "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap",
]  # fmt: skip
READ_ONLY = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
PIDS_LIMIT = 4096
"""Where nothing is said: a fork bomb ends in its container (podman: 2048, Docker: no limit)."""
DEFAULT_SIGNAL = "SIGTERM"
_NOFILE = {"type": "RLIMIT_NOFILE", "soft": 1024, "hard": 524288}
_NAMESPACED_SYSCTLS = ("kernel.msg", "kernel.sem", "kernel.shm", "fs.mqueue.", "net.")
_DEVICE_RULES: list[Json] = [
    {"allow": False, "type": "a", "access": "rwm"},
    {"allow": True, "type": "c", "access": "m"},
    {"allow": True, "type": "b", "access": "m"},
    *({"allow": True, "type": "c", "major": major, "minor": minor, "access": "rwm"} for major, minor in
      ((1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 2), (136, -1))),
]  # fmt: skip


def merge_config(config: Json, image: Json) -> Json:
    """The container's config over the image's; raises ApiError when there is nothing to run."""
    merged = dict(config)
    own = {entry.partition("=")[0] for entry in config["Env"]}
    merged["Env"] = [entry for entry in config["Env"] if "=" in entry]
    merged["Env"] += [entry for entry in texts(image, "Env") if entry.partition("=")[0] not in own]
    if not any(entry.startswith("PATH=") for entry in merged["Env"]) and "PATH" not in own:
        merged["Env"].append(f"PATH={DEFAULT_PATH}")
    for key in ("Labels", "ExposedPorts", "Volumes"):
        merged[key] = {**mapping(image, key), **config[key]}
    if config["Entrypoint"] is None:
        merged["Entrypoint"] = image.get("Entrypoint")
        if config["Cmd"] is None:
            merged["Cmd"] = image.get("Cmd")
    for key in ("User", "WorkingDir", "StopSignal"):
        merged[key] = config[key] or image.get(key) or ""
    merged["Healthcheck"] = _merge_healthcheck(config["Healthcheck"], image.get("Healthcheck"))
    if not texts(merged, "Entrypoint") + texts(merged, "Cmd"):
        raise ApiError(400, "no command specified")
    return merged


def _merge_healthcheck(own: Optional[Json], image: Optional[Json]) -> Optional[Json]:
    if own is None or not image:
        return own if own is not None else image
    return {key: value or image.get(key) for key, value in own.items()}


def process(config: Json, host: Json, arguments: list[str], environment: list[str], user: str, directory: str) -> Json:
    """The OCI `process` of a program in a container."""
    limits = {f"RLIMIT_{limit['Name'].upper()}": limit for limit in host["Ulimits"]}
    rlimits = [{"type": name, "soft": limit["Soft"], "hard": limit["Hard"]} for name, limit in limits.items()]
    return {
        "args": arguments,
        "env": environment,
        "cwd": directory or "/",
        "user": {"username": user},
        "capabilities": {"bounding": bounded(host["CapAdd"], host["CapDrop"])},
        "rlimits": rlimits if "RLIMIT_NOFILE" in limits else [*rlimits, _NOFILE],
        "oomScoreAdj": host["OomScoreAdj"],
        "noNewPrivileges": any(
            option.replace("=", ":") in ("no-new-privileges", "no-new-privileges:true") for option in host["SecurityOpt"]
        ),
    }


def runtime_config(
    container: str, config: Json, host: Json, mounts: list[Json], etc: dict[str, str], target: str, cgroup: str, is_v2: bool
) -> Json:
    """The OCI runtime config.

    `mounts`: the container's volumes and binds as OCI mounts. `etc`: file below /etc to its source. `target`: where the root is mounted.
    """
    arguments = texts(config, "Entrypoint") + texts(config, "Cmd")
    hostname = config["Hostname"]
    environment = [*config["Env"], *([] if any(e.startswith("HOSTNAME=") for e in config["Env"]) else [f"HOSTNAME={hostname}"])]
    kinds = ["pid", "mount", "uts", "ipc", "cgroup", *([] if host["NetworkMode"] == "host" else ["network"])]
    return {
        "ociVersion": "1.1.0",
        "process": process(config, host, arguments, environment, config["User"], config["WorkingDir"]),
        "root": {"path": target, "readonly": host["ReadonlyRootfs"]},
        "hostname": hostname,
        "mounts": [*_system_mounts(host, is_v2), *sorted([*_etc_mounts(etc), *_tmpfs_mounts(host), *mounts], key=_depth)],
        "linux": {
            "namespaces": [{"type": kind} for kind in kinds],
            "cgroupsPath": cgroup,
            "resources": {**resources(host), "devices": _DEVICE_RULES},
            "maskedPaths": MASKED if host["MaskedPaths"] is None else host["MaskedPaths"],
            "readonlyPaths": READ_ONLY if host["ReadonlyPaths"] is None else host["ReadonlyPaths"],
            "sysctl": _sysctls(host),
        },
        "annotations": {"gitopsd.container": container},
    }


def resources(host: Json) -> Json:
    """Limits of a HostConfig as OCI resources; what is not limited is said too, so that an update can lift it."""
    memory = host["Memory"]
    swap = host["MemorySwap"]
    quota, period = host["CpuQuota"], host["CpuPeriod"]
    if host["NanoCpus"]:
        quota, period = host["NanoCpus"] // 10_000, 100_000
    limit = host["PidsLimit"]
    return {
        "memory": {"limit": memory or -1, "swap": (swap if swap > 0 else -1 if swap < 0 else 2 * memory) if memory else -1},
        "cpu": {
            **({"shares": host["CpuShares"]} if host["CpuShares"] else {}),
            "quota": quota or -1,
            **({"period": period} if period else {}),
            **({"cpus": host["CpusetCpus"]} if host["CpusetCpus"] else {}),
            **({"mems": host["CpusetMems"]} if host["CpusetMems"] else {}),
        },
        "pids": {"limit": PIDS_LIMIT if not limit else -1 if limit < 0 else limit},
    }


def _depth(mount: Json) -> tuple[int, str]:
    """The outer one first, or it would hide the inner one."""
    return (mount["destination"].rstrip("/").count("/"), mount["destination"])


def _system_mounts(host: Json, is_v2: bool) -> list[Json]:
    plain = ["nosuid", "noexec", "nodev"]
    mounts: list[Json] = [
        {"destination": "/proc", "type": "proc", "source": "proc", "options": plain},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=65536k"]},
        {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
         "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
        {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": plain},
        {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": [*plain, "mode=1777", f"size={host['ShmSize']}"]},
        {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": [*plain, "ro"]},
    ]  # fmt: skip
    if is_v2:
        mounts.append({"destination": "/sys/fs/cgroup", "type": "cgroup2", "source": "cgroup", "options": [*plain, "ro"]})
    return mounts


def _etc_mounts(etc: dict[str, str]) -> list[Json]:
    return [{"destination": f"/etc/{name}", "type": "bind", "source": path, "options": ["bind"]} for name, path in etc.items()]


def _tmpfs_mounts(host: Json) -> list[Json]:
    wanted: list[tuple[str, list[str]]] = [
        (path, options.split(",") if options else []) for path, options in host["Tmpfs"].items()
    ]
    for mount in host["Mounts"]:
        if mount["Type"] == "tmpfs":
            given = mapping(mount, "TmpfsOptions")
            size = [f"size={given['SizeBytes']}"] if given.get("SizeBytes") else []
            wanted.append((mount["Target"], [*size, *([f"mode={given['Mode']:o}"] if given.get("Mode") else [])]))
    mounts: list[Json] = []
    for path, options in wanted:
        defaults = [name for name in ("noexec", "nosuid", "nodev") if name.replace("no", "", 1) not in options]
        settings = [option for option in options if "=" in option or option == "ro"]
        mounts.append({"destination": path, "type": "tmpfs", "source": "tmpfs", "options": [*defaults, *settings]})
    return mounts


def _sysctls(host: Json) -> dict[str, str]:
    """Docker's own for a network namespace, and what was asked; only names that belong to the container's namespaces."""
    for name in host["Sysctls"]:
        if not name.startswith(_NAMESPACED_SYSCTLS) or (name.startswith("net.") and host["NetworkMode"] == "host"):
            raise ApiError(400, f"create container: sysctl {name!r} is not in a namespace of the container")
        if not re.fullmatch(r"[a-z0-9_.\-/]+", name) or ".." in name or "/" in name:
            raise ApiError(400, f"create container: {name!r} is not the name of a sysctl")
    own = (
        {}
        if host["NetworkMode"] == "host"
        else {"net.ipv4.ip_unprivileged_port_start": "0", "net.ipv4.ping_group_range": "0 2147483647"}
    )
    return {**own, **host["Sysctls"]}
