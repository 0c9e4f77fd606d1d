"""Stages that a target needs, and the images it starts from."""

import pytest

from gitopsd.dockerfile.errors import DockerfileError
from gitopsd.dockerfile.parse import parse
from gitopsd.dockerfile.stages import bases, global_args, needed, platform_args

DIAMOND = parse(
    b"""ARG TAG=1
ARG IMAGE=app:$TAG
FROM busybox:${TAG} AS base
FROM base AS left
COPY --from=tools:2 /a /a
FROM base AS right
FROM unused AS unused
FROM $IMAGE
COPY --from=left /a /a
COPY --from=2 /b /b
"""
)


def names(target: str = "") -> list[int]:
    return [stage.index for stage in needed(DIAMOND, global_args(DIAMOND, {}, "linux/amd64"), target)]


def test_only_what_the_target_is_made_from_is_needed() -> None:
    assert names() == [0, 1, 2, 4]
    assert names("LEFT") == [0, 1]
    assert names("3") == [3]


def test_bases_are_the_images_from_outside_with_the_arguments_in() -> None:
    assert bases(DIAMOND, {}) == ("busybox:1", "tools:2", "app:1")
    assert bases(DIAMOND, {"TAG": "9"}) == ("busybox:9", "tools:2", "app:9")
    assert bases(DIAMOND, {"IMAGE": "x"}, target="right") == ("busybox:1",)
    assert bases(parse(b"FROM scratch\n"), {}) == ()


def test_a_stage_hides_an_image_of_its_name_from_later_stages_alone() -> None:
    assert bases(parse(b"FROM busybox AS busybox\nFROM busybox\n"), {}) == ("busybox",)
    assert bases(parse(b"FROM b\nFROM a AS b\n"), {}, target="0") == ("b",)


def test_from_sees_the_platform_and_no_argument_of_a_stage() -> None:
    assert bases(parse(b"FROM a-$TARGETARCH\n"), {}, "linux/arm64/v8") == ("a-arm64",)
    with pytest.raises(DockerfileError, match=r"FROM: \$x is empty") as caught:
        bases(parse(b"FROM a\nARG x=b\nFROM $x\n"), {"x": "c"})
    assert caught.value.line == 3


def test_platform_arguments_split_the_platform() -> None:
    args = platform_args("linux/arm/v7")
    assert (args["TARGETOS"], args["BUILDARCH"], args["TARGETVARIANT"]) == ("linux", "arm", "v7")


@pytest.mark.parametrize("source", ["later", "2", "1", "7"])
def test_copying_from_a_stage_that_is_not_earlier_is_an_error(source: str) -> None:
    dockerfile = parse(f"FROM a\nFROM b\nCOPY --from={source} x y\nFROM c AS later\n".encode())
    with pytest.raises(DockerfileError, match="expected an earlier stage"):
        bases(dockerfile, {}, target="1")


def test_an_unknown_target_names_those_that_there_are() -> None:
    with pytest.raises(DockerfileError, match="no stage 'x'; there are base, left, right, unused"):
        names("x")
