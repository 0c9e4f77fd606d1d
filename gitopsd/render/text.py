"""A stack as the text of a stack file with nothing left to fill in.  [pure]

In: a Stack.  Out: what `gitopsd render` shows: long forms, every name whole. Reading it gives the same Stack again.
"""

from __future__ import annotations

import posixpath
from typing import Any

import yaml

from gitopsd.model.fleet import Pairs
from gitopsd.model.stack import Healthcheck, Mount, Port, Service, Stack, StackNetwork, StackVolume
from gitopsd.render.interpolate import escape

_UNITS = (("h", 3600 * 10**9), ("m", 60 * 10**9), ("s", 10**9), ("ms", 10**6), ("us", 10**3), ("ns", 1))


def stack_text(stack: Stack) -> str:
    """The text; paths are relative to the folder of the stack's own file."""
    return yaml.safe_dump(stack_document(stack), sort_keys=False, allow_unicode=True, width=120)


def stack_document(stack: Stack) -> dict[str, Any]:
    """The same before it is text."""
    folder = posixpath.dirname(stack.where.file or "")
    return _said(
        {
            "name": stack.name,
            "services": {service.name: _service(service, folder) for service in stack.services},
            "networks": {network.key: _network(network) for network in stack.networks},
            "volumes": {volume.key: _volume(volume) for volume in stack.volumes},
        }
    )


def _service(service: Service, folder: str) -> dict[str, Any]:
    limits = _said({"cpus": _cpus(service.nano_cpus), "memory": service.memory_bytes})
    is_global = service.deploy.mode == "global"
    deploy = {
        "mode": service.deploy.mode,
        "replicas": None if is_global else service.deploy.replicas,
        "resources": {"limits": limits} if limits else None,
        "placement": {"constraints": [escape(text) for text in service.deploy.constraints]}
        if service.deploy.constraints
        else None,
    }
    restart = service.restart
    retries = f":{restart.maximum_retries}" if restart.maximum_retries else ""
    return _said(
        {
            "image": _escaped(service.image),
            "build": _build(service, folder) if service.build else None,
            "command": _words(service.command),
            "entrypoint": _words(service.entrypoint),
            "environment": _pairs(service.environment),
            "ports": [_port(port) for port in service.ports],
            "volumes": [_mount(mount) for mount in service.mounts],
            "networks": {item.network: _said({"aliases": list(item.aliases)}) or None for item in service.networks},
            "depends_on": {item.service: {"condition": item.condition, "required": item.required} for item in service.depends_on},
            "healthcheck": _healthcheck(service.healthcheck) if service.healthcheck else None,
            "labels": _pairs(service.labels),
            "restart": restart.name + retries,
            "deploy": {key: value for key, value in deploy.items() if value is not None},
            "user": escape(service.user),
            "working_dir": escape(service.working_dir),
            "hostname": service.hostname,
            "read_only": service.read_only,
            "cap_add": list(service.cap_add),
            "cap_drop": list(service.cap_drop),
            "stop_grace_period": _duration(service.stop_grace_ns),
            "stop_signal": service.stop_signal,
            "x-gitopsd": _said({"order": service.order}),
        }
    )


def _build(service: Service, folder: str) -> dict[str, Any]:
    assert service.build
    build = service.build
    context = posixpath.relpath(build.context or ".", folder or ".")
    dockerfile = posixpath.relpath(build.dockerfile, build.context or ".")
    return _said(
        {
            "context": escape(context),
            "dockerfile": escape(dockerfile),
            "args": _pairs(build.args),
            "x-gitopsd": _said({"rebuild": escape(build.salt)}),
        }
    )


def _port(port: Port) -> dict[str, Any]:
    return _said({"target": port.target, "published": port.published, "protocol": port.protocol, "host_ip": port.host_ip})


def _mount(mount: Mount) -> dict[str, Any]:
    said = {"type": mount.kind, "source": escape(mount.source), "target": escape(mount.target), "read_only": mount.read_only}
    return _said(said)


def _healthcheck(check: Healthcheck) -> dict[str, Any]:
    return _said(
        {
            "test": _words(check.test),
            "interval": _duration(check.interval_ns),
            "timeout": _duration(check.timeout_ns),
            "retries": check.retries,
            "start_period": _duration(check.start_period_ns),
            "start_interval": _duration(check.start_interval_ns),
        }
    )


def _network(network: StackNetwork) -> dict[str, Any]:
    ipam = {"config": [{"subnet": network.subnet}]} if network.subnet else None
    return _said(
        {
            "name": network.name,
            "external": network.external,
            "internal": network.internal,
            "ipam": ipam,
            "labels": _pairs(network.labels),
        }
    )


def _volume(volume: StackVolume) -> dict[str, Any]:
    return _said({"name": volume.name, "external": volume.external, "labels": _pairs(volume.labels)})


def _said(members: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in members.items() if value not in (None, "", 0, False, [], {})}


def _escaped(text: str | None) -> str | None:
    return None if text is None else escape(text)


def _words(words: tuple[str, ...] | None) -> list[str] | None:
    return None if words is None else [escape(word) for word in words]


def _pairs(pairs: Pairs) -> dict[str, str]:
    return {key: escape(value) for key, value in pairs}


def _cpus(nano: int) -> str:
    whole, rest = divmod(nano, 10**9)
    return f"{whole}.{rest:09d}".rstrip("0").rstrip(".") if nano else ""


def _duration(ns: int) -> str:
    text = ""
    for unit, size in _UNITS:
        number, ns = divmod(ns, size)
        text += f"{number}{unit}" if number else ""
    return text
