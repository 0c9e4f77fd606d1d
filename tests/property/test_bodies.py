"""What is asked of an engine is read back as what is desired."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gitopsd.dockerapi import create
from gitopsd.hosts import bodies
from gitopsd.model.desired import ContainerSpec, DesiredContainer, ImageChoice
from gitopsd.model.stack import Attachment, Healthcheck, Mount, Port, Restart
from gitopsd.observe import read_host
from tests.fakes.values import a_digest

words = st.text("abcz09._-", min_size=1, max_size=6)
names = st.from_regex(r"[a-z][a-z0-9]{0,5}", fullmatch=True)
paths = names.map(lambda name: f"/{name}")
pairs = st.dictionaries(names, st.text("ab =,", max_size=4), max_size=3).map(lambda given: tuple(sorted(given.items())))
commands = st.none() | st.lists(words, max_size=3).map(tuple)
times = st.sampled_from([0, 1_000_000, 1_500_000_000, 30_000_000_000])

checks = st.none() | st.builds(
    Healthcheck,
    test=st.sampled_from([("NONE",), ("CMD", "true"), ("CMD-SHELL", "exit 0")]),
    interval_ns=times,
    timeout_ns=times,
    retries=st.integers(0, 5),
    start_period_ns=times,
    start_interval_ns=times,
)
mounts = st.one_of(
    st.builds(Mount, target=paths, kind=st.just("volume"), source=names, read_only=st.booleans()),
    st.builds(Mount, target=paths, kind=st.just("bind"), source=paths, read_only=st.booleans()),
    st.builds(Mount, target=paths, kind=st.just("tmpfs")),
)
ports = st.builds(
    Port,
    target=st.integers(1, 65535),
    published=st.integers(0, 65535),
    protocol=st.sampled_from(["tcp", "udp"]),
    host_ip=st.sampled_from(["", "127.0.0.1"]),
)
images = st.builds(
    ImageChoice,
    reference=st.sampled_from(["busybox", "busybox:stable", "10.0.0.1:5000/shop/web"]),
    digest=st.just(a_digest("x")),
    key=st.none(),
) | st.just(ImageChoice("shop/web", a_digest("y"), "key-" + "0" * 32))
specs = st.builds(
    ContainerSpec,
    name=st.just("shop-web-1"),
    image=images,
    command=commands,
    entrypoint=commands,
    environment=pairs,
    labels=pairs,
    ports=st.lists(ports, max_size=3, unique=True).map(lambda given: tuple(sorted(given))),
    mounts=st.lists(mounts, max_size=3).map(tuple),
    networks=st.lists(st.builds(Attachment, network=names, aliases=st.lists(names, max_size=2, unique=True).map(tuple)), max_size=2,
                      unique_by=lambda item: item.network).map(tuple),
    healthcheck=checks,
    restart=st.sampled_from([Restart(), Restart("always"), Restart("on-failure", 3)]),
    memory_bytes=st.sampled_from([0, 64 << 20]),
    nano_cpus=st.sampled_from([0, 500_000_000]),
    user=st.sampled_from(["", "1000:1000"]),
    working_dir=st.sampled_from(["", "/srv"]),
    hostname=st.sampled_from(["", "web"]),
    read_only=st.booleans(),
    cap_add=st.sampled_from([(), ("NET_ADMIN",)]),
    cap_drop=st.sampled_from([(), ("ALL",)]),
    stop_grace_ns=times,
    stop_signal=st.sampled_from(["", "SIGINT"]),
)  # fmt: skip


@given(specs)
def test_a_specification_comes_back_from_the_body_it_made(spec: ContainerSpec) -> None:
    body = bodies.container_body(DesiredContainer("shop", "web", 1, spec, "1:x"), "test")
    assert bodies.spec_of(body, spec.name) == spec


@given(specs)
def test_the_engine_takes_every_body(spec: ContainerSpec) -> None:
    create.read(bodies.container_body(DesiredContainer("shop", "web", 1, spec, "1:x"), "test", replaces="ab" * 32))


@given(specs)
def test_a_state_with_it_is_read_as_what_is_desired(spec: ContainerSpec) -> None:
    body = bodies.container_body(DesiredContainer("shop", "web", 2, spec, "1:x"), "test")
    endpoints = body["NetworkingConfig"]["EndpointsConfig"]
    shown = {
        "Id": "ab" * 32,
        "Name": "/shop-web-1",
        "Image": "sha256:config",
        "State": {"Status": "running"},
        "HostConfig": {name: body["HostConfig"][name] for name in ("Memory", "NanoCpus", "RestartPolicy")},
        "NetworkSettings": {"Networks": endpoints or {"bridge": {}}},
    }
    state = {
        "containers": [{"generation": 3, "create": body, "inspect": shown, "replaces": None}],
        "images": [{"id": "sha256:config", "digest": spec.image.digest, "references": []}],
    }
    (found,) = read_host("a", "test", "etag", state).containers
    assert found.spec == spec
    assert (found.stack, found.service, found.replica, found.config, found.generation) == ("shop", "web", 2, "1:x", 3)
    assert read_host("a", "other", "etag", state).containers[0].stack is None
