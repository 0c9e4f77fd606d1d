"""What `validate` finds that only the hosts would show, though no host is asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from gitopsd.control.misfits import misfits
from gitopsd.render import render
from gitopsd.source import folder_revision

FLEET = """\
name: demo
hosts:
  a: {address: 10.0.0.1, labels: {zone: east}}
  b: {address: 10.0.0.2, maintenance: true}
stacks:
"""
GLOBAL = "image: busybox, deploy: {mode: global}"


def found(folder: Path, **stacks: str) -> dict[str, str]:
    fleet = FLEET + "".join(f"  {name}: {{file: {name}.yaml}}\n" for name in stacks)
    for name, text in {"gitopsd": fleet, **stacks}.items():
        (folder / f"{name}.yaml").write_text(text)
    return {stack.name: "\n".join(stack.errors) for stack in misfits(render(folder_revision(folder)))}


@pytest.mark.parametrize("deploy", ["deploy: {mode: global}", "restart: always"], ids=["global", "joined by a network"])
def test_two_services_of_a_stack_cannot_publish_one_port(tmp_path, deploy):
    service = f'{{image: busybox, ports: ["80:80"], {deploy}}}'
    wrong = found(tmp_path, shop=f"services:\n  one: {service}\n  two: {service}\n")
    assert wrong["shop"].startswith("error: port-taken\n  shop.yaml:3")
    assert "port 80/tcp for service two of shop is taken on host" in wrong["shop"]
    assert "by service one of shop (shop.yaml:2)" in wrong["shop"]


def test_two_stacks_cannot_publish_one_port(tmp_path):
    text = f"services:\n  web: {{{GLOBAL}, ports: ['80:80']}}\n"
    assert list(found(tmp_path, a=text, b=text)) == ["b"]


def test_a_constraint_that_no_host_meets_is_found(tmp_path):
    text = "services: {web: {image: busybox, deploy: {placement: {constraints: [node.labels.zone == west]}}}}\n"
    assert "no-host-fits" in found(tmp_path, shop=text)["shop"]


def test_a_host_in_maintenance_counts_as_open(tmp_path):
    text = "services: {web: {image: busybox, deploy: {placement: {constraints: [node.hostname == b]}}}}\n"
    assert found(tmp_path, shop=text) == {}


def test_other_addresses_and_protocols_do_not_meet(tmp_path):
    one = f"services:\n  a: {{{GLOBAL}, ports: ['53:53', '127.0.0.1:80:80']}}\n  b: {{{GLOBAL}, ports: ['53:53/udp', '127.0.0.2:80:80']}}\n"
    assert found(tmp_path, shop=one) == {}


def test_what_has_to_be_there_already_is_not_asked_for(tmp_path):
    text = "services: {web: {image: busybox, networks: [x]}}\nnetworks: {x: {external: true}}\n"
    assert found(tmp_path, shop=text) == {}


def test_a_stack_that_is_wrong_by_itself_is_not_named_again(tmp_path):
    assert found(tmp_path, shop="services: {web: {imgae: x}}\n") == {}
