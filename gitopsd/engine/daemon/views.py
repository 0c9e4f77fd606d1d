"""What the API shows of a container, in Docker's shapes (API 1.44).  [pure]"""

from __future__ import annotations

from gitopsd.dockerapi.values import Json, texts
from gitopsd.engine.daemon.container import Container
from gitopsd.engine.daemon.times import human, rfc3339


def inspect(container: Container, folder: str) -> Json:
    """`GET /containers/{id}/json`; `folder` is the container's on disk."""
    record, config = container.record, container.config
    command = texts(config, "Entrypoint") + texts(config, "Cmd")
    return {
        "Id": container.id,
        "Created": rfc3339(record["created"]),
        "Path": command[0] if command else "",
        "Args": command[1:],
        "State": state(container),
        "Image": record["image"]["id"],
        "ResolvConfPath": f"{folder}/etc/resolv.conf",
        "HostnamePath": f"{folder}/etc/hostname",
        "HostsPath": f"{folder}/etc/hosts",
        "LogPath": f"{folder}/log",
        "Name": f"/{container.name}",
        "RestartCount": container.restarts,
        "Driver": "overlay2",
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": "",
        "ExecIDs": sorted(container.execs) or None,
        "HostConfig": container.host_config,
        "GraphDriver": {"Name": "overlay2", "Data": {"UpperDir": f"{folder}/upper", "WorkDir": f"{folder}/work"}},
        "Mounts": record["mounts"],
        "Config": {key: value for key, value in config.items() if value is not None or key in ("Cmd", "Entrypoint")},
        "NetworkSettings": network_settings(container),
    }


def state(container: Container) -> Json:
    shown: Json = {
        "Status": container.state,
        "Running": container.state in ("running", "restarting"),
        "Paused": False,
        "Restarting": container.state == "restarting",
        "OOMKilled": container.oom_killed,
        "Dead": container.state == "dead",
        "Pid": container.pid,
        "ExitCode": container.exit_code,
        "Error": container.error,
        "StartedAt": rfc3339(container.started),
        "FinishedAt": rfc3339(container.finished),
    }
    if container.health is not None:
        shown["Health"] = container.health
    return shown


def network_settings(container: Container) -> Json:
    networks = networks_of(container)
    first: Json = networks.get("bridge", {})
    return {
        "Bridge": "",
        "SandboxID": container.id if container.is_running else "",
        "SandboxKey": f"/proc/{container.pid}/ns/net" if container.is_running else "",
        "HairpinMode": False,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "SecondaryIPAddresses": None,
        "SecondaryIPv6Addresses": None,
        "Ports": ports(container),
        **{
            key: first.get(key, "")
            for key in ("EndpointID", "Gateway", "GlobalIPv6Address", "IPAddress", "IPv6Gateway", "MacAddress")
        },
        "IPPrefixLen": first.get("IPPrefixLen", 0),
        "GlobalIPv6PrefixLen": 0,
        "Networks": networks,
    }


def networks_of(container: Container) -> dict[str, Json]:
    """Each network that the container belongs to, with its addresses while it runs."""
    found: dict[str, Json] = {}
    for name, asked in container.record["networks"].items():
        endpoint = container.endpoints.get(name, {})
        found[name] = {
            "IPAMConfig": asked.get("ipam") or None,
            "Links": None,
            "Aliases": asked.get("aliases") or None,
            "DriverOpts": None,
            "NetworkID": endpoint.get("network", asked.get("network", "")),
            "EndpointID": endpoint.get("id", ""),
            "Gateway": endpoint.get("gateway", ""),
            "IPAddress": endpoint.get("address", ""),
            "IPPrefixLen": endpoint.get("prefix", 0),
            "MacAddress": endpoint.get("mac", ""),
            "IPv6Gateway": "",
            "GlobalIPv6Address": "",
            "GlobalIPv6PrefixLen": 0,
            "DNSNames": [container.name, container.id12, *texts(asked, "aliases")],
        }
    return found


def ports(container: Container) -> Json:
    """Exposed ports, with the host's side where they are published; empty while nothing runs."""
    if not container.is_running:
        return {}
    shown: Json = dict.fromkeys(container.config["ExposedPorts"])
    shown.update(container.ports)
    return shown


def summary(container: Container, now: int) -> Json:
    """One entry of `GET /containers/json`; `now` in nanoseconds since the epoch."""
    record = container.record
    command = texts(container.config, "Entrypoint") + texts(container.config, "Cmd")
    return {
        "Id": container.id,
        "Names": [f"/{container.name}"],
        "Image": record["image"]["reference"],
        "ImageID": record["image"]["id"],
        "Command": " ".join(command),
        "Created": record["created"] // 1_000_000_000,
        "Ports": port_list(container),
        "Labels": container.config["Labels"],
        "State": container.state,
        "Status": status(container, now),
        "HostConfig": {"NetworkMode": container.host_config["NetworkMode"]},
        "NetworkSettings": {"Networks": networks_of(container)},
        "Mounts": record["mounts"],
    }


def port_list(container: Container) -> list[Json]:
    shown: list[Json] = []
    for name in ports(container):
        number, _, protocol = name.partition("/")
        private: Json = {"PrivatePort": int(number), "Type": protocol}
        bindings = container.ports.get(name, [])
        shown += [{"IP": binding["HostIp"], "PublicPort": int(binding["HostPort"]), **private} for binding in bindings] or [
            private
        ]
    return shown


def status(container: Container, now: int) -> str:
    """The STATUS column of docker ps."""
    if container.state == "running":
        health = f" ({_HEALTH[container.health['Status']]})" if container.health is not None else ""
        return f"Up {human((now - container.started) / 1e9)}{health}"
    if container.state == "created":
        return "Created"
    if container.state == "removing":
        return "Removal In Progress"
    if container.state == "dead":
        return "Dead"
    word = "Restarting" if container.state == "restarting" else "Exited"
    return f"{word} ({container.exit_code}) {human((now - container.finished) / 1e9)} ago"


_HEALTH = {"starting": "health: starting", "healthy": "healthy", "unhealthy": "unhealthy"}
