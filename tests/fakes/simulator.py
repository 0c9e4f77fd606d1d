"""What an engine would do with the steps of a plan, as a pure function: state and step to state.

It keeps the engine's rules as assertions (a name is there once, a port is published once, a network that is used stays,
a transition wants two running containers with the same ports), so an order that an engine would refuse fails a test.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace

from gitopsd.model.desired import ContainerSpec, DesiredContainer, ImageChoice
from gitopsd.model.observed import HostObserved, Observed, ObservedContainer, ObservedImage, ObservedNetwork, ObservedVolume
from gitopsd.model.plan import Plan, Step
from gitopsd.model.stack import Attachment
from tests.fakes.values import a_digest


class RefusedError(Exception):
    """The engine says no."""


@dataclass
class Host:
    containers: dict[str, ObservedContainer] = field(default_factory=dict)
    networks: dict[str, ObservedNetwork] = field(default_factory=dict)
    volumes: dict[str, ObservedVolume] = field(default_factory=dict)
    images: set[str] = field(default_factory=set)

    def holders(self, protocol: str, published: int) -> list[ObservedContainer]:
        """Running containers that answer at a published port; one that waits for a transition does not."""
        return [
            item
            for item in self.containers.values()
            if item.state == "running"
            and item.replaces is None
            and any((port.protocol, port.published) == (protocol, published) for port in item.spec.ports)
        ]


class World:
    def __init__(self, *hosts: str) -> None:
        self.hosts = {host: Host() for host in hosts}
        self.ids = itertools.count(1)
        self.changed: list[tuple[str, str]] = []
        """Host and name of every container that a step changed."""

    def observed(self) -> Observed:
        return Observed(
            tuple(
                HostObserved(
                    name,
                    etag=f"etag-{name}",
                    containers=tuple(host.containers.values()),
                    networks=tuple(host.networks.values()),
                    volumes=tuple(host.volumes.values()),
                    images=tuple(ObservedImage(digest) for digest in sorted(host.images)),
                )
                for name, host in self.hosts.items()
            )
        )

    def shape(self) -> object:
        """What matters of it when two ways must end in the same: no ids, no generations, and
        not the config label, which stays what it was when a network is attached in place."""
        return {
            name: (
                sorted((item.spec.name, _spoken(item.spec), _state(item)) for item in host.containers.values()),
                sorted(repr(item.spec) for item in host.networks.values()),
                sorted(repr(item.spec) for item in host.volumes.values()),
            )
            for name, host in self.hosts.items()
        }

    def run(self, plan: Plan, pick: object = None, stop_after: int | None = None, check: object = None) -> None:
        """Runs the steps in any order that `after` allows: `pick(ready)` chooses. Stops after so many, as if killed."""
        made: dict[int, str] = {}
        left = {step.number: step for step in plan.steps}
        for count in itertools.count(1):
            if not left or (stop_after is not None and count > stop_after):
                return
            ready = [step for step in left.values() if not any(number in left for number in step.after)]
            prepare = [step for step in ready if step.operation in ("build", "send_image")]
            waiting = {step.stack for step in left.values() if step.operation in ("build", "send_image")}
            ready = prepare + [step for step in ready if step.stack not in waiting]
            step = ready[0] if pick is None else pick(ready)  # type: ignore[operator]
            self.step(step, made)
            del left[step.number]
            if check is not None:
                check(step)  # type: ignore[operator]

    def step(self, step: Step, made: dict[int, str]) -> None:
        if step.operation == "build":
            return
        host = self.hosts[step.host]
        getattr(self, f"_{step.operation}")(host, step, made)
        if step.operation not in ("send_image", "wait_healthy"):
            self.changed.append((step.host, step.object))

    def _target(self, host: Host, reference: str, made: dict[int, str]) -> ObservedContainer:
        kind, _, value = reference.partition(":")
        identity = value if kind == "id" else made[int(value)]
        if identity not in host.containers:
            raise RefusedError(f"no container {reference}")
        return host.containers[identity]

    def _put(self, host: Host, container: ObservedContainer) -> None:
        host.containers[container.id] = replace(container, generation=container.generation + 1)

    def _send_image(self, host: Host, step: Step, made: dict[int, str]) -> None:
        assert step.image
        host.images.add(built_digest(step.image))

    def _create_network(self, host: Host, step: Step, made: dict[int, str]) -> None:
        assert step.network
        if step.name in host.networks:
            raise RefusedError(f"network {step.name} is there")
        host.networks[step.name] = ObservedNetwork(
            f"n{next(self.ids)}", 1, step.network.spec, step.network.stack, step.network.config
        )

    def _remove_network(self, host: Host, step: Step, made: dict[int, str]) -> None:
        users = [c.spec.name for c in host.containers.values() if any(a.network == step.name for a in c.spec.networks)]
        if users:
            raise RefusedError(f"network {step.name} is used by {users}")
        del host.networks[step.name]

    def _create_volume(self, host: Host, step: Step, made: dict[int, str]) -> None:
        assert step.volume
        host.volumes[step.name] = ObservedVolume(1, step.volume.spec, step.volume.stack, step.volume.config)

    def _create_container(self, host: Host, step: Step, made: dict[int, str]) -> None:
        assert step.container
        wanted: DesiredContainer = step.container
        digest = built_digest(wanted.spec.image)
        if digest not in host.images:
            raise RefusedError(f"no image {wanted.spec.image}")
        if any(item.spec.name == step.name for item in host.containers.values()):
            raise RefusedError(f"the name {step.name} is taken")
        for attachment in wanted.spec.networks:
            if attachment.network not in host.networks:
                raise RefusedError(f"no network {attachment.network}")
        for mount in wanted.spec.mounts:
            if mount.kind == "volume" and mount.source not in host.volumes:
                raise RefusedError(f"no volume {mount.source}")
        image = replace(wanted.spec.image, digest=digest)
        identity = f"c{next(self.ids)}"
        made[step.number] = identity
        spec = replace(wanted.spec, name=step.name, image=image)
        host.containers[identity] = ObservedContainer(
            identity, 1, spec, "created", wanted.stack, wanted.service, wanted.replica, wanted.config,
            replaces=step.other.removeprefix("id:") or None, said=spec,
        )  # fmt: skip

    def _start_container(self, host: Host, step: Step, made: dict[int, str]) -> None:
        container = self._target(host, step.target, made)
        if container.state == "running":
            return
        replaced = host.containers.get(container.replaces or "")
        waits = replaced is not None and replaced.state == "running"
        if not waits:
            for port in container.spec.ports:
                if port.published and host.holders(port.protocol, port.published):
                    raise RefusedError(f"port {port.published} is taken")
        health = "starting" if container.spec.healthcheck else "none"
        kept = container.replaces if waits else None
        self._put(host, replace(container, state="running", exit_code=0, health=health, replaces=kept))

    def _wait_healthy(self, host: Host, step: Step, made: dict[int, str]) -> None:
        container = self._target(host, step.target, made)
        if step.until == "completed":
            host.containers[container.id] = replace(container, state="exited", exit_code=0)
        elif container.state != "running":
            raise RefusedError(f"{container.spec.name} is {container.state}")
        elif container.health == "starting":
            host.containers[container.id] = replace(container, health="healthy")

    def _transition(self, host: Host, step: Step, made: dict[int, str]) -> None:
        new, old = self._target(host, step.target, made), self._target(host, step.other, made)
        if new.state != "running" or old.state != "running":
            raise RefusedError("not running")
        if new.replaces != old.id or new.spec.ports != old.spec.ports:
            raise RefusedError("ports differ, or it replaces another")
        name = old.spec.name
        self._named(host, old, f"{name}.old")
        self._named(host, replace(new, replaces=None), name)

    def _update_container(self, host: Host, step: Step, made: dict[int, str]) -> None:
        assert step.spec
        container = self._target(host, step.target, made)
        spec = replace(
            container.spec, restart=step.spec.restart, memory_bytes=step.spec.memory_bytes, nano_cpus=step.spec.nano_cpus
        )
        self._put(host, replace(container, spec=spec))

    def _connect_network(self, host: Host, step: Step, made: dict[int, str]) -> None:
        container = self._target(host, step.target, made)
        if step.name not in host.networks:
            raise RefusedError(f"no network {step.name}")
        attached = (*container.spec.networks, Attachment(step.name, step.aliases))
        self._put(host, replace(container, spec=replace(container.spec, networks=attached)))

    def _disconnect_network(self, host: Host, step: Step, made: dict[int, str]) -> None:
        container = self._target(host, step.target, made)
        kept = tuple(item for item in container.spec.networks if item.network != step.name)
        self._put(host, replace(container, spec=replace(container.spec, networks=kept)))

    def _rename_container(self, host: Host, step: Step, made: dict[int, str]) -> None:
        self._named(host, self._target(host, step.target, made), step.name)

    def _named(self, host: Host, container: ObservedContainer, name: str) -> None:
        if any(item.spec.name == name and item.id != container.id for item in host.containers.values()):
            raise RefusedError(f"the name {name} is taken")
        self._put(host, replace(container, spec=replace(container.spec, name=name)))

    def _stop_container(self, host: Host, step: Step, made: dict[int, str]) -> None:
        container = self._target(host, step.target, made)
        self._put(host, replace(container, state="exited", exit_code=137, health="none"))

    def _remove_container(self, host: Host, step: Step, made: dict[int, str]) -> None:
        container = self._target(host, step.target, made)
        if container.state in ("running", "restarting"):
            raise RefusedError(f"{container.spec.name} is running")
        del host.containers[container.id]


def _spoken(spec: ContainerSpec) -> str:
    image = ImageChoice("", spec.image.digest)
    return repr(replace(spec, image=image, networks=tuple(sorted(spec.networks))))


def _state(container: ObservedContainer) -> str:
    """A job that runs still ends by itself: whether somebody waited for it does not matter."""
    return "ran" if container.service == "job" and container.exit_code == 0 else container.state


def built_digest(image: ImageChoice) -> str:
    """What an image is once it is built: the same key gives the same bytes."""
    return image.digest or a_digest(image.key or "")
