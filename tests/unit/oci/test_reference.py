from __future__ import annotations

import pytest

from gitopsd.oci.digest import Digest, InvalidDigest
from gitopsd.oci.reference import InvalidReference, check_repository, check_tag, parse_reference

DIGEST = "sha256:" + "ab" * 32

FULL_NAMES = {
    "busybox": "docker.io/library/busybox:latest",
    "busybox:1.36": "docker.io/library/busybox:1.36",
    "docker.io/busybox": "docker.io/library/busybox:latest",
    "index.docker.io/busybox": "docker.io/library/busybox:latest",
    "docker.io/library/busybox": "docker.io/library/busybox:latest",
    "me/web": "docker.io/me/web:latest",
    "localhost/web": "localhost/web:latest",
    "localhost:5000/web:2": "localhost:5000/web:2",
    "example.org/a/b/c": "example.org/a/b/c:latest",
    "10.0.0.1:5000/a": "10.0.0.1:5000/a:latest",
    "[::1]:5000/a:b": "[::1]:5000/a:b",
    "Registry/web": "Registry/web:latest",
    f"busybox@{DIGEST}": f"docker.io/library/busybox@{DIGEST}",
    f"busybox:1@{DIGEST}": f"docker.io/library/busybox:1@{DIGEST}",
    "me/a__b--c.d_e": "docker.io/me/a__b--c.d_e:latest",
}


@pytest.mark.parametrize(("text", "full"), FULL_NAMES.items())
def test_a_short_name_means_a_full_one(text: str, full: str) -> None:
    assert str(parse_reference(text)) == full
    assert parse_reference(full) == parse_reference(text)


FAMILIAR = {
    "docker.io/library/busybox:1": "busybox:1",
    "docker.io/me/web:1": "me/web:1",
    "docker.io/library/a/b": "library/a/b:latest",
    "localhost:5000/web": "localhost:5000/web:latest",
}


@pytest.mark.parametrize(("text", "familiar"), FAMILIAR.items())
def test_the_familiar_form_is_what_people_write(text: str, familiar: str) -> None:
    assert parse_reference(text).familiar == familiar
    assert parse_reference(parse_reference(text).familiar) == parse_reference(text)


@pytest.mark.parametrize(
    "text",
    ["", ":", "@", "UPPER", "a//b", "a/", "/a", "a:", "a:b:c", "-a", "a-", "a/../b", "a/.b", "a b", "a\nb", "a:.t", "a:-t",
     "a:" + "t" * 129,
     "host:port/a", "ab" * 32, "a@sha256:123", "a@", f"a@{DIGEST}x", "example.org/", "user@example.org/a", "ex_ample.org/a",
      "a/" + "b" * 256,
     "http://example.org/a", "a%2fb", "a\\b", "é"],
)  # fmt: skip
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises((InvalidReference, InvalidDigest)):
        parse_reference(text)


def test_a_capital_letter_is_named_as_the_reason() -> None:
    with pytest.raises(InvalidReference, match="must be lowercase"):
        parse_reference("example.org/Web")


def test_tag_and_digest_are_changed_in_a_new_reference() -> None:
    reference = parse_reference("busybox:1")
    assert str(reference.tagged("2")) == "docker.io/library/busybox:2"
    assert reference.at(Digest(DIGEST)).target == DIGEST
    assert parse_reference("busybox", default_tag=None).tag is None


@pytest.mark.parametrize("name", ["../etc", "a/../../b", "a/..", "_uploads", ".a", "a/_b", "A"])
def test_a_repository_cannot_climb_out_of_its_folder(name: str) -> None:
    with pytest.raises(InvalidReference):
        check_repository(name)


@pytest.mark.parametrize("tag", ["..", ".", "a/b", "a\n", ""])
def test_a_tag_cannot_climb_out_of_its_folder(tag: str) -> None:
    with pytest.raises(InvalidReference):
        check_tag(tag)


@pytest.mark.parametrize(
    "text",
    ["", "sha256", "sha256:", "sha256:" + "a" * 63, "sha256:" + "A" * 64, "sha256:" + "a" * 64 + "\n",
     "sha256:../../../../etc/passwd",
     "sha256:" + "a" * 60 + "/../", "sha512:" + "a" * 128, "md5:" + "a" * 32, "SHA256:" + "a" * 64],
)  # fmt: skip
def test_a_digest_never_carries_a_path__cve_2024_3727(text: str) -> None:
    with pytest.raises(InvalidDigest):
        Digest(text)


def test_another_digest_algorithm_is_named() -> None:
    with pytest.raises(InvalidDigest, match="sha512 is not supported"):
        Digest("sha512:" + "a" * 128)
    assert Digest.of(b"").short == "e3b0c44298fc"
    assert Digest.of(b"").hex == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
