"""Stacks, what their names mean and what is there, to what each host should have.  [pure]

In: Rendered, Pins, Observed.  Out: Desired, every name resolved.

Rule 1: a stack that cannot be placed as it says is blocked and left as it is; the others are placed.
Rule 2: a stack that is blocked or held is still named: what is not named was removed from Git, and is removed from the hosts.

Not here: where a replica goes (spread.py), what two want at once (claims.py), the config hash (config.py).
"""

from __future__ import annotations

from collections.abc import Iterable

from gitopsd.model.desired import (
    ContainerSpec,
    Desired,
    DesiredContainer,
    DesiredNetwork,
    DesiredVolume,
    HostDesired,
    ImageChoice,
    NetworkSpec,
    Pins,
    VolumeSpec,
)
from gitopsd.model.errors import GitopsdError
from gitopsd.model.observed import HostObserved, Observed
from gitopsd.model.rendered import Rendered
from gitopsd.model.stack import Attachment, BlockedStack, Mount, Service, Stack
from gitopsd.place.claims import conflicts
from gitopsd.place.config import container_config, network_config, volume_config
from gitopsd.place.spread import Placement, spread


def place(rendered: Rendered, pins: Pins, observed: Observed, held: Iterable[str] = ()) -> Desired:
    """What every host of the fleet should have. `held` names stacks that somebody wants left as they are."""
    seen = {host.host: host for host in observed.hosts}
    blocked = {stack.name: stack.errors for stack in rendered.blocked}
    left_alone = frozenset(held)
    placed: dict[str, list[HostDesired]] = {}
    for stack in rendered.stacks:
        if stack.name in left_alone:
            continue
        hosts, errors = _place_stack(stack, rendered, pins, seen)
        if errors:
            blocked[stack.name] = tuple(str(error) for error in errors)
        else:
            placed[stack.name] = hosts
    desired = _settle(rendered, placed, blocked, left_alone, seen)
    names = {entry.name for entry in rendered.fleet.stacks}
    return Desired(
        fleet=rendered.fleet.name,
        hosts=desired,
        stacks=tuple(sorted(names)),
        held=tuple(sorted((left_alone & names) | set(blocked))),
        blocked=tuple(BlockedStack(name, errors) for name, errors in sorted(blocked.items())),
    )


def _settle(
    rendered: Rendered,
    placed: dict[str, list[HostDesired]],
    blocked: dict[str, tuple[str, ...]],
    left_alone: frozenset[str],
    seen: dict[str, HostObserved],
) -> tuple[HostDesired, ...]:
    """Joins the stacks by host. Who loses a claim is blocked, and then keeps what it has, which others may lose a claim to."""
    while True:
        hosts = [_joined(host.name, placed) for host in sorted(rendered.fleet.hosts, key=lambda each: each.name)]
        held = left_alone | frozenset(blocked)
        lost: dict[str, list[str]] = {}
        for stack, error in conflicts(hosts, seen, held):
            lost.setdefault(stack, []).append(str(error))
        if not lost:
            return tuple(hosts)
        for stack, errors in lost.items():
            blocked[stack] = tuple(dict.fromkeys(errors))
            del placed[stack]


def _joined(host: str, placed: dict[str, list[HostDesired]]) -> HostDesired:
    parts = [part for _, hosts in sorted(placed.items()) for part in hosts if part.host == host]
    return HostDesired(
        host,
        tuple(each for part in parts for each in part.containers),
        tuple(each for part in parts for each in part.networks),
        tuple(each for part in parts for each in part.volumes),
    )


def _place_stack(
    stack: Stack, rendered: Rendered, pins: Pins, seen: dict[str, HostObserved]
) -> tuple[list[HostDesired], list[GitopsdError]]:
    images, errors = _images(stack, pins)
    placements, more = spread(stack, rendered.fleet.hosts, seen)
    errors += more
    if errors:
        return [], errors
    hosts = [_host(stack, host, placements, images) for host in sorted({each.host for each in placements})]
    errors += [error for host in hosts for error in _missing(stack, host, seen.get(host.host))]
    return hosts, errors


def _images(stack: Stack, pins: Pins) -> tuple[dict[str, ImageChoice], list[GitopsdError]]:
    """What each service runs."""
    images: dict[str, ImageChoice] = {}
    errors: list[GitopsdError] = []
    for service in stack.services:
        if service.build:
            want = pins.build(stack.name, service.name)
            error = want.error if want else "nobody asked for its image"
            if want and not error:
                images[service.name] = ImageChoice(service.image or f"{stack.name}/{service.name}", want.digest, want.key)
        else:
            assert service.image
            pin = pins.image(service.image)
            error = pin.error or ("" if pin.digest else "nobody has it") if pin else "nobody asked for it"
            if pin and not error:
                images[service.name] = ImageChoice(service.image, pin.digest)
        if error:
            what = f"image of {service.name} cannot be had: {error}"
            errors.append(GitopsdError("no-image", what, service.where, next="retry"))
    return images, errors


