"""Put the steps of a plan in order.  [pure]

In: the work on every host.  Out: steps; one starts when all that it names in `after` have succeeded.

Rule 1: networks, volumes and images are there before a container is made; a container is made before the one it replaces stops.
Rule 2: start-first: the new one is healthy and has taken over (`transition`) before the old one stops. Stop-first: the reverse.
Rule 3: replacements of one service go one at a time over all hosts, each healthy before the next; all else goes side by side.
Rule 4: what leaves goes when everything that stays is well, unless its port or its network is needed.
Rule 5: whatever lay unfinished under a container's name goes before anything else happens under it.

Not here: the steps of one container (steps.py).
"""

from __future__ import annotations

from gitopsd.model.desired import BuildWant
from gitopsd.model.observed import Observed, ObservedContainer
from gitopsd.model.plan import Step
from gitopsd.plan.diff import ContainerWork, HostWork
from gitopsd.plan.steps import UP, ContainerSteps, Drafts, Placed, PortKey, numbered, ports_of, send_name

_ROLLS = ("start-first", "stop-first", "recreate")


def order(
    works: tuple[HostWork, ...], observed: Observed, builds: tuple[BuildWant, ...], jobs: frozenset[tuple[str, str]]
) -> tuple[Step, ...]:
    drafts = Drafts()
    placed = [Placed(work.host, item) for work in works for item in work.containers]
    wanted_ports = _wanted_ports(placed)
    freed = _freed(placed, wanted_ports)
    for stack in sorted(
        {item.work.change.stack for item in placed} | {change.stack for work in works for change in work.changes}
    ):
        mine = [item for item in placed if item.work.change.stack == stack]
        _images(drafts, stack, mine, observed, builds)
        for work in works:
            _networks_and_volumes(drafts, stack, work, mine)
        _containers(drafts, stack, mine, jobs, wanted_ports, freed, works)
    return numbered(drafts)


def _images(drafts: Drafts, stack: str, mine: list[Placed], observed: Observed, builds: tuple[BuildWant, ...]) -> None:
    for item in mine:
        wanted = item.work.desired
        if wanted is None or not _creates(item.work):
            continue
        image = wanted.spec.image
        build_name = f"{stack}/build/{image.key}"
        want = next((build for build in builds if build.key == image.key and build.digest is None), None) if image.key else None
        if image.digest is None and want:
            drafts.add(build_name, Step(0, "build", "", stack, f"image {image.reference}", build=want, image=image), [])
        host = observed.host(item.host)
        if image.digest is None or all(there.digest != image.digest for there in host.images):
            repository = f"{stack}/{wanted.service}" if image.key else ""
            send = Step(0, "send_image", item.host, stack, f"image {image.reference}", image=image, name=repository)
            drafts.add(send_name(stack, item.host, wanted), send, [build_name])


def _creates(work: ContainerWork) -> bool:
    return work.how in ("create", "recreate") or (work.how in ("start-first", "stop-first") and work.next is None)


def _networks_and_volumes(drafts: Drafts, stack: str, work: HostWork, mine: list[Placed]) -> None:
    for network in work.networks:
        change = network.change
        if change.stack != stack or change.action == "same":
            continue
        base = f"{work.host}/network {change.name}"
        users = [item for item in mine if item.host == work.host and item.work.main and _is_on(item.work.main, change.name)]
        if change.action in ("remove", "replace"):
            step = Step(
                0,
                "remove_network",
                work.host,
                stack,
                f"network {change.name}",
                target=f"id:{change.id}",
                name=change.name,
                generation=change.generation,
            )
            drafts.add(f"{base}/remove", step, [f"{item.base}/{name}" for item in users for name in ("remove", "settled")])
        if change.action in ("create", "replace"):
            made = Step(
                0, "create_network", work.host, stack, f"network {change.name}", name=change.name, network=network.desired
            )
            drafts.add(f"{base}/create", made, [f"{base}/remove"])
    for volume in work.volumes:
        if volume.change.stack == stack and volume.change.action == "create":
            name = volume.change.name
            made = Step(0, "create_volume", work.host, stack, f"volume {name}", name=name, volume=volume.desired)
            drafts.add(f"{work.host}/volume {name}/create", made, [])


