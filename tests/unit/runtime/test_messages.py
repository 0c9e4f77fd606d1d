import os
import socket
from collections.abc import Iterator

import pytest

from gitopsd.engine.runtime import messages


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        yield ours, theirs


def test_a_packet_arrives_whole_with_its_descriptors_closed_on_exec(pair: tuple[socket.socket, socket.socket]) -> None:
    read, write = os.pipe()
    messages.send(pair[0], {"op": "take", "text": "ä\udcff"}, [write])
    message, (received,) = messages.receive(pair[1])
    assert message == {"op": "take", "text": "ä\udcff"}
    assert not os.get_inheritable(received)
    os.write(received, b"x")
    assert os.read(read, 1) == b"x"
    messages.close_all([read, write, received])


def test_the_end_is_said(pair: tuple[socket.socket, socket.socket]) -> None:
    pair[0].close()
    with pytest.raises(messages.Closed):
        messages.receive(pair[1])
    with pytest.raises(messages.Closed):
        messages.send(pair[1], {"op": "x"})
    pair[1].close()


@pytest.mark.parametrize("data", [b"[]", b"{", b"1", b"\xff\xff", b"null"])
def test_what_is_no_object_is_refused_and_its_descriptors_closed(pair: tuple[socket.socket, socket.socket], data: bytes) -> None:
    before = len(os.listdir("/proc/self/fd"))
    socket.send_fds(pair[0], [data], [0, 1, 2])
    with pytest.raises(ValueError):  # noqa: PT011  JSON's and UTF-8's are of this kind
        messages.receive(pair[1])
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_message_larger_than_a_packet_is_refused_before_it_is_sent(pair: tuple[socket.socket, socket.socket]) -> None:
    with pytest.raises(ValueError, match="longer than"):
        messages.send(pair[0], {"text": "x" * messages.LIMIT})


def test_what_was_said_before_an_end_is_heard_also_when_the_other_left_something_unread(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = pair
    messages.send(theirs, messages.error_of("setup-failed", "no"))
    messages.send(ours, {"op": "start"})
    theirs.close()
    assert messages.receive(ours)[0]["message"] == "no"
    with pytest.raises(messages.Closed):
        messages.receive(ours)
