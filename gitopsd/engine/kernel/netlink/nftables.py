"""nf_tables: tables, chains, rules, sets and maps as values, and the requests that make and delete them.  [pure]

In: values.  Out: requests, to be sent together in one transaction (`Netlink.batch`).

Not here: reading them back and telling what differs (nftables_reading.py), what our table says (networks/ruleset.py).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Optional, Union

from gitopsd.engine.kernel.netlink import attributes, messages
from gitopsd.engine.kernel.netlink.attributes import Tree, be32, be64, text
from gitopsd.engine.kernel.netlink.expressions import Expression
from gitopsd.engine.kernel.netlink.messages import Request

IP, INET, IP6 = 2, 1, 10
FAMILIES = {0: "any", INET: "inet", IP: "ip", 3: "arp", 5: "netdev", 7: "bridge", IP6: "ip6"}
GROUP = 7  # NFNLGRP_NFTABLES
PREROUTING, INPUT, FORWARD, OUTPUT, POSTROUTING = 0, 1, 2, 3, 4
INTERVAL, MAP = 0x4, 0x8
CONSTANT, ANONYMOUS, _CONCAT = 0x2, 0x1, 0x80
INTERVAL_END = 0x1
IPV4_ADDRESS, INET_PROTOCOL, INET_SERVICE, INTERFACE, VERDICT = 7, 12, 13, 41, 1
_SIZES = {IPV4_ADDRESS: 4, INET_PROTOCOL: 1, INET_SERVICE: 2, INTERFACE: 16, VERDICT: 16}
VERDICT_TYPE = 0xFFFFFF00
_BASE = 10 << 8
(NEWTABLE, GETTABLE, DELTABLE, NEWCHAIN, GETCHAIN, DELCHAIN, NEWRULE, GETRULE, DELRULE, NEWSET, GETSET, DELSET,
 NEWSETELEM, GETSETELEM, DELSETELEM, NEWGEN, GETGEN) = (_BASE + n for n in range(17))  # fmt: skip
_KEY_IN_HOST_ORDER = b"\0\4" + struct.pack("=I", 1)  # user data without which nft prints an interface's name as ""
_ELEMENTS_BYTES = 60000  # of one message, whose list of elements is one attribute

Key = tuple[bytes, bytes]
"""A key, or the first and last of an interval; the second is empty when it is no interval."""
Data = Union[bytes, Tree]
"""What a map's element leads to: bytes, or a verdict; empty in a set."""
Elements = Mapping[Key, Data]


@dataclass(frozen=True)
class Hook:
    kind: str
    """`filter` or `nat`."""
    number: int
    priority: int
    policy: int = 1


@dataclass(frozen=True)
class Rule:
    expressions: tuple[Expression, ...]
    comment: str = ""


@dataclass(frozen=True)
class Chain:
    """A base chain has a hook."""

    name: str
    hook: Optional[Hook] = None
    rules: Optional[tuple[Rule, ...]] = ()


@dataclass(frozen=True)
class Set:
    """A set, or a map when it has `data` types. With `is_interval` the last field of the key is a range."""

    name: str
    key: tuple[int, ...]
    data: tuple[int, ...] = ()
    is_interval: bool = False
    elements: Elements = field(default_factory=dict[Key, Data])

    @property
    def form(self) -> tuple[int, int, int, int, int]:
        """What must agree for two sets to be of one form: flags, types and sizes."""
        flags = (MAP if self.data else 0) | (INTERVAL if self.is_interval else 0)
        if self.is_interval and len(self.key) > 1:
            flags |= _CONCAT
        verdict = self.data == (VERDICT,)
        return (
            flags,
            _joined(self.key),
            _size(self.key),
            VERDICT_TYPE if verdict else _joined(self.data),
            0 if verdict else _size(self.data),
        )


@dataclass(frozen=True)
class Table:
    family: int
    name: str
    sets: tuple[Set, ...] = ()
    chains: tuple[Chain, ...] = ()


def add_table(family: int, name: str) -> Request:
    return _request(NEWTABLE, family, messages.CREATE, ((1, text(name)),), f"add table {name}")


def delete_table(family: int, name: str) -> Request:
    return _request(DELTABLE, family, 0, ((1, text(name)),), f"delete table {name}")


def add_chain(family: int, table: str, chain: Chain) -> Request:
    tree: Tree = ((1, text(table)), (3, text(chain.name)))
    if chain.hook:
        hook: Tree = ((1, be32(chain.hook.number)), (2, be32(chain.hook.priority)))
        tree += ((4, hook), (5, be32(chain.hook.policy)), (7, text(chain.hook.kind)))
    return _request(NEWCHAIN, family, messages.CREATE, tree, f"add chain {table} {chain.name}")


def delete_chain(family: int, table: str, name: str) -> Request:
    return _request(DELCHAIN, family, 0, ((1, text(table)), (3, text(name))), f"delete chain {table} {name}")


def flush_chain(family: int, table: str, chain: str) -> Request:
    return _request(DELRULE, family, 0, ((1, text(table)), (2, text(chain))), f"flush chain {table} {chain}")


def add_rule(family: int, table: str, chain: str, rule: Rule, before: int = 0) -> Request:
    """Behind the others, or before the rule with this handle."""
    listed: Tree = tuple((1, _expression(expression)) for expression in rule.expressions)
    tree: Tree = ((1, text(table)), (2, text(chain)), (4, listed))
    if rule.comment:
        comment = text(rule.comment)
        tree += ((7, bytes((0, len(comment))) + comment),)
    if before:
        tree += ((6, be64(before)),)
    flags = messages.CREATE | (0 if before else messages.APPEND)
    return _request(NEWRULE, family, flags, tree, f"add rule to {table} {chain}")


