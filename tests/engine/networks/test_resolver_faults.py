"""What a fault of ours in the resolver costs: that answer, and a line of log a minute."""

from __future__ import annotations

import asyncio
import logging
import socket

import pytest

from gitopsd.engine.networks.dns import Resolver
from gitopsd.engine.networks.names import Names

QUERY = b"\1\2\1\0\0\1\0\0\0\0\0\0\3web\0\0\1\0\1"


def test_a_fault_is_answered_and_logged_once_however_often_it_is_brought_about(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> Names:
        raise RuntimeError("a fault of ours")

    async def run() -> None:
        resolver = Resolver(broken)
        udp, tcp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), socket.socket()
        udp.bind(("127.0.0.1", 0))
        tcp.bind(("127.0.0.1", 0))
        resolver.serve("c", udp, tcp)
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.setblocking(False)
            await loop.sock_connect(client, udp.getsockname())
            for _ in range(200):
                await loop.sock_sendall(client, QUERY)
                reply = await asyncio.wait_for(loop.sock_recv(client, 512), 5)
                assert (reply[:2], reply[3] & 0x0F) == (QUERY[:2], 2)
        reader, writer = await asyncio.open_connection(*tcp.getsockname())
        writer.write(len(QUERY).to_bytes(2, "big") + QUERY)
        assert (await reader.readexactly(14))[5] & 0x0F == 2
        writer.close()
        await resolver.close()

    with caplog.at_level(logging.DEBUG):
        asyncio.run(run())
    assert len([record for record in caplog.records if record.name.startswith("gitopsd")]) == 1
    assert len(caplog.text) < 10_000
