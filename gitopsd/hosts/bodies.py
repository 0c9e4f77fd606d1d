"""Specifications as the bodies of Docker's create calls, and back.  [pure]

Apply writes with this file and observe reads with it, so that what was asked for is read as what is desired, to the last field:
`spec_of(body_of(spec))` is `spec` (tests/property/test_bodies.py). What Docker's body has no place for stands under `Gitopsd`.

Rule: the image is named `<reference>[:<key>]@<digest>`. So the engine runs exactly those bytes, and a plan reads both the name and the key back.
"""

from __future__ import annotations

from typing import Any, cast

from gitopsd.model.desired import (
    ContainerSpec,
    DesiredContainer,
    DesiredNetwork,
    DesiredVolume,
    ImageChoice,
    NetworkSpec,
    VolumeSpec,
)
from gitopsd.model.errors import GitopsdError, Where
from gitopsd.model.secret import Redacted
from gitopsd.model.stack import Attachment, Healthcheck, Mount, Port, Restart

Json = dict[str, Any]

LABELS = ("gitopsd.fleet", "gitopsd.stack", "gitopsd.service", "gitopsd.replica", "gitopsd.config")
"""docs/state.md, labels that the controller sets."""
_SECOND = 1_000_000_000
_HEALTH = (
    ("Interval", "interval_ns"),
    ("Timeout", "timeout_ns"),
    ("Retries", "retries"),
    ("StartPeriod", "start_period_ns"),
    ("StartInterval", "start_interval_ns"),
)


def image_name(image: ImageChoice) -> str:
    """How a container's image is asked for."""
    if image.digest is None:
        raise GitopsdError("image-not-known", "its digest is not known", Where(object=image.reference))
    name = image.reference.split("@", 1)[0]
    has_tag = ":" in name.rsplit("/", 1)[-1]
    return f"{name}{f':{image.key}' if image.key and not has_tag else ''}@{image.digest}"


def image_of(name: str) -> ImageChoice:
    """What `image_name` wrote; of somebody else's container, as much as its text says."""
    name, _, digest = name.partition("@")
    repository, colon, tag = name.rpartition(":")
    if colon and tag.startswith("key-"):
        return ImageChoice(repository, digest or None, tag)
    return ImageChoice(name, digest or None)


