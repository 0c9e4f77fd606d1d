"""Plans as people and programs read them. `pytest --update-golden` writes them anew; the diff is reviewed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest

from gitopsd.model.desired import Desired
from gitopsd.model.observed import HostObserved, Observed
from gitopsd.model.plan import Plan
from gitopsd.model.stack import Attachment, Dependency, Port, Restart
from gitopsd.plan import Limits, from_document, only, plan, render_text, schema, to_document
from tests.fakes.simulator import World
from tests.fakes.values import (
    NOW,
    REVISION,
    a_build,
    a_built_image,
    a_container,
    a_desired,
    a_healthcheck,
    a_host,
    a_network,
    a_stranger,
    a_volume,
    an_image,
)

FOLDER = Path(__file__).parent / "plan"
SCHEMA = Path(__file__).parents[2] / "schemas" / "plan.schema.json"
ONE, TWO = a_built_image("one", is_built=False), a_built_image("two", is_built=False)
BUILDS = (a_build(ONE), a_build(TWO))
PORT = (Port(80, 8080),)


def shop(image=ONE, greeting: str = "hello", store_memory: int = 64 << 20) -> Desired:
    """The quickstart: web, built here and published, and store with a volume, on both hosts."""
    environment = (("DB_PASSWORD", f"secret-{greeting}"), ("GREETING", greeting))
    return a_desired(
        *(
            a_host(
                host,
                a_container(image=image, environment=environment, healthcheck=a_healthcheck(), ports=PORT,
                            depends_on=(Dependency("store"),)),
                a_container(service="store", memory_bytes=store_memory, restart=Restart("always")),
                a_volume(),
            )
            for host in ("a", "b")
        )
    )  # fmt: skip


def of(desired: Desired, world: World, **given: object) -> Plan:
    return plan(desired, world.observed(), NOW, REVISION, BUILDS, **given)  # type: ignore[arg-type]


def converged(desired: Desired) -> World:
    world = World("a", "b")
    world.run(of(desired, world))
    return world


def first() -> Plan:
    return of(shop(), World("a", "b"))


def nothing_to_do() -> Plan:
    return of(shop(), converged(shop()))


def change() -> Plan:
    return of(shop(TWO, "good day"), converged(shop()), previous=shop())


def in_place() -> Plan:
    return of(shop(store_memory=128 << 20), converged(shop()), previous=shop())


def drift() -> Plan:
    world = converged(shop())
    store, web = (next(c for c in world.hosts["b"].containers.values() if c.service == name) for name in ("store", "web"))
    world.hosts["b"].containers[store.id] = replace(store, state="exited", exit_code=137)
    world.hosts["b"].containers[web.id] = replace(web, spec=replace(web.spec, networks=(), memory_bytes=512 << 20))
    gone = next(c for c in world.hosts["a"].containers.values() if c.service == "store")
    del world.hosts["a"].containers[gone.id]
    return of(shop(), world, previous=shop())


def removed() -> Plan:
    world = converged(shop())
    world.hosts["a"].containers["x"] = a_stranger("somebody")
    return of(a_desired(a_host("a"), a_host("b"), stacks=()), world, previous=shop())


def network_replaced() -> Plan:
    def desired(subnet: str) -> Desired:
        back = (Attachment("shop_back", ("web",)),)
        return a_desired(
            a_host("a", a_container(networks=back), a_container(service="store"), a_network(key="back", subnet=subnet))
        )

    world = converged(desired("10.1.0.0/24"))
    return of(desired("10.2.0.0/24"), world, previous=desired("10.1.0.0/24"))


def ports_swapped() -> Plan:
    def desired(web: int, api: int) -> Desired:
        return a_desired(a_host("a", a_container(ports=(Port(80, web),)), a_container(service="api", ports=(Port(80, api),))))

    return of(desired(8081, 8080), converged(desired(8080, 8081)))


def left_over() -> Plan:
    """The controller died between the transition and the old container's stop on a, and after the creation on b."""
    world = converged(shop())
    following = of(shop(TWO), world, previous=shop())
    made: dict[int, str] = {}
    for step in following.steps:
        if step.host in ("", "a") or step.operation in ("send_image", "create_container"):
            world.step(step, made)
            if step.operation == "transition":
                break
    return of(shop(TWO), world, previous=shop())


