"""Bringing an engine to a host, again, anew, and away: over real SSH, with a stand-in for the engine itself."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gitopsd.hosts.bootstrap import Identity, bootstrap, read_installed, remove, stop
from gitopsd.hosts.engineapi import EngineApi
from gitopsd.hosts.facts import read_facts
from gitopsd.hosts.links import Links
from gitopsd.hosts.package import Package, pack
from gitopsd.hosts.ssh import SshLink
from gitopsd.lab import Lab, execute
from gitopsd.model.errors import GitopsdError
from gitopsd.model.fleet import Fleet, Host, Registry

pytestmark = pytest.mark.host
TOP = Path(__file__).parents[2]
FAKE = (TOP / "tests/fakes/engine_main.py").read_bytes()
IDENTITY = Identity("shop", "a", 3, "10.192.0.0/11")


def an_engine(mark: bytes = b"one") -> Package:
    zipmain = (TOP / "gitopsd/engine/zipmain.py").read_bytes()
    main = FAKE.replace(b'MARK = "one"', b'MARK = "' + mark + b'"')
    return pack(
        {"__main__.py": zipmain, "gitopsd/__init__.py": b"", "gitopsd/engine/__init__.py": b"", "gitopsd/engine/main.py": main}
    )


@pytest.fixture(params=["root", "deploy"])
def link(request: pytest.FixtureRequest, lab: Lab) -> Iterator[SshLink]:
    """A clean host, reached as root or as a user with sudo."""
    first = lab.hosts[0]
    host = Host("a", first.address, user=request.param, key=str(lab.key), host_keys=(first.host_key,))
    links = Links(Fleet("test", (host,), Registry("127.0.0.1:5000"), ()))
    yield links.link("a")
    remove(links.link("a"))
    links.close()


def state_of(link: SshLink) -> dict[str, object]:
    api = EngineApi(link)
    state = api.state()
    api.close()
    assert state is not None
    return state.value


def shell(lab: Lab, script: str) -> str:
    done = execute(lab, "lab-1", ["sh", "-c", script])
    return done.stdout.decode().strip()


def test_a_host_has_its_engine_and_its_place_in_the_fleet_and_needs_nothing_the_second_time(link: SshLink) -> None:
    engine = an_engine()
    first = bootstrap(link, IDENTITY, engine=engine)
    assert first.done == (f"put engine {engine.digest[:12]}", "started", "is host 3 of shop, with 10.192.24.0/21")
    state = state_of(link)
    assert state["host"] == {"fleet": "shop", "host": "a", "number": 3, "block": "10.192.24.0/21", "spans": "10.208.0.0/12"}
    assert bootstrap(link, IDENTITY, engine=engine).done == ()
    assert state_of(link)["pid"] == state["pid"]
    assert read_installed(link).digest == engine.digest


def test_the_login_user_reaches_the_socket_and_nobody_else_does(link: SshLink, lab: Lab) -> None:
    bootstrap(link, engine=an_engine())
    user = link.run(["id", "-un"]).stdout.decode().strip()
    assert shell(lab, "stat -c '%a %U' /run/gitopsd-engine/engine.sock") == f"600 {user}"
    if user != "root":
        shell(lab, 'id guest >/dev/null 2>&1 || useradd -g "$(id -gn deploy)" guest')  # somebody of the same primary group
        program = "import socket; socket.socket(1).connect('/run/gitopsd-engine/engine.sock')"
        tried = execute(lab, "lab-1", ["su", "guest", "-s", "/bin/sh", "-c", f'exec python3 -c "{program}"'])
        assert b"PermissionError" in tried.stderr
        shell(lab, "userdel guest")


def test_another_engine_takes_over_and_old_code_goes_in_time(link: SshLink, lab: Lab) -> None:
    engines = [an_engine(mark) for mark in (b"one", b"two", b"three", b"four")]
    for engine in engines:
        arrived = bootstrap(link, IDENTITY, engine=engine)
    assert arrived.done == (f"put engine {engines[-1].digest[:12]}", "restarted")
    assert state_of(link)["mark"] == "four"
    assert read_installed(link).packages == tuple(sorted((engines[2].digest, engines[3].digest)))
    kept = {engines[2].digest, f"{engines[2].digest}.pyz", engines[3].digest, f"{engines[3].digest}.pyz"}
    assert set(shell(lab, "ls /var/lib/gitopsd-engine/engine").split()) == kept
    back = bootstrap(link, IDENTITY, engine=engines[2])
    assert back.done == ("restarted",)


def test_a_daemon_that_died_comes_back_by_itself_and_one_without_its_parent_is_taken_over(link: SshLink, lab: Lab) -> None:
    bootstrap(link, engine=an_engine())
    for file in ("engine.pid", "supervise.pid"):
        shell(lab, f"kill -9 $(cat /run/gitopsd-engine/{file})")
        if file == "supervise.pid":
            assert bootstrap(link, engine=an_engine()).done == ("restarted",)
        deadline = time.monotonic() + 10
        while True:
            try:
                state_of(link)
            except GitopsdError:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            else:
                break


def test_an_engine_survives_the_connection_that_brought_it(link: SshLink) -> None:
    bootstrap(link, engine=an_engine())
    link.close()
    assert state_of(link)["mark"] == "one"


def test_stopped_means_stopped_and_bootstrap_starts_it_again(link: SshLink) -> None:
    bootstrap(link, engine=an_engine())
    stop(link)
    time.sleep(0.3)
    assert read_installed(link).pid == 0
    with pytest.raises(GitopsdError, match=r"engine\.sock"):
        state_of(link)
    assert bootstrap(link, engine=an_engine()).done == ("started",)


def test_removal_leaves_nothing_but_asks_first_where_there_is_data(link: SshLink, lab: Lab) -> None:
    bootstrap(link, IDENTITY, engine=an_engine())
    shell(lab, "mkdir -p /var/lib/gitopsd-engine/volumes/shop_data/_data")
    with pytest.raises(GitopsdError, match="shop_data") as caught:
        remove(link)
    assert caught.value.code == "host-has-volumes"
    assert state_of(link)["mark"] == "one"
    remove(link, delete_volumes=True)
    assert (
        shell(
            lab, "ls -A /var/lib/gitopsd-engine; ls -d /run/gitopsd-engine /var/log/gitopsd-engine* 2>/dev/null; pgrep -f '[p]yz'"
        )
        == ""
    )
    assert shell(lab, "cat /tmp/uninstalled") == "uninstall --data-root /var/lib/gitopsd-engine --exec-root /run/gitopsd-engine"
    remove(link)


def test_an_engine_that_does_not_start_is_said_with_its_last_words(link: SshLink) -> None:
    broken = pack({"__main__.py": b"raise SystemExit('this is why')"})
    with pytest.raises(GitopsdError, match="the engine does not answer after 1 s") as caught:
        bootstrap(link, engine=broken, wait_s=1)
    assert (caught.value.code, caught.value.hint) == ("engine-not-up", "its last words: this is why")


def test_an_engine_that_was_cut_short_on_its_way_is_not_installed(link: SshLink) -> None:
    engine = an_engine()
    with pytest.raises(GitopsdError, match=r"arrived as .* and was sent as"):
        bootstrap(link, engine=Package(engine.data[:-1], engine.digest))
    assert read_installed(link).packages == ()


def test_what_a_host_is_is_found_out_as_root_and_through_sudo(link: SshLink) -> None:
    facts = read_facts(link)
    assert facts.login == link.login
    assert facts.executable == "/usr/bin/python3"
    assert (facts.no_root, facts.init, facts.disk) == ("", "other", "ext4")
    assert all(reason == "" for _, reason in facts.features)
    assert len(facts.features) > 8
    assert facts.kernel == os.uname().release


def test_a_user_without_sudo_is_told_the_line_that_is_missing(lab: Lab) -> None:
    first = lab.hosts[0]
    host = Host("a", first.address, user="deploy", key=str(lab.key), host_keys=(first.host_key,))
    links = Links(Fleet("test", (host,), Registry("127.0.0.1:5000"), ()))
    shell(lab, "mv /etc/sudoers.d/deploy /etc/kept")
    try:
        with pytest.raises(GitopsdError, match="deploy cannot become root: sudo: a password is required") as caught:
            bootstrap(links.link("a"), engine=an_engine())
    finally:
        shell(lab, "mv /etc/kept /etc/sudoers.d/deploy")
        links.close()
    assert caught.value.code == "host-not-ready"
    assert "NOPASSWD" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("broken", "code", "said"),
    [
        ("mv /usr/bin/python3 /usr/bin/gone", "host-no-python", "no python3"),
        (
            "d=$(dirname $(find /usr/lib/python3* -name '_ctypes.cpython*.so')); mv $d/_ctypes.cpython*.so /etc/kept.so",
            "host-no-python",
            "No module named '_ctypes'",
        ),
        (
            "d=$(dirname $(find /usr/lib/python3* -name '_ssl.cpython*.so')); mv $d/_ssl.cpython*.so /etc/kept.so",
            "host-not-ready",
            "python3 lacks ssl",
        ),
    ],
    ids=["python3", "ctypes", "ssl"],
)
def test_a_host_without_a_whole_python_is_told_what_to_install(lab: Lab, broken: str, code: str, said: str) -> None:
    second = lab.hosts[1]
    host = Host("b", second.address, key=str(lab.key), host_keys=(second.host_key,))
    links = Links(Fleet("test", (host,), Registry("127.0.0.1:5000"), ()))
    link = links.link("b")
    where = (
        execute(lab, "lab-2", ["sh", "-c", "find /usr/lib/python3* -name '_ctypes.cpython*.so' -o -name '_ssl.cpython*.so'"])
        .stdout.decode()
        .split()
    )
    execute(lab, "lab-2", ["sh", "-ec", broken])
    try:
        with pytest.raises(GitopsdError, match=said) as caught:
            bootstrap(link, engine=an_engine())
    finally:
        mend = "; ".join(f"[ -e {path} ] || mv /etc/kept.so {path}" for path in where)
        execute(lab, "lab-2", ["sh", "-c", f"[ -e /usr/bin/python3 ] || mv /usr/bin/gone /usr/bin/python3; {mend}"])
        links.close()
    assert caught.value.code == code
    assert "python3" in (caught.value.hint or "")
