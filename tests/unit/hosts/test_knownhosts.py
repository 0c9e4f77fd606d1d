"""Which host keys are trusted."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest

from gitopsd.hosts.knownhosts import (
    HostKey,
    Trust,
    _nobody_knows,
    check,
    parse_key,
    parse_known_hosts,
    trust_from_fleet,
    trust_of,
)
from gitopsd.model.errors import GitopsdError, Where


def a_key(kind: str = "ssh-ed25519", body: bytes = b"one") -> HostKey:
    return HostKey(kind, len(kind).to_bytes(4, "big") + kind.encode() + body)


ONE, TWO, RSA = a_key(), a_key(body=b"two"), a_key("ssh-rsa")


def blobs(trust: Trust) -> list[bytes]:
    return [key.blob for key in trust.accepted]


def hashed(name: str) -> str:
    salt = b"salt of twenty bytes"
    digest = hmac.new(salt, name.encode(), hashlib.sha1).digest()
    return f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}"


@pytest.mark.parametrize(
    ("names", "address", "port", "known"),
    [
        pytest.param("a.example", "a.example", 22, True, id="a name"),
        pytest.param("A.Example", "a.example", 22, True, id="letters of either case"),
        pytest.param("a.example,10.0.0.1", "10.0.0.1", 22, True, id="one of several"),
        pytest.param("a.example", "a.example", 2222, False, id="another port is another host"),
        pytest.param("[a.example]:2222", "a.example", 2222, True, id="a port"),
        pytest.param("[a.example]:2222", "a.example", 22, False, id="a port is not the usual one"),
        pytest.param("*.example", "a.example", 22, True, id="a pattern"),
        pytest.param("*.example,!a.example", "a.example", 22, False, id="an exception from a pattern"),
        pytest.param("10.0.0.?", "10.0.0.7", 22, True, id="one character"),
        pytest.param("10.0.0.[78]", "10.0.0.7", 22, False, id="brackets are no pattern"),
        pytest.param(hashed("a.example"), "a.example", 22, True, id="a hashed name"),
        pytest.param(hashed("[a.example]:2222"), "a.example", 2222, True, id="a hashed name with a port"),
        pytest.param(hashed("b.example"), "a.example", 22, False, id="another hashed name"),
    ],
)
def test_a_line_speaks_of_the_hosts_it_names(names: str, address: str, port: int, known: bool) -> None:
    trust = trust_of(parse_known_hosts(f"{names} {ONE} a comment\n", "known_hosts"), address, port)
    assert blobs(trust) == ([ONE.blob] if known else [])


def test_lines_that_say_nothing_are_passed_over() -> None:
    text = f"\n# a {ONE}\na ssh-ed25519\na ssh-ed25519 ???\na ssh-rsa {str(ONE).split()[1]}\n|1|x|y {ONE}\n|1|x {ONE}\na {TWO}\n"
    assert [entry.key.source for entry in parse_known_hosts(text, "f")] == ["f:8"]


def test_the_known_key_is_accepted_whichever_of_several_it_is() -> None:
    check(TWO, trust_of(parse_known_hosts(f"a {ONE}\na {TWO}\n", "f"), "a", 22), "web", "a", 22)


def test_another_key_is_a_hard_stop_that_says_both_and_how_to_compare() -> None:
    trust = trust_of(parse_known_hosts(f"# first\na {ONE}\n", "known_hosts"), "a", 22)
    with pytest.raises(GitopsdError) as caught:
        check(TWO, trust, "web", "a", 22)
    error = caught.value
    assert (error.code, error.next, error.where.host) == ("host-key-changed", "stall", "web")
    assert TWO.fingerprint in error.message
    assert ONE.fingerprint in error.message
    assert "known_hosts:2" in error.message
    assert "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub" in (error.hint or "")


def test_a_key_of_another_kind_is_not_accepted_instead_of_the_known_one() -> None:
    with pytest.raises(GitopsdError) as caught:
        check(RSA, Trust((ONE,)), "web", "a", 22)
    assert caught.value.code == "host-key-changed"


def test_an_unknown_key_is_not_accepted_and_what_to_add_is_said() -> None:
    with pytest.raises(GitopsdError) as caught:
        check(ONE, Trust((), sources=("/home/x/.ssh/known_hosts",)), "web", "a", 22)
    assert caught.value.code == "host-key-unknown"
    assert f"host_key: {ONE}" in (caught.value.hint or "")
    assert "/home/x/.ssh/known_hosts does not know it" in caught.value.message


@pytest.mark.parametrize(
    ("sources", "words"),
    [(("a",), "a does not know it"), (("a", "b"), "neither a nor b knows it"), (("a", "b", "c"), "none of a, b, c knows it")],
)
def test_whoever_was_asked_does_not_know_the_key(sources: tuple[str, ...], words: str) -> None:
    assert _nobody_knows(sources) == words


def test_a_revoked_key_is_refused_even_where_it_is_also_known() -> None:
    trust = trust_of(parse_known_hosts(f"a {ONE}\n@revoked * {ONE}\n", "f"), "a", 22)
    with pytest.raises(GitopsdError) as caught:
        check(ONE, trust, "web", "a", 22)
    assert caught.value.code == "host-key-revoked"


def test_a_certificate_authority_is_named_when_it_is_all_there_is_and_harmless_otherwise() -> None:
    lines = f"@cert-authority *.example {TWO}\n"
    with pytest.raises(GitopsdError, match="f:1 speaks of it: a @cert-authority"):
        check(ONE, trust_of(parse_known_hosts(lines, "f"), "a.example", 22), "web", "a.example", 22)
    check(ONE, trust_of(parse_known_hosts(lines + f"a.example {ONE}\n", "f"), "a.example", 22), "web", "a.example", 22)


def test_a_fingerprint_is_what_ssh_keygen_prints() -> None:
    key = parse_key("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAlulIF9OrKs6nZWDPW4EIXzgD/hZdTkLIT9rIOT+/1X")
    assert key.fingerprint == "SHA256:" + base64.b64encode(hashlib.sha256(key.blob).digest()).decode().rstrip("=")


def test_a_host_key_in_the_fleet_file_that_cannot_be_read_is_named_with_its_line() -> None:
    with pytest.raises(GitopsdError) as caught:
        trust_from_fleet(["ssh-ed25519 nonsense!"], Where(file="gitopsd.yaml", line=7))
    assert caught.value.code == "host-key-unreadable"
    assert caught.value.where.line == 7