def _is_on(container: ObservedContainer, network: str) -> bool:
    return any(item.network == network for item in container.spec.networks)


def _wanted_ports(placed: list[Placed]) -> set[PortKey]:
    """Published ports that a container needs which does not have them yet."""
    found: set[PortKey] = set()
    for item in placed:
        if item.work.desired and item.work.how not in ("none", "in_place", "start-first", "promote"):
            has = ports_of(item.host, item.work.main) if item.work.main and item.work.main.state in UP else set[PortKey]()
            found |= ports_of(item.host, item.work.desired) - has
    return found


def _freed(placed: list[Placed], wanted: set[PortKey]) -> dict[PortKey, list[str]]:
    """For a wanted port the drafts that set it free."""
    found: dict[PortKey, list[str]] = {}
    for item in placed:
        if item.work.main and item.work.main.state in UP and item.work.how in ("remove", "stop-first", "recreate"):
            for port in ports_of(item.host, item.work.main) & wanted:
                found.setdefault(port, []).append(f"{item.base}/stop")
    return found


def _containers(
    drafts: Drafts,
    stack: str,
    mine: list[Placed],
    jobs: frozenset[tuple[str, str]],
    wanted_ports: set[PortKey],
    freed: dict[PortKey, list[str]],
    works: tuple[HostWork, ...],
) -> None:
    staying = [item for item in mine if item.work.desired and item.work.how != "none"]
    replaced = {
        (w.host, n.change.name) for w in works for n in w.networks if n.change.stack == stack and n.change.action == "replace"
    }
    last_of: dict[str, str] = {}
    for item in staying:
        assert item.work.desired is not None
        service = item.work.desired.service
        turn = [last_of[service]] if item.work.how in _ROLLS and service in last_of else []
        if item.work.how in _ROLLS:
            last_of[service] = item.ends
        waits = _dependencies(drafts, stack, item, mine) if item.work.how not in ("in_place", "promote") else []
        is_needed = bool(item.work.main and ports_of(item.host, item.work.main) & wanted_ports)
        ContainerSteps(drafts, stack, item, jobs, freed).draft(turn, waits, is_needed)
    well = [item.ends for item in staying]
    for item in mine:
        if item.work.how == "remove":
            main = item.work.main
            assert main is not None
            networks = {(item.host, attachment.network) for attachment in main.spec.networks}
            is_first = item.work.change.cause == "leftover" or bool(
                ports_of(item.host, main) & wanted_ports or networks & replaced
            )
            ContainerSteps(drafts, stack, item, jobs, freed).leave([] if is_first else well)


def _dependencies(drafts: Drafts, stack: str, item: Placed, mine: list[Placed]) -> list[str]:
    """The drafts that a container's start waits for: those of the same host if the service is there, else of all."""
    found: list[str] = []
    assert item.work.desired is not None
    for dependency in item.work.desired.depends_on:
        everywhere = [other for other in mine if other.work.desired and other.work.desired.service == dependency.service]
        for other in [other for other in everywhere if other.host == item.host] or everywhere:
            if other.work.how != "none":
                is_early = dependency.condition == "service_started" and other.work.how in ("create", "start", "recreate")
                found.append(f"{other.base}/start" if is_early else other.ends)
                continue
            there = other.work.main
            assert there is not None
            is_job = dependency.condition == "service_completed_successfully"
            if (dependency.condition == "service_healthy" and there.health in ("starting", "unhealthy")) or (
                is_job and there.state != "exited"
            ):
                wait = Step(
                    0,
                    "wait_healthy",
                    other.host,
                    stack,
                    f"container {there.spec.name}",
                    target=f"id:{there.id}",
                    container=other.work.desired,
                    until="completed" if is_job else "healthy",
                )
                found.append(drafts.add(f"{other.base}/wait", wait, []))
    return found
