"""What is answered to which question."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

import gitopsd.engine  # puts the vendored packages on the path
from gitopsd.engine.networks import lookup, names
from gitopsd.engine.networks.lookup import Forward
from gitopsd.engine.networks.names import Member, Names

assert any(Path(entry).name == "_vendor" for entry in sys.path), gitopsd.engine
import dnslib  # noqa: E402

WEB, STORE, LONER = "a" * 64, "b" * 64, "c" * 64


def some_names() -> Names:
    front = names.view(
        "front", False, "10.0.1.0/26",
        [Member(WEB, "10.0.1.2", ("web", "www", WEB[:12])), Member(STORE, "10.0.1.3", ("store", "www"))],
    )  # fmt: skip
    back = names.view("back", True, "10.0.2.0/26", [Member(STORE, "10.0.2.2", ("store", "db"))])
    found = (
        Names().with_network("f", front).with_network("k", back).with_network("x", names.view("else", False, "10.0.3.0/26", []))
    )
    return found.with_container(WEB, ("f",)).with_container(STORE, ("k", "f")).with_container(LONER, ("k",))


def ask(name: str, kind: str = "A", container: str = WEB, **options: Any) -> Any:
    """The reply, read by the library; or the Forward."""
    edns = options.pop("edns", 0)
    query = dnslib.DNSRecord.question(name, kind)
    if edns:
        query.add_ar(dnslib.EDNS0(udp_len=edns))
    reply = lookup.respond(query.pack(), options.pop("names", some_names()), container, options.pop("turn", 0), **options)
    if not isinstance(reply, bytes):
        return reply
    read = dnslib.DNSRecord.parse(reply)
    assert (read.header.id, read.header.qr, read.header.ra, read.header.rd) == (query.header.id, 1, 1, 1)
    assert read.questions == query.questions
    return read


def addresses(reply: Any) -> list[str]:
    return [str(answer.rdata) for answer in reply.rr]


@pytest.mark.parametrize("name", ["web", "WEB", "web.", "web.front", "Web.Front.", WEB[:12], f"{WEB[:12]}.front"])
def test_a_name_has_its_address_however_it_is_written(name: str) -> None:
    reply = ask(name)

    assert (addresses(reply), reply.header.rcode, reply.header.aa) == (["10.0.1.2"], 0, 1)
    assert [answer.ttl for answer in reply.rr] == [lookup.TTL_S]


def test_several_addresses_take_turns() -> None:
    assert [addresses(ask("www", turn=turn)) for turn in range(3)] == [
        ["10.0.1.2", "10.0.1.3"],
        ["10.0.1.3", "10.0.1.2"],
        ["10.0.1.2", "10.0.1.3"],
    ]


def test_a_name_is_looked_for_in_the_networks_of_who_asks_in_their_order() -> None:
    assert addresses(ask("store", container=STORE)) == ["10.0.2.2"]
    assert addresses(ask("store.front", container=STORE)) == ["10.0.1.3"]
    assert addresses(ask("store")) == ["10.0.1.3"]
    assert isinstance(ask("db"), Forward)
    assert isinstance(ask("store.back"), Forward)


@pytest.mark.parametrize("kind", ["AAAA", "MX", "TXT", "SRV", "PTR", "HTTPS"])
def test_a_name_that_is_known_has_no_data_of_another_kind_and_is_not_asked_for_elsewhere(kind: str) -> None:
    reply = ask("web", kind)

    assert (addresses(reply), reply.header.rcode) == ([], 0)


def test_an_address_is_called_by_its_first_name_in_its_network() -> None:
    reply = ask("2.1.0.10.in-addr.arpa", "PTR")

    assert addresses(reply) == ["web.front."]
    assert addresses(ask("2.2.0.10.in-addr.arpa", "PTR", STORE)) == ["store.back."]
    assert ask("2.1.0.10.in-addr.arpa", "A").header.rcode == 0


def test_an_address_of_nobody_in_our_networks_is_not_asked_for_elsewhere() -> None:
    assert ask("9.1.0.10.in-addr.arpa", "PTR").header.rcode == 3
    assert isinstance(ask("9.9.0.10.in-addr.arpa", "PTR"), Forward)
    assert isinstance(ask("x.1.0.10.in-addr.arpa", "PTR"), Forward)


@pytest.mark.parametrize("name", ["example.com", "secret-data.attacker.example", "2.1.0.10.in-addr.arpa"])
def test_cve_2024_29018_what_a_container_without_an_outside_asks_stays_here(name: str) -> None:
    assert ask(name, container=LONER).header.rcode == 3
    assert addresses(ask("db", container=LONER)) == ["10.0.2.2"]
    assert ask("example.com", container="unknown").header.rcode == 3


def test_what_is_forwarded_is_the_query_as_it_came_with_its_question() -> None:
    query = dnslib.DNSRecord.question("Example.COM", "MX")

    forward = lookup.respond(query.pack(), some_names(), WEB, 0)

    assert forward == Forward(query.pack(), query.pack()[12:])


def test_a_reply_that_does_not_fit_is_cut_and_says_so() -> None:
    members = [Member(str(number), f"10.0.1.{number}", ("many",)) for number in range(2, 60)]
    many = Names().with_network("f", names.view("front", False, "10.0.1.0/26", members)).with_container(WEB, ("f",))

    cut = ask("many", names=many)
    assert (cut.header.tc, addresses(cut)) == (1, [])
    assert len(addresses(ask("many", names=many, is_tcp=True))) == 58
    whole = ask("many", names=many, edns=4096)
    assert (whole.header.tc, len(addresses(whole)), len(whole.ar)) == (0, 58, 1)
    assert ask("many", names=many, edns=100).header.tc == 1


@pytest.mark.parametrize(
    "data",
    [b"", b"\0" * 11, dnslib.DNSRecord.question("web").reply().pack(), b"\0" * (lookup.MAX_QUERY + 1)],
    ids=["nothing", "less than a head", "a reply", "too long"],
)
def test_what_is_no_query_gets_no_answer(data: bytes) -> None:
    assert lookup.respond(data, some_names(), WEB, 0) is None


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\1\2\1\0\0\1" + b"\0" * 6, 1),
        (b"\1\2\1\0\0\2" + b"\0" * 6 + b"\3web\0\0\1\0\1" * 2, 1),
        (b"\1\2\1\0\0\0" + b"\0" * 6, 1),
        (b"\1\2\1\0\0\1" + b"\0" * 6 + b"\xc0\x0c\0\1\0\1", 1),
        (b"\1\2\1\0\0\1" + b"\0" * 6 + b"\3web\xc0\x05\0\1\0\1", 1),
        (b"\1\2\1\0\0\1" + b"\0" * 6 + b"\x3f" + b"a" * 63 + b"\x3f" + b"b" * 63 + b"\x3f" + b"c" * 63 + b"\x3f" + b"d" * 63 + b"\0\0\1\0\1", 1),
        (b"\1\2\1\0\0\1" + b"\0" * 6 + b"\3\xff\xfe\xfd\0\0\1\0\1", 1),
        (b"\1\2\x28\0\0\1" + b"\0" * 6 + b"\3web\0\0\1\0\1", 4),
        (b"\1\2\1\0\0\1" + b"\0" * 6 + b"\3web\0\0\1\0\3", 5),
    ],
    ids=["no question", "two", "none said", "a loop", "a pointer", "too long", "no text", "an update", "another class"],
)  # fmt: skip
def test_what_cannot_be_answered_gets_an_error_with_its_id(data: bytes, code: int) -> None:
    reply = lookup.respond(data, some_names(), WEB, 0)

    assert isinstance(reply, bytes)
    assert (reply[:2], reply[2] & 0x80, reply[3] & 0x0F) == (b"\1\2", 0x80, code)
    dnslib.DNSRecord.parse(reply)


def test_a_reply_belongs_to_a_question_by_id_and_question() -> None:
    query = dnslib.DNSRecord.question("example.com")
    forward = Forward(query.pack(), query.pack()[12:])
    reply = query.reply()
    reply.add_answer(*dnslib.RR.fromZone("example.com A 192.0.2.9"))

    assert lookup.is_answer(reply.pack(), forward)
    assert not lookup.is_answer(query.pack(), forward)
    assert not lookup.is_answer(b"\0\0" + reply.pack()[2:], Forward(b"\1\1" + query.pack()[2:], forward.question))
    other = dnslib.DNSRecord.question("example.org")
    other.header.id = query.header.id
    assert not lookup.is_answer(other.reply().pack(), forward)
    assert not lookup.is_answer(b"", forward)


@pytest.mark.parametrize("length", [63, 64, 100, 191])
@pytest.mark.parametrize("kind", [b"\0\1\0\1", b"\0\1\0\3", b"\0\x0c\0\1"], ids=["in", "another class", "reverse"])
def test_a_label_that_is_too_long_to_be_written_is_a_format_error(length: int, kind: bytes) -> None:
    query = b"\1\2\1\0\0\1\0\0\0\0\0\0" + bytes((length,)) + b"a" * length + b"\0" + kind
    for container in (WEB, LONER):
        reply = lookup.respond(query, some_names(), container, 0)
        code = 0 if isinstance(reply, Forward) else reply[3] & 0x0F  # type: ignore[index]
        assert (code == 1) == (length > 63)
