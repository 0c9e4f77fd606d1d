"""YAML to values that know where they stand.  [pure]

In: text.  Out: `Node`s, each with its line, and of each key its line; or all that is wrong with it as YAML.

Rule 1: scalars are those of YAML 1.2's core schema, without octal: `yes`, `0755`, `12:30:45` and `2020-01-01` are texts, which is what
Compose files mean by them. A number keeps the text it was written as, since `1.10` in an environment is not 1.1.
Rule 2: a stranger's file costs no more than its caps: size, depth, and nodes after aliases were followed (a YAML bomb is small
until it is walked). So events are read from libyaml, and an alias adds the size of what it stands for.
Rule 3: an error names positions and keys, never what else the file holds.

`<<` merges as Compose says. Other tags than YAML's own (`!reset`) are not there yet.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, cast

import yaml

from gitopsd.model.errors import Errors, GitopsdError, Where
from gitopsd.render.syntax import syntax_error

LARGEST_BYTES = 1024 * 1024
_DEEPEST = 50
_MOST_NODES = 100_000

_NULL = re.compile(r"~|null|Null|NULL|")
_BOOLEAN = re.compile(r"true|True|TRUE|false|False|FALSE")
_WHOLE = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_REAL = re.compile(r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_YAML = "tag:yaml.org,2002:"


class WrittenInt(int):
    """A whole number and how it was written."""

    text: str

    @classmethod
    def of(cls, text: str) -> WrittenInt:
        number = cls(text)
        number.text = text
        return number


class WrittenFloat(float):
    """A number with a point or exponent, and how it was written."""

    text: str

    @classmethod
    def of(cls, text: str) -> WrittenFloat:
        number = cls(text)
        number.text = text
        return number


@dataclass(frozen=True)
class Node:
    """A value at its place. `value` of a mapping is `{key: Node}`, of a list `[Node]`, else None, bool, number or str."""

    value: Any
    line: int
    size: int = 1
    """Nodes in it, counting what aliases stand for each time."""
    is_plain: bool = False
    """A scalar without quotes."""
    key_lines: dict[str, int] = field(default_factory=dict[str, int])

    @property
    def is_mapping(self) -> bool:
        return isinstance(self.value, dict)

    @property
    def is_list(self) -> bool:
        return isinstance(self.value, list)

    @property
    def mapping(self) -> dict[str, Node]:
        """Its members; {} if it is no mapping."""
        return cast("dict[str, Node]", self.value) if self.is_mapping else {}

    @property
    def items(self) -> list[Node]:
        """Its items; [] if it is no list."""
        return cast("list[Node]", self.value) if self.is_list else []

    def plain(self) -> Any:
        """The value without places."""
        if self.is_mapping:
            return {key: node.plain() for key, node in self.mapping.items()}
        if self.is_list:
            return [node.plain() for node in self.items]
        return self.value

    def line_of(self, path: tuple[str | int, ...]) -> int:
        """The line of what `path` names, or of the last of it that is there: of a mapping's member the line of its key."""
        node, line = self, self.line
        for part in path:
            if part in node.mapping:
                line = node.key_lines[str(part)]
                node = node.mapping[str(part)]
            elif isinstance(part, int) and part < len(node.items):
                node = node.items[part]
                line = node.line
        return line


def parse_yaml(text: str, file: str) -> Node:
    """The one document of `text`; Errors with everything that is wrong with it."""
    reader = _Reader(text, file)
    try:
        node = reader.document()
    except yaml.YAMLError as error:
        raise Errors([*reader.errors, syntax_error(error, text, file)]) from None
    except _CapError as error:
        raise Errors([*reader.errors, error.args[0]]) from None
    if reader.errors:
        raise Errors(reader.errors)
    return node


def resolve(text: str) -> Any:
    """What a plain scalar means."""
    if _NULL.fullmatch(text):
        return None
    if _BOOLEAN.fullmatch(text):
        return text.lower() == "true"
    if len(text) <= 40:  # longer ones are texts to people, and take Python quadratic time
        if _WHOLE.fullmatch(text):
            return WrittenInt.of(text)
        if _REAL.fullmatch(text):
            return WrittenFloat.of(text)
    return text


class _CapError(Exception):
    """A cap was met; reading ends there."""


