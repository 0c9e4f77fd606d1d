from __future__ import annotations

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from gitopsd.oci.digest import Digest, InvalidDigest
from gitopsd.oci.distribution import BadProtocol, next_link, parse_challenges, parse_path, parse_range
from gitopsd.oci.manifest import InvalidManifest, parse_config, parse_manifest
from gitopsd.oci.reference import InvalidReference, parse_reference

component = st.from_regex(r"[a-z0-9]{1,5}((\.|_|__|-{1,3})[a-z0-9]{1,5}){0,2}", fullmatch=True)
repository = st.lists(component, min_size=1, max_size=4).map("/".join)
registry = st.sampled_from(
    ["docker.io", "localhost", "localhost:5000", "example.org", "[::1]:443", "10.0.0.1:5000", "Host.example"]
)
tag = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True)
digest = st.binary(max_size=8).map(Digest.of)


@given(registry, repository, st.none() | tag, st.none() | digest)
def test_a_reference_read_from_its_own_text_is_the_same(host: str, name: str, label: str | None, of: Digest | None) -> None:
    text = f"{host}/{name}" + (f":{label}" if label else "") + (f"@{of}" if of else "")
    reference = parse_reference(text)
    assert parse_reference(str(reference)) == reference
    assert parse_reference(reference.familiar) == reference
    assert reference.digest == of


@given(st.text(max_size=60))
def test_any_text_is_a_reference_or_refused_and_its_parts_are_safe_in_paths(text: str) -> None:
    try:
        reference = parse_reference(text)
    except (InvalidReference, InvalidDigest):
        return
    for part in [*reference.repository.split("/"), reference.tag or "latest"]:
        assert part not in ("", ".", "..")
        assert part.isascii()
        assert "\0" not in part


@given(st.text(max_size=80))
def test_a_digest_is_64_digits_or_refused(text: str) -> None:
    with contextlib.suppress(InvalidDigest):
        assert len(Digest("sha256:" + text).hex) == 64


@given(st.binary(max_size=200))
def test_any_bytes_are_a_manifest_or_refused(data: bytes) -> None:
    for parse in (parse_manifest, parse_config):
        with contextlib.suppress(InvalidManifest):
            parse(data)


@given(st.text(max_size=200), st.integers(0, 1 << 40))
def test_any_header_is_read_or_refused(text: str, size: int) -> None:
    parse_challenges(text)
    next_link(text)
    try:
        found = parse_range("bytes=" + text, size)
    except BadProtocol:
        return
    assert found is None or 0 <= found[0] < found[1] <= size


@given(st.text(max_size=100))
def test_any_path_is_a_route_none_or_refused(text: str) -> None:
    with contextlib.suppress(InvalidReference, InvalidDigest):
        parse_path("/v2/" + text)
