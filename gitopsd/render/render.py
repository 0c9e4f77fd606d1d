"""A revision to what it says: the fleet and each of its stacks.

In: a Revision.  Out: `Rendered`.

Rule 1: a stack file that is wrong blocks its stack and no other; a fleet file that is wrong is an error for all, and nothing moves.
Rule 2: all errors of a file are reported together.

This runs in the process that calls it. Strangers' files go through `Renderer` (pool.py), which does the same in a child with limits.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from gitopsd.model.errors import Errors, GitopsdError, Where
from gitopsd.model.fleet import Fleet, StackEntry
from gitopsd.model.rendered import Rendered
from gitopsd.model.revision import Revision, Tree
from gitopsd.model.stack import BlockedStack, Stack
from gitopsd.render.compose import read_stack
from gitopsd.render.fleet import FLEET_FILE, read_fleet, values_of
from gitopsd.render.interpolate import interpolate
from gitopsd.render.locate import LARGEST_BYTES, parse_yaml
from gitopsd.render.reading import Place, Reader
from gitopsd.render.schema.form import errors_of
from gitopsd.render.schema.stack import StackFile
from gitopsd.render.template import render_template

TEMPLATE = ".j2"
_BEGIN = "it lies at the root of the repository; README.md, A first fleet, has one to begin with, docs/fleet-file.md every key"


def render(revision: Revision) -> Rendered:
    """The fleet and stacks of a revision. Raises Errors when the fleet file is wrong."""
    fleet = render_fleet(revision.tree)
    stacks: list[Stack] = []
    blocked: list[BlockedStack] = []
    for entry in fleet.stacks:
        try:
            stacks.append(render_stack(revision.tree, entry))
        except Errors as error:
            blocked.append(BlockedStack(entry.name, tuple(str(each) for each in error.errors)))
    return Rendered(fleet, tuple(stacks), tuple(blocked))


def render_fleet(tree: Tree, listen: str = "") -> Fleet:
    """The fleet file of a tree; Errors when it is missing or wrong."""
    try:
        text = Reader(tree).text(FLEET_FILE)
    except GitopsdError as error:
        if error.code == "no-such-file":
            error.hint = _BEGIN
        raise Errors([error.at(Where(file=FLEET_FILE))]) from None
    return read_fleet(text, listen=listen)


def render_stack(tree: Tree, entry: StackEntry) -> Stack:
    """One stack of a tree; Errors with all that is wrong with its file."""
    reader = Reader(tree)
    values = values_of(entry)
    try:
        text = stack_text_of(reader, entry)
    except GitopsdError as error:
        if error.code not in ("too-large", "bad-text"):
            error.where = replace(entry.where, key=f"stacks.{entry.name}.file")
        raise Errors([error]) from None
    try:
        stack = _read(text, entry, values, reader)
    except Errors as caught:
        if entry.file.endswith(TEMPLATE):
            for error in caught.errors:
                if error.where.file != entry.file:
                    continue
                line = f"line {error.where.line} is of what the template gave; gitopsd render --text shows it"
                error.hint = f"{error.hint}; {line}" if error.hint else line
        raise
    return replace(stack, hosts=entry.hosts, constraints=entry.constraints, read=reader.files)


def _read(text: str, entry: StackEntry, values: Mapping[str, Any], reader: Reader) -> Stack:
    place = Place(entry.file, parse_yaml(text, entry.file))
    place.node = interpolate(place.node, values, entry.file, place.errors)
    # What could not be filled in is not judged any further: the same key would be wrong a second time.
    left_out = tuple(error.where.key or "" for error in place.errors)
    form = _form(place)
    stack = read_stack(form, entry.name, values, place, reader) if form else None
    if not stack or place.errors:
        filled = place.errors[len(left_out) :]
        place.errors[len(left_out) :] = [error for error in filled if not (error.where.key or "").startswith(left_out)]
        raise place.all_errors()
    return stack


def _form(place: Place) -> StackFile | None:
    """The file's form. With errors in it, the form of what is right, so that what is wrong elsewhere is found as well; None if
    that cannot be told apart."""
    plain = place.node.plain()
    try:
        return StackFile.model_validate(plain)
    except ValidationError as caught:
        place.errors += errors_of(caught, StackFile, place.node, place.file)
        paths = {error["loc"][:3] for error in caught.errors(include_url=False)}
    if any(path in ((), ("services",), ("networks",), ("volumes",)) for path in paths):
        return None
    for section, *rest in sorted(paths, key=str):
        if not rest:
            plain.pop(section, None)
            continue
        members, name, key = plain[section], rest[0], rest[1:]
        if not key or not isinstance(members.get(name), dict):
            members.pop(name, None)
        else:
            members[name].pop(key[0], None)
            if key[0] in ("image", "build"):
                members[name].setdefault("image", "left.out")
    try:
        return StackFile.model_validate(plain)
    except ValidationError:
        return None


def validate(tree: Tree, file: str) -> tuple[GitopsdError, ...]:
    """All that is wrong with a file: with the fleet file, and all stacks it lists, or with one stack file. The latter gets the values
    that the fleet file declares for it, if it does; () when all is well."""
    try:
        fleet = render_fleet(tree)
    except Errors as caught:
        if file == FLEET_FILE:
            return caught.errors
        fleet = None
    listed = [entry for entry in fleet.stacks if file in (FLEET_FILE, entry.file)] if fleet else []
    if not listed and file != FLEET_FILE:
        name = posixpath.basename(file).split(".")[0].lower()
        listed = [StackEntry(name, file, where=Where(file))]
    errors: list[GitopsdError] = []
    for entry in listed:
        try:
            render_stack(tree, entry)
        except Errors as caught:
            errors += caught.errors
    return tuple(errors)


def filled_text(tree: Tree, entry: StackEntry) -> str:
    """The text of a stack file after its template was filled in: what the lines of errors in a template are of."""
    return stack_text_of(Reader(tree), entry)


def stack_text_of(reader: Reader, entry: StackEntry) -> str:
    """The text of a stack file, after its template was filled in if it is one."""
    if entry.file.endswith(TEMPLATE):
        reader.check_file(entry.file)
        text = render_template(entry.file, reader, values_of(entry))
        if len(text) > LARGEST_BYTES:
            raise GitopsdError(
                "too-large", f"becomes {len(text)} characters long; at most {LARGEST_BYTES} are read", Where(entry.file)
            )
        return text
    return reader.text(entry.file)
