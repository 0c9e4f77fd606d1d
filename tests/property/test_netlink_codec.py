"""What holds for every netlink message."""

from __future__ import annotations

import contextlib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gitopsd.engine.kernel.netlink import attributes, messages
from gitopsd.engine.kernel.netlink.attributes import Tree
from gitopsd.engine.kernel.netlink.messages import Message

KINDS = st.integers(0, 0x3FFF)
TREES: st.SearchStrategy[Tree] = st.recursive(
    st.lists(st.tuples(KINDS, st.binary(max_size=40)), max_size=5).map(tuple),
    lambda inner: st.lists(st.tuples(KINDS, st.one_of(st.binary(max_size=40), inner)), max_size=5).map(tuple),
    max_leaves=12,
)


def same(tree: Any, data: bytes) -> bool:
    found = attributes.pairs(data)
    return len(found) == len(tree) and all(
        kind == found_kind and (same(value, there) if isinstance(value, tuple) else value == there)
        for (kind, value), (found_kind, there) in zip(tree, found)  # noqa: B905  strict came with 3.10; the lengths were compared
    )


@given(TREES)
def test_what_is_encoded_is_read_back(tree: Tree) -> None:
    assert same(tree, attributes.encode(tree))


@given(TREES)
def test_a_tree_without_doubles_is_held_by_its_own_bytes(tree: Tree) -> None:
    def unique(items: Any) -> Any:
        return tuple((kind, unique(value) if isinstance(value, tuple) else value) for kind, value in dict(items).items())

    assert attributes.holds(attributes.encode(unique(tree)), unique(tree))


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for read in (attributes.pairs, lambda given: list(messages.split(given))):
        with contextlib.suppress(ValueError):
            read(data)


@given(st.lists(st.tuples(st.integers(0, 65535), st.integers(0, 65535), st.integers(0, 2**32 - 1), st.binary(max_size=50))))
def test_messages_sent_together_are_told_apart(parts: list[tuple[int, int, int, bytes]]) -> None:
    data = b"".join(messages.encode(*part) for part in parts)

    assert list(messages.split(data)) == [Message(kind, flags, sequence, 0, body) for kind, flags, sequence, body in parts]


@given(st.binary(max_size=80), st.integers(0, 65535))
def test_any_error_message_is_read(body: bytes, flags: int) -> None:
    messages.read_error(Message(messages.ERROR, flags, 1, 0, body), "do something")
