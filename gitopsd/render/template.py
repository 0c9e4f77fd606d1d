"""A stack file that is a Jinja2 template, `*.j2`.

In: the text of a template, the files of its revision, the stack's values.  Out: the text of a stack file.

Rule 1: the sandbox is Jinja2's immutable one, and what is not declared is an error. It does not bound time or memory, so strangers'
templates are rendered in a child that may be killed (child.py).
Rule 2: includes and imports come out of the same revision, by their path from its root, or from the file's own folder when it
begins with a dot.
Rule 3: the same files give the same text: what draws lots (`lipsum`, `random`) or shows an address in memory is not there.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from types import TracebackType
from typing import Any, cast

from jinja2 import FunctionLoader, StrictUndefined, TemplateError, TemplateNotFound, TemplateSyntaxError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from gitopsd.model.errors import Errors, GitopsdError, Where
from gitopsd.render.reading import Reader

_LEFT_OUT_GLOBALS = ("lipsum", "cycler", "joiner")
_LEFT_OUT_FILTERS = ("random", "pprint")


class _Environment(ImmutableSandboxedEnvironment):
    def join_path(self, template: str, parent: str) -> str:
        if template.startswith(("./", "../")):
            return posixpath.normpath(posixpath.join(posixpath.dirname(parent), template))
        return template


def render_template(path: str, reader: Reader, values: Mapping[str, Any]) -> str:
    """The text that the template at `path` gives; Errors with file and line otherwise. `values` holds all of them by that name."""
    kept: list[GitopsdError] = []

    def load(name: str) -> tuple[str, str, None] | None:
        try:
            return reader.text(name), name, None
        except GitopsdError as error:
            kept.append(error)
            return None

    environment = _Environment(loader=FunctionLoader(cast("Any", load)), undefined=StrictUndefined, keep_trailing_newline=True)
    for name in _LEFT_OUT_GLOBALS:
        del environment.globals[name]
    for name in _LEFT_OUT_FILTERS:
        del environment.filters[name]
    # As globals, so that macros that are imported see them too.
    cast("dict[str, Any]", environment.globals).update({"values": dict(values), **values})
    try:
        return environment.get_template(path).render()
    except TemplateNotFound as error:
        raise Errors([_not_found(error, kept, path)]) from None
    except TemplateSyntaxError as error:
        where = Where(error.filename or error.name or path, error.lineno)
        raise Errors([GitopsdError("bad-template", _clause(error.message or "is no template"), where)]) from None
    except RecursionError:
        raise Errors([GitopsdError("template-cycle", "includes itself without end", Where(file=path))]) from None
    except MemoryError:
        raise Errors([GitopsdError("too-large", "needs too much memory to render", Where(file=path))]) from None
    except Exception as error:  # noqa: BLE001  an expression of a stranger may raise anything
        file, line = _place(error.__traceback__, path)
        raise Errors([_failed(error, Where(file, line))]) from None


def _not_found(error: TemplateNotFound, kept: list[GitopsdError], path: str) -> GitopsdError:
    file, line = _place(error.__traceback__, path)
    if kept:
        return GitopsdError(kept[-1].code, kept[-1].message, Where(file, line), kept[-1].hint)
    return GitopsdError("no-such-file", f"there is no {error.name} in this commit", Where(file, line))


def _failed(error: Exception, where: Where) -> GitopsdError:
    message = _clause(str(error) or type(error).__name__)
    if isinstance(error, TemplateError) and "is undefined" in message:
        return GitopsdError("undeclared-value", message.replace("is undefined", "is not declared"), where, _HOW_TO)
    return GitopsdError("bad-template", message, where)


_HOW_TO = "declare it in the fleet file, under the stack's values, or use the filter default(…)"


def _clause(text: str) -> str:
    text = "".join(character if character.isprintable() else " " for character in text).rstrip(". ")[:300]
    return text[:1].lower() + text[1:] if text[1:2].islower() else text


def _place(trace: TracebackType | None, path: str) -> tuple[str, int | None]:
    """The innermost line of a template: Jinja2 puts the template's name and line into the traceback."""
    found: tuple[str, int | None] = (path, None)
    while trace:
        if "__jinja_exception__" in trace.tb_frame.f_globals:
            found = (trace.tb_frame.f_code.co_filename, trace.tb_lineno)
        trace = trace.tb_next
    return found
