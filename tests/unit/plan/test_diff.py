"""What a plan says of one object, and why."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gitopsd.model.desired import DesiredContainer
from gitopsd.model.observed import Observed, ObservedContainer, ObservedImage, ObservedNetwork, ObservedVolume
from gitopsd.model.plan import Change, Plan
from gitopsd.model.stack import Attachment, Dependency, Port, Restart
from gitopsd.plan import plan
from tests.fakes.values import (
    NOW,
    a_container,
    a_desired,
    a_digest,
    a_host,
    a_network,
    a_volume,
    an_image,
    an_observed_host,
    config_of,
    observed_from,
)


def planned(wanted: DesiredContainer, *there: ObservedContainer, previous: DesiredContainer | None = None) -> Plan:
    """The plan for one container on a host whose network and images are as they should be."""
    network = a_network()
    host = an_observed_host(
        "a",
        *there,
        networks=(ObservedNetwork("n1", 1, network.spec, "shop", network.config),),
        images=tuple(ObservedImage(a_digest(word)) for word in ("busybox:stable", "two")),
    )
    before = a_desired(a_host("a", previous)) if previous else None
    return plan(a_desired(a_host("a", wanted)), Observed((host,)), NOW, previous=before)


def change(made: Plan) -> Change:
    (found,) = [item for item in made.changes if item.kind == "container"]
    return found


def operations(made: Plan) -> list[str]:
    return [step.operation for step in made.steps]


def test_what_is_as_it_should_be_has_no_step() -> None:
    assert planned(a_container(), observed_from(a_container())).is_empty


@pytest.mark.parametrize(
    ("field", "value", "path", "effect"),
    [
        ("environment", (("A", "1"),), "environment.A", "restart"),
        ("command", ("sleep", "1"), "command", "restart"),
        ("image", an_image("two"), "image", "restart"),
        ("ports", (Port(80, 8080),), "ports", "gap"),
        ("networks", (Attachment("shop_default", ("web", "www")),), "networks.shop_default", "restart"),
        ("memory_bytes", 1 << 30, "mem_limit", "none"),
        ("nano_cpus", 10**9, "cpus", "none"),
        ("restart", Restart("always"), "restart", "none"),
    ],
)
def test_a_field_changed_in_git_is_named_with_its_effect(field: str, value: Any, path: str, effect: str) -> None:
    found = change(planned(a_container(**{field: value}), observed_from(a_container()), previous=a_container()))
    assert [(item.path, item.effect) for item in found.fields] == [(path, effect)]
    assert (found.effect, found.cause) == (effect, "git")
    assert found.action == ("in_place" if effect == "none" else "replace")


def test_a_field_that_differs_under_the_desired_hash_was_changed_by_hand() -> None:
    wanted = a_container(environment=(("A", "1"),))
    other = replace(observed_from(wanted), spec=replace(wanted.spec, environment=()))
    assert change(planned(wanted, other)).cause == "drift"


def test_a_limit_that_was_asked_for_before_was_changed_by_hand() -> None:
    wanted = a_container(memory_bytes=64 << 20)
    raised = observed_from(wanted, spec=replace(wanted.spec, memory_bytes=1 << 30))
    assert change(planned(wanted, raised, previous=wanted)).cause == "drift"
    assert change(planned(wanted, raised)).cause == "drift"  # it was created with it
    assert change(planned(a_container(memory_bytes=128 << 20), raised, previous=wanted)).cause == "git"


def test_taking_a_limit_away_needs_a_new_container() -> None:
    limited = a_container(memory_bytes=64 << 20)
    found = change(planned(a_container(), observed_from(limited)))
    assert (found.action, found.effect) == ("replace", "restart")


def test_the_same_name_with_other_bytes_is_an_image_change() -> None:
    moved = a_container(image=replace(an_image(), digest=a_digest("two")))
    found = change(planned(moved, observed_from(a_container())))
    assert [(item.cause, item.detail) for item in found.fields] == [("image", "the name means other bytes now")]


def test_a_hash_of_another_version_alone_changes_nothing() -> None:
    old_form = observed_from(a_container(), config="0:abcdef")
    assert planned(a_container(), old_form).is_empty


@pytest.mark.parametrize("state", ["exited", "created"])
def test_what_does_not_run_is_started(state: Any) -> None:
    made = planned(a_container(), observed_from(a_container(), state=state, exit_code=137))
    assert operations(made) == ["start_container", "wait_healthy"]
    assert change(made).cause == "drift"


def test_a_job_that_has_ended_well_is_as_it_should_be() -> None:
    job = a_container(service="job")
    web = a_container(depends_on=(Dependency("job", "service_completed_successfully"),))
    network = a_network()
    host = an_observed_host(
        "a",
        observed_from(job, state="exited"),
        observed_from(web),
        networks=(ObservedNetwork("n1", 1, network.spec, "shop", network.config),),
    )
    assert plan(a_desired(a_host("a", job, web)), Observed((host,)), NOW).is_empty
    failed = replace(host, containers=(observed_from(job, state="exited", exit_code=3), observed_from(web)))
    made = plan(a_desired(a_host("a", job, web)), Observed((failed,)), NOW)
    assert [(step.operation, step.until) for step in made.steps] == [
        ("start_container", "healthy"),
        ("wait_healthy", "completed"),
    ]


def test_unhealthy_is_said_and_nothing_is_done() -> None:
    made = planned(a_container(), observed_from(a_container(), health="unhealthy"))
    assert made.is_empty
    assert made.notes == ("container shop-web-1 on a is unhealthy",)


def test_a_name_taken_away_by_hand_is_given_back() -> None:
    wanted = a_container()
    renamed = observed_from(wanted, spec=replace(wanted.spec, name="something"))
    made = planned(wanted, renamed)
    assert [(step.operation, step.name) for step in made.steps] == [("rename_container", "shop-web-1")]


def test_a_replacement_of_a_sync_that_died_is_used_if_it_is_what_is_wanted() -> None:
    old, new = a_container(), a_container(environment=(("A", "1"),))
    waiting = observed_from(new, spec=replace(new.spec, name="shop-web-1.next"), state="created", replaces=observed_from(old).id)
    assert operations(planned(new, observed_from(old), waiting)) == [
        "start_container",
        "wait_healthy",
        "transition",
        "stop_container",
        "remove_container",
    ]


def test_a_replacement_that_is_no_longer_wanted_goes() -> None:
    old, new = a_container(), a_container(environment=(("A", "1"),))
    waiting = observed_from(new, spec=replace(new.spec, name="shop-web-1.next"), state="created", replaces=observed_from(old).id)
    made = planned(old, observed_from(old), waiting)
    assert [(step.operation, step.target) for step in made.steps] == [("remove_container", f"id:{waiting.id}")]
    assert change(made).cause == "leftover"


def test_one_that_has_handed_over_goes() -> None:
    wanted = a_container()
    handed_over = observed_from(wanted, spec=replace(wanted.spec, name="shop-web-1.old"))
    assert operations(planned(wanted, observed_from(wanted), handed_over)) == ["stop_container", "remove_container"]


def test_a_second_container_under_our_labels_goes() -> None:
    wanted = a_container()
    double = observed_from(wanted, spec=replace(wanted.spec, name="copy"))
    made = planned(wanted, observed_from(wanted), double)
    assert {step.target for step in made.steps} == {f"id:{double.id}"}


def test_a_volume_that_git_no_longer_names_is_kept() -> None:
    volume = a_volume()
    host = an_observed_host("a", volumes=(ObservedVolume(1, volume.spec, "shop", volume.config),))
    made = plan(a_desired(a_host("a"), stacks=()), Observed((host,)), NOW)
    assert made.is_empty
    assert [(item.action, item.effect) for item in made.changes] == [("retain", "none")]


def test_a_label_of_a_volume_does_not_cost_its_data() -> None:
    volume = a_volume(labels=(("tier", "gold"),))
    old = a_volume()
    host = an_observed_host("a", volumes=(ObservedVolume(1, old.spec, "shop", config_of(old.spec)),))
    made = plan(a_desired(a_host("a", a_container(networks=()), volume)), Observed((host,)), NOW)
    assert [(item.name, item.action) for item in made.changes if item.kind == "volume"] == [("shop_data", "retain")]
    assert "create_volume" not in operations(made)
