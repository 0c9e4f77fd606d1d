from __future__ import annotations

from gitopsd.model.desired import BuildWant, ContainerSpec, ImageChoice, NetworkSpec, PinnedImage, Pins, VolumeSpec
from gitopsd.model.errors import Where
from gitopsd.model.fleet import Fleet, Host, Registry, StackEntry
from gitopsd.model.observed import HostObserved, Observed, ObservedContainer, ObservedNetwork, ObservedVolume
from gitopsd.model.rendered import Rendered
from gitopsd.model.stack import Attachment, BlockedStack, Build, Deploy, Mount, Port, Service, Stack, StackNetwork, StackVolume
from gitopsd.place import place

DIGEST = "sha256:" + "1" * 64
PINS = Pins(images=(PinnedImage("busybox", DIGEST),))


def web(name="web", port=80, stack="shop", line=3, **more):
    ports = (Port(8080, port),) if port else ()
    attached = (Attachment("default"),)
    where = Where(f"{stack}.yaml", line)
    return Service(name, image="busybox", ports=ports, networks=attached, deploy=Deploy("global"), where=where, **more)


def stack(name, *services, volumes=(), networks=None):
    return Stack(name, services, networks or (StackNetwork("default", f"{name}_default"),), tuple(volumes))


def rendered(*stacks, blocked=(), hosts="ab"):
    fleet = Fleet(
        "demo",
        tuple(Host(name, name) for name in hosts),
        Registry("127.0.0.1:5000"),
        tuple(StackEntry(each.name, f"{each.name}.yaml") for each in (*stacks, *blocked)),
    )
    return Rendered(fleet, stacks, tuple(blocked))


def nothing_there(hosts="ab"):
    return Observed(tuple(HostObserved(host) for host in hosts))


def there(*containers, host="a", networks=(), volumes=()):
    return Observed(
        (HostObserved(host, containers=containers, networks=tuple(networks), volumes=tuple(volumes)), HostObserved("b"))
    )


def container(name, port=80, stack=None, service=None, state="running", ip=""):
    ports = (Port(8080, port, host_ip=ip),) if port else ()
    return ObservedContainer("id", 1, ContainerSpec(name, ImageChoice("x"), ports=ports), state, stack, service, 1)


def test_every_name_is_resolved():
    shop = stack(
        "shop",
        web(mounts=(Mount("/data", "volume", "data"),), environment=(("A", "1"),)),
        volumes=(StackVolume("data", "shop_data"), StackVolume("unused", "shop_unused")),
    )
    desired = place(rendered(shop), PINS, nothing_there())
    assert [host.host for host in desired.hosts] == ["a", "b"]
    first = desired.host("a").containers[0]
    assert first.key == ("shop", "web", 1)
    assert first.spec.name == "shop-web-1"
    assert first.spec.image == ImageChoice("busybox", DIGEST)
    assert first.spec.networks == (Attachment("shop_default", ("web",)),)
    assert first.spec.mounts == (Mount("/data", "volume", "shop_data"),)
    assert [each.spec.name for each in desired.host("a").networks] == ["shop_default"]
    assert [each.spec.name for each in desired.host("a").volumes] == ["shop_data"], "what nobody uses is not made"
    assert (desired.stacks, desired.held, desired.blocked) == (("shop",), (), ())


def test_an_image_built_here_is_known_by_its_key_before_it_is_built():
    shop = stack(
        "shop", Service("web", build=Build("web", "web/Dockerfile"), deploy=Deploy("global"), networks=(Attachment("default"),))
    )
    want = BuildWant("shop", "web", "127.0.0.1:5000/shop/web", "key-1", "web", "t", "web/Dockerfile", (), (), "linux/amd64", 0)
    spec = place(rendered(shop), Pins(builds=(want,)), nothing_there()).host("a").containers[0].spec
    assert spec.image == ImageChoice("shop/web", None, "key-1")


