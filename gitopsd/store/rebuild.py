"""Make a store anew from what the hosts know.  [pure but for the store]

In: hosts as they were observed, with their `intent` (docs/engine-api.md).  Out: the store knows which revision each stack is at, which
revisions are bad, and which address block each host has, as far as it did not know better itself.
"""

from __future__ import annotations

from typing import Any, cast

from gitopsd.model.observed import Observed
from gitopsd.model.record import Applied, BadRevision
from gitopsd.model.revision import RevisionName
from gitopsd.store.store import Store


def rebuild(store: Store, observed: Observed) -> None:
    numbers = dict(store.host_numbers())
    for host in observed.hosts:
        if host.facts.number is not None and host.host not in numbers and host.facts.number not in numbers.values():
            store.set_host_number(host.host, host.facts.number)
            numbers[host.host] = host.facts.number
    known = set(store.applied())
    found: dict[str, Applied] = {}
    for host in observed.hosts:
        stacks = cast("dict[str, dict[str, Any]]", dict(host.intent).get("stacks") or {})
        for stack, intent in stacks.items():
            applied = intent.get("applied")
            if applied and stack not in known:
                revision = RevisionName(
                    *(str(applied["revision"][name]) for name in ("repository", "reference", "commit", "subject"))
                )
                newest = found.get(stack)
                if newest is None or str(applied["at"]) > newest.at:
                    found[stack] = Applied(stack, revision, str(applied["at"]))
            for bad in intent.get("bad") or ():
                if stack not in known:
                    store.mark_bad(BadRevision(stack, str(bad["commit"]), str(bad["why"]), str(bad["at"])))
    for applied in found.values():
        store.set_applied(applied, None)
