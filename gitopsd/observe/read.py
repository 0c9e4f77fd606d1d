"""A host's state, as its engine tells it, as the values that a plan compares.  [pure]

In: the JSON of `GET /gitopsd/v1/state` (docs/engine-api.md).  Out: `HostObserved`.

Rule 1: what was said at creation comes from `create`, so that a default of the image or of the engine is no difference; what can
change while a container lives (name, limits, restart policy, networks) comes from `inspect`.
Rule 2: an object is the fleet's when its labels name the fleet and a stack. Everything else is a stranger.
Rule 3: which bytes run is what `inspect` says, not the name they were asked for by.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

from gitopsd.hosts import bodies
from gitopsd.hosts.bodies import LABELS, Json
from gitopsd.model.desired import ContainerSpec
from gitopsd.model.observed import (
    HostFacts,
    HostObserved,
    Lease,
    ObservedContainer,
    ObservedImage,
    ObservedNetwork,
    ObservedVolume,
)
from gitopsd.model.stack import Attachment

_FLEET, _STACK, _SERVICE, _REPLICA, _CONFIG = LABELS


def read_host(host: str, fleet: str, etag: str, state: Json) -> HostObserved:
    """One host as it is. `fleet` is the fleet's name, which decides what is ours."""
    facts, intent = _mapping(state, "host"), _mapping(state, "intent")
    digests = {str(image["id"]): str(image["digest"]) for image in _list(state, "images")}
    return HostObserved(
        host=host,
        etag=etag,
        facts=HostFacts(
            fleet=facts.get("fleet"),
            number=facts.get("number"),
            block=facts.get("block"),
            architecture=str(facts.get("architecture") or ""),
            kernel=str(facts.get("kernel") or ""),
            os=str(facts.get("os") or ""),
            cpus=int(facts.get("cpus") or 0),
            memory_bytes=int(facts.get("memory_bytes") or 0),
            free_bytes=int(facts.get("free_bytes") or 0),
            engine_version=str(_mapping(state, "engine").get("version") or ""),
        ),
        containers=tuple(_container(item, fleet, digests) for item in _list(state, "containers")),
        networks=tuple(_network(item, fleet) for item in _list(state, "networks")),
        volumes=tuple(_volume(item, fleet) for item in _list(state, "volumes")),
        images=tuple(
            ObservedImage(str(image["digest"]), tuple(_list(image, "references")), int(image.get("size_bytes") or 0))
            for image in _list(state, "images")
        ),
        leases=tuple(Lease(str(item["stack"]), str(item["holder"]), int(item["token"])) for item in _list(state, "leases")),
        intent_etag=str(intent.get("etag") or "0"),
        intent=tuple(sorted(_mapping(intent, "value").items())),
    )


def _container(item: Json, fleet: str, digests: dict[str, str]) -> ObservedContainer:
    body, shown = _mapping(item, "create"), _mapping(item, "inspect")
    state = _mapping(shown, "State")
    said = bodies.spec_of(body, str(shown.get("Name") or "").lstrip("/"))
    runs = digests.get(str(shown.get("Image") or ""))
    if runs:
        said = replace(said, image=replace(said.image, digest=runs))
    labels = bodies.labels_of(body)
    stack = _stack(labels, fleet)
    replica = labels.get(_REPLICA, "")
    return ObservedContainer(
        id=str(shown["Id"]),
        generation=int(item["generation"]),
        spec=_as_it_is(said, shown),
        state=cast("Any", state.get("Status") or "created"),
        stack=stack,
        service=labels.get(_SERVICE) if stack else None,
        replica=int(replica) if stack and replica.isdecimal() else 0,
        config=labels.get(_CONFIG, "") if stack else "",
        exit_code=int(state.get("ExitCode") or 0),
        health=cast("Any", _mapping(state, "Health").get("Status") or "none"),
        started_at=str(state.get("StartedAt") or ""),
        replaces=item.get("replaces"),
        said=said,
    )


def _as_it_is(said: ContainerSpec, shown: Json) -> ContainerSpec:
    host = _mapping(shown, "HostConfig")
    attached = _mapping(_mapping(shown, "NetworkSettings"), "Networks")
    identity = str(shown.get("Id") or "")
    networks = tuple(
        _attachment(name, endpoint, said.name, identity)
        for name, endpoint in attached.items()
        if said.networks or name not in ("bridge", "host", "none")  # what an engine attaches when nothing was said
    )
    return replace(
        said,
        networks=networks,
        restart=bodies.restart_of(host),
        memory_bytes=int(host.get("Memory") or 0),
        nano_cpus=int(host.get("NanoCpus") or 0),
    )


def _attachment(network: str, endpoint: Any, name: str, identity: str) -> Attachment:
    """Docker before API 1.45 lists the short id among the aliases; it is not one that was asked for."""
    found = bodies.attachment_of(network, endpoint)
    return replace(found, aliases=tuple(alias for alias in found.aliases if alias not in (name, identity[:12])))


def _network(item: Json, fleet: str) -> ObservedNetwork:
    body, shown = _mapping(item, "create"), _mapping(item, "inspect")
    labels = bodies.labels_of(body)
    stack = _stack(labels, fleet)
    named = {**body, "Name": shown.get("Name") or body.get("Name")}
    return ObservedNetwork(
        str(shown["Id"]), int(item["generation"]), bodies.network_spec_of(named), stack, labels.get(_CONFIG, "") if stack else ""
    )


def _volume(item: Json, fleet: str) -> ObservedVolume:
    body, shown = _mapping(item, "create"), _mapping(item, "inspect")
    labels = bodies.labels_of(body)
    stack = _stack(labels, fleet)
    named = {**body, "Name": shown.get("Name") or body.get("Name")}
    return ObservedVolume(int(item["generation"]), bodies.volume_spec_of(named), stack, labels.get(_CONFIG, "") if stack else "")


def _stack(labels: dict[str, str], fleet: str) -> str | None:
    return labels.get(_STACK) if labels.get(_FLEET) == fleet else None


def _mapping(body: Json, key: str) -> dict[str, Any]:
    return cast("dict[str, Any]", body.get(key) or {})


def _list(body: Json, key: str) -> list[Any]:
    return cast("list[Any]", body.get(key) or [])