def _host(stack: Stack, host: str, placements: list[Placement], images: dict[str, ImageChoice]) -> HostDesired:
    containers = tuple(_container(stack, each, images[each.service]) for each in placements if each.host == host)
    networks = {attachment.network for each in containers for attachment in each.spec.networks}
    volumes = {mount.source for each in containers for mount in each.spec.mounts if mount.kind == "volume"}
    return HostDesired(
        host,
        containers,
        tuple(_network(stack, each.name) for each in stack.networks if each.name in networks and not each.external),
        tuple(_volume(stack, each.name) for each in stack.volumes if each.name in volumes and not each.external),
    )


def _container(stack: Stack, placement: Placement, image: ImageChoice) -> DesiredContainer:
    service = stack.service(placement.service)
    spec = ContainerSpec(
        name=f"{stack.name}-{service.name}-{placement.replica}",
        image=image,
        command=service.command,
        entrypoint=service.entrypoint,
        environment=service.environment,
        labels=service.labels,
        ports=service.ports,
        mounts=_mounts(stack, service),
        networks=_attachments(stack, service),
        healthcheck=service.healthcheck,
        restart=service.restart,
        memory_bytes=service.memory_bytes,
        nano_cpus=service.nano_cpus,
        user=service.user,
        working_dir=service.working_dir,
        hostname=service.hostname,
        read_only=service.read_only,
        cap_add=service.cap_add,
        cap_drop=service.cap_drop,
        stop_grace_ns=service.stop_grace_ns,
        stop_signal=service.stop_signal,
    )
    writes = any(mount.kind != "tmpfs" and not mount.read_only for mount in spec.mounts)
    return DesiredContainer(
        stack=stack.name,
        service=service.name,
        replica=placement.replica,
        spec=spec,
        config=container_config(spec),
        depends_on=service.depends_on,
        # Two writers on one mount harm what they write; without one, nobody needs to wait.
        order=service.order or ("stop-first" if writes else "start-first"),
        reason=placement.reason,
        where=service.where,
        ports_at=service.ports_at,
    )


def _mounts(stack: Stack, service: Service) -> tuple[Mount, ...]:
    names = {volume.key: volume.name for volume in stack.volumes}
    return tuple(
        Mount(mount.target, mount.kind, names[mount.source] if mount.kind == "volume" else mount.source, mount.read_only)
        for mount in service.mounts
    )


def _attachments(stack: Stack, service: Service) -> tuple[Attachment, ...]:
    """A service answers to its own name in each of its networks."""
    names = {network.key: network.name for network in stack.networks}
    return tuple(
        sorted(Attachment(names[each.network], tuple(sorted({service.name, *each.aliases}))) for each in service.networks)
    )


def _network(stack: Stack, name: str) -> DesiredNetwork:
    network = next(each for each in stack.networks if each.name == name)
    spec = NetworkSpec(network.name, network.internal, network.subnet, network.labels)
    return DesiredNetwork(stack.name, spec, network_config(spec))


def _volume(stack: Stack, name: str) -> DesiredVolume:
    volume = next(each for each in stack.volumes if each.name == name)
    spec = VolumeSpec(volume.name, volume.labels)
    return DesiredVolume(stack.name, spec, volume_config(spec))


def _missing(stack: Stack, host: HostDesired, seen: HostObserved | None) -> list[GitopsdError]:
    """External objects that a host which answers does not have."""
    if not seen or not seen.is_reachable:
        return []
    networks = {attachment.network for each in host.containers for attachment in each.spec.networks}
    volumes = {mount.source for each in host.containers for mount in each.spec.mounts if mount.kind == "volume"}
    there = {"network": {each.spec.name for each in seen.networks}, "volume": {each.spec.name for each in seen.volumes}}
    wanted = [("network", each.name, each.where) for each in stack.networks if each.external and each.name in networks]
    wanted += [("volume", each.name, each.where) for each in stack.volumes if each.external and each.name in volumes]
    return [
        GitopsdError("no-external", f"external {kind} {name} is not there on host {host.host}", where, "create it there first")
        for kind, name, where in wanted
        if name not in there[kind]
    ]
