"""The recorder sees what a host executes, all of it, and nothing else."""

from __future__ import annotations

import pytest

from gitopsd.hosts.bootstrap import bootstrap, remove
from gitopsd.hosts.links import Links
from gitopsd.lab import Lab, execute
from gitopsd.model.fleet import Fleet, Host, Registry
from tests.hosts.execrecorder import PYTHON, needed, programs, recorded_execs
from tests.hosts.test_bootstrap import an_engine

pytestmark = pytest.mark.host


def test_every_program_is_seen_however_short_it_lives_and_from_whatever_namespace(lab: Lab) -> None:
    with recorded_execs(lab.host("lab-1")) as found:
        for _ in range(200):
            execute(lab, "lab-1", ["/usr/bin/true"])
        execute(lab, "lab-1", ["unshare", "--mount", "--", "/usr/bin/id"])
        execute(lab, "lab-1", ["sh", "-c", "mkdir -p /bound; mount --bind /usr/bin /bound; /bound/whoami; umount /bound"])
    assert found["/usr/bin/true"] == 200
    assert {"/usr/bin/id", "/usr/bin/unshare", "/bound/whoami"} <= programs(found)


def test_what_another_host_or_this_machine_executes_is_not_seen(lab: Lab) -> None:
    with recorded_execs(lab.host("lab-1")) as found:
        execute(lab, "lab-2", ["/usr/bin/true"])
    assert programs(found) == set()


def test_what_runs_from_a_root_of_its_own_is_not_seen(lab: Lab) -> None:
    script = """cd /var/lib/gitopsd-engine; mkdir lower upper work merged; cp /usr/bin/true lower/
        mount -t overlay x -o lowerdir=lower,upperdir=upper,workdir=work merged; merged/true; umount merged; rm -r lower upper work merged"""
    with recorded_execs(lab.host("lab-1")) as found:
        assert execute(lab, "lab-1", ["sh", "-ec", script]).returncode == 0
    assert "/usr/bin/true" not in programs(found)
    assert not [path for path in found if path.endswith("true")]


def test_a_script_is_seen_with_its_interpreter(lab: Lab) -> None:
    with recorded_execs(lab.host("lab-1")) as found:
        script = "printf '#!/bin/sh\\ntrue\\n' > /etc/script; chmod +x /etc/script; exec /etc/script"
        assert execute(lab, "lab-1", ["sh", "-c", script]).returncode == 0
    assert {"/etc/script", "/usr/bin/dash"} <= programs(found)


@pytest.mark.parametrize("user", ["root", "deploy"])
def test_bringing_the_engine_executes_python_sshd_and_shells_alone(lab: Lab, user: str) -> None:
    first = lab.hosts[0]
    links = Links(
        Fleet(
            "t",
            (Host("a", first.address, user=user, key=str(lab.key), host_keys=(first.host_key,)),),
            Registry("127.0.0.1:5000"),
            (),
        )
    )
    try:
        with recorded_execs(lab.host("lab-1")) as found:
            bootstrap(links.link("a"), engine=an_engine())
    finally:
        remove(links.link("a"))
        links.close()
    assert programs(found) <= needed(user), programs(found) - needed(user)
    assert PYTHON in found
