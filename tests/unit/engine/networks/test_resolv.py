"""resolv.conf, the host's and a container's."""

from __future__ import annotations

import pytest

from gitopsd.engine.networks import resolv

HOST = """# made by hand
nameserver 192.0.2.1
nameserver fe80::1%eth0 ; the router
nameserver nonsense
search a.example b.example
options timeout:1 ndots:5 edns0
"""


def test_name_servers_are_read_with_what_is_no_address_left_out() -> None:
    assert resolv.read_servers(HOST) == ("192.0.2.1", "fe80::1%eth0")
    assert resolv.read_servers("") == ("127.0.0.1",)


@pytest.mark.parametrize(
    ("host", "search", "options", "text"),
    [
        (HOST, (), (), "nameserver 127.0.0.11\nsearch a.example b.example\noptions timeout:1 edns0 ndots:5\n"),
        ("domain c.example\n", (), (), "nameserver 127.0.0.11\nsearch c.example\noptions ndots:0\n"),
        (HOST, ("mine",), ("ndots:2",), "nameserver 127.0.0.11\nsearch mine\noptions ndots:2\n"),
        (HOST, (".",), ("use-vc",), "nameserver 127.0.0.11\noptions use-vc ndots:0\n"),
        ("", (), (), "nameserver 127.0.0.11\noptions ndots:0\n"),
    ],
    ids=["the host's", "a domain", "its own", "none", "nothing"],
)
def test_a_container_gets_our_resolver_and_its_own_words_or_the_hosts(
    host: str, search: tuple[str, ...], options: tuple[str, ...], text: str
) -> None:
    assert resolv.render(host, search, options) == text