def held_back() -> Plan:
    a, b = shop().hosts
    there = a_desired(a_host("a", *a.containers, *a.volumes, a_container("wiki")), b)
    observed = Observed(
        (
            *converged(there).observed().hosts[:1],
            HostObserved("b", error="no answer within 20 s"),
        )
    )
    desired = a_desired(
        a_host("a", a_container("blog", "web", ports=PORT), a_container("wiki", "web", image=replace(an_image(), digest=None))),
        a_host("b"),
        stacks=("blog", "wiki"),
    )
    slips = (
        "error: unknown-key\n  stacks/shelf.yaml:10  foo: unknown key\n  hint: known here: services, networks",
        "error: port-taken\n  stacks/shelf.yaml:4  services.web.ports: port 80/tcp is taken",
    )
    blocked = (("docs", "stacks/docs.yaml:14  services.web.depoly: unknown key"), ("shelf", "\n".join(slips)))
    return plan(desired, observed, NOW, REVISION, BUILDS, blocked=blocked, limits=Limits(vanish_floor=1))


def renamed() -> Plan:
    """A service that has another name now: the old one is gone, whatever the new one does."""
    before = a_desired(a_host("a", a_container(service="store", stop_grace_ns=7_000_000_000)))
    return of(a_desired(a_host("a", a_container(service="keep"))), converged(before), previous=before)


def one_stack_of_two() -> Plan:
    desired = a_desired(a_host("a", a_container("shop"), a_container("blog")))
    return only(of(desired, World("a")), {"blog"})


CASES: dict[str, Callable[[], Plan]] = {
    case.__name__: case
    for case in (
        first, nothing_to_do, change, in_place, drift, removed, network_replaced, ports_swapped, left_over, held_back, renamed, one_stack_of_two,
    )
}  # fmt: skip


def compare(path: Path, text: str, update: bool) -> None:
    if update:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert path.read_text() == text, f"{path.name} differs; if it should: pytest --update-golden"


@pytest.mark.parametrize("case", CASES)
def test_a_plan_reads_as_it_did(case: str, pytestconfig: pytest.Config) -> None:
    made = CASES[case]()
    update = pytestconfig.getoption("--update-golden")
    compare(FOLDER / case / "plan.txt", render_text(made), update)
    steps = [
        f"{s.number} {s.host or '-'} {s.operation} {s.object} {s.name} after {list(s.after)}".replace("  ", " ")
        for s in made.steps
    ]
    compare(FOLDER / case / "steps.txt", "\n".join(steps) + "\n", update)


@pytest.mark.parametrize("case", CASES)
def test_a_plan_survives_being_written_down(case: str) -> None:
    made = CASES[case]()
    document = json.loads(json.dumps(to_document(made)))
    assert from_document(document) == made
    jsonschema.validate(document, schema())


def test_the_json_of_a_plan_has_the_form_it_had(pytestconfig: pytest.Config) -> None:
    text = json.dumps(to_document(one_stack_of_two()), indent=1) + "\n"
    compare(FOLDER / "one_stack_of_two" / "plan.json", text, pytestconfig.getoption("--update-golden"))


def test_the_schema_in_the_repository_is_the_one_that_the_values_give(pytestconfig: pytest.Config) -> None:
    compare(SCHEMA, json.dumps(schema(), indent=2) + "\n", pytestconfig.getoption("--update-golden"))


def test_a_secret_is_in_no_text() -> None:
    assert "secret-" not in render_text(change())
