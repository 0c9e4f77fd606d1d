"""nf_tables read back, and what it takes to make it what it should be.  [pure]

In: a `Table` as it should be, and one that was read.  Out: the requests that make the second the first, for one transaction.

Rule 1: what is already right is not touched: not a rule, not an element. Doing it again yields no request.
Rule 2: chains and sets in our table that the desired table does not name are somebody else's and stay.
Rule 3: a chain with `rules` None must exist; what is in it is its owner's.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Callable, Optional

from gitopsd.engine.kernel.netlink import attributes, nftables
from gitopsd.engine.kernel.netlink.attributes import Tree, number
from gitopsd.engine.kernel.netlink.messages import Message, Request
from gitopsd.engine.kernel.netlink.nftables import (
    ANONYMOUS,
    CONSTANT,
    INTERVAL_END,
    VERDICT_TYPE,
    Data,
    Elements,
    Hook,
    Key,
    Rule,
    Set,
    Table,
)


@dataclass(frozen=True)
class ReadRule:
    """A rule as it was read: its expressions are kept as bytes, to be compared and looked through."""

    table: str
    chain: str
    handle: int
    expressions: tuple[tuple[str, bytes], ...]
    comment: str
    family: int

    def is_same(self, rule: Rule) -> bool:
        return (
            self.comment == rule.comment
            and len(self.expressions) == len(rule.expressions)
            and all(
                name == wanted.name and attributes.holds(data, wanted.attributes)
                for (name, data), wanted in zip(self.expressions, rule.expressions)
            )
        )


@dataclass(frozen=True)
class ReadChain:
    family: int
    table: str
    name: str
    hook: Optional[Hook]


@dataclass(frozen=True)
class ReadSet:
    name: str
    form: tuple[int, int, int, int, int]
    elements: Elements = field(default_factory=dict[Key, Data])


@dataclass(frozen=True)
class ReadTable:
    chains: Mapping[str, ReadChain]
    rules: Mapping[str, tuple[ReadRule, ...]]
    sets: Mapping[str, ReadSet]


def read(dump: Callable[[Request], list[Message]], family: int, name: str) -> Optional[ReadTable]:
    """A whole table, by `Netlink.dump`; None if there is none."""
    chains = {chain.name: chain for chain in map(read_chain, dump(nftables.list_chains(family))) if chain.table == name}
    if not chains and (family, name) not in map(read_table, dump(nftables.list_tables(family))):
        return None
    rules: dict[str, list[ReadRule]] = {}
    for rule in map(read_rule, dump(nftables.list_rules(family, name))):
        rules.setdefault(rule.chain, []).append(rule)
    sets: dict[str, ReadSet] = {}
    for found in map(read_set, dump(nftables.list_sets(family, name))):
        if found is not None:
            replies = dump(nftables.list_elements(family, name, found.name))
            is_interval = bool(found.form[0] & nftables.INTERVAL)
            sets[found.name] = ReadSet(found.name, found.form, read_elements(replies, is_interval))
    return ReadTable(chains, {chain: tuple(listed) for chain, listed in rules.items()}, sets)


def difference(table: Table, found: Optional[ReadTable]) -> list[Request]:
    """What to do so that the kernel's table is `table`; nothing when it is."""
    if found is None:
        return build(table)
    if _has_same_form(table, found):
        requests: list[Request] = []
        for wanted in table.sets:
            requests += _element_difference(table, wanted, found.sets[wanted.name].elements)
        return requests
    return _rebuild(table, found, [])


def build(table: Table) -> list[Request]:
    return _rebuild(table, ReadTable({}, {}, {}), [nftables.add_table(table.family, table.name)])


def _has_same_form(table: Table, found: ReadTable) -> bool:
    for wanted in table.sets:
        if wanted.name not in found.sets or found.sets[wanted.name].form != wanted.form:
            return False
    for chain in table.chains:
        if chain.name not in found.chains or found.chains[chain.name].hook != chain.hook:
            return False
        rules = found.rules.get(chain.name, ())
        if chain.rules is not None and (
            len(rules) != len(chain.rules) or not all(have.is_same(want) for have, want in zip(rules, chain.rules))
        ):
            return False
    return True


def _rebuild(table: Table, found: ReadTable, requests: list[Request]) -> list[Request]:
    """Put every chain and set of ours anew, in one transaction, which packets see whole. Chains of others stay as they are."""
    family, name = table.family, table.name
    there = [chain for chain in table.chains if chain.name in found.chains]
    other = [chain.name for chain in there if found.chains[chain.name].hook != chain.hook]
    requests += [nftables.flush_chain(family, name, chain.name) for chain in there if chain.rules is not None]
    requests += [nftables.delete_chain(family, name, chain) for chain in other]
    elements: list[Request] = []
    for wanted in table.sets:
        have = found.sets.get(wanted.name)
        if have is not None and have.form == wanted.form:
            elements += _element_difference(table, wanted, have.elements)
            continue
        if have is not None:
            requests.append(nftables.delete_set(family, name, wanted.name))
        requests.append(nftables.add_set(family, name, wanted))
        elements += nftables.add_elements(family, name, wanted, wanted.elements)
    missing = [chain for chain in table.chains if chain.name not in found.chains or chain.name in other]
    requests += [nftables.add_chain(family, name, chain) for chain in missing]
    requests += elements  # of a verdict map they name chains
    for chain in table.chains:
        requests += [nftables.add_rule(family, name, chain.name, rule) for rule in chain.rules or ()]
    return requests