def container_body(wanted: DesiredContainer, fleet: str, replaces: str | None = None) -> Json:
    """The body that makes a container. `replaces`: the id of the one whose place it takes at the transition."""
    spec = wanted.spec
    own = zip(LABELS, (fleet, wanted.stack, wanted.service, str(wanted.replica), wanted.config), strict=True)
    ports: dict[str, list[Json]] = {}
    for port in spec.ports:
        ports.setdefault(f"{port.target}/{port.protocol}", []).append(
            {"HostIp": port.host_ip, "HostPort": str(port.published) if port.published else ""}
        )
    host: Json = {
        "NetworkMode": spec.networks[0].network if spec.networks else "default",
        "RestartPolicy": restart_body(spec.restart),
        "Memory": spec.memory_bytes,
        "NanoCpus": spec.nano_cpus,
        "ReadonlyRootfs": spec.read_only,
        "PortBindings": ports,
        "Mounts": [_mount_body(mount) for mount in spec.mounts],
        "CapAdd": list(spec.cap_add),
        "CapDrop": list(spec.cap_drop),
    }
    body: Json = {
        "Image": image_name(spec.image),
        "Env": [f"{name}={_plain(value)}" for name, value in spec.environment],
        "Labels": {**{name: _plain(value) for name, value in spec.labels}, **dict(own)},
        "ExposedPorts": {name: {} for name in ports},
        "HostConfig": host,
        "NetworkingConfig": {"EndpointsConfig": {item.network: endpoint_body(item) for item in spec.networks}},
        "Gitopsd": {"Replaces": replaces} if replaces else {},
    }
    texts = {"User": spec.user, "WorkingDir": spec.working_dir, "Hostname": spec.hostname, "StopSignal": spec.stop_signal}
    body.update({name: text for name, text in texts.items() if text})
    commands = {"Cmd": spec.command, "Entrypoint": spec.entrypoint}
    body.update({name: list(words) for name, words in commands.items() if words is not None})
    if spec.stop_grace_ns:
        body["StopTimeout"] = -(-spec.stop_grace_ns // _SECOND)
        if spec.stop_grace_ns % _SECOND:
            body["Gitopsd"]["StopGraceNs"] = spec.stop_grace_ns
    if spec.healthcheck:
        check = spec.healthcheck
        times = {name: getattr(check, attribute) for name, attribute in _HEALTH if getattr(check, attribute)}
        body["Healthcheck"] = {"Test": list(check.test), **times}
    return body


def update_body(spec: ContainerSpec) -> Json:
    """What Docker's update changes in place. Without a limit for swap, memory could not be raised above an older one."""
    limits = {"Memory": spec.memory_bytes, "MemorySwap": 2 * spec.memory_bytes, "NanoCpus": spec.nano_cpus}
    return {**limits, "RestartPolicy": restart_body(spec.restart)}


def restart_body(restart: Restart) -> Json:
    return {"Name": restart.name, "MaximumRetryCount": restart.maximum_retries}


def endpoint_body(attachment: Attachment) -> Json:
    return {"Aliases": list(attachment.aliases)} if attachment.aliases else {}


def network_body(wanted: DesiredNetwork, fleet: str) -> Json:
    spec = wanted.spec
    body: Json = {
        "Name": spec.name,
        "Internal": spec.internal,
        "Labels": _labels(spec.labels, fleet, wanted.stack, wanted.config),
    }
    return {**body, "IPAM": {"Config": [{"Subnet": spec.subnet}]}} if spec.subnet else body


def volume_body(wanted: DesiredVolume, fleet: str) -> Json:
    return {"Name": wanted.spec.name, "Labels": _labels(wanted.spec.labels, fleet, wanted.stack, wanted.config)}


def spec_of(body: Json, name: str) -> ContainerSpec:
    """The specification that a create body says, of ours or of anybody's."""
    host = _mapping(body, "HostConfig")
    endpoints = _mapping(_mapping(body, "NetworkingConfig"), "EndpointsConfig")
    environment = (str(item).partition("=") for item in _list(body, "Env"))
    extra = _mapping(body, "Gitopsd")
    mode = str(host.get("NetworkMode") or "")
    if not endpoints and mode not in ("", "default", "bridge", "host", "none"):
        endpoints = dict[str, Any]({mode: {}})
    return ContainerSpec(
        name=name,
        image=image_of(str(body.get("Image") or "")),
        command=_words(body, "Cmd"),
        entrypoint=_words(body, "Entrypoint"),
        environment=tuple(sorted((key, value) for key, _, value in environment)),
        labels=_own_labels(body),
        ports=_ports(_mapping(host, "PortBindings")),
        mounts=tuple(_mount(item) for item in _list(host, "Mounts")),
        networks=tuple(attachment_of(key, value) for key, value in endpoints.items()),
        healthcheck=_healthcheck(_mapping(body, "Healthcheck")),
        restart=restart_of(host),
        memory_bytes=int(host.get("Memory") or 0),
        nano_cpus=int(host.get("NanoCpus") or 0),
        user=str(body.get("User") or ""),
        working_dir=str(body.get("WorkingDir") or ""),
        hostname=str(body.get("Hostname") or ""),
        read_only=bool(host.get("ReadonlyRootfs")),
        cap_add=tuple(_list(host, "CapAdd")),
        cap_drop=tuple(_list(host, "CapDrop")),
        stop_grace_ns=int(extra.get("StopGraceNs") or int(body.get("StopTimeout") or 0) * _SECOND),
        stop_signal=str(body.get("StopSignal") or ""),
    )


def restart_of(host_config: Json) -> Restart:
    policy = _mapping(host_config, "RestartPolicy")
    return Restart(cast("Any", policy.get("Name") or "no"), int(policy.get("MaximumRetryCount") or 0))


def attachment_of(network: str, endpoint: Json | None) -> Attachment:
    return Attachment(network, tuple(_list(endpoint or {}, "Aliases")))


def network_spec_of(body: Json) -> NetworkSpec:
    subnets = [item.get("Subnet") for item in _list(_mapping(body, "IPAM"), "Config")]
    return NetworkSpec(str(body["Name"]), bool(body.get("Internal")), str(subnets[0] or "") if subnets else "", _own_labels(body))


def volume_spec_of(body: Json) -> VolumeSpec:
    return VolumeSpec(str(body["Name"]), _own_labels(body))


def labels_of(body: Json) -> dict[str, str]:
    return _mapping(body, "Labels")


def _labels(given: tuple[tuple[str, str], ...], fleet: str, stack: str, config: str) -> Json:
    return {**{name: _plain(value) for name, value in given}, LABELS[0]: fleet, LABELS[1]: stack, LABELS[4]: config}


def _own_labels(body: Json) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((name, value) for name, value in labels_of(body).items() if name not in LABELS))


def _plain(value: str) -> str:
    return value.reveal() if isinstance(value, Redacted) else value


def _mount_body(mount: Mount) -> Json:
    body: Json = {"Type": mount.kind, "Target": mount.target, "ReadOnly": mount.read_only}
    return {**body, "Source": mount.source} if mount.kind != "tmpfs" else body


def _mount(body: Json) -> Mount:
    kind = cast("Any", body.get("Type") or "volume")
    return Mount(str(body.get("Target") or ""), kind, str(body.get("Source") or ""), bool(body.get("ReadOnly")))


def _ports(bindings: Json) -> tuple[Port, ...]:
    found: list[Port] = []
    for name, entries in bindings.items():
        target, _, protocol = name.partition("/")
        for entry in cast("list[Json]", entries or [{}]):
            published = str(entry.get("HostPort") or "")
            number = int(published) if published.isdecimal() else 0  # Docker takes ranges, which we never ask for
            found.append(Port(int(target), number, cast("Any", protocol or "tcp"), str(entry.get("HostIp") or "")))
    return tuple(sorted(found))


def _healthcheck(body: Json) -> Healthcheck | None:
    if not body:
        return None
    times = {attribute: int(body.get(name) or 0) for name, attribute in _HEALTH}
    return Healthcheck(tuple(_list(body, "Test")), **times)


def _words(body: Json, key: str) -> tuple[str, ...] | None:
    value: Any = body.get(key)
    if value is None:
        return None
    return (value,) if isinstance(value, str) else tuple(cast("list[str]", value))


def _mapping(body: Json, key: str) -> dict[str, Any]:
    return cast("dict[str, Any]", body.get(key) or {})


def _list(body: Json, key: str) -> list[Any]:
    return cast("list[Any]", body.get(key) or [])
