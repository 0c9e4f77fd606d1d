"""Small values for tests: each builder has a default for all that a test does not care about."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

from gitopsd.model.codec import digest_of
from gitopsd.model.desired import (
    BuildWant,
    ContainerSpec,
    Desired,
    DesiredContainer,
    DesiredNetwork,
    DesiredVolume,
    HostDesired,
    ImageChoice,
    NetworkSpec,
    VolumeSpec,
)
from gitopsd.model.observed import HostObserved, Observed, ObservedContainer, ObservedImage
from gitopsd.model.revision import RevisionName
from gitopsd.model.stack import Attachment, Healthcheck, Restart

NOW = "2026-11-24T12:00:00Z"
REVISION = RevisionName("shop.git", "main", "3f2a9c1" + "0" * 33, "fix the cart")


def a_digest(word: str) -> str:
    return "sha256:" + hashlib.sha256(word.encode()).hexdigest()


def an_image(word: str = "busybox:stable") -> ImageChoice:
    return ImageChoice(word, a_digest(word))


def a_built_image(word: str = "web one", is_built: bool = True) -> ImageChoice:
    key = "key-" + hashlib.sha256(word.encode()).hexdigest()[:32]
    return ImageChoice("shop/web", a_digest(word) if is_built else None, key)


def a_build(image: ImageChoice, stack: str = "shop", service: str = "web") -> BuildWant:
    assert image.key
    return BuildWant(
        stack,
        service,
        f"127.0.0.1:5000/{stack}/{service}",
        image.key,
        "web",
        "8d" * 20,
        "web/Dockerfile",
        (),
        (),
        "linux/amd64",
        0,
    )


def config_of(spec: ContainerSpec | NetworkSpec | VolumeSpec) -> str:
    if isinstance(spec, ContainerSpec):
        image = ImageChoice("", None if spec.image.key else spec.image.digest, spec.image.key)
        spec = replace(spec, name="", restart=Restart(), memory_bytes=0, nano_cpus=0, image=image)
    return "1:" + digest_of(spec, 32)


def a_container(stack: str = "shop", service: str = "web", replica: int = 1, **given: Any) -> DesiredContainer:
    """Fields of ContainerSpec and of DesiredContainer, in one."""
    outer = {name: given.pop(name) for name in ("depends_on", "order", "reason") if name in given}
    given.setdefault("image", an_image())
    given.setdefault("networks", (Attachment(f"{stack}_default", (service,)),))
    spec = ContainerSpec(f"{stack}-{service}-{replica}", **given)
    return DesiredContainer(stack, service, replica, spec, config_of(spec), **outer)


def a_network(stack: str = "shop", key: str = "default", **given: Any) -> DesiredNetwork:
    spec = NetworkSpec(f"{stack}_{key}", **given)
    return DesiredNetwork(stack, spec, config_of(spec))


def a_volume(stack: str = "shop", key: str = "data", **given: Any) -> DesiredVolume:
    spec = VolumeSpec(f"{stack}_{key}", **given)
    return DesiredVolume(stack, spec, config_of(spec))


def a_host(name: str, *objects: DesiredContainer | DesiredNetwork | DesiredVolume) -> HostDesired:
    """Networks that a container needs come by themselves."""
    containers = tuple(item for item in objects if isinstance(item, DesiredContainer))
    networks = {item.spec.name: item for item in objects if isinstance(item, DesiredNetwork)}
    for container in containers:
        for attachment in container.spec.networks:
            key = attachment.network.removeprefix(f"{container.stack}_")
            networks.setdefault(attachment.network, a_network(container.stack, key))
    volumes = tuple(item for item in objects if isinstance(item, DesiredVolume))
    return HostDesired(name, containers, tuple(networks.values()), volumes)


def a_desired(*hosts: HostDesired, stacks: tuple[str, ...] | None = None, held: tuple[str, ...] = ()) -> Desired:
    named = {container.stack for host in hosts for container in host.containers} | {
        n.stack for host in hosts for n in host.networks
    }
    return Desired("test", hosts, tuple(sorted(named)) if stacks is None else stacks, held)


def observed_from(container: DesiredContainer, **given: Any) -> ObservedContainer:
    """The container as it is when all went well."""
    given.setdefault("spec", container.spec)
    given.setdefault("id", hashlib.sha256(given["spec"].name.encode()).hexdigest())
    given.setdefault("generation", 2)
    given.setdefault("state", "running")
    given.setdefault("config", container.config)
    given.setdefault("said", container.spec)
    given.setdefault("health", "healthy" if container.spec.healthcheck else "none")
    return ObservedContainer(stack=container.stack, service=container.service, replica=container.replica, **given)


def a_stranger(name: str = "somebody", **given: Any) -> ObservedContainer:
    ports = given.pop("ports", ())
    return ObservedContainer(a_digest(name)[7:], 1, ContainerSpec(name, an_image("theirs"), ports=ports), "running", **given)


def an_observed_host(name: str, *containers: ObservedContainer, **given: Any) -> HostObserved:
    images = {container.spec.image.digest for container in containers if container.spec.image.digest}
    given.setdefault("images", tuple(ObservedImage(digest) for digest in sorted(images)))
    given.setdefault("etag", f"etag-{name}")
    return HostObserved(name, containers=containers, **given)


def nothing_on(*hosts: str) -> Observed:
    return Observed(tuple(an_observed_host(host) for host in hosts))


def a_healthcheck(**given: Any) -> Healthcheck:
    given.setdefault("test", ("CMD", "true"))
    return Healthcheck(**given)
