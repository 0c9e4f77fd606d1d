"""The body of `POST /containers/create`: what it may ask for, read strictly.  [pure]

In: JSON as clients send it, full of fields at their defaults.  Out: the same with defaults filled in, or an ApiError that names the field.

Rule: a field that asks for something that is not there yet is an error, never ignored; a field at its default asks for nothing.
A field that the Docker API does not know is ignored, as Docker does.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from typing import Any, cast

from gitopsd.dockerapi import imageconfig
from gitopsd.dockerapi.errors import ApiError

Json = dict[str, Any]

NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")
_PORT = re.compile(r"(\d{1,5})(?:/(tcp|udp))?")
_ULIMITS = "core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack".split()
_CPUSET = re.compile(r"(?:\d{1,5}(?:-\d{1,5})?(?:,\d{1,5}(?:-\d{1,5})?)*)?", re.ASCII)
_RESTARTS = ("", "no", "always", "unless-stopped", "on-failure")
_LEAST_MEMORY = 6 << 20
_NETWORK_MODES_REFUSED = ("container:",)

_NOT_YET_CONFIG: dict[str, tuple[Any, ...]] = {
    "Tty": (False,), "NetworkDisabled": (False,), "OnBuild": ([],), "Shell": ([],), "MacAddress": ("",),
}  # fmt: skip
"""Fields that are not there yet, with the values that ask for nothing (None and absence always do)."""
_NOT_YET_HOST: dict[str, tuple[Any, ...]] = {
    "Annotations": ({},), "BlkioWeight": (0,), "BlkioWeightDevice": ([],), "BlkioDeviceReadBps": ([],), "BlkioDeviceWriteBps": ([],),
    "BlkioDeviceReadIOps": ([],), "BlkioDeviceWriteIOps": ([],), "Cgroup": ("",), "CgroupParent": ("",),
    "CgroupnsMode": ("", "private"), "CpuCount": (0,), "CpuPercent": (0,), "CpuRealtimePeriod": (0,),
    "CpuRealtimeRuntime": (0,), "DeviceCgroupRules": ([],), "DeviceRequests": ([],), "Devices": ([],), "Init": (False,),
    "IOMaximumBandwidth": (0,), "IOMaximumIOps": (0,), "IpcMode": ("", "private"), "Isolation": ("", "default"),
    "KernelMemory": (0,), "KernelMemoryTCP": (0,), "Links": ([],), "MemoryReservation": (0,), "MemorySwappiness": (-1,),
    "OomKillDisable": (False,), "PidMode": ("",), "Privileged": (False,), "Runtime": ("", "gitopsd"), "StorageOpt": ({},),
    "UTSMode": ("",), "UsernsMode": ("",), "VolumeDriver": ("", "local"), "VolumesFrom": ([],), "GroupAdd": ([],),
}  # fmt: skip


def read(body: Json) -> tuple[Json, Json, Json]:
    """Config, HostConfig and EndpointsConfig (network name to endpoint), each with every field that the engine uses."""
    if not isinstance(body, dict):  # pyright: ignore[reportUnnecessaryIsInstance]  JSON from a stranger
        raise ApiError(400, "create container: the body must be a JSON object")
    host = _object(body, "HostConfig")
    _refuse_not_yet(body, _NOT_YET_CONFIG, "")
    _refuse_not_yet(host, _NOT_YET_HOST, "HostConfig.")
    config = _read_config(body)
    host_config = _read_host(host)
    given = _object(_object(body, "NetworkingConfig"), "EndpointsConfig")
    endpoints: dict[str, Json] = {name: _object(given, name) for name in given}
    for name, endpoint in endpoints.items():
        for key in ("MacAddress", "Links", "GwPriority", "DriverOpts", "LinkLocalIPs", "IPv6Address"):
            if endpoint.get(key) or _object(endpoint, "IPAMConfig").get(key):
                raise _not_yet(f"NetworkingConfig.EndpointsConfig.{name}.{key}")
    return config, host_config, endpoints


def _read_config(body: Json) -> Json:
    config: Json = {
        "Hostname": _text(body, "Hostname"),
        "Domainname": _text(body, "Domainname"),
        "User": _text(body, "User"),
        "AttachStdin": bool(body.get("AttachStdin")),
        "AttachStdout": bool(body.get("AttachStdout")),
        "AttachStderr": bool(body.get("AttachStderr")),
        "ExposedPorts": {_port(name, "ExposedPorts"): {} for name in _object(body, "ExposedPorts")},
        "Tty": False,
        "OpenStdin": bool(body.get("OpenStdin")),
        "StdinOnce": bool(body.get("StdinOnce")),
        "Env": _texts(body, "Env"),
        "Cmd": _command(body, "Cmd"),
        "Image": _text(body, "Image"),
        "Volumes": {str(name): {} for name in _object(body, "Volumes")},
        "WorkingDir": _text(body, "WorkingDir"),
        "Entrypoint": _command(body, "Entrypoint"),
        "Labels": {str(key): str(value) for key, value in _object(body, "Labels").items()},
        "StopSignal": _text(body, "StopSignal"),
        "StopTimeout": _as_in_images(imageconfig.stop_timeout, body, "StopTimeout"),
        "Healthcheck": _as_in_images(imageconfig.health_check, body, "Healthcheck"),
    }
    if not config["Image"]:
        raise ApiError(400, "create container: Image is missing")
    if len(config["Hostname"]) > 64:
        raise ApiError(400, f"create container: Hostname {config['Hostname']!r} is longer than 64 characters")
    for key in ("Hostname", "Domainname"):
        if not _is_word(config[key]):
            raise ApiError(400, f"create container: {key} {config[key]!r} holds spaces or control characters")
    if config["WorkingDir"] and not config["WorkingDir"].startswith("/"):
        raise ApiError(400, f"create container: WorkingDir {config['WorkingDir']!r} is not an absolute path")
    for entry in config["Env"]:
        if entry.startswith("=") or "\0" in entry:
            raise ApiError(400, f"create container: Env {entry!r}: expected NAME=value")
    return config


def _as_in_images(read_one: Callable[[str, Any], Any], body: Json, key: str) -> Any:
    """A field that images have too, under the same rules."""
    try:
        return read_one(key, body.get(key))
    except imageconfig.InvalidImage as error:
        raise ApiError(400, f"create container: {error}") from None


def _read_host(host: Json) -> Json:
    restart = _object(host, "RestartPolicy")
    policy: Json = {
        "Name": _text(restart, "Name") or "no",
        "MaximumRetryCount": _number(restart, "MaximumRetryCount", 0, "RestartPolicy."),
    }
    check_restart_policy(policy, bool(host.get("AutoRemove")))
    mode = _text(host, "NetworkMode") or "default"
    if mode.startswith(_NETWORK_MODES_REFUSED):
        raise _not_yet(f"HostConfig.NetworkMode {mode}")
    log = _object(host, "LogConfig")
    log_type = _text(log, "Type") or "json-file"
    if log_type not in ("local", "json-file"):
        raise _not_yet(f"HostConfig.LogConfig.Type {log_type}")
    for option in _object(log, "Config"):
        raise _not_yet(f"HostConfig.LogConfig.Config {option}")
    for option in _texts(host, "SecurityOpt", "HostConfig."):
        if option.replace("=", ":") not in (
            "no-new-privileges",
            "no-new-privileges:true",
            "no-new-privileges:false",
            "seccomp:unconfined",
        ):
            raise _not_yet(f"HostConfig.SecurityOpt {option}")
    settings: Json = {
        "AutoRemove": bool(host.get("AutoRemove")),
        "Binds": _texts(host, "Binds", "HostConfig."),
        "CapAdd": _texts(host, "CapAdd", "HostConfig."),
        "CapDrop": _texts(host, "CapDrop", "HostConfig."),
        "CgroupnsMode": "private",
        "ContainerIDFile": _text(host, "ContainerIDFile"),
        "Dns": _words(host, "Dns"),
        "DnsOptions": _words(host, "DnsOptions"),
        "DnsSearch": _words(host, "DnsSearch"),
        "ExtraHosts": [_extra_host(entry) for entry in _words(host, "ExtraHosts")],
        "IpcMode": "private",
        "LogConfig": {"Type": log_type, "Config": {}},
        "MaskedPaths": None if host.get("MaskedPaths") is None else _texts(host, "MaskedPaths", "HostConfig."),
        "Mounts": [_mount(entry) for entry in _objects(host, "Mounts")],
        "NetworkMode": mode,
        "OomScoreAdj": _number(host, "OomScoreAdj", 0, "HostConfig."),
        "PortBindings": _bindings(_object(host, "PortBindings")),
        "PublishAllPorts": bool(host.get("PublishAllPorts")),
        "ReadonlyPaths": None if host.get("ReadonlyPaths") is None else _texts(host, "ReadonlyPaths", "HostConfig."),
        "ReadonlyRootfs": bool(host.get("ReadonlyRootfs")),
        "RestartPolicy": policy,
        "Runtime": "gitopsd",
        "SecurityOpt": _texts(host, "SecurityOpt", "HostConfig."),
        "ShmSize": _number(host, "ShmSize", 0, "HostConfig.") or 64 << 20,
        "Sysctls": {str(key): str(value) for key, value in _object(host, "Sysctls").items()},
        "Tmpfs": {str(key): str(value) for key, value in _object(host, "Tmpfs").items()},
        "Ulimits": [_ulimit(entry) for entry in _objects(host, "Ulimits")],
    }
    settings.update(read_resources(host))
    return settings


def read_resources(host: Json) -> Json:
    """The limits in a HostConfig or an update; 0 means none, absent becomes 0."""
    found: Json = {
        key: _number(host, key, 0, "HostConfig.")
        for key in ("Memory", "MemorySwap", "NanoCpus", "CpuShares", "CpuPeriod", "CpuQuota")
    }
    found["PidsLimit"] = None if host.get("PidsLimit") is None else _number(host, "PidsLimit", 0, "HostConfig.")
    for key in ("CpusetCpus", "CpusetMems"):
        found[key] = _text(host, key)
        if not _CPUSET.fullmatch(found[key]):
            raise ApiError(400, f"HostConfig.{key}: {found[key]!r} is not a list of numbers and ranges, like 0-2,4")
    for key, value in found.items():
        if isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
            raise ApiError(400, f"HostConfig.{key}: {value} is out of range")
    if 0 < found["Memory"] < _LEAST_MEMORY:
        raise ApiError(400, "Minimum memory limit allowed is 6MB")
    if found["Memory"] < 0 or found["NanoCpus"] < 0:
        raise ApiError(400, "HostConfig: a limit cannot be negative")
    if found["MemorySwap"] > 0 and found["MemorySwap"] < found["Memory"]:
        raise ApiError(400, "Minimum memoryswap limit should be larger than memory limit, see usage")
    if found["NanoCpus"] and (found["CpuPeriod"] or found["CpuQuota"]):
        raise ApiError(400, "Conflicting options: Nano CPUs and CPU Period/Quota cannot both be set")
    return found


def check_restart_policy(policy: Json, auto_remove: bool) -> None:
    name, retries = policy["Name"], policy["MaximumRetryCount"]
    if name not in _RESTARTS:
        raise ApiError(
            400, f"invalid restart policy: unknown policy '{name}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
        )
    if retries and name != "on-failure":
        raise ApiError(400, "invalid restart policy: maximum retry count can only be used with 'on-failure'")
    if auto_remove and name not in ("", "no"):
        raise ApiError(400, "can't create 'AutoRemove' container with restart policy")


def _mount(entry: Json) -> Json:
    kind, target = _text(entry, "Type"), _text(entry, "Target")
    _text(entry, "Source")
    if kind not in ("volume", "bind", "tmpfs"):
        raise _not_yet(f"HostConfig.Mounts.Type {kind}")
    if not target.startswith("/"):
        raise ApiError(400, f"invalid mount config for type {kind!r}: mount path must be absolute: {target!r}")
    options = _object(entry, {"volume": "VolumeOptions", "bind": "BindOptions", "tmpfs": "TmpfsOptions"}[kind])
    for key in options:
        if options[key] and key not in ("NoCopy", "Labels", "SizeBytes", "Mode", "CreateMountpoint", "Propagation"):
            raise _not_yet(f"HostConfig.Mounts.{key}")
    if options.get("Propagation") not in (None, "", "rprivate"):
        raise _not_yet(f"HostConfig.Mounts.BindOptions.Propagation {options['Propagation']}")
    if kind == "bind" and not str(entry.get("Source", "")).startswith("/"):
        raise ApiError(
            400,
            f"invalid mount config for type 'bind': invalid mount path: {entry.get('Source', '')!r} mount path must be absolute",
        )
    return entry


def _bindings(given: Json) -> Json:
    found: Json = {}
    for name, entries in given.items():
        port = _port(name, "HostConfig.PortBindings")
        found[port] = []
        for entry in _objects({port: entries}, port) or [cast("Json", {})]:
            host_port = str(entry.get("HostPort") or "")
            if host_port and not (host_port.isascii() and host_port.isdigit() and 0 <= int(host_port) < 65536):
                raise ApiError(400, f"invalid port specification: {host_port!r} for {port}, expected a number from 1 to 65535")
            found[port].append({"HostIp": entry.get("HostIp") or "", "HostPort": host_port})
    return found


def _port(text: str, field: str) -> str:
    match = _PORT.fullmatch(text)
    if match is None or not 0 < int(match[1]) < 65536:
        raise ApiError(400, f"create container: {field}: invalid port {text!r}, expected <1-65535>/tcp or /udp")
    return f"{int(match[1])}/{match[2] or 'tcp'}"


def _ulimit(entry: Json) -> Json:
    soft, hard = (_number(entry, key, 0, "HostConfig.Ulimits.") for key in ("Soft", "Hard"))
    name = _text(entry, "Name")
    if not -1 <= soft < 1 << 63 or not -1 <= hard < 1 << 63 or (hard != -1 and (soft > hard or soft == -1)):
        raise ApiError(400, f"ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}")
    if name not in _ULIMITS:
        raise ApiError(400, f"invalid ulimit type: {name}")
    return {"Name": name, "Soft": soft, "Hard": hard}


def _refuse_not_yet(given: Json, table: dict[str, tuple[Any, ...]], prefix: str) -> None:
    for key, nothing in table.items():
        value = given.get(key)
        if value is not None and value not in nothing:
            raise _not_yet(f"{prefix}{key}")


def _not_yet(what: str) -> ApiError:
    return ApiError(501, f"create container: {what} is not there yet in this engine", "not-there-yet")


def _object(given: Json, key: str) -> Json:
    value = given.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ApiError(400, f"create container: {key} must be an object")
    return cast("Json", value)


def _text(given: Json, key: str) -> str:
    value = given.get(key) or ""
    if not isinstance(value, str):
        raise ApiError(400, f"create container: {key} must be a string")
    return value


def _texts(given: Json, key: str, prefix: str = "") -> list[str]:
    value = given.get(key)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in cast("list[Any]", value)):
        raise ApiError(400, f"create container: {prefix}{key} must be a list of strings")
    return cast("list[str]", value)


def _is_word(text: str) -> bool:
    """Whether it is one word of a line in a file below /etc, or nothing."""
    return not text or (text.isprintable() and not re.search(r"[\s#]", text))


def _words(given: Json, key: str) -> list[str]:
    found = _texts(given, key, "HostConfig.")
    for entry in found:
        if not _is_word(entry):
            raise ApiError(400, f"create container: HostConfig.{key}: {entry!r} holds spaces or control characters")
    return found


def _extra_host(entry: str) -> str:
    name, _, address = entry.partition(":")
    if name and address == "host-gateway":  # found when it starts
        return entry
    try:
        ipaddress.ip_address(address.strip("[]"))
    except ValueError:
        raise ApiError(400, f"create container: HostConfig.ExtraHosts: {entry!r}, expected name:address") from None
    if not name:
        raise ApiError(400, f"create container: HostConfig.ExtraHosts: {entry!r}, expected name:address")
    return f"{name}:{address.strip('[]')}"


def _objects(given: Json, key: str) -> list[Json]:
    value = given.get(key)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in cast("list[Any]", value)):
        raise ApiError(400, f"create container: {key} must be a list of objects")
    return cast("list[Json]", value)


def _command(given: Json, key: str) -> list[str] | None:
    value = given.get(key)
    if value is None:
        return None
    return [value] if isinstance(value, str) else _texts(given, key)


def _number(given: Json, key: str, default: int, prefix: str) -> int:
    value = given.get(key)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int):
        raise ApiError(400, f"create container: {prefix}{key} must be a whole number")
    return value
