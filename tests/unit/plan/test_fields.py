"""The tables name every field there is, in forms that people write themselves."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from gitopsd.model.desired import ContainerSpec, ImageChoice, NetworkSpec, VolumeSpec
from gitopsd.model.secret import Redacted
from gitopsd.model.stack import Attachment, Mount, Port
from gitopsd.plan.fields import CONTAINER, NETWORK, VOLUME, bytes_form, cpus_form, differences, duration_form, port_form
from tests.fakes.values import a_digest, an_image

SPEC = ContainerSpec("shop-web-1", an_image())


@pytest.mark.parametrize(("table", "kind"), [(CONTAINER, ContainerSpec), (NETWORK, NetworkSpec), (VOLUME, VolumeSpec)])
def test_no_field_of_a_specification_is_missing_in_its_table(table, kind) -> None:
    named = {field.attribute for field in table}
    expected = {field.name for field in fields(kind)} - ({"name"} if kind is not ContainerSpec else set())
    assert named == expected


def test_what_does_not_differ_is_not_named() -> None:
    assert differences(CONTAINER, SPEC, SPEC) == ()


def test_the_order_in_which_an_engine_lists_things_is_no_difference() -> None:
    one = replace(SPEC, ports=(Port(80, 8080), Port(81, 8081)), networks=(Attachment("a"), Attachment("b")), cap_add=("A", "B"))
    other = replace(SPEC, ports=(Port(81, 8081), Port(80, 8080)), networks=(Attachment("b"), Attachment("a")), cap_add=("B", "A"))
    assert differences(CONTAINER, one, other) == ()


def test_each_variable_is_a_field_of_its_own_and_secrets_are_hidden() -> None:
    old = replace(SPEC, environment=(("API_TOKEN", "abc"), ("GREETING", "hello"), ("KEPT", "1")))
    new = replace(SPEC, environment=(("GREETING", "hi"), ("KEPT", "1"), ("NEW", Redacted("canary"))))
    found = [(item.path, item.old, item.new) for item in differences(CONTAINER, old, new)]
    assert found == [
        ("environment.API_TOKEN", "(hidden)", None),
        ("environment.GREETING", "hello", "hi"),
        ("environment.NEW", None, "(hidden)"),
    ]


def test_an_image_is_the_same_by_its_bytes_whatever_its_name() -> None:
    renamed = replace(SPEC, image=ImageChoice("mirror/busybox", SPEC.image.digest))
    assert differences(CONTAINER, SPEC, renamed) == ()
    moved = replace(SPEC, image=ImageChoice("busybox:stable", a_digest("other")))
    assert [item.path for item in differences(CONTAINER, SPEC, moved)] == ["image"]


def test_a_built_image_is_the_same_by_its_key() -> None:
    one = replace(SPEC, image=ImageChoice("shop/web", a_digest("one"), "key-1"))
    assert differences(CONTAINER, one, replace(SPEC, image=ImageChoice("shop/web", None, "key-1"))) == ()
    assert differences(CONTAINER, one, replace(SPEC, image=ImageChoice("shop/web", a_digest("one"), "key-2")))


def test_a_mount_is_named_by_its_target() -> None:
    old = replace(SPEC, mounts=(Mount("/data", "volume", "one"),))
    new = replace(SPEC, mounts=(Mount("/data", "volume", "one", read_only=True),))
    (found,) = differences(CONTAINER, old, new)
    assert (found.path, found.old, found.new) == ("volumes./data", "one", "one (read-only)")


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (bytes_form(0), None),
        (bytes_form(64 << 20), "64m"),
        (bytes_form(3 << 30), "3g"),
        (bytes_form(1500), "1500b"),
        (cpus_form(500_000_000), "0.5"),
        (cpus_form(2_000_000_000), "2"),
        (duration_form(90_000_000_000), "1m30s"),
        (duration_form(1_500_000_000), "1s500ms"),
        (port_form(Port(80, 8080)), "8080:80/tcp"),
        (port_form(Port(53, 0, "udp", "127.0.0.1")), "127.0.0.1::53/udp"),
    ],
)
def test_values_are_written_as_in_a_stack_file(made: str | None, expected: str | None) -> None:
    assert made == expected
