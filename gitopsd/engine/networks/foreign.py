"""Chains of others that would drop our packets: Docker's, ufw's, firewalld's, an administrator's.

A packet must be accepted by every forward chain there is, so our own table cannot make up for a drop in another. Where a chain ends in a drop of
everything, by its policy or by a rule, two rules accept before it what enters or leaves our networks, with our table's name as comment; our own
table then decides. They stand as late as they can: what somebody forbids in particular (`ufw route deny`) stays forbidden. They use nothing
that iptables could not have written, or its tools would no longer read the table. Other chains are not touched.

With bridge-nf-call-iptables=1 frames within a bridge pass these chains too; the same rules let them.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Callable, Optional

from gitopsd.engine.kernel.netlink import attributes, nftables, nftables_reading
from gitopsd.engine.kernel.netlink import expressions as e
from gitopsd.engine.kernel.netlink.messages import Message, Request
from gitopsd.engine.kernel.netlink.nftables import Rule
from gitopsd.engine.kernel.netlink.nftables_reading import ReadChain, ReadRule
from gitopsd.engine.networks.allocate import bridge_prefix, table_name

_ANY_INSTANCE = "gitopsd-"
_REFUSING_TARGETS = ("REJECT", "DROP")
_DROPS = " drop"  # no chain is called that
_LEGACY = "/proc/net/ip_tables_names"

Dump = Callable[[Request], "list[Message]"]


def accepts(instance: str) -> tuple[Rule, Rule]:
    ours = e.compare(bridge_prefix(instance).encode())
    comment = table_name(instance)
    return (
        Rule((e.incoming(), ours, e.counter(), e.verdict(e.ACCEPT)), comment),
        Rule((e.outgoing(), ours, e.counter(), e.verdict(e.ACCEPT)), comment),
    )


def difference(dump: Dump, instance: str, are_wanted: bool) -> list[Request]:
    """What to do so that our accepts stand where they are needed, and only there."""
    chains = [nftables_reading.read_chain(message) for message in dump(nftables.list_chains())]
    tables = {(chain.family, chain.table) for chain in chains if _is_forward(chain)}
    requests: list[Request] = []
    for family, table in sorted(tables):
        rules: dict[str, list[ReadRule]] = {}
        for rule in map(nftables_reading.read_rule, dump(nftables.list_rules(family, table))):
            rules.setdefault(rule.chain, []).append(rule)
        for chain in chains:
            if (chain.family, chain.table) == (family, table) and _is_forward(chain):
                requests += _chain_difference(instance, chain, rules, are_wanted)
    return requests


def has_legacy_filter() -> bool:
    """Whether the old iptables, which nf_tables does not see, filters on this host."""
    try:
        with open(_LEGACY, encoding="ascii") as file:
            return "filter" in file.read().split()
    except OSError:
        return False


def _chain_difference(
    instance: str, chain: ReadChain, rules: Mapping[str, Sequence[ReadRule]], are_wanted: bool
) -> list[Request]:
    wanted, comment = accepts(instance), table_name(instance)
    found = rules.get(chain.name, ())
    ours = [rule for rule in found if rule.comment == comment]
    others = {name: [rule for rule in listed if rule.comment != comment] for name, listed in rules.items()}
    end = next((rule.handle for rule in others.get(chain.name, ()) if _ends_all(rule, others, ())), 0)
    drops = bool(end) or (chain.hook is not None and chain.hook.policy == e.DROP)
    if are_wanted and drops:
        before_end = list(itertools.takewhile(lambda rule: rule.handle != end, found))
        behind = list(itertools.dropwhile(lambda rule: rule.comment != comment, before_end))
        # several engines on a host stand side by side and do not overtake each other
        is_last = all(rule.comment.startswith(_ANY_INSTANCE) for rule in behind)
        placed = [rule for rule in behind if rule.comment == comment]
        if is_last and len(placed) == len(ours) == len(wanted) and all(have.is_same(want) for have, want in zip(ours, wanted)):
            return []
    requests = [nftables.delete_rule(chain.family, chain.table, chain.name, rule.handle) for rule in ours]
    if are_wanted and drops:
        requests += [nftables.add_rule(chain.family, chain.table, chain.name, rule, before=end) for rule in wanted]
    return requests


def _is_forward(chain: ReadChain) -> bool:
    """A forward chain of somebody else that IPv4 packets pass."""
    return (
        chain.hook is not None
        and chain.hook.number == nftables.FORWARD
        and chain.hook.kind == "filter"
        and chain.family in (nftables.IP, nftables.INET)
        and not chain.table.startswith(_ANY_INSTANCE)
    )


def _ends_all(rule: ReadRule, rules: Mapping[str, Sequence[ReadRule]], path: tuple[str, ...]) -> bool:
    """Whether the rule drops whatever comes to it, itself or in a chain it leads everything to."""
    outcome = _outcome_for_all(rule)
    if outcome is None or outcome in path:
        return False
    return outcome == _DROPS or any(_ends_all(inner, rules, (*path, outcome)) for inner in rules.get(outcome, ()))


def _outcome_for_all(rule: ReadRule) -> Optional[str]:
    """What the rule does with every packet: `_DROPS`, or the chain it leads to. None when it does neither, or looks before."""
    for name, data in rule.expressions:
        found = attributes.parse(data)
        if name == "reject":
            return _DROPS
        if name == "target":  # iptables' own, such as REJECT
            return _DROPS if attributes.read_text(found.get(1, b"")) in _REFUSING_TARGETS else None
        if name == "immediate":
            verdict = attributes.parse(attributes.parse(found.get(2, b"")).get(2, b""))
            if attributes.number(verdict.get(1, b"\1")) == e.DROP:
                return _DROPS
            return attributes.read_text(verdict.get(2, b"")) or None
        if name not in ("counter", "log") and not (name == "match" and attributes.read_text(found.get(1, b"")) == "comment"):
            return None
    return None
