from __future__ import annotations

from gitopsd.pin.key import image_key

GIVEN = {
    "tree": "4b825dc642cb6eb9a060e54bf8d69288fbee4904",
    "dockerfile": "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391",
    "args": (("VERSION", "1"), ("EMPTY", "")),
    "platform": "linux/amd64",
    "bases": (("busybox:stable", "sha256:" + "1" * 64),),
    "salt": "again",
}


def test_everything_that_goes_into_an_image_changes_its_key():
    changed = {
        "tree": "5b825dc642cb6eb9a060e54bf8d69288fbee4904",
        "dockerfile": "f69de29bb2d1d6434b8b29ae775ad8c2e48c5391",
        "args": (("VERSION", "2"), ("EMPTY", "")),
        "platform": "linux/arm64",
        "bases": (("busybox:stable", "sha256:" + "2" * 64),),
        "salt": "once more",
        "target": "tests",
    }
    keys = {image_key(**{**GIVEN, name: value}) for name, value in changed.items()}
    assert len(keys | {image_key(**GIVEN)}) == len(changed) + 1


def test_an_empty_argument_is_not_one_that_was_left_out():
    assert image_key(**{**GIVEN, "args": (("VERSION", "1"),)}) != image_key(**GIVEN)


def test_the_order_of_arguments_and_bases_is_nothing():
    assert image_key(**{**GIVEN, "args": GIVEN["args"][::-1]}) == image_key(**GIVEN)
