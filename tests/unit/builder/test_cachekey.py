"""What the key of a step depends on."""

import itertools

from gitopsd.engine.builder.cachekey import chain_of, key_of

A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64


def test_the_chain_names_layers_in_their_order() -> None:
    assert chain_of([]) == ""
    assert chain_of([A]) == A
    assert len({chain_of(order) for order in ([A], [B], [A, B], [B, A])}) == 4


def test_whatever_can_change_the_result_changes_the_key() -> None:
    base = {
        "kind": "run",
        "below": A,
        "platform": "linux/amd64",
        "arguments": ("a", "b"),
        "environment": ("X=1",),
        "directory": "/",
        "user": "",
    }
    changes = [
        {},
        {"kind": "copy"},
        {"below": B},
        {"platform": "linux/arm64"},
        {"arguments": ("a b",)},
        {"arguments": ("a", "b", "")},
        {"environment": ("X=2",)},
        {"environment": ("X=1", "Y=")},
        {"directory": "/x"},
        {"user": "x"},
    ]
    keys = [key_of(**{**base, **change}) for change in changes]
    assert all(first != second for first, second in itertools.combinations(keys, 2))
    assert keys[0] == key_of(**base)


def test_a_key_can_name_a_file() -> None:
    assert len(key_of("run", A, "p", path="../\udc80")) == 64
