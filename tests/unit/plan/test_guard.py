"""What a plan must not do, and what it cannot."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gitopsd.model.errors import GitopsdError
from gitopsd.model.observed import Observed, ObservedContainer, ObservedNetwork
from gitopsd.model.stack import Attachment, Dependency, Port
from gitopsd.plan import Limits, plan
from tests.fakes.values import (
    NOW,
    a_container,
    a_desired,
    a_host,
    a_network,
    a_stranger,
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
