"""Traffic moves from one container to another, and nobody notices."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections import Counter
from typing import Any

import pytest

from gitopsd.dockerapi.errors import ApiError
from gitopsd.engine.networks.endpoint import Attachment
from gitopsd.engine.networks.networks import Moved
from gitopsd.engine.networks.ports import PortRequest

pytestmark = pytest.mark.host

WEB = [PortRequest("tcp", 80, host_port=8080), PortRequest("udp", 80, host_port=8080)]
AT = Attachment("front", ("web", "shop"))
RESET = struct.pack("ii", 1, 0)


@pytest.fixture
def outside(host: Any, engine: Any) -> Any:
    engine.networks.create({"Name": "front"})
    return host.outside()


def test_ports_and_names_move_at_once_and_again_is_the_same(engine: Any, outside: Any) -> None:
    old = engine.run("shop-web-1", AT, ports=WEB, serve=80)
    new = engine.run("shop-web-1.next", AT, is_serving=False, serve=80)
    asker = engine.run("asker", "front")

    def led() -> dict[str, str]:
        called = ("web", "shop", "shop-web-1", "shop-web-1.next", "shop-web-1.old", old.id[:12], new.id[:12])
        return {name: ", ".join(engine.networks.names.addresses(asker.id, name)) for name in called}

    always = {old.id[:12]: old.address, new.id[:12]: new.address}
    assert led() == {
        "web": old.address, "shop": old.address, "shop-web-1": old.address,
        "shop-web-1.next": new.address, "shop-web-1.old": "", **always,
    }  # fmt: skip

    moved = engine.networks.transition(old.id, new.id, WEB, "shop-web-1.old", "shop-web-1")

    assert moved == Moved(ports=2, names=2, conntrack_deleted=0)
    after = {
        "web": new.address, "shop": new.address, "shop-web-1": new.address,
        "shop-web-1.next": "", "shop-web-1.old": old.address, **always,
    }  # fmt: skip
    assert led() == after
    for protocol in ("tcp", "udp"):
        assert outside.ask("192.0.2.1", 8080, protocol) == "shop-web-1.next 192.0.2.2"
    assert engine.networks.transition(old.id, new.id, WEB, "shop-web-1.old", "shop-web-1") == moved
    assert led() == after
    assert {item.address for item in engine.networks.published()} == {new.address}
    assert engine.networks.reassert() == []


def test_an_answered_tcp_connection_stays_and_datagrams_of_an_old_flow_move(engine: Any, outside: Any) -> None:
    old = engine.run("old", AT, ports=WEB)
    old.serve(80, "old", "udp")
    new = engine.run("new", AT, is_serving=False, serve=80)
    listening = old.listen(80)
    client = outside.connect("192.0.2.1", 8080)
    server, _ = listening.accept()
    flow = outside.datagrams()
    flow.sendto(b"?", ("192.0.2.1", 8080))
    assert flow.recv(100) == b"old 192.0.2.2"

    moved = engine.networks.transition(old.id, new.id, WEB)

    assert moved.conntrack_deleted == 1
    flow.sendto(b"?", ("192.0.2.1", 8080))
    assert flow.recv(100) == b"new 192.0.2.2"
    client.sendall(b"still")
    assert server.recv(100) == b"still"
    server.sendall(b"here")
    assert client.recv(100) == b"here"
    for sock in (client, server, listening, flow):
        sock.close()


def test_a_connection_that_a_dead_container_left_pending_is_answered_by_the_new_one(engine: Any, outside: Any) -> None:
    old = engine.run("old", AT, ports=WEB)
    new = engine.run("new", AT, is_serving=False, serve=80)
    old.command("ip", "link", "set", "eth0", "down")
    answers: list[str] = []
    client = threading.Thread(target=lambda: answers.append(outside.ask("192.0.2.1", 8080, "tcp", 5.0)))
    client.start()
    time.sleep(0.2)

    moved = engine.networks.transition(old.id, new.id, WEB)

    client.join()
    assert moved.conntrack_deleted == 1
    assert answers == ["new 192.0.2.2"]


def test_an_ephemeral_port_keeps_its_number(engine: Any, outside: Any) -> None:
    asked = [PortRequest("tcp", 80)]
    old = engine.run("old", AT, ports=asked)
    new = engine.run("new", AT, is_serving=False, serve=80)

    engine.networks.transition(old.id, new.id, asked)

    assert outside.ask("192.0.2.1", old.ports[0].host_port) == "new 192.0.2.2"


def test_a_new_container_that_asks_for_other_ports_is_refused_and_nothing_moves(engine: Any, outside: Any) -> None:
    old = engine.run("old", AT, ports=WEB, serve=80)
    new = engine.run("new", AT, is_serving=False, serve=80)
    for asked, message in (
        (
            [PortRequest("tcp", 80, host_port=8081), WEB[1]],
            "it publishes 8081:80/tcp on 0.0.0.0, which the old container does not",
        ),
        (WEB[:1], "it does not publish port 8080/udp on 0.0.0.0, which the old container does"),
        ([*WEB, PortRequest("tcp", 81)], "it publishes any:81/tcp on 0.0.0.0, which the old container does not"),
    ):
        with pytest.raises(ApiError) as caught:
            engine.networks.transition(old.id, new.id, asked)
        assert (caught.value.status, caught.value.code) == (409, "ports-differ")
        assert caught.value.message == f"transition from container old to container new: {message}"
    with pytest.raises(ApiError) as caught:
        engine.networks.transition(old.id, "f" * 64, WEB)
    assert (caught.value.status, caught.value.code) == (409, "not-running")

    assert outside.ask("192.0.2.1", 8080) == "old 192.0.2.2"
    assert engine.networks.names.addresses(new.id, "web") == (old.address,)


def test_a_transition_that_fails_half_way_leaves_everything_as_it_was(engine: Any, outside: Any) -> None:
    old = engine.run("old", AT, ports=WEB, serve=80)
    new = engine.run("new", AT, is_serving=False, serve=80)
    before = engine.networks.published()
    engine.networks._host.tracking.close()

    with pytest.raises(ApiError, match="transition from container old to container new: Bad file descriptor") as caught:
        engine.networks.transition(old.id, new.id, WEB)

    assert caught.value.status == 500
    assert engine.networks.published() == before
    assert outside.ask("192.0.2.1", 8080) == "old 192.0.2.2"
    assert engine.networks.names.addresses(new.id, "web") == (old.address,)
    assert engine.networks.reassert() == []


def test_a_daemon_that_died_after_the_move_sees_by_the_kernel_that_it_happened(engine: Any, outside: Any) -> None:
    old = engine.run("old", AT, ports=WEB, serve=80)
    new = engine.run("new", AT, is_serving=False, serve=80)
    engine.networks.transition(old.id, new.id, WEB)
    new.ports, old.ports = old.ports, ()

    assert {item.address for item in engine.networks.published()} == {new.address}
    engine.restart(old, new)

    assert outside.ask("192.0.2.1", 8080) == "new 192.0.2.2"


def test_a_container_that_waited_serves_when_nothing_is_left_to_replace(engine: Any, outside: Any) -> None:
    new = engine.run("new", AT, ports=WEB, is_serving=False, serve=80)
    assert engine.networks.published() == ()
    assert outside.ask("192.0.2.1", 8080, timeout_s=0.2) == "silent"

    engine.networks.serve(new.id)

    assert outside.ask("192.0.2.1", 8080) == "new 192.0.2.2"
    assert engine.networks.names.addresses(new.id, "web") == (new.address,)


def test_fifty_transitions_under_load_refuse_no_connection(engine: Any, outside: Any) -> None:
    one = engine.run("one", AT, ports=WEB, serve=80)
    other = engine.run("other", AT, is_serving=False, serve=80)
    answers: Counter[str] = Counter()
    is_over = threading.Event()

    def connect() -> None:
        while not is_over.is_set() and sum(answers.values()) < 100_000:
            with socket.socket() as sock:
                sock.settimeout(3)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)  # no lingering: the client's ports are few
                try:
                    sock.connect(("192.0.2.1", 8080))
                    answers[sock.recv(100).decode()] += 1
                except OSError as error:
                    answers[str(error)] += 1

    clients = [threading.Thread(target=outside.run, args=(connect,)) for _ in range(2)]
    for client in clients:
        client.start()
    old, new = one, other
    for _ in range(50):
        time.sleep(0.02)
        assert engine.networks.transition(old.id, new.id, WEB).ports == 2
        old, new = new, old
    is_over.set()
    for client in clients:
        client.join()

    assert set(answers) == {"one 192.0.2.2", "other 192.0.2.2"}
    assert sum(answers.values()) > 500
    print(f"{sum(answers.values())} connections over 50 transitions, none refused")
