from __future__ import annotations

from gitopsd.model.desired import ContainerSpec, ImageChoice, VolumeSpec
from gitopsd.model.fleet import Host
from gitopsd.model.observed import HostObserved, ObservedContainer, ObservedVolume
from gitopsd.model.stack import Attachment, Deploy, Mount, Service, Stack, StackNetwork, StackVolume
from gitopsd.place.spread import spread


def hosts(names="abc", **labels):
    return [Host(name, f"10.0.0.{at}", labels=(("zone", labels.get(name, "x")),)) for at, name in enumerate(names)]


def service(name, replicas=1, mode="replicated", networks=("default",), constraints=(), volume=None):
    return Service(
        name,
        image="busybox",
        deploy=Deploy(mode, replicas, tuple(constraints)),
        networks=tuple(Attachment(network) for network in networks),
        mounts=(Mount("/data", "volume", volume),) if volume else (),
    )


def stack(*services, name="shop", **more):
    keys = sorted({attachment.network for each in services for attachment in each.networks})
    networks = tuple(StackNetwork(key, f"{name}_{key}") for key in keys)
    return Stack(name, services, networks, (StackVolume("data", f"{name}_data"),), **more)


def running(host, *placed, volumes=(), state="running"):
    """A host that runs these (service, replica) of the stack shop."""
    containers = tuple(
        ObservedContainer(
            f"{name}{replica}", 1, ContainerSpec(f"shop-{name}-{replica}", ImageChoice("x")), state, "shop", name, replica
        )
        for name, replica in placed
    )
    return {
        host: HostObserved(host, containers=containers, volumes=tuple(ObservedVolume(1, VolumeSpec(each)) for each in volumes))
    }


def where(stack, hosts, observed=None):
    placed, errors = spread(stack, hosts, observed or {})
    assert not errors, errors
    return {(each.service, each.replica, each.host) for each in placed}


def refusal(stack, hosts, observed=None):
    _, errors = spread(stack, hosts, observed or {})
    assert len(errors) == 1
    return errors[0]


def test_a_global_service_is_on_every_host_that_fits():
    shop = stack(service("web", mode="global", constraints=["node.labels.zone == x"]))
    assert where(shop, hosts(b="y")) == {("web", 1, "a"), ("web", 1, "c")}


def test_replicas_are_spread_evenly():
    placed = where(stack(service("web", replicas=6)), hosts())
    assert sorted(host for _, _, host in placed) == ["a", "a", "b", "b", "c", "c"]


def test_what_runs_stays_where_it_is_even_when_that_is_uneven():
    observed = running("a", ("web", 1), ("web", 2))
    assert where(stack(service("web", replicas=3)), hosts("ab"), observed) >= {("web", 1, "a"), ("web", 2, "a"), ("web", 3, "b")}


def test_what_runs_where_it_may_not_moves():
    observed = running("a", ("web", 1))
    assert where(stack(service("web", constraints=["node.hostname != a"])), hosts("ab"), observed) == {("web", 1, "b")}


def test_of_two_copies_after_a_partition_the_running_one_is_kept():
    observed = running("a", ("web", 1), state="exited") | running("b", ("web", 1))
    assert where(stack(service("web")), hosts("ab"), observed) == {("web", 1, "b")}


def test_a_service_goes_back_to_where_its_volume_is():
    observed = running("c", volumes=["shop_data"])
    placed, _ = spread(stack(service("store", volume="data")), hosts(), observed)
    assert [(each.host, each.reason) for each in placed] == [("c", "its volume is there")]


def test_services_of_one_replica_each_that_share_a_network_are_on_one_host():
    placed, errors = spread(stack(service("web"), service("store"), service("alone", networks=["other"])), hosts(), {})
    homes = {each.service: each.host for each in placed}
    assert not errors
    assert homes["web"] == homes["store"]
    assert next(each.reason for each in placed if each.service == "web") == "beside store, on one network"


def test_a_service_that_comes_in_later_is_placed_beside_those_that_run():
    for host in "abc":
        placed = where(stack(service("web"), service("store")), hosts(), running(host, ("store", 1)))
        assert placed == {("web", 1, host), ("store", 1, host)}


def test_a_network_between_hosts_is_refused_with_services_hosts_network_and_what_to_do():
    error = refusal(stack(service("web", replicas=2), service("store")), hosts("ab"))
    assert error.code == "network-spans-hosts"
    assert error.message.startswith("networks do not span hosts yet: ")
    for part in ("web on a, b", "store on ", "network default"):
        assert part in error.message
    assert "deploy.mode: global" in error.hint


def test_a_replicated_service_in_a_network_of_its_own_may_not_span_hosts_and_without_one_may():
    assert (
        "web on a, b would need network peers"
        in refusal(stack(service("web", replicas=2, networks=["peers"])), hosts("ab")).message
    )
    assert len(where(stack(service("web", replicas=2)), hosts("ab"))) == 2


def test_global_services_share_a_network_host_by_host_if_they_are_on_the_same_hosts():
    pair = stack(service("web", mode="global"), service("store", mode="global"))
    assert len(where(pair, hosts("ab"))) == 4
    apart = stack(service("web", mode="global"), service("store", mode="global", constraints=["node.hostname == a"]))
    assert "store on a and web on a, b" in refusal(apart, hosts("ab")).message


def test_on_a_single_host_everything_may_share_a_network():
    assert len(where(stack(service("web", replicas=3), service("store"), service("all", mode="global")), hosts("a"))) == 5


def test_a_stack_kept_to_one_host_stays_unrefused_when_the_fleet_grows():
    shop = stack(service("web", replicas=2), service("store"))
    observed = running("a", ("web", 1), ("web", 2), ("store", 1))
    assert {host for _, _, host in where(shop, hosts("ab"), observed)} == {"a"}


def test_the_stack_s_own_hosts_and_constraints_bind_every_service():
    assert where(stack(service("web", mode="global"), hosts=("b",)), hosts()) == {("web", 1, "b")}
    assert where(stack(service("web", mode="global"), constraints=("node.labels.zone == y",)), hosts(c="y")) == {("web", 1, "c")}


def test_no_host_that_fits_is_an_error_with_what_was_asked():
    error = refusal(stack(service("web", constraints=["node.labels.zone == z"]), hosts=("a", "b")), hosts())
    assert (error.code, error.message) == ("no-host-fits", "no host fits web: none of a, b with node.labels.zone == z")


def test_nothing_new_is_placed_on_a_host_in_maintenance_and_what_is_there_stays():
    fleet = [Host("a", "10.0.0.1", maintenance=True), Host("b", "10.0.0.2")]
    assert where(stack(service("web", mode="global")), fleet) == {("web", 1, "b")}
    assert where(stack(service("web")), fleet, running("a", ("web", 1))) == {("web", 1, "a")}
    assert where(stack(service("web", replicas=2, constraints=[])), fleet) == {("web", 1, "b"), ("web", 2, "b")}
    assert "in maintenance" in refusal(stack(service("web", constraints=["node.hostname == a"])), fleet).message


def test_no_replicas_are_no_containers():
    assert where(stack(service("web", replicas=0, constraints=["node.hostname == nosuch"])), hosts()) == set()
