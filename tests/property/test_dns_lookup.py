"""Whatever a container sends, it gets a reply to it or nothing, and nothing goes wrong."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

import gitopsd.engine  # noqa: F401  puts the vendored packages on the path
from gitopsd.engine.networks import lookup, names
from gitopsd.engine.networks.lookup import Forward
from gitopsd.engine.networks.names import Member, Names

import dnslib  # isort: skip

LABELS = st.text("abcdefghijklmnopqrstuvwxyz0123456789-_", min_size=1, max_size=20)
HEAD = b"\1\2\1\0\0\1\0\0\0\0\0\0"


def question(labels: list[str], kind: int, behind: bytes) -> bytes:
    return (
        HEAD
        + b"".join(bytes((len(label),)) + label.encode() for label in labels)
        + b"\0"
        + kind.to_bytes(2, "big")
        + b"\0\1"
        + behind
    )


MESSAGES = st.one_of(
    st.binary(max_size=300),
    # lengths of labels that the library reads and the protocol does not know
    st.tuples(st.integers(1, 191), st.binary(min_size=4, max_size=4)).map(
        lambda p: HEAD + bytes((p[0],)) + b"a" * p[0] + b"\0" + p[1]
    ),
    # a head that could be one, then anything
    st.tuples(st.binary(min_size=2, max_size=2), st.binary(max_size=120)).map(lambda p: p[0] + HEAD[2:] + p[1]),
    st.tuples(st.lists(LABELS, min_size=1, max_size=6), st.integers(0, 65535), st.binary(max_size=20)).map(
        lambda p: question(*p)
    ),
)
KNOWN = (
    Names()
    .with_network("f", names.view("front", False, "10.0.1.0/26", [Member("a", "10.0.1.2", ("web",))]))
    .with_container("a", ("f",))
)


@given(MESSAGES, st.booleans(), st.sampled_from(["a", "b"]))
def test_any_message_is_answered_forwarded_or_dropped(message: bytes, is_tcp: bool, container: str) -> None:
    reply = lookup.respond(message, KNOWN, container, 0, is_tcp)

    if isinstance(reply, Forward):
        assert container == "a"
        assert reply.query == message
        assert message[12:].startswith(reply.question)
    elif reply is not None:
        assert reply[:2] == message[:2]
        assert reply[2] & 0x80
        dnslib.DNSRecord.parse(reply)
        assert is_tcp or len(reply) <= 512


@given(
    st.lists(LABELS, min_size=1, max_size=4),
    st.lists(st.integers(2, 62), min_size=1, max_size=5, unique=True),
    st.integers(0, 99),
)
def test_a_name_is_answered_with_all_its_addresses_and_no_others(labels: list[str], hosts: list[int], turn: int) -> None:
    called = ".".join(labels)
    members = [Member(str(host), f"10.0.1.{host}", (called,)) for host in hosts]
    known = Names().with_network("f", names.view("front", False, "10.0.1.0/26", members)).with_container("a", ("f",))

    reply = lookup.respond(question(called.upper().split("."), 1, b""), known, "a", turn)

    assert isinstance(reply, bytes)
    assert sorted(str(rr.rdata) for rr in dnslib.DNSRecord.parse(reply).rr) == sorted(member.address for member in members)


@given(st.binary(max_size=100), st.binary(max_size=60), st.binary(min_size=12, max_size=12))
def test_any_reply_is_judged(reply: bytes, question: bytes, head: bytes) -> None:
    assert lookup.is_answer(reply, Forward(head + question, question)) in (True, False)
