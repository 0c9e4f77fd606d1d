"""What a plan must not do, and what it cannot."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gitopsd.model.errors import GitopsdError
from gitopsd.model.observed import Observed, ObservedContainer, ObservedNetwork, ObservedVolume
from gitopsd.model.stack import Attachment, Dependency, Port
from gitopsd.plan import Limits, plan
from tests.fakes.values import (
    NOW,
    a_container,
    a_desired,
    a_host,
    a_network,
    a_stranger,
    a_volume,
    an_image,
    an_observed_host,
    nothing_on,
    observed_from,
)


def test_a_stack_that_renders_no_service_keeps_what_runs() -> None:
    host = an_observed_host("a", observed_from(a_container()))
    made = plan(a_desired(a_host("a"), stacks=("shop",)), Observed((host,)), NOW)
    assert made.is_empty
    assert "renders no service" in dict(made.blocked)["shop"]


def test_a_stack_of_which_nothing_ran_may_be_empty() -> None:
    assert plan(a_desired(a_host("a"), stacks=("shop",)), nothing_on("a"), NOW).blocked == ()


def many(count: int) -> tuple[ObservedContainer, ...]:
    return tuple(observed_from(a_container(f"s{number}")) for number in range(count))


def test_a_plan_that_removes_most_of_the_fleet_is_refused() -> None:
    made = plan(a_desired(a_host("a", a_container("s0"))), Observed((an_observed_host("a", *many(4)),)), NOW)
    assert [code for code, _ in made.refused] == ["mass-removal"]
    assert "3 of 4" in made.refused[0][1]


def test_one_that_removes_some_of_it_is_not() -> None:
    wanted = [a_container(f"s{number}") for number in range(3)]
    assert plan(a_desired(a_host("a", *wanted)), Observed((an_observed_host("a", *many(4)),)), NOW).refused == ()


def test_the_limits_are_the_callers() -> None:
    observed = Observed((an_observed_host("a", *many(4)),))
    assert plan(a_desired(a_host("a"), stacks=()), observed, NOW, limits=Limits(vanish_percent=100)).refused == ()


def test_a_name_that_somebody_else_has_blocks_the_stack_and_no_other() -> None:
    desired = a_desired(a_host("a", a_container(), a_container("blog")))
    made = plan(desired, Observed((an_observed_host("a", a_stranger("shop-web-1")),)), NOW)
    assert "shop-web-1 is taken by a container of nobody in this fleet" in dict(made.blocked)["shop"]
    assert {step.stack for step in made.steps} == {"blog"}


def test_a_port_that_somebody_else_has_blocks_the_stack() -> None:
    stranger = a_stranger("nginx", ports=(Port(80, 8080),))
    desired = a_desired(a_host("a", a_container(ports=(Port(80, 8080),))))
    assert "port 8080/tcp" in dict(plan(desired, Observed((an_observed_host("a", stranger),)), NOW).blocked)["shop"]


def test_a_port_on_another_address_is_another_port() -> None:
    stranger = a_stranger("nginx", ports=(Port(80, 8080, "tcp", "127.0.0.1"),))
    desired = a_desired(a_host("a", a_container(ports=(Port(80, 8080, "tcp", "10.0.0.1"),))))
    assert not plan(desired, Observed((an_observed_host("a", stranger),)), NOW).blocked


def test_two_services_cannot_publish_one_port() -> None:
    one, other = a_container(ports=(Port(80, 8080),)), a_container("blog", ports=(Port(81, 8080),))
    made = plan(a_desired(a_host("a", one, other)), nothing_on("a"), NOW)
    assert set(dict(made.blocked)) == {"blog", "shop"}


def test_an_image_that_nobody_has_blocks_the_stack() -> None:
    made = plan(a_desired(a_host("a", a_container(image=replace(an_image(), digest=None)))), nothing_on("a"), NOW)
    assert dict(made.blocked)["shop"] == "nobody has the image busybox:stable of service web"


def test_a_network_that_a_stranger_uses_is_not_taken_away() -> None:
    network = a_network()
    stranger = a_stranger("psql")
    stranger = replace(stranger, spec=replace(stranger.spec, networks=(Attachment("shop_default"),)))
    host = an_observed_host("a", stranger, networks=(ObservedNetwork("n1", 1, network.spec, "shop", network.config),))
    made = plan(a_desired(a_host("a"), stacks=()), Observed((host,)), NOW)
    assert "cannot go while psql uses it" in dict(made.blocked)["shop"]


def test_services_that_wait_for_each_other_are_an_error() -> None:
    one = a_container(service="one", depends_on=(Dependency("two"),))
    two = a_container(service="two", depends_on=(Dependency("one"),))
    with pytest.raises(GitopsdError, match="wait for each other"):
        plan(a_desired(a_host("a", one, two)), nothing_on("a"), NOW)


BROKEN = (("shop", "stacks/shop.yaml:9  foo: unknown key"),)


def two_hosts(*stacks: str) -> Observed:
    """Both run a web and a store of each stack in a network, with a volume."""
    hosts = []
    for host in ("a", "b"):
        found = [a_container(stack, service) for stack in stacks for service in ("store", "web")]
        networks = tuple(ObservedNetwork(f"n-{stack}", 1, a_network(stack).spec, stack) for stack in stacks)
        volumes = tuple(ObservedVolume(1, a_volume(stack).spec, stack) for stack in stacks)
        hosts.append(an_observed_host(host, *map(observed_from, found), networks=networks, volumes=volumes))
    return Observed(tuple(hosts))


def test_a_blocked_stack_loses_nothing_on_a_host_that_its_last_revision_did_not_know() -> None:
    before = a_desired(a_host("a", a_container(), a_container(service="store"), a_volume()), a_host("b"))
    made = plan(before, two_hosts("shop"), NOW, blocked=BROKEN, previous=before)
    assert (made.changes, made.steps) == ((), ())
    assert made.blocked == BROKEN


def test_a_blocked_stack_is_still_healed_to_its_last_revision() -> None:
    before = a_desired(a_host("a", a_container(), a_container(service="store")))
    stopped = observed_from(a_container(), state="exited")
    extra = observed_from(a_container(service="extra"))
    network = ObservedNetwork("n", 1, a_network().spec, "shop", a_network().config)
    made = plan(
        before, Observed((an_observed_host("a", stopped, extra, networks=(network,)),)), NOW, blocked=BROKEN, previous=before
    )
    assert sorted((change.name, change.action) for change in made.changes) == [
        ("shop-store-1", "create"),
        ("shop-web-1", "in_place"),
    ]


def test_a_stack_that_is_held_and_was_never_applied_is_known_by_its_label() -> None:
    made = plan(a_desired(a_host("a"), a_host("b"), stacks=("shop",), held=("shop",)), two_hosts("shop"), NOW, blocked=BROKEN)
    assert (made.changes, made.blocked) == ((), BROKEN)


def test_a_stack_that_left_git_stays_while_one_that_is_new_there_is_blocked() -> None:
    blocked = (("market", "stacks/shop.yaml:9  foo: unknown key"),)
    desired = a_desired(a_host("a"), a_host("b"), stacks=("market",), held=("market",))
    made = plan(desired, two_hosts("shop"), NOW, blocked=blocked)
    assert made.changes == ()
    assert "removed from Git, but market, which is new there" in dict(made.blocked)["shop"]
    known = plan(desired, two_hosts("market", "shop"), NOW, blocked=blocked)
    assert {change.stack for change in known.changes} == {"shop"}, "market was there before, so shop is not market"


def test_what_a_blocked_stack_keeps_nobody_else_gets() -> None:
    port = (Port(80, 8080),)
    before = a_desired(a_host("a", a_container("blog", ports=port), a_container()), stacks=("blog", "shop"))
    extra = observed_from(a_container(service="extra", ports=port))
    made = plan(before, Observed((an_observed_host("a", observed_from(a_container()), extra),)), NOW, blocked=BROKEN)
    assert "port 8080/tcp is taken by container shop-extra-1 of stack shop" in dict(made.blocked)["blog"]


@pytest.mark.parametrize(("state", "goes"), [("running", True), ("exited", False)])
def test_what_a_sync_left_beside_a_container_of_a_blocked_stack_goes_only_while_that_runs(state: Any, goes: bool) -> None:
    before = a_desired(a_host("a", a_container()))
    spec = a_container().spec
    left = observed_from(a_container(), spec=replace(spec, name="shop-web-1.old"), id="old")
    main = observed_from(a_container(), state=state)
    made = plan(before, Observed((an_observed_host("a", main, left),)), NOW, blocked=BROKEN, previous=before)
    assert ("shop-web-1.old" in {change.name for change in made.changes}) is goes
    assert not any(step.target == "id:old" for step in made.steps) or goes