class _Reader:
    """Builds nodes out of libyaml's events. Errors that are not about syntax are collected, and reading goes on."""

    def __init__(self, text: str, file: str) -> None:
        self.errors: list[GitopsdError] = []
        self._file = file
        self._loader: Any = yaml.CSafeLoader(text)
        self._anchors: dict[str, Node | None] = {}
        self._nodes = 0

    def document(self) -> Node:
        self._take(yaml.StreamStartEvent)
        if not self._loader.check_event(yaml.DocumentStartEvent):
            return Node(None, 1)
        self._take(yaml.DocumentStartEvent)
        node = self._node(0)
        self._take(yaml.DocumentEndEvent)
        if self._loader.check_event(yaml.DocumentStartEvent):
            self._say("several-documents", self._line(self._loader.peek_event()), "a second document begins; expected one")
        return node

    def _take(self, kind: type[yaml.Event]) -> Any:
        event = self._loader.get_event()
        assert isinstance(event, kind), event
        return event

    def _node(self, depth: int) -> Node:
        event: Any = self._loader.get_event()
        if isinstance(event, yaml.AliasEvent):
            return self._alias(str(event.anchor), self._line(event))
        if depth > _DEEPEST:
            raise _CapError(self._error("too-deep", self._line(event), f"values stand more than {_DEEPEST} levels deep"))
        if event.anchor:
            self._anchors[event.anchor] = None
        if isinstance(event, yaml.ScalarEvent):
            node = self._scalar(event)
        elif isinstance(event, yaml.SequenceStartEvent):
            node = self._sequence(event, depth)
        else:
            node = self._mapping(event, depth)
        if event.anchor:
            self._anchors[event.anchor] = node
        return node

    def _count(self, more: int, line: int) -> None:
        self._nodes += more
        if self._nodes > _MOST_NODES:
            what = f"more than {_MOST_NODES} values, aliases followed"
            raise _CapError(self._error("too-large", line, what))

    def _alias(self, anchor: str, line: int) -> Node:
        node = self._anchors.get(anchor)
        if node is None:
            inside = anchor in self._anchors
            what = f"alias *{anchor} stands inside of what it names" if inside else f"alias *{anchor} names nothing before it"
            self._say("bad-alias", line, what)
            return Node(None, line)
        self._count(node.size, line)
        return node

    def _scalar(self, event: Any) -> Node:
        line = self._line(event)
        self._count(1, line)
        text = cast("str", event.value)
        if event.tag and event.tag != "!":
            return Node(self._tagged(str(event.tag), text, line), line)
        is_plain = event.style is None or event.style == ""
        if is_plain and not event.tag:
            return Node(resolve(text), line, is_plain=True)
        return Node(text, line)

    def _tagged(self, tag: str, text: str, line: int) -> Any:
        if tag == _YAML + "str":
            return text
        value = resolve(text)
        kinds: dict[str, Any] = {"null": type(None), "bool": bool, "int": int, "float": (int, float)}
        kind = kinds.get(tag.removeprefix(_YAML))
        if kind is None:
            self._unknown_tag(tag, line)
        elif not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            self._say("wrong-type", line, f"the value is not what its tag !!{tag.removeprefix(_YAML)} says")
        return value

    def _unknown_tag(self, tag: str, line: int) -> None:
        shown = tag.replace(_YAML, "!!")[:40]
        if tag in ("!reset", "!override"):
            self._say("not-there-yet", line, f"tag {shown} is not there yet")
        else:
            self._say("unknown-tag", line, f"tag {shown} is not one of YAML's own")

    def _sequence(self, event: Any, depth: int) -> Node:
        line = self._line(event)
        self._count(1, line)
        if event.tag and event.tag not in ("!", _YAML + "seq"):
            self._unknown_tag(str(event.tag), line)
        items: list[Node] = []
        while not self._loader.check_event(yaml.SequenceEndEvent):
            items.append(self._node(depth + 1))
        self._loader.get_event()
        return Node(items, line, 1 + sum(item.size for item in items))

    def _mapping(self, event: Any, depth: int) -> Node:
        line = self._line(event)
        self._count(1, line)
        if event.tag and event.tag not in ("!", _YAML + "map"):
            self._unknown_tag(str(event.tag), line)
        members: dict[str, Node] = {}
        lines: dict[str, int] = {}
        merges: list[Node] = []
        while not self._loader.check_event(yaml.MappingEndEvent):
            key_event: Any = self._loader.peek_event()
            key_line = self._line(key_event)
            if not isinstance(key_event, yaml.ScalarEvent):
                self._node(depth + 1)
                self._node(depth + 1)
                self._say("bad-key", key_line, "a key is not a text")
                continue
            key = cast("str", self._loader.get_event().value)
            node = self._node(depth + 1)
            if key == "<<":
                merges.append(node)
            elif key in members:
                self._say("duplicate-key", key_line, f"stands here and in line {lines[key]}", key)
            else:
                members[key], lines[key] = node, key_line
        self._loader.get_event()
        for merge in merges:
            self._merge(members, lines, merge)
        return Node(members, line, 1 + sum(node.size for node in members.values()), key_lines=lines)

    def _merge(self, members: dict[str, Node], lines: dict[str, int], merge: Node) -> None:
        """What `<<` names comes in under the keys that are not there yet; of several, the first wins."""
        for source in merge.items if merge.is_list else [merge]:
            if not source.is_mapping:
                self._say("wrong-type", merge.line, "<< names something that is no mapping")
                continue
            for key, node in source.mapping.items():
                if key not in members:
                    members[key], lines[key] = node, source.key_lines[key]

    @staticmethod
    def _line(event: Any) -> int:
        return cast("int", event.start_mark.line) + 1

    def _error(self, code: str, line: int, message: str, key: str | None = None) -> GitopsdError:
        return GitopsdError(code, message, Where(self._file, line, key))

    def _say(self, code: str, line: int, message: str, key: str | None = None) -> None:
        self.errors.append(self._error(code, line, message, key))
