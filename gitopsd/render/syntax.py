"""What libyaml says of a file that is no YAML, in words for people.  [pure]

In: its error and the text.  Out: the error with line, column and what to do.

Rule: of the text nothing but the one character that is wrong is shown; the rest may be a secret.
"""

from __future__ import annotations

from typing import Any, cast

import yaml

from gitopsd.model.errors import GitopsdError, Where

_SPACES = "indent with spaces, the keys of one mapping alike"
_QUOTES = "put a text that has a colon or a sign in it into quotes"
_WORDS: dict[str, tuple[str, str | None]] = {
    "did not find expected '-' indicator": (
        "this line stands where the list that begins in line {began} would go on, and has no `- `",
        "indent with spaces, the items of one list alike; a key that follows stands further left",
    ),
    "mapping values are not allowed in this context": ("a `: ` where no key can stand", f"{_QUOTES}, or check the indentation"),
    "could not find expected ':'": ("line {began} has neither a `:` after a key nor a `- ` before an item", "write key: value"),
    "found unexpected end of stream": ("a text in quotes begins here and does not end", "close it with the quote that opens it"),
    "did not find expected ',' or ']'": ("the list that begins with [ in line {began} does not end", "put a ] at its end"),
    "did not find expected ',' or '}'": ("the mapping that begins with {{ in line {began} does not end", "put a }} at its end"),
    "did not find expected node content": ("a value is expected here", None),
    "block sequence entries are not allowed in this context": ("a `- ` behind a key", "begin the list on the next line"),
    "found unknown escape character": (
        "a backslash in a text in double quotes, and no escape of YAML's",
        "use single quotes: in them a backslash is a backslash",
    ),
    "did not find expected alphabetic or numeric character": ("a * or & without a name", "put a text that begins so into quotes"),
    "did not find expected comment or line break": (
        "text behind the | or > that begins a block",
        "begin the text on the next line",
    ),
    "did not find expected <document start>": ("this line is indented otherwise than the first one", _SPACES),
    "found undefined tag handle": ("a tag that begins with !…! is not declared", "put a text that begins with ! into quotes"),
    "found incompatible YAML document": ("another version of YAML; expected 1.1 or 1.2", "leave the %YAML line out"),
}


def syntax_error(error: yaml.YAMLError, text: str, file: str) -> GitopsdError:
    """The error at its line, worded by what stands there."""
    if not isinstance(error, yaml.MarkedYAMLError):
        return GitopsdError(
            "bad-yaml", "has characters that YAML does not allow", Where(file), "control characters have no place in it"
        )
    mark, began = cast("Any", error.problem_mark or error.context_mark), cast("Any", error.context_mark)
    if mark is None:
        return GitopsdError("bad-yaml", str(error.problem or error.context), Where(file))
    line, column = int(mark.line), int(mark.column)
    problem = str(error.problem or error.context)
    lines = text.split("\n")
    written = lines[line].rstrip("\r") if line < len(lines) else ""
    message, hint = _worded(problem, written, column)
    if problem == "found unexpected end of stream" and began is not None:
        line, column = int(began.line), int(began.column)
    first = int(began.line) + 1 if began is not None else line + 1
    return GitopsdError("bad-yaml", f"{message.format(began=first)} (column {column + 1})", Where(file, line + 1), hint)


def _worded(problem: str, written: str, column: int) -> tuple[str, str | None]:
    sign = written[column : column + 1]
    if "tab" in problem or (sign == "\t" and "cannot start any token" in problem):
        return "a tab stands in the indentation", "indent with spaces; YAML allows no tabs there"
    if "cannot start any token" in problem:
        return f"no value can begin with {_escaped(sign)}", "put the value into quotes"
    if problem == "did not find expected key":
        if written[:column].strip():
            return (
                "text behind a value that has ended",
                "put the whole value into quotes, or a comma or a new line before the text",
            )
        return "this line is indented otherwise than the mapping that it stands in, which begins in line {began}", _SPACES
    message, hint = _WORDS.get(problem, (f"{_escaped(problem)}, says the YAML reader", None))
    return message, hint.format() if hint else None


def _escaped(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")