def test_a_stack_whose_image_nobody_has_is_blocked_alone():
    pins = Pins(images=(*PINS.images, PinnedImage("nosuch", None, "docker.io says: manifest unknown")))
    broken = stack("broken", Service("x", image="nosuch", networks=(Attachment("default"),)))
    desired = place(rendered(stack("shop", web()), broken), pins, nothing_there())
    assert desired.held == ("broken",)
    assert "docker.io says: manifest unknown" in desired.blocked[0].errors[0]
    assert [each.stack for each in desired.host("a").containers] == ["shop"]


def test_a_build_whose_base_nobody_has_blocks_its_stack():
    shop = stack("shop", Service("web", build=Build("web", "web/Dockerfile"), networks=(Attachment("default"),)))
    want = BuildWant("shop", "web", "r", "", "web", "t", "f", (), (), "linux/amd64", 0, error="base nosuch: not there")
    desired = place(rendered(shop), Pins(builds=(want,)), nothing_there())
    assert "base nosuch: not there" in desired.blocked[0].errors[0]


def test_a_blocked_stack_and_a_held_one_are_named_and_not_placed():
    desired = place(
        rendered(stack("shop", web()), blocked=(BlockedStack("bad", ("error: x",)),)), PINS, nothing_there(), held=("shop",)
    )
    assert desired.stacks == ("bad", "shop")
    assert desired.held == ("bad", "shop")
    assert desired.blocked == (BlockedStack("bad", ("error: x",)),)
    assert desired.host("a").containers == ()


def test_two_services_of_a_stack_on_one_port_block_it_and_both_places_are_named():
    shop = stack("shop", web("web", line=3), web("admin", line=9))
    desired = place(rendered(shop), PINS, nothing_there())
    assert desired.held == ("shop",)
    assert (
        "port 80/tcp for service web of shop is taken on host a by service admin of shop (shop.yaml:9)"
        in desired.blocked[0].errors[0]
    )
    assert "shop.yaml:3" in desired.blocked[0].errors[0]


def test_a_port_that_is_taken_is_named_at_the_line_of_the_ports():
    ports_at = Where("shop.yaml", 5, "services.web.ports")
    shop = stack("shop", web("web", line=3, ports_at=ports_at), web("admin", line=9))
    desired = place(rendered(shop), PINS, nothing_there())
    assert "shop.yaml:5  services.web.ports: port 80/tcp" in desired.blocked[0].errors[0]


def test_of_two_stacks_on_one_port_the_one_that_has_it_keeps_it_else_the_first_by_name():
    stacks = (stack("alpha", web(stack="alpha")), stack("beta", web(stack="beta")))
    assert place(rendered(*stacks), PINS, nothing_there()).held == ("beta",)
    observed = there(container("beta-web-1", stack="beta", service="web"))
    assert place(rendered(*stacks), PINS, observed).held == ("alpha",)


def test_addresses_that_do_not_meet_share_a_port_and_tcp_is_not_udp():
    def at(name, ip, protocol="tcp"):
        return Service(
            name, image="busybox", ports=(Port(1, 53, protocol, ip),), networks=(Attachment("default"),), deploy=Deploy("global")
        )

    apart = stack("dns", at("a", "10.0.0.1"), at("b", "10.0.0.2"), at("c", "", "udp"))
    assert place(rendered(apart), PINS, nothing_there()).held == ()
    meeting = stack("dns", at("a", "10.0.0.1"), at("b", ""))
    assert place(rendered(meeting), PINS, nothing_there()).held == ("dns",)


def test_a_port_the_engine_chooses_is_in_nobody_s_way():
    assert place(rendered(stack("shop", web("a", port=0), web("b", port=0))), PINS, nothing_there()).held == ()


def test_a_stranger_s_port_is_left_to_it_while_it_runs():
    shop = rendered(stack("shop", web()))
    desired = place(shop, PINS, there(container("nginx")))
    assert "taken on host a by container nginx" in desired.blocked[0].errors[0]
    assert place(shop, PINS, there(container("nginx", state="exited"))).held == ()
    assert place(shop, PINS, there(container("nginx", ip="10.0.0.9"))).held == ("shop",)


