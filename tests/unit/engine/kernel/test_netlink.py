"""The forms of netlink messages, without a kernel."""

from __future__ import annotations

import errno
import struct

import pytest

from gitopsd.engine.kernel.netlink import addressing, attributes, conntrack, expressions, links, messages
from gitopsd.engine.kernel.netlink.messages import Message


def an_error(code: int, said: str = "", capped: bool = True) -> Message:
    header = struct.pack("=IHHII", 20, 16, 5, 7, 0)
    body = struct.pack("=i", -code) + header + (b"" if capped else b"\0\0\0\0")
    flags = 0x100 if capped else 0
    if said:
        body += attributes.encode(((1, attributes.text(said)),))
        flags |= 0x200
    return Message(messages.ERROR, flags, 7, 0, body)


def test_an_attribute_is_padded_to_four_bytes_and_says_its_own_length() -> None:
    encoded = attributes.encode(((3, b"eth0\0"), (4, ((1, b"\1"),))))

    assert encoded == struct.pack("=HH", 9, 3) + b"eth0\0\0\0\0" + struct.pack("=HHHH", 12, 4 | 0x8000, 5, 1) + b"\1\0\0\0"


def test_a_value_that_is_too_long_for_its_length_field_is_refused() -> None:
    assert attributes.parse(attributes.encode(((1, b"x" * attributes.MAX_VALUE),)))[1] == b"x" * attributes.MAX_VALUE
    with pytest.raises(ValueError, match="attribute 1 has 65532 bytes, more than 65531"):
        attributes.encode(((1, b"x" * (attributes.MAX_VALUE + 1)),))


@pytest.mark.parametrize(
    "data", [b"\3\0\1\0", b"\xff\0\1\0", b"\0\0\0\0"], ids=["shorter than its head", "longer than the rest", "empty"]
)
def test_torn_attributes_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="attribute at byte 0"):
        attributes.parse(data)


def test_a_tree_is_held_by_bytes_that_have_more_than_it() -> None:
    wanted = ((1, b"\1"), (2, ((3, b"\3"),)))

    assert attributes.holds(attributes.encode((*wanted, (9, b"new in this kernel"))), wanted)
    assert not attributes.holds(attributes.encode(((1, b"\1"), (2, ((3, b"\4"),)))), wanted)
    assert not attributes.holds(attributes.encode(((1, b"\1"),)), wanted)


@pytest.mark.parametrize("capped", [True, False])
def test_an_error_has_the_kernels_own_words(capped: bool) -> None:
    error = messages.read_error(an_error(errno.EINVAL, "Nexthop is odd", capped), "add route")

    assert str(error) == "[Errno 22] add route: Invalid argument (Nexthop is odd)"
    assert error is not None
    assert error.errno == errno.EINVAL


def test_an_acknowledgement_is_no_error() -> None:
    assert messages.read_error(an_error(0), "add route") is None
    assert messages.read_error(Message(messages.DONE, 0, 7, 0, b""), "list") is None


def test_a_datagram_is_split_into_its_messages() -> None:
    data = messages.encode(20, 1, 7, b"abc") + messages.encode(21, 2, 8, b"")

    assert list(messages.split(data)) == [Message(20, 1, 7, 0, b"abc"), Message(21, 2, 8, 0, b"")]
    with pytest.raises(ValueError, match="message at byte 0 says 19 bytes where 18 are left"):
        list(messages.split(data[:18]))


def test_registers_have_the_name_that_the_kernel_answers_with() -> None:
    names = [expressions.load(b"", number).attributes[0][1] for number in (1, 2, 3, 4, 5, 6, 9, 13, 16)]

    assert names == [attributes.be32(name) for name in (1, 9, 10, 11, 2, 13, 3, 4, 23)]


def test_fields_of_a_key_end_on_four_bytes() -> None:
    assert expressions.field(expressions.port(80)) == b"\0P\0\0"
    assert expressions.field(b"\6") == b"\6\0\0\0"
    assert expressions.field(b"\n\0\0\1") == b"\n\0\0\1"


def test_a_route_that_claims_no_addresses_is_none() -> None:
    head = struct.pack("=BBBBBBBBI", 2, 32, 0, 0, 255, 2, 253, 3, 0)  # a broadcast route

    assert addressing.read_route(Message(addressing.NEWROUTE, 0, 1, 0, head)) is None


def test_a_link_without_a_kind_a_master_or_an_address_is_read() -> None:
    body = struct.pack("=BxHiII", 0, 772, 1, 0x9, 0) + attributes.encode(((3, b"lo\0"), (4, attributes.u32(65536))))

    link = links.read(Message(links.NEWLINK, 0, 1, 0, body))

    assert link == links.Link(1, "lo", "", "", 65536, 0, "", True, True, True)


def test_a_connection_is_deleted_by_the_bytes_it_was_read_from() -> None:
    ip = attributes.encode(((1, b"\n\0\0\1"), (2, b"\n\0\0\2")))
    proto = attributes.encode(((1, b"\x11"), (2, b"\0\1"), (3, b"\0\2")))
    one = attributes.encode(((1, ip), (2, proto)))
    body = b"\2\0\0\0" + attributes.encode(((1, one), (2, one), (3, b"\0\0\0\x22"), (12, b"\0\0\0\5")))

    connection = conntrack.read(Message(0x100, 0, 1, 0, body))

    assert connection.original == conntrack.Tuple(17, "10.0.0.1", 1, "10.0.0.2", 2)
    assert connection.is_answered
    sent = attributes.parse(conntrack.delete(connection).body[4:])
    assert (sent[1], sent[12]) == (one, b"\0\0\0\5")
