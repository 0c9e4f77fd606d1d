from __future__ import annotations

import pytest

from gitopsd.oci.platform import InvalidPlatform, NoSuchPlatform, Platform, normalise, parse_platform, runs_on, select

SPELLINGS = {
    "linux/amd64": "linux/amd64",
    "linux/x86_64": "linux/amd64",
    "linux/amd64/v1": "linux/amd64",
    "linux/amd64/v3": "linux/amd64/v3",
    "linux/aarch64": "linux/arm64",
    "linux/arm64/v8": "linux/arm64",
    "linux/arm64/8": "linux/arm64",
    "linux/armhf": "linux/arm/v7",
    "linux/arm": "linux/arm/v7",
    "linux/armel": "linux/arm/v6",
    "arm64": "linux/arm64",
    "LINUX/AMD64": "linux/amd64",
}


@pytest.mark.parametrize(("text", "normal"), SPELLINGS.items())
def test_each_platform_has_one_spelling(text: str, normal: str) -> None:
    assert str(parse_platform(text)) == normal


@pytest.mark.parametrize("text", ["", "/", "linux/", "a/b/c/d", "linux/amd64 ", "linux/../x"])
def test_what_is_no_platform_is_refused(text: str) -> None:
    with pytest.raises(InvalidPlatform):
        parse_platform(text)


def test_the_best_fit_is_chosen_and_older_variants_run_too() -> None:
    offered = [
        Platform("linux", "arm", "v5"),
        Platform("linux", "arm", "v6"),
        Platform("linux", "arm", "v8"),
        Platform("unknown", "unknown"),
    ]
    assert select([(p, n) for n, p in enumerate(offered)], normalise("linux", "armv7l")) == 1
    assert runs_on(Platform("linux", "amd64", "v3"), Platform("linux", "amd64")) is None
    assert runs_on(Platform("linux", "amd64"), Platform("linux", "amd64", "v3")) == 2


def test_no_fit_says_what_there_is() -> None:
    with pytest.raises(NoSuchPlatform, match="no image for platform linux/s390x, there are: linux/amd64"):
        select([(Platform("linux", "amd64"), 0)], Platform("linux", "s390x"))


def test_an_entry_without_platform_is_taken_only_if_nothing_else_fits() -> None:
    machine = Platform("linux", "amd64")
    assert select([(None, 0), (machine, 1)], machine) == 1
    assert select([(None, 0), (Platform("linux", "arm64"), 1)], machine) == 0