def _element_difference(table: Table, wanted: Set, have: Elements) -> list[Request]:
    gone = {key: data for key, data in have.items() if key not in wanted.elements or wanted.elements[key] != data}
    new = {key: data for key, data in wanted.elements.items() if key not in have or have[key] != data}
    return [
        *nftables.delete_elements(table.family, table.name, wanted, gone),
        *nftables.add_elements(table.family, table.name, wanted, new),
    ]


def generation_of(message: Message) -> int:
    return number(attributes.parse(message.body[4:]).get(1, b""))


def read_table(message: Message) -> tuple[int, str]:
    """Family and name."""
    return message.body[0], attributes.read_text(attributes.parse(message.body[4:]).get(1, b""))


def read_chain(message: Message) -> ReadChain:
    found = attributes.parse(message.body[4:])
    hook: Optional[Hook] = None
    if 4 in found:
        where = attributes.parse(found[4])
        (priority,) = struct.unpack(">i", where[2])
        policy = number(found[5]) if 5 in found else 1
        hook = Hook(attributes.read_text(found.get(7, b"")), number(where[1]), priority, policy)
    return ReadChain(message.body[0], attributes.read_text(found[1]), attributes.read_text(found[3]), hook)


def read_rule(message: Message) -> ReadRule:
    found = attributes.parse(message.body[4:])
    expressions: list[tuple[str, bytes]] = []
    for _, item in attributes.pairs(found.get(4, b"")):
        parts = attributes.parse(item)
        expressions.append((attributes.read_text(parts[1]), parts.get(2, b"")))
    return ReadRule(
        table=attributes.read_text(found[1]),
        chain=attributes.read_text(found[2]),
        handle=number(found[3]),
        expressions=tuple(expressions),
        comment=_comment(found.get(7, b"")),
        family=message.body[0],
    )


def read_set(message: Message) -> Optional[ReadSet]:
    """A named set; None for one that belongs to a rule."""
    found = attributes.parse(message.body[4:])
    flags = number(found.get(3, b""))
    if flags & ANONYMOUS:
        return None
    form = (
        flags & ~CONSTANT,
        number(found.get(4, b"")),
        number(found.get(5, b"")),
        number(found.get(6, b"")),
        number(found.get(7, b"")) if number(found.get(6, b"")) != VERDICT_TYPE else 0,
    )
    return ReadSet(attributes.read_text(found[2]), form)


def read_elements(replies: Iterable[Message], is_interval: bool) -> dict[Key, Data]:
    """The elements of one set, from the replies to `list_elements`."""
    starts: dict[bytes, Data] = {}
    ends: list[bytes] = []
    elements: dict[Key, Data] = {}
    for message in replies:
        for _, item in attributes.pairs(attributes.parse(message.body[4:]).get(3, b"")):
            found = attributes.parse(item)
            key = attributes.parse(found.get(1, b"")).get(1, b"")
            if number(found.get(3, b"")) & INTERVAL_END:
                ends.append(key)
            elif 10 in found:
                elements[(key, attributes.parse(found[10])[1])] = _data(found.get(2, b""))
            elif is_interval:
                starts[key] = _data(found.get(2, b""))
            else:
                elements[(key, b"")] = _data(found.get(2, b""))
    ends.sort()
    for key, data in starts.items():
        end = next((int.from_bytes(end, "big") - 1 for end in ends if end > key), (1 << 8 * len(key)) - 1)
        elements[(key, end.to_bytes(len(key), "big"))] = data
    return elements


def _data(value: bytes) -> Data:
    found = attributes.parse(value)
    if 2 not in found:
        return found.get(1, b"")
    verdict = attributes.parse(found[2])
    tree: Tree = ((1, verdict[1]),)
    if 2 in verdict:
        tree += ((2, verdict[2]),)
    return ((2, tree),)


def _comment(userdata: bytes) -> str:
    """The comment among a rule's user data, which is type, length, value, one byte each for the first two."""
    offset = 0
    while offset + 2 <= len(userdata):
        kind, length = userdata[offset], userdata[offset + 1]
        if kind == 0:
            return attributes.read_text(userdata[offset + 2 : offset + 2 + length])
        offset += 2 + length
    return ""
