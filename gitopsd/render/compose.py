"""A stack file's form to `model.Stack`: short names made whole, and what needs more than one key to be judged.  [pure]

In: the form that schema/stack.py gave, and its place.  Out: a Stack in which every name that is used is declared; errors go to
the place, all of them, and then the Stack is not used.

Not here: a service by itself (service.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gitopsd.model.stack import (
    Stack,
    StackNetwork,
    StackVolume,
)
from gitopsd.render.reading import Place, Reader
from gitopsd.render.schema import stack as schema
from gitopsd.render.service import DEFAULT_NETWORK, ServiceReader, read_labels


def read_stack(form: schema.StackFile, name: str, values: Mapping[str, Any], place: Place, reader: Reader) -> Stack:
    """The stack called `name` that the form describes."""
    if form.name and form.name != name:
        place.say(("name",), "name-differs", f'"{form.name}" is not the name that the fleet file gives the stack, "{name}"')
    services = tuple(
        ServiceReader(key, service, form, values, place, reader).read() for key, service in sorted(form.services.items())
    )
    _check_cycles(form, place)
    uses_default = any(attachment.network == DEFAULT_NETWORK for service in services for attachment in service.networks)
    wanted = {DEFAULT_NETWORK: None, **form.networks} if uses_default else form.networks
    networks = tuple(_network(key, network, name, place) for key, network in sorted(wanted.items()))
    volumes = tuple(_volume(key, volume, name, place) for key, volume in sorted(form.volumes.items()))
    _check_names("networks", networks, place)
    _check_names("volumes", volumes, place)
    return Stack(name=name, services=services, networks=networks, volumes=volumes, where=place.where())


def _check_names(section: str, items: tuple[StackNetwork, ...] | tuple[StackVolume, ...], place: Place) -> None:
    """Two keys for one object would be two wills about it."""
    keys: dict[str, str] = {}
    for item in items:
        if item.name in keys:
            place.say(
                (section, item.key), "name-taken", f"{item.key} and {keys[item.name]} are both called {item.name} on a host"
            )
        keys[item.name] = item.key


def _network(key: str, form: schema.Network | None, stack: str, place: Place) -> StackNetwork:
    form = form or schema.Network()
    if form.external and (form.internal or form.ipam.config or form.labels):
        place.say(("networks", key), "bad-value", "is external, so nothing but its name can be said here")
    return StackNetwork(
        key=key,
        name=form.name or (key if form.external else f"{stack}_{key}"),
        external=form.external,
        internal=form.internal,
        subnet=form.ipam.config[0].subnet if form.ipam.config else "",
        labels=read_labels(form.labels, ("networks", key, "labels"), place),
        where=place.where("networks", key),
    )


def _volume(key: str, form: schema.Volume | None, stack: str, place: Place) -> StackVolume:
    form = form or schema.Volume()
    if form.external and form.labels:
        place.say(("volumes", key), "bad-value", "is external, so nothing but its name can be said here")
    return StackVolume(
        key=key,
        name=form.name or (key if form.external else f"{stack}_{key}"),
        external=form.external,
        labels=read_labels(form.labels, ("volumes", key, "labels"), place),
        where=place.where("volumes", key),
    )


def _check_cycles(form: schema.StackFile, place: Place) -> None:
    """Nobody may wait for itself."""
    for name in sorted(form.services):
        seen: set[str] = set()
        ways: list[list[str]] = [[name, other] for other in form.services[name].depends_on]
        while ways:
            way = ways.pop()
            if way[-1] == name:
                place.say(("services", name, "depends_on"), "cycle", f"goes round: {' -> '.join(way)}")
                break
            if way[-1] not in seen and way[-1] in form.services:
                seen.add(way[-1])
                ways += [[*way, other] for other in form.services[way[-1]].depends_on]