def delete_rule(family: int, table: str, chain: str, handle: int) -> Request:
    tree: Tree = ((1, text(table)), (2, text(chain)), (3, be64(handle)))
    return _request(DELRULE, family, 0, tree, f"delete rule {handle} of {table} {chain}")


def add_set(family: int, table: str, wanted: Set, identifier: int = 1) -> Request:
    flags, key_type, key_size, data_type, data_size = wanted.form
    tree: Tree = (
        (1, text(table)),
        (2, text(wanted.name)),
        (3, be32(flags)),
        (4, be32(key_type)),
        (5, be32(key_size)),
    )
    if wanted.data:
        tree += ((6, be32(data_type)), (7, be32(data_size)))
    tree += ((10, be32(identifier)),)
    if flags & _CONCAT:
        fields: Tree = tuple((1, ((1, be32(_SIZES[kind])),)) for kind in wanted.key)
        tree += ((9, ((2, fields),)),)
    if wanted.key == (INTERFACE,):
        tree += ((13, _KEY_IN_HOST_ORDER),)
    return _request(NEWSET, family, messages.CREATE, tree, f"add set {table} {wanted.name}")


def delete_set(family: int, table: str, name: str) -> Request:
    return _request(DELSET, family, 0, ((1, text(table)), (2, text(name))), f"delete set {table} {name}")


def add_elements(family: int, table: str, wanted: Set, elements: Elements) -> list[Request]:
    return _elements(NEWSETELEM, messages.CREATE, family, table, wanted, elements, "add")


def delete_elements(family: int, table: str, wanted: Set, elements: Elements) -> list[Request]:
    """The whole of the data must be given too, since an interval's end is known by it."""
    return _elements(DELSETELEM, 0, family, table, wanted, elements, "delete")


def list_tables(family: int = 0) -> Request:
    return _request(GETTABLE, family, 0, (), "list tables")


def list_chains(family: int = 0) -> Request:
    return _request(GETCHAIN, family, 0, (), "list chains")


def list_rules(family: int, table: str, chain: str = "") -> Request:
    tree: Tree = ((1, text(table)),)
    if chain:
        tree += ((2, text(chain)),)
    return _request(GETRULE, family, 0, tree, f"list rules of {table}")


def list_sets(family: int, table: str) -> Request:
    return _request(GETSET, family, 0, ((1, text(table)),), f"list sets of {table}")


def list_elements(family: int, table: str, name: str) -> Request:
    return _request(GETSETELEM, family, 0, ((1, text(table)), (2, text(name))), f"list elements of {name}")


def read_generation() -> Request:
    return _request(GETGEN, 0, 0, (), "read the generation of the rules")


def _elements(kind: int, flags: int, family: int, table: str, wanted: Set, elements: Elements, verb: str) -> list[Request]:
    """As many messages as it takes."""
    requests: list[Request] = []
    head: Tree = ((1, text(table)), (2, text(wanted.name)))
    pending: list[bytes] = []
    size = 0
    for encoded in _encoded_elements(wanted, elements):
        if size + len(encoded) > _ELEMENTS_BYTES:
            requests.append(_element_request(kind, flags, family, head, pending, f"{verb} {wanted.name} elements"))
            pending, size = [], 0
        pending.append(encoded)
        size += len(encoded)
    if pending:
        requests.append(_element_request(kind, flags, family, head, pending, f"{verb} {wanted.name} elements"))
    return requests


def _element_request(kind: int, flags: int, family: int, head: Tree, encoded: list[bytes], what: str) -> Request:
    return _request(kind, family, flags, (*head, (3 | 0x8000, b"".join(encoded))), what)


def _encoded_elements(wanted: Set, elements: Elements) -> Iterable[bytes]:
    is_concatenated = len(wanted.key) > 1
    for (first, last), data in elements.items():
        tree: Tree = ((1, ((1, first),)),)
        if data:
            tree += ((2, data if isinstance(data, tuple) else ((1, data),)),)
        if wanted.is_interval and is_concatenated:
            tree += ((10, ((1, last or first),)),)
        yield attributes.encode(((1, tree),))
        if wanted.is_interval and not is_concatenated:
            end = int.from_bytes(last or first, "big") + 1
            if end >> (8 * len(first)) == 0:
                end_tree: Tree = ((1, ((1, end.to_bytes(len(first), "big")),)), (3, be32(INTERVAL_END)))
                yield attributes.encode(((1, end_tree),))


def _expression(expression: Expression) -> Tree:
    tree: Tree = ((1, text(expression.name)),)
    return (*tree, (2, expression.attributes))


def _request(kind: int, family: int, flags: int, tree: Tree, what: str) -> Request:
    return Request(kind, flags, struct.pack(">BBH", family, 0, 0) + attributes.encode(tree), what)


def _joined(kinds: tuple[int, ...]) -> int:
    """The number of a concatenated type, by which nft prints it."""
    value = 0
    for kind in kinds:
        value = value << 6 | kind
    return value


def _size(kinds: tuple[int, ...]) -> int:
    if len(kinds) == 1:
        return _SIZES[kinds[0]]
    return sum((_SIZES[kind] + 3) & ~3 for kind in kinds)
