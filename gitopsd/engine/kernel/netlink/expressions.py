"""What an nf_tables rule is made of: load something into a register, look at it, act.  [pure]

Values are as they lie in a register: addresses and ports in network byte order, the kernel's own numbers (`native32`) in the
host's. A register is four bytes; 1 to 16 here, and a value that is longer goes on in the next ones. A key of several fields is
what lies in consecutive registers, each field filled up to four bytes with zeros behind it (`field`).
linux/netfilter/nf_tables.h has the attributes.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Optional

from gitopsd.engine.kernel.netlink.attributes import Tree, be32, text

ACCEPT, DROP = 1, 0
CONTINUE, BREAK, JUMP, GOTO, RETURN = -1, -2, -3, -4, -5
EQ, NEQ = 0, 1
ESTABLISHED, RELATED, NEW = 2, 4, 8
DNAT_STATUS = 32
TCP, UDP = 6, 17
IPV4 = 2  # NFPROTO_IPV4


@dataclass(frozen=True)
class Expression:
    name: str
    attributes: Tree = ()


def native32(value: int) -> bytes:
    return struct.pack("=I", value)


def port(value: int) -> bytes:
    return struct.pack(">H", value)


def interface(name: str) -> bytes:
    """A whole interface name, as a register holds it."""
    return name.encode().ljust(16, b"\0")


def field(value: bytes) -> bytes:
    """A value as a field of a key."""
    return value + b"\0" * (-len(value) & 3)


def meta(key: int, register: int = 1) -> Expression:
    return Expression("meta", ((1, _register(register)), (2, be32(key))))


def incoming(register: int = 1) -> Expression:
    """The name of the interface that the packet came in by."""
    return meta(6, register)


def outgoing(register: int = 1) -> Expression:
    return meta(7, register)


def protocol(register: int = 1) -> Expression:
    """The transport protocol, one byte."""
    return meta(16, register)


def source_address(register: int = 1, size: int = 4) -> Expression:
    return _payload(1, 12, size, register)


def destination_address(register: int = 1, size: int = 4) -> Expression:
    return _payload(1, 16, size, register)


def destination_port(register: int = 1) -> Expression:
    return _payload(2, 2, 2, register)


def connection_state(register: int = 1) -> Expression:
    return Expression("ct", ((1, _register(register)), (2, be32(0))))


def connection_status(register: int = 1) -> Expression:
    return Expression("ct", ((1, _register(register)), (2, be32(2))))


def destination_kind(register: int = 1) -> Expression:
    """Whose the destination address is: `native32(2)` when it is this host's (RTN_LOCAL)."""
    return Expression("fib", ((1, _register(register)), (2, be32(3)), (3, be32(2))))


def compare(value: bytes, how: int = EQ, register: int = 1) -> Expression:
    """Go on with the rule if the register begins with `value` (or does not)."""
    return Expression("cmp", ((1, _register(register)), (2, be32(how)), (3, ((1, value),))))


def has_any(bits: int, register: int = 1) -> tuple[Expression, ...]:
    """Go on if one of these bits is set in a number in the host's byte order."""
    mask = Expression(
        "bitwise",
        (
            (1, _register(register)),
            (2, _register(register)),
            (3, be32(4)),
            (4, ((1, native32(bits)),)),
            (5, ((1, native32(0)),)),
        ),
    )
    return (mask, compare(native32(0), NEQ, register))


def lookup(name: str, key: int = 1, value: Optional[int] = None) -> Expression:
    """Go on if what starts in register `key` is in the set; of a map, with what it maps to in register `value`."""
    tree: Tree = ((1, text(name)), (2, _register(key)))
    if value is not None:
        tree += ((3, _register(value)),)
    return Expression("lookup", tree)


def lookup_verdict(name: str, key: int = 1) -> Expression:
    """Do what a verdict map says."""
    return Expression("lookup", ((1, text(name)), (2, _register(key)), (3, be32(0))))


def load(value: bytes, register: int = 1) -> Expression:
    return Expression("immediate", ((1, _register(register)), (2, ((1, value),))))


def verdict(code: int, chain: str = "") -> Expression:
    return Expression("immediate", ((1, be32(0)), (2, verdict_data(code, chain))))


def verdict_data(code: int, chain: str = "") -> Tree:
    tree: Tree = ((1, be32(code)),)
    if chain:
        tree += ((2, text(chain)),)
    return ((2, tree),)


def destination_nat(address: int = 1, port_register: int = 2) -> Expression:
    """Send the connection to the address and port in these registers."""
    tree: Tree = ((1, be32(1)), (2, be32(IPV4)), (3, _register(address)), (5, _register(port_register)))
    return Expression("nat", tree)


def masquerade() -> Expression:
    return Expression("masq")


def counter() -> Expression:
    return Expression("counter")


def _payload(base: int, offset: int, size: int, register: int) -> Expression:
    return Expression("payload", ((1, _register(register)), (2, be32(base)), (3, be32(offset)), (4, be32(size))))


def _register(number: int) -> bytes:
    """The kernel names every fourth register twice and answers with the short name, so that is what we send."""
    return be32(1 + number // 4 if number % 4 == 1 else 7 + number)
