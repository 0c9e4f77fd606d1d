"""Properties of plans: what holds for every pair of desired and observed, in every order of steps, killed anywhere."""

from __future__ import annotations

import random
from dataclasses import replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gitopsd.model.desired import Desired, DesiredContainer, DesiredNetwork, DesiredVolume
from gitopsd.model.observed import ObservedContainer
from gitopsd.model.plan import Plan, Step
from gitopsd.model.stack import Attachment, Dependency, Mount, Port, Restart
from gitopsd.plan import Limits, plan
from tests.fakes.simulator import World
from tests.fakes.values import (
    NOW,
    a_container,
    a_desired,
    a_healthcheck,
    a_host,
    a_network,
    a_stranger,
    a_volume,
    an_image,
)

HOSTS = ("a", "b")
SERVICES = ("db", "job", "web")
NO_LIMITS = Limits(vanish_percent=100)
FLEETS = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))


@st.composite
def services(draw: st.DrawFn, stack: str, base_port: int) -> dict[str, dict[str, object]]:
    """A stack's services by name, as keyword arguments of `a_container`."""
    found: dict[str, dict[str, object]] = {}
    for position, service in enumerate(SERVICES):
        if not draw(st.booleans()):
            continue
        given: dict[str, object] = {
            "image": an_image(draw(st.sampled_from(["one", "two"]))),
            "environment": draw(st.sampled_from([(), (("A", "1"),)])),
            "memory_bytes": draw(st.sampled_from([0, 64 << 20])),
            "restart": draw(st.sampled_from([Restart(), Restart("always")])),
            "healthcheck": draw(st.sampled_from([None, a_healthcheck()])),
            "order": draw(st.sampled_from(["start-first", "stop-first"])),
            "networks": tuple(
                Attachment(f"{stack}_{key}", draw(st.sampled_from([(service,), (service, "alias")])))
                for key in draw(st.sampled_from([("default",), ("default", "back"), ("back",)]))
            ),
        }
        if service != "job":
            shift = draw(st.sampled_from([0, 1]))  # so that two services may swap their ports
            given["ports"] = (Port(80, base_port + (position + shift * 2) % 4),) if draw(st.booleans()) else ()
        if draw(st.booleans()):
            given["mounts"] = (Mount("/data", "volume", f"{stack}_data"),)
        found[service] = given
    conditions = {"job": "service_completed_successfully", "db": draw(st.sampled_from(["service_started", "service_healthy"]))}
    if "web" in found:
        others = [name for name in ("db", "job") if name in found and draw(st.booleans())]
        found["web"]["depends_on"] = tuple(Dependency(name, conditions[name]) for name in others)  # type: ignore[arg-type]
    return found


@st.composite
def desired_states(draw: st.DrawFn) -> Desired:
    objects: dict[str, list[DesiredContainer | DesiredNetwork | DesiredVolume]] = {host: [] for host in HOSTS}
    stacks = draw(st.sampled_from([("shop",), ("blog", "shop"), ()]))
    for position, stack in enumerate(stacks):
        internal = draw(st.booleans())
        for service, asked in draw(services(stack, 8000 + 10 * position)).items():
            for host in draw(st.sampled_from([("a",), ("a", "b")])):
                objects[host].append(a_container(stack, service, **asked))
                objects[host].append(a_network(stack, internal=internal))
                if asked.get("mounts"):
                    objects[host].append(a_volume(stack))
    hosts = []
    for host, found in objects.items():
        # a port that two services would publish is refused before it gets here
        taken: set[int] = set()
        kept = []
        for item in found:
            if isinstance(item, DesiredContainer):
                published = {port.published for port in item.spec.ports}
                if published & taken:
                    continue
                taken |= published
            kept.append(item)
        hosts.append(a_host(host, *kept))
    # a stack without any service is held by a guard, which has tests of its own
    return a_desired(*hosts, stacks=tuple(sorted({container.stack for host in hosts for container in host.containers})))


def a_world() -> World:
    world = World(*HOSTS)
    for host in world.hosts.values():
        host.containers["stranger"] = replace(a_stranger("somebody"), id="stranger")
    return world


def planned(desired: Desired, world: World, previous: Desired | None = None) -> Plan:
    return plan(desired, world.observed(), NOW, previous=previous, limits=NO_LIMITS)


def settle(desired: Desired, world: World) -> None:
    for _ in range(6):
        found = planned(desired, world)
        if found.is_empty:
            return
        world.run(found)
    raise AssertionError(f"does not settle: {[(s.operation, s.object) for s in found.steps]}")


@FLEETS
@given(desired_states(), desired_states(), st.randoms(use_true_random=False))
def test_a_plan_on_what_its_own_application_gave_is_empty(first: Desired, second: Desired, chance: random.Random) -> None:
    world = a_world()
    for desired in (first, second, first):
        world.run(planned(desired, world), pick=chance.choice)
        again = planned(desired, world)
        assert again.is_empty, [(step.operation, step.object) for step in again.steps]


@FLEETS
@given(desired_states(), desired_states(), st.randoms(use_true_random=False))
def test_the_order_in_which_free_steps_run_does_not_matter(first: Desired, second: Desired, chance: random.Random) -> None:
    one, other = a_world(), a_world()
    for desired in (first, second):
        one.run(planned(desired, one))
        other.run(planned(desired, other), pick=chance.choice)
    assert one.shape() == other.shape()


