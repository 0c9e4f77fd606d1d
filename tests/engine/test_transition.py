"""`POST /gitopsd/v1/transition` under traffic, refused, repeated, and broken off by a daemon that dies."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.engine.running import Answer, Engine, until
from tests.engine.test_adoption import answers, dies_at, post, served, steps

pytestmark = pytest.mark.host

PORT = {"80/tcp": [{"HostIp": "", "HostPort": "8080"}]}


def replacement(engine: Engine, old: str, *command: str, name: str = "web.next", **settings: object) -> str:
    """A running container that waits to take the place of another."""
    return engine.run(*command, name=name, Gitopsd={"Replaces": old}, **{"PortBindings": PORT, **settings})


def move(engine: Engine, old: str, new: str, **generations: int) -> Answer:
    return engine.call("POST", "/gitopsd/v1/transition", {"old": old, "new": new, "generations": generations})


def names(engine: Engine) -> dict[str, str]:
    return {shown["Id"]: shown["Names"][0][1:] for shown in engine.containers()}


def replaces(engine: Engine, container: str) -> object:
    found = engine.call("GET", "/gitopsd/v1/state").body["containers"]
    return next(entry["replaces"] for entry in found if entry["inspect"]["Id"] == container)


@contextmanager
def traffic(engine: Engine) -> Iterator[list[str]]:
    """What new connections were answered, all the time; an error is its text."""
    heard: list[str] = []
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            try:
                heard.append(answers(engine, 8080))
            except OSError as error:
                heard.append(f"{type(error).__name__}: {error}")

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        yield heard
    finally:
        done.set()
        for thread in threads:
            thread.join()


def ready(engine: Engine, container: str, word: str) -> str:
    until(lambda: word in engine.execute(container, "wget", "-qO-", "http://127.0.0.1/").out, "it serves")
    return container


def test_no_new_connection_is_refused_while_traffic_moves(own: Engine) -> None:
    old = ready(own, own.run(*served("old"), name="web", PortBindings=PORT), "old")
    for round_ in range(3):
        words = ("old", "new") if round_ % 2 == 0 else ("new", "old")
        new = ready(own, replacement(own, old, *served(words[1])), words[1])
        assert (answers(own, 8080), replaces(own, new)) == (words[0], old)
        with traffic(own) as heard:
            until(lambda heard=heard: len(heard) > 20, "traffic flows")
            answer = move(own, old, new)
            until(lambda heard=heard, word=words[1]: heard[-5:] == [word] * 5, "it has moved")
        assert answer.status == 200, answer
        assert answer.body["ports"] == 1
        assert set(heard) == set(words), set(heard)
        assert names(own) == {old: "web.old", new: "web"}
        assert replaces(own, new) is None
        own.remove(old)
        assert answers(own, 8080) == words[1]
        old = new


def test_a_transition_that_is_done_is_done_again_without_harm(engine: Engine) -> None:
    old = engine.run(*served("old"), name="web", PortBindings=PORT)
    new = ready(engine, replacement(engine, old, *served("new")), "new")
    first = move(engine, old, new)
    before = names(engine)
    again = move(engine, old, new)
    assert (first.status, again.status, again.body["ports"], names(engine)) == (200, 200, 1, before)
    assert answers(engine, 8080) == "new"


def test_established_connections_stay_with_the_old_container(engine: Engine) -> None:
    old = engine.run("sh", "-c", "nc -ll -p 80 -e cat", name="web", PortBindings=PORT)
    new = ready(engine, replacement(engine, old, *served("new")), "new")
    with until(lambda: _connected(engine), "it answers") as sock:
        assert move(engine, old, new).status == 200
        sock.sendall(b"still you?")
        assert sock.recv(100) == b"still you?"
    assert answers(engine, 8080) == "new"


def _connected(engine: Engine) -> socket.socket | None:
    try:
        sock = engine.connect(8080)
        sock.sendall(b"hello")
        if sock.recv(100) == b"hello":
            return sock
        sock.close()
    except OSError:
        return None
    return None


def test_names_lead_to_the_new_container_only(own: Engine) -> None:
    own.client.call("POST", "/networks/create", {"Name": "back"})
    endpoints = {"EndpointsConfig": {"back": {"Aliases": ["db"]}}}
    old = own.run("sleep", "1000", name="db-1", NetworkMode="back", NetworkingConfig=endpoints)
    asking = own.run("sleep", "1000", name="asking", NetworkMode="back")
    new = replacement(
        own, old, "sleep", "1000", name="db-1.next", NetworkMode="back", NetworkingConfig=endpoints, PortBindings={}
    )
    address = {one: own.inspect(one)["NetworkSettings"]["Networks"]["back"]["IPAddress"] for one in (old, new)}

    def looked_up(name: str) -> set[str]:
        out = own.execute(asking, "nslookup", name).out.split("Name:", 1)[-1]
        return {found for found in address.values() if found in out.split()}

    assert looked_up("db") == looked_up("db-1") == {address[old]}
    own.restart(hard=True)
    assert looked_up("db") == looked_up("db-1") == {address[old]}, "also when a daemon has adopted both"
    assert looked_up("db-1.next") == {address[new]}
    answer = move(own, old, new)
    assert answer.status == 200, answer
    assert looked_up("db") == looked_up("db-1") == {address[new]}
    assert looked_up("db-1.old") == {address[old]}
    own.restart(hard=True)
    assert looked_up("db") == looked_up("db-1") == {address[new]}, "also when a daemon has adopted both"


def test_an_old_container_that_its_policy_restarts_takes_nothing_back(own: Engine) -> None:
    old = own.run(*served("old"), name="web", PortBindings=PORT, RestartPolicy={"Name": "always"})
    new = ready(own, replacement(own, old, *served("new")), "new")
    assert move(own, old, new).status == 200
    os.kill(own.status(old)["Pid"], signal.SIGKILL)
    until(
        lambda: own.inspect(old)["RestartCount"] >= 1 and own.status(old)["Running"] and not own.status(old)["Restarting"],
        "it runs again",
    )
    for _ in range(5):
        assert answers(own, 8080) == "new"
    assert own.inspect(old)["NetworkSettings"]["Ports"].get("80/tcp") is None


def test_a_replacement_takes_everything_at_its_start_when_the_old_one_does_not_run(engine: Engine) -> None:
    old = engine.run(*served("old"), name="web", PortBindings=PORT)
    post(engine, old, "stop", t=0)
    new = ready(engine, replacement(engine, old, *served("new")), "new")
    assert answers(engine, 8080) == "new"
    assert replaces(engine, new) is None


def test_a_port_of_any_number_is_inherited(engine: Engine) -> None:
    any_port = {"80/tcp": [{"HostIp": "", "HostPort": ""}]}
    old = engine.run(*served("old"), name="web", PortBindings=any_port)
    number = engine.inspect(old)["NetworkSettings"]["Ports"]["80/tcp"][0]["HostPort"]
    new = ready(engine, replacement(engine, old, *served("new"), PortBindings=any_port), "new")
    assert move(engine, old, new).status == 200
    assert engine.inspect(new)["NetworkSettings"]["Ports"]["80/tcp"][0]["HostPort"] == number
    assert answers(engine, int(number)) == "new"


def test_a_hundred_ports_are_published_adopted_and_moved(own: Engine) -> None:
    many = {f"{number}/tcp": [{"HostIp": "", "HostPort": str(number)}] for number in range(7000, 7100)}
    script = "mkdir -p /www; echo -n {} > /www/index.html; httpd -p 7000 -h /www; exec httpd -f -p 7099 -h /www"
    old = own.run("sh", "-c", script.format("old"), name="web", PortBindings=many)
    own.restart(hard=True)
    new = replacement(own, old, "sh", "-c", script.format("new"), PortBindings=many)
    until(lambda: "new" in own.execute(new, "wget", "-qO-", "http://127.0.0.1:7099/").out, "it serves")
    assert (answers(own, 7000), answers(own, 7099)) == ("old", "old")
    answer = move(own, old, new)
    assert (answer.status, answer.body["ports"]) == (200, 100), answer
    assert (answers(own, 7000), answers(own, 7099)) == ("new", "new")
    with own.monitor(new) as monitor:
        assert len([name for name in monitor.ask("hello")["sockets"] if name.startswith("port/")]) == 100


@pytest.mark.parametrize("why", ["not-running", "ports-differ", "generation-changed", "name-taken", "itself", "unknown"])
def test_a_transition_that_is_refused_leaves_everything_as_it_was(engine: Engine, why: str) -> None:
    old = ready(engine, engine.run(*served("old"), name="web", PortBindings=PORT), "old")
    ports = {"80/tcp": [{"HostIp": "", "HostPort": "8081"}]} if why == "ports-differ" else PORT
    new = ready(engine, replacement(engine, old, *served("new"), PortBindings=ports), "new")
    generations = {new: 2}
    if why == "not-running":
        post(engine, new, "stop", t=0)
        generations = {}
    if why == "generation-changed":
        generations = {new: 2, old: 77}
    if why == "name-taken":
        engine.create("true", name="web.old")
    before = names(engine), [entry["generation"] for entry in engine.call("GET", "/gitopsd/v1/state").body["containers"]]
    answer = move(engine, old, {"itself": old, "unknown": "nobody"}.get(why, new), **generations)
    assert (answer.status, answer.body.get("code")) == {
        "not-running": (409, "not-running"), "ports-differ": (409, "ports-differ"), "generation-changed": (412, "generation-changed"),
        "name-taken": (409, None), "itself": (400, None), "unknown": (404, None),
    }[why], answer  # fmt: skip
    assert answers(engine, 8080) == "old"
    assert (
        names(engine),
        [entry["generation"] for entry in engine.call("GET", "/gitopsd/v1/state").body["containers"]],
    ) == before
    if why not in ("not-running", "ports-differ"):
        with engine.monitor(new) as monitor:
            assert not [name for name in monitor.ask("hello")["sockets"] if name.startswith("port/")]
    if why == "name-taken":
        engine.remove("web.old")
        assert move(engine, old, new).status == 200, "when it is free it goes on"


@pytest.mark.parametrize("published", [True, False])
def test_a_transition_that_is_broken_off_at_any_step_is_finished_or_undone(own: Engine, published: bool) -> None:
    ports = PORT if published else {}
    for number in steps(16):
        old = ready(own, own.run(*served("old"), name="web", PortBindings=ports), "old")
        new = ready(own, replacement(own, old, *served("new"), PortBindings=ports), "new")
        in_time = dies_at(own, number, lambda old=old, new=new: move(own, old, new))
        found = names(own)
        assert found in ({old: "web", new: "web.next"}, {old: "web.old", new: "web"}), f"at step {number}: {found}"
        moved = found[new] == "web"
        if published:
            assert answers(own, 8080) == ("new" if moved else "old"), f"at step {number}"
            holders = []
            for one in (old, new):
                with own.monitor(one) as monitor:
                    holders += [one] if [name for name in monitor.ask("hello")["sockets"] if name.startswith("port/")] else []
            assert holders == [new if moved else old], f"at step {number}"
        assert replaces(own, new) == (None if moved else old)
        assert move(own, old, new).status == 200
        assert names(own) == {old: "web.old", new: "web"}
        own.remove(old)
        own.remove(new)
        if not in_time:
            break


def test_connecting_and_disconnecting_that_is_broken_off_agrees_with_the_record(own: Engine) -> None:
    own.client.call("POST", "/networks/create", {"Name": "more"})
    made = own.run("sleep", "1000")
    for verb in ("connect", "disconnect") * 2:
        for number in steps(6):
            dies_at(own, number, lambda verb=verb: own.client.call("POST", f"/networks/more/{verb}", {"Container": made}))
            wanted = set(own.record(made)["networks"])
            found = own.execute(made, "ip", "-o", "-4", "address").out
            addresses = {found["IPAddress"] for found in own.inspect(made)["NetworkSettings"]["Networks"].values()}
            assert found.count("inet ") == len(wanted) + 1, f"{verb} at step {number}: {wanted} {found}"
            assert all(address in found for address in addresses)
            if ("more" in wanted) == (verb == "disconnect"):
                own.call("POST", f"/networks/more/{verb}", {"Container": made})
            other = "connect" if verb == "disconnect" else "disconnect"
            own.call("POST", f"/networks/more/{other}", {"Container": made})
        own.call("POST", f"/networks/more/{verb}", {"Container": made})