def test_a_name_that_a_stranger_has_is_not_taken_from_it():
    shop = stack("shop", web(mounts=(Mount("/data", "volume", "data"),)), volumes=(StackVolume("data", "shop_data"),))
    for observed, name in (
        (there(container("shop-web-1", port=0, state="exited")), "name shop-web-1"),
        (there(volumes=[ObservedVolume(1, VolumeSpec("shop_data"))]), "volume shop_data"),
        (there(networks=[ObservedNetwork("n", 1, NetworkSpec("shop_default"))]), "network shop_default"),
    ):
        desired = place(rendered(shop), PINS, observed)
        assert name in desired.blocked[0].errors[0], name


def test_stacks_whose_names_meet_are_not_mixed_up():
    stacks = (stack("a-b", web("c", port=0)), stack("a", web("b-c", port=0)))
    assert "name a-b-c-1" in place(rendered(*stacks), PINS, nothing_there()).blocked[0].errors[0]


def test_what_a_held_stack_has_on_a_host_is_not_given_to_another():
    observed = there(container("old-web-1", stack="old", service="web"))
    desired = place(rendered(stack("shop", web()), blocked=(BlockedStack("old", ("error",)),)), PINS, observed)
    assert desired.held == ("old", "shop")
    assert "by container old-web-1\n  hint: stack old is held" in desired.blocked[1].errors[0]


def test_a_stack_that_loses_a_port_keeps_what_it_has_and_nobody_gets_that():
    """beta wants alpha's port and fails, so it keeps port 81, which gamma wanted."""
    stacks = (
        stack("alpha", web(stack="alpha", port=80)),
        stack("beta", web(stack="beta", port=80)),
        stack("gamma", web(stack="gamma", port=81)),
    )
    observed = there(
        container("alpha-web-1", 80, "alpha", "web"),
        container("beta-web-1", 81, "beta", "web"),
    )
    desired = place(rendered(*stacks), PINS, observed)
    assert desired.held == ("beta", "gamma")
    assert {each.stack for each in desired.host("a").containers} == {"alpha"}


def test_external_objects_are_used_and_not_made_and_must_be_there():
    networks = (StackNetwork("default", "edge", external=True),)
    volumes = (StackVolume("data", "certs", external=True),)
    shop = stack("shop", web(port=0, mounts=(Mount("/c", "volume", "data", True),)), networks=networks, volumes=volumes)
    desired = place(rendered(shop, hosts="a"), PINS, Observed((HostObserved("a"),)))
    assert [error.split("\n")[1].strip() for error in desired.blocked[0].errors] == [
        "external network edge is not there on host a",
        "external volume certs is not there on host a",
    ]
    observed = Observed(
        (
            HostObserved(
                "a", networks=(ObservedNetwork("n", 1, NetworkSpec("edge")),), volumes=(ObservedVolume(1, VolumeSpec("certs")),)
            ),
        )
    )
    desired = place(rendered(shop, hosts="a"), PINS, observed)
    assert (desired.held, desired.host("a").networks, desired.host("a").volumes) == ((), (), ())
    unreachable = Observed((HostObserved("a", error="no answer"),))
    assert place(rendered(shop, hosts="a"), PINS, unreachable).held == ()


def test_a_second_container_runs_beside_the_old_one_unless_both_would_write():
    def order(**more):
        shop = stack("shop", web(**more), volumes=(StackVolume("data", "shop_data"),))
        return place(rendered(shop), PINS, nothing_there()).host("a").containers[0].order

    assert order() == "start-first"
    assert order(mounts=(Mount("/d", "volume", "data"),)) == "stop-first"
    assert order(mounts=(Mount("/d", "bind", "/srv"),)) == "stop-first"
    assert order(mounts=(Mount("/d", "volume", "data", True), Mount("/t", "tmpfs"))) == "start-first"
    assert order(mounts=(Mount("/d", "volume", "data"),), order="start-first") == "start-first"
    assert order(order="stop-first") == "stop-first"
