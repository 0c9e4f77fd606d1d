from __future__ import annotations

import pytest

from gitopsd.oci import distribution as d
from gitopsd.oci.digest import Digest, InvalidDigest
from gitopsd.oci.reference import InvalidReference

A = Digest.of(b"a")

ROUTES = {
    "/v2/": d.Route("base"),
    "/v2/_catalog": d.Route("catalog"),
    f"/v2/a/b/blobs/{A}": d.Route("blob", "a/b", A),
    "/v2/a/b/blobs/uploads/": d.Route("uploads", "a/b"),
    "/v2/a/b/blobs/uploads": d.Route("uploads", "a/b"),
    "/v2/a/blobs/uploads/0123-abcd": d.Route("upload", "a", session="0123-abcd"),
    "/v2/a/manifests/latest": d.Route("manifest", "a", tag="latest"),
    f"/v2/a/manifests/{A}": d.Route("manifest", "a", A),
    "/v2/a/tags/list": d.Route("tags", "a"),
    f"/v2/a/referrers/{A}": d.Route("referrers", "a", A),
    "/v2/tags/list/manifests/list": d.Route("manifest", "tags/list", tag="list"),
    "/v2/blobs/uploads/blobs/uploads/": d.Route("uploads", "blobs/uploads"),
    "/v1/": None,
    "/v2/a": None,
    "/v2/a/other/x": None,
    "/v2/a/blobs/uploads/../../x": None,
    "/v2/a/tags/other": None,
}


@pytest.mark.parametrize(("path", "route"), ROUTES.items())
def test_a_path_has_one_meaning(path: str, route: d.Route | None) -> None:
    assert d.parse_path(path) == route


@pytest.mark.parametrize(
    "path",
    [f"/v2/../blobs/{A}", f"/v2/a/../../b/blobs/{A}", "/v2/a/blobs/sha256:..", "/v2/a/manifests/..", "/v2/A/tags/list",
     "/v2//tags/list",
     f"/v2/_x/referrers/{A}", "/v2/a/manifests/sha256:.."],
)  # fmt: skip
def test_a_path_cannot_climb_out(path: str) -> None:
    with pytest.raises((InvalidReference, InvalidDigest)):
        d.parse_path(path)


def test_paths_read_back() -> None:
    assert d.parse_path(d.blob_path("a", A)) == d.Route("blob", "a", A)
    assert d.parse_path(d.manifest_path("a", "t")) == d.Route("manifest", "a", tag="t")
    assert d.uploads_path("a", A, "b/c") == f"/v2/a/blobs/uploads/?mount=sha256%3A{A.hex}&from=b%2Fc"
    assert d.tags_path("a", 5, "x") == "/v2/a/tags/list?n=5&last=x"


RANGES = {"bytes=0-3": (0, 4), "bytes=2-": (2, 10), "bytes=-3": (7, 10), "bytes=-30": (0, 10), "bytes=5-100": (5, 10),
          "bytes=0-0": (0, 1),
          "bytes=0-1,3-4": None, "lines=0-1": None, "bytes=3-2": None, "bytes=-": None, "": None}  # fmt: skip


@pytest.mark.parametrize(("header", "range_"), RANGES.items())
def test_a_range_is_read(header: str, range_: tuple[int, int] | None) -> None:
    assert d.parse_range(header, 10) == range_


@pytest.mark.parametrize("header", ["bytes=10-", "bytes=10-12", "bytes=-0"])
def test_a_range_outside_is_said(header: str) -> None:
    with pytest.raises(d.BadProtocol):
        d.parse_range(header, 10)


def test_content_ranges_are_read_in_both_spellings() -> None:
    assert d.parse_content_range("bytes 0-9/10") == (0, 10, 10)
    assert d.parse_content_range("bytes 5-9/*") == (5, 10, None)
    assert d.parse_chunk_range("0-9") == (0, 10)
    assert d.parse_chunk_range("bytes=0-9") == (0, 10)
    assert d.render_chunk_range(10) == "0-9"
    for wrong in ("0-9/10", "bytes 9-5/10", "bytes 0-10/10", "bytes 0-9/", "bytes a-b/c", ""):
        with pytest.raises(d.BadProtocol):
            d.parse_content_range(wrong)
    for wrong in ("9-5", "x", "", "1-", "-1"):
        with pytest.raises(d.BadProtocol):
            d.parse_chunk_range(wrong)


def test_the_next_page_is_found() -> None:
    assert d.next_link('</v2/a/tags/list?n=1&last=b>; rel="next"') == "/v2/a/tags/list?n=1&last=b"
    assert d.next_link("</x>; rel=prev, </y>; rel=next") == "/y"
    assert d.next_link("</x>") is None
    assert d.next_link(d.render_next_link("/z")) == "/z"


def test_challenges_are_read_with_commas_and_quotes_inside() -> None:
    header = (
        'Bearer realm="https://auth.example.org/token",service="reg, \\"one\\"",scope="repository:a:pull,push", Basic realm=x'
    )
    assert d.parse_challenges(header) == [
        d.Challenge(
            "bearer", {"realm": "https://auth.example.org/token", "service": 'reg, "one"', "scope": "repository:a:pull,push"}
        ),
        d.Challenge("basic", {"realm": "x"}),
    ]
    assert d.parse_challenges("Negotiate") == [d.Challenge("negotiate", {})]
    assert d.parse_challenges("") == []
    assert len(d.parse_challenges(",=,=" * 10_000)) < 10_000


def test_a_token_is_asked_for_where_the_challenge_says() -> None:
    challenge = d.Challenge("bearer", {"realm": "https://auth.example.org/token?x=1", "service": "reg"})
    url = d.token_url(challenge, [d.scope("a/b", "pull", "push")], "me")
    assert url == "https://auth.example.org/token?x=1&service=reg&scope=repository:a/b:pull,push&account=me"


@pytest.mark.parametrize(
    "realm", ["", "ftp://x/", "https://", "https://user:pw@example.org/", "/token", "file:///etc/passwd", "https://x/#y"]
)
def test_a_realm_that_is_no_address_is_refused(realm: str) -> None:
    with pytest.raises(d.BadProtocol, match="token realm"):
        d.token_url(d.Challenge("bearer", {"realm": realm}), [])


def test_tokens_are_read() -> None:
    assert d.parse_token(b'{"token":"t","expires_in":300}') == d.Token("t", 300)
    assert d.parse_token(b'{"access_token":"t"}') == d.Token("t", 60)
    for wrong in (b"", b"{}", b"[]", b'{"token":7}', b'{"token":"a\\r\\nHost: x"}', b'{"token":"a b"}'):
        with pytest.raises(d.BadProtocol):
            d.parse_token(wrong)


def test_errors_read_back() -> None:
    assert d.parse_errors(d.error_body(d.BLOB_UNKNOWN, "gone", {"x": 1})) == [("BLOB_UNKNOWN", "gone")]
    for other in (b"", b"<html>", b"{}", b'{"errors":7}', b'{"errors":["x"]}', b"[]"):
        assert d.parse_errors(other) == []
