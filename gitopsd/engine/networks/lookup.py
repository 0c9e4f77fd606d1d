"""What is answered to a look-up: a name of ours at once, anything else by the host's name servers or not at all.  [pure]

In: a DNS message from a container, which may be anything.  Out: the reply, `Forward` with the question, or None where none is due.

- A name that we know has addresses of version 4; asked for anything else it exists and has none of that (NODATA), so that nobody looks for it
  elsewhere.
- What a container without an outside asks stays here: a question that leaves the host carries data out (CVE-2024-29018). So does one
  about an address in its own networks.
- Of a query only head and question are read. Whatever cannot be read gets a format error; what is no query gets nothing.
"""

from __future__ import annotations

import importlib
import ipaddress
import struct
from dataclasses import dataclass
from typing import Any, Optional, Union

from gitopsd.engine.networks.names import Names

_dns: Any = importlib.import_module("dnslib")  # it has no types
_label: Any = importlib.import_module("dnslib.label")

MAX_QUERY = 4096
_PLAIN_REPLY = 512
_LONGEST_LABEL = 63
_OUR_PAYLOAD = 1232
TTL_S = 2
"""Names move at a transition, and programs keep what they were told for as long as it says."""
_A, _PTR, _AAAA, _OPT, _ANY, _IN = 1, 12, 28, 41, 255, 1
_FORMAT_ERROR, _SERVER_FAILURE, _NO_SUCH_NAME, _NOT_IMPLEMENTED, _REFUSED = 1, 2, 3, 4, 5
_REVERSE = ".in-addr.arpa"


@dataclass(frozen=True)
class Forward:
    """A question for the host's name servers. `question` are its bytes, by which a reply is known."""

    query: bytes
    question: bytes


def respond(query: bytes, names: Names, container: str, turn: int, is_tcp: bool = False) -> Union[bytes, Forward, None]:
    """What a container is answered. `turn` turns the order of several addresses."""
    if len(query) < 12 or query[2] & 0x80 or len(query) > MAX_QUERY:
        return None
    if query[2] & 0x78:
        return _head_only(query, _NOT_IMPLEMENTED)
    parsed = _read_question(query)
    if parsed is None:
        return _head_only(query, _FORMAT_ERROR)
    header, question, end = parsed
    reply = _dns.DNSRecord(_dns.DNSHeader(id=header.id, qr=1, aa=1, rd=header.rd, ra=1), q=question)
    limit = _read_payload(query, end)
    if limit:
        reply.add_ar(_dns.EDNS0(udp_len=_OUR_PAYLOAD))
    if question.qclass != _IN:
        reply.header.rcode = _REFUSED
        return bytes(reply.pack())
    name = str(question.qname).rstrip(".").lower()
    if not _answer(reply, question, name, names, container, turn):
        if names.has_outside(container) and not _is_about_us(name, names, container):
            return Forward(query, query[12:end])
        reply.header.rcode = _NO_SUCH_NAME
    packed = bytes(reply.pack())
    if not is_tcp and len(packed) > (limit or _PLAIN_REPLY):
        reply.rr = []
        reply.header.tc = 1
        packed = bytes(reply.pack())
    return packed


def fail(query: bytes) -> bytes:
    """The answer when nobody could be asked."""
    return _head_only(query, _SERVER_FAILURE)


def is_answer(reply: bytes, forward: Forward) -> bool:
    """Whether a message is the answer to what was forwarded: its id, its question, and an answer at all."""
    end = 12 + len(forward.question)
    return (
        reply[:2] == forward.query[:2]
        and len(reply) >= end
        and bool(reply[2] & 0x80)
        and reply[12:end].lower() == forward.question.lower()
    )


def is_failure(reply: bytes) -> bool:
    """Whether another name server may know better."""
    return reply[3] & 0x0F in (_SERVER_FAILURE, _REFUSED, _NOT_IMPLEMENTED)


def _answer(reply: Any, question: Any, name: str, names: Names, container: str, turn: int) -> bool:
    """Put what we know into the reply; False when it is no name of ours."""
    address = _reversed(name)
    if address:
        called = names.name_of(container, address)
        if called and question.qtype in (_PTR, _ANY):
            reply.add_answer(_dns.RR(question.qname, _PTR, ttl=TTL_S, rdata=_dns.PTR(called)))
        return bool(called)
    found = names.addresses(container, name)
    if question.qtype in (_A, _ANY):
        for step in range(len(found)):
            rdata = _dns.A(found[(turn + step) % len(found)])
            reply.add_answer(_dns.RR(question.qname, _A, ttl=TTL_S, rdata=rdata))
    return bool(found)


def _is_about_us(name: str, names: Names, container: str) -> bool:
    address = _reversed(name)
    return bool(address) and names.is_inside(container, address)


def _reversed(name: str) -> str:
    """The address that a reverse name asks about; empty when it is none of version 4."""
    if not name.endswith(_REVERSE):
        return ""
    try:
        return str(ipaddress.IPv4Address(".".join(reversed(name[: -len(_REVERSE)].split(".")))))
    except ValueError:
        return ""


def _read_question(query: bytes) -> Optional[tuple[Any, Any, int]]:
    """Head, the one question, and where it ends. None for what has none, or more, or cannot be read."""
    buffer = _label.DNSBuffer(query)
    try:
        header = _dns.DNSHeader.parse(buffer)
        if header.q != 1 or header.a or header.auth:
            return None
        question = _dns.DNSQuestion.parse(buffer)
    except (_dns.DNSError, _label.BufferError, ValueError):
        return None
    if any(len(part) > _LONGEST_LABEL for part in question.qname.label):  # dnslib reads them, and cannot write them
        return None
    # a name in a question has nothing before it to point at, and is at most 255 bytes long
    if buffer.offset - 16 != sum(len(part) + 1 for part in question.qname.label) + 1 or buffer.offset - 16 > 255:
        return None
    return header, question, buffer.offset


def _read_payload(query: bytes, offset: int) -> int:
    """How much the client can take by UDP, if it says so (EDNS, RFC 6891), 0 otherwise."""
    if query[10:12] != b"\0\0" and len(query) >= offset + 5:
        name, kind, size = struct.unpack_from(">BHH", query, offset)
        if name == 0 and kind == _OPT:
            return max(_PLAIN_REPLY, size)
    return 0


def _head_only(query: bytes, code: int) -> bytes:
    """A reply of a head alone, to what had no question that could be read."""
    kept = query[2] & 0x79  # operation and recursion desired
    return query[:2] + bytes((0x80 | kept, 0x80 | code)) + b"\0" * 8