@FLEETS
@given(desired_states(), desired_states(), st.integers(0, 40), st.integers(0, 40), st.randoms(use_true_random=False))
def test_killed_anywhere_the_next_sync_gets_to_the_same_end(
    first: Desired, second: Desired, one_kill: int, other_kill: int, chance: random.Random
) -> None:
    straight, killed = a_world(), a_world()
    for desired in (first, second):
        settle(desired, straight)
    killed.run(planned(first, killed), pick=chance.choice, stop_after=one_kill)
    killed.run(planned(second, killed), pick=chance.choice, stop_after=other_kill)
    killed.run(planned(second, killed), pick=chance.choice)
    assert planned(second, killed).is_empty
    for host in (*straight.hosts.values(), *killed.hosts.values()):
        host.volumes = {}  # what the first asked for was made or not, by when it was killed
    assert straight.shape() == killed.shape()


@FLEETS
@given(desired_states(), desired_states())
def test_nobody_elses_container_is_touched(first: Desired, second: Desired) -> None:
    world = a_world()
    strangers = {name: host.containers["stranger"] for name, host in world.hosts.items()}
    for desired in (first, second):
        settle(desired, world)
    assert {name: host.containers["stranger"] for name, host in world.hosts.items()} == strangers


@FLEETS
@given(desired_states(), desired_states())
def test_a_held_stack_is_left_as_it_is(first: Desired, second: Desired) -> None:
    world = a_world()
    settle(first, world)
    before = [item for host in world.hosts.values() for item in host.containers.values() if item.stack == "shop"]
    held = replace(
        second,
        held=("shop",),
        stacks=tuple(stack for stack in second.stacks if stack != "shop"),
        hosts=tuple(
            replace(
                host,
                containers=tuple(item for item in host.containers if item.stack != "shop"),
                networks=tuple(item for item in host.networks if item.stack != "shop"),
                volumes=tuple(item for item in host.volumes if item.stack != "shop"),
            )
            for host in second.hosts
        ),
    )
    settle(held, world)
    assert [item for host in world.hosts.values() for item in host.containers.values() if item.stack == "shop"] == before


@FLEETS
@given(desired_states(), desired_states())
def test_a_blocked_stack_loses_nothing_whatever_was_applied_last(first: Desired, last: Desired) -> None:
    world = a_world()
    settle(first, world)
    found = plan(
        replace(last, stacks=tuple(sorted({*first.stacks, *last.stacks}))),
        world.observed(),
        NOW,
        blocked=(("shop", "its file is broken"),),
        previous=last,
        limits=NO_LIMITS,
    )
    assert not [change for change in found.changes if change.stack == "shop" and change.action in ("remove", "retain")]
    there = {(name, item.key) for name, host in world.hosts.items() for item in host.containers.values() if item.stack == "shop"}
    world.run(found)
    left = {(name, item.key) for name, host in world.hosts.items() for item in host.containers.values() if item.stack == "shop"}
    assert there <= left


@FLEETS
@given(desired_states(), desired_states(), st.randoms(use_true_random=False))
def test_start_first_never_leaves_a_service_without_an_answer(first: Desired, second: Desired, chance: random.Random) -> None:
    world = a_world()
    settle(first, world)
    found = planned(second, world)
    seamless = {
        (change.host, change.stack, change.service)
        for change in found.changes
        if change.action == "replace" and change.effect == "restart"
    }

    def answers(item: ObservedContainer) -> bool:
        return item.state == "running" and item.replaces is None and item.health != "starting"

    def check(step: Step) -> None:
        for host, stack, service in seamless:
            there = [item for item in world.hosts[host].containers.values() if (item.stack, item.service) == (stack, service)]
            assert any(answers(item) for item in there), f"after {step.operation} {step.object} nobody answers for {service}"

    world.run(found, pick=chance.choice, check=check)


@FLEETS
@given(desired_states(), st.randoms(use_true_random=False))
def test_whatever_somebody_does_by_hand_is_healed_in_one_sync(desired: Desired, chance: random.Random) -> None:
    world = a_world()
    settle(desired, world)
    straight = world.shape()
    for host in world.hosts.values():
        for container in list(host.containers.values()):
            if container.stack is None:
                continue
            match chance.randrange(6):
                case 0:
                    host.containers[container.id] = replace(container, state="exited", exit_code=137)
                case 1:
                    del host.containers[container.id]
                case 2:
                    host.containers[container.id] = replace(container, spec=replace(container.spec, memory_bytes=1 << 30))
                case 3:
                    host.containers[container.id] = replace(container, spec=replace(container.spec, networks=()))
                case 4:
                    host.containers[container.id] = replace(
                        container, spec=replace(container.spec, name=f"renamed-{container.id}")
                    )
                case _:
                    pass
    found = planned(desired, world, previous=desired)
    assert all(change.cause == "drift" for change in found.changes if change.action != "retain")
    world.run(found, pick=chance.choice)
    assert planned(desired, world).is_empty
    assert world.shape() == straight
