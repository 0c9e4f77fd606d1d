"""Hosts that left the fleet file while this fleet's engine is still on them.

In: the fleet as it is now, and which hosts the store knows.  Out: a sentence for each such host; the fleet file that last said how it is reached.

Nobody asks such a host or changes it any more, so what ran there goes on. The store knows its name until `gitopsd host remove` has been there;
how to reach it is in Git's history and nowhere else, so it is looked up when somebody wants it removed.
"""

from __future__ import annotations

from gitopsd.control.revisions import find_revision
from gitopsd.control.wiring import Wiring
from gitopsd.model.errors import Errors, GitopsdError, Where
from gitopsd.model.fleet import Fleet
from gitopsd.model.words import counted

_FLEET_FILE = "gitopsd.yaml"


def left_hosts(work: Wiring, fleet: Fleet) -> dict[str, str]:
    """Each host that the store knows and the fleet file does not, and what to know of it."""
    there = {host.name for host in fleet.hosts}
    return {host: _sentence(work, host) for host in sorted(work.store.host_numbers()) if host not in there}


def _sentence(work: Wiring, host: str) -> str:
    seen = work.seen.last.get(host)
    count = sum(item.stack is not None and item.state == "running" for item in seen.containers) if seen else 0
    keeps = "keeps" if count == 1 else "keep"
    running = f"{counted(count, 'container')} {keeps} running there" if count else "its engine is still there"
    return f"host {host} left the fleet; {running}; to remove all of it: gitopsd host remove {host}"


def fleet_with(work: Wiring, host: str) -> Fleet:
    """The fleet that a host is in: the one that Git says now or, of a host that left, the newest before."""
    revision = find_revision(work)
    now = work.renderer.render_fleet(revision.tree)
    if any(each.name == host for each in now.hosts) or host not in work.store.host_numbers():
        return now
    for commit in work.repository.commits(revision.commit, _FLEET_FILE):
        try:
            before = work.renderer.render_fleet(work.repository.revision(commit).tree)
        except (Errors, GitopsdError):
            continue
        if any(each.name == host for each in before.hosts):
            _check_renamed(before, now, host)
            return before
    message = "it left the fleet, and no fleet file in Git's history says how it is reached"
    raise GitopsdError(
        "no-such-host", message, Where(host=host), "put it back into the fleet file, remove it, and take it out again"
    )


def _check_renamed(before: Fleet, now: Fleet, host: str) -> None:
    was = before.host(host)
    other = next((each for each in now.hosts if (each.address, each.port) == (was.address, was.port)), None)
    if other is not None:
        message = f"{was.address} port {was.port} is host {other.name} of the fleet now"
        raise GitopsdError(
            "host-renamed", message, Where(host=host), f"to take the engine off it: gitopsd host remove {other.name}"
        )
