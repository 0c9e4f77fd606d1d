"""What must hold of every placement."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from gitopsd.model.desired import ContainerSpec, Desired, ImageChoice, PinnedImage, Pins
from gitopsd.model.fleet import Fleet, Host, Registry, StackEntry
from gitopsd.model.observed import HostObserved, Observed, ObservedContainer, ObservedVolume
from gitopsd.model.rendered import Rendered
from gitopsd.model.stack import Attachment, Deploy, Mount, Port, Service, Stack, StackNetwork, StackVolume
from gitopsd.place import place

PINS = Pins(images=(PinnedImage("busybox", "sha256:" + "1" * 64),))
NAMES = ("a", "b", "c", "d", "e")

services = st.builds(
    lambda mode, replicas, network, zone, port, has_volume: Service(
        "",
        image="busybox",
        deploy=Deploy(mode, replicas if mode == "replicated" else 1, (f"node.labels.zone == {zone}",) if zone else ()),
        networks=(Attachment(network),),
        ports=(Port(80, port),) if port else (),
        mounts=(Mount("/data", "volume", "data"),) if has_volume else (),
    ),
    st.sampled_from(["global", "replicated"]),
    st.integers(0, 4),
    st.sampled_from(["default", "one", "two"]),
    st.sampled_from(["", "x", "y"]),
    st.sampled_from([0, 0, 0, 80, 81]),
    st.booleans(),
)


@st.composite
def fleets(draw):
    hosts = tuple(
        Host(name, name, labels=(("zone", draw(st.sampled_from(["x", "y"]))),), maintenance=draw(st.integers(0, 9)) == 0)
        for name in draw(st.sets(st.sampled_from(NAMES), min_size=1))
    )
    stacks = []
    for name in draw(st.sets(st.sampled_from(["alpha", "beta", "gamma"]), min_size=1)):
        named = [
            Service(**{**vars(service), "name": f"s{at}"})
            for at, service in enumerate(draw(st.lists(services, min_size=1, max_size=3)))
        ]
        keys = sorted({each.network for service in named for each in service.networks})
        stacks.append(
            Stack(
                name,
                tuple(named),
                tuple(StackNetwork(key, f"{name}_{key}") for key in keys),
                (StackVolume("data", f"{name}_data"),),
                hosts=tuple(sorted(draw(st.sets(st.sampled_from([host.name for host in hosts]))))),
            )
        )
    entries = tuple(StackEntry(stack.name, "x") for stack in stacks)
    return Rendered(Fleet("demo", hosts, Registry("r:5000"), entries), tuple(stacks))


@st.composite
def observations(draw, rendered):
    found = []
    for host in rendered.fleet.hosts:
        keys = draw(
            st.sets(
                st.tuples(
                    st.sampled_from([stack.name for stack in rendered.stacks]),
                    st.sampled_from(["s0", "s1", "s2"]),
                    st.integers(1, 3),
                ),
                max_size=4,
            )
        )
        containers = tuple(
            ObservedContainer(
                "-".join(map(str, key)),
                1,
                ContainerSpec(f"{key[0]}-{key[1]}-{key[2]}", ImageChoice("x")),
                draw(st.sampled_from(["running", "exited"])),
                *key,
            )
            for key in sorted(keys)
        )
        volumes = tuple(
            ObservedVolume(1, spec(f"{stack.name}_data"), stack.name) for stack in rendered.stacks if draw(st.booleans())
        )
        found.append(HostObserved(host.name, containers=containers, volumes=volumes))
    return Observed(tuple(found))


def spec(name):
    from gitopsd.model.desired import VolumeSpec

    return VolumeSpec(name)


cases = fleets().flatmap(lambda rendered: st.tuples(st.just(rendered), observations(rendered)))


def shuffled(rendered: Rendered, observed: Observed, seed: int) -> tuple[Rendered, Observed]:
    order = random.Random(seed)
    hosts, stacks, seen = list(rendered.fleet.hosts), list(rendered.stacks), list(observed.hosts)
    for each in (hosts, stacks, seen):
        order.shuffle(each)
    fleet = Fleet("demo", tuple(hosts), rendered.fleet.registry, rendered.fleet.stacks)
    return Rendered(fleet, tuple(stacks)), Observed(tuple(seen))


def as_observed(desired: Desired, before: Observed, rendered: Rendered) -> Observed:
    """What is there when the plan was applied: what is desired, and what belongs to held stacks."""
    found = []
    for host in desired.hosts:
        seen = next((each for each in before.hosts if each.host == host.host), HostObserved(host.host))
        made = tuple(ObservedContainer("x", 1, each.spec, "running", *each.key) for each in host.containers)
        kept = tuple(each for each in seen.containers if each.stack in desired.held)
        wanted = {each.spec.name for each in host.volumes}
        volumes = (
            *(ObservedVolume(1, each.spec, each.stack) for each in host.volumes),
            *(each for each in seen.volumes if each.spec.name not in wanted),
        )
        found.append(HostObserved(host.host, containers=(*made, *kept), volumes=volumes))
    return Observed(tuple(found))


def homes(desired: Desired) -> dict[tuple[str, str, int, str], str]:
    return {(*each.key, host.host): each.config for host in desired.hosts for each in host.containers}


@given(cases, st.integers())
def test_the_order_of_hosts_and_stacks_is_nothing(case, seed):
    rendered, observed = case
    assert place(*[shuffled(rendered, observed, seed)[0], PINS, shuffled(rendered, observed, seed)[1]]) == place(
        rendered, PINS, observed
    )


@given(cases)
def test_no_two_containers_of_a_host_share_a_key_a_name_or_a_port(case):
    rendered, observed = case
    for host in place(rendered, PINS, observed).hosts:
        keys = [each.key for each in host.containers]
        names = [each.spec.name for each in host.containers]
        ports = [(port.published, port.protocol) for each in host.containers for port in each.spec.ports]
        assert len(set(keys)) == len(keys)
        assert len(set(names)) == len(names)
        assert len(set(ports)) == len(ports)


@given(cases)
def test_a_replica_is_on_one_host_and_there_are_as_many_as_were_asked_for(case):
    rendered, observed = case
    desired = place(rendered, PINS, observed)
    for stack in rendered.stacks:
        if stack.name in desired.held:
            continue
        for service in stack.services:
            found = [
                each.replica for host in desired.hosts for each in host.containers if each.key[:2] == (stack.name, service.name)
            ]
            if service.deploy.mode == "replicated":
                assert sorted(found) == list(range(1, service.deploy.replicas + 1))
            else:
                assert set(found) <= {1}


@given(cases)
def test_placing_what_was_placed_moves_nothing(case):
    rendered, observed = case
    desired = place(rendered, PINS, observed)
    again = place(rendered, PINS, as_observed(desired, observed, rendered))
    assert homes(again) == homes(desired)
    assert again.held == desired.held


@given(cases)
def test_another_host_moves_nothing_of_what_is_replicated(case):
    rendered, observed = case
    desired = place(rendered, PINS, observed)
    there = as_observed(desired, observed, rendered)
    more = Host("zz", "zz", labels=(("zone", "x"),))
    fleet = Fleet("demo", (*rendered.fleet.hosts, more), rendered.fleet.registry, rendered.fleet.stacks)
    grown = place(Rendered(fleet, rendered.stacks), PINS, Observed((*there.hosts, HostObserved("zz"))))
    held = {*desired.held, *grown.held}
    kept = {key: config for key, config in homes(grown).items() if key[3] != "zz" and key[0] not in held}
    assert kept == {key: config for key, config in homes(desired).items() if key[0] not in held}


@given(cases)
def test_nothing_stands_where_it_may_not(case):
    rendered, observed = case
    hosts = {host.name: host for host in rendered.fleet.hosts}
    for host in place(rendered, PINS, observed).hosts:
        for each in host.containers:
            stack = next(stack for stack in rendered.stacks if stack.name == each.stack)
            constraints = stack.service(each.service).deploy.constraints
            assert not stack.hosts or host.host in stack.hosts
            assert all(f"== {dict(hosts[host.host].labels)['zone']}" in text for text in constraints)
            was_there = any(seen.key == each.key for seen in observed.host(host.host).containers)
            assert not hosts[host.host].maintenance or was_there


@given(cases)
def test_services_that_share_a_network_can_reach_each_other_or_the_stack_is_held(case):
    rendered, observed = case
    desired = place(rendered, PINS, observed)
    for stack in rendered.stacks:
        for network in stack.networks:
            members = [service for service in stack.services if service.networks[0].network == network.key]
            on = {
                each.name: {
                    host.host for host in desired.hosts for found in host.containers if found.key[:2] == (stack.name, each.name)
                }
                for each in members
            }
            on = {name: places for name, places in on.items() if places}
            if len(on) > 1:
                first = next(iter(on.values()))
                assert all(places == first for places in on.values())
                assert len(first) == 1 or all(stack.service(name).deploy.mode == "global" for name in on)
