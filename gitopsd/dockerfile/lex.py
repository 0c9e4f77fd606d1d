"""A Dockerfile as logical lines: directives read, comments gone, continuations joined, heredocs with their line.  [pure]

In: the bytes of a Dockerfile.  Out: `Source`, and the problems found; reading goes on after a problem.

Rule 1: directives (`# escape=`, `# syntax=`, `# check=`) stand before everything else; any other line ends them.
Rule 2: only RUN, COPY and ADD have heredocs, and a heredoc's body is taken as it stands, comments and continuations included.
Rule 3: leading white space is dropped from the first physical line of an instruction only.
Not here: what an instruction means (parse.py).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Optional

from gitopsd.dockerfile.errors import DockerfileError, Problem
from gitopsd.dockerfile.expand import expand_words

MAX_BYTES = 1 << 20
DIRECTIVE = re.compile(r"#\s*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(.+?)\s*")
KNOWN_FRONTEND = re.compile(r"(docker\.io/)?docker/dockerfile(-upstream)?(:[\w.-]+)?(@sha256:[0-9a-f]{64})?")
HEREDOC = re.compile(r"(\d*)<<(-?)([^<]+)")
WITH_HEREDOCS = ("RUN", "COPY", "ADD")
BLANK = " \t\v\f\r"


@dataclass(frozen=True)
class Heredoc:
    name: str
    body: str
    """As it stands, every line with its newline."""
    expand: bool
    """The delimiter was not quoted, so variables in the body count."""
    strip_tabs: bool
    """It began with `<<-`."""

    @property
    def content(self) -> str:
        return re.sub(r"^\t+", "", self.body, flags=re.MULTILINE) if self.strip_tabs else self.body


@dataclass(frozen=True)
class LogicalLine:
    text: str
    line: int
    end_line: int
    heredocs: tuple[Heredoc, ...] = ()


@dataclass(frozen=True)
class Source:
    lines: tuple[LogicalLine, ...]
    escape: str = "\\"


def lex(data: bytes) -> tuple[Source, tuple[Problem, ...]]:
    """The logical lines of a Dockerfile; raises DockerfileError only for bytes that are no text at all."""
    if len(data) > MAX_BYTES:
        raise DockerfileError(f"a Dockerfile has at most {MAX_BYTES} bytes, this one has {len(data)}", 0)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DockerfileError("expected UTF-8", data.count(b"\n", 0, error.start) + 1) from None
    if "\0" in text:
        raise DockerfileError("expected text, found a zero byte", text.count("\n", 0, text.index("\0")) + 1)
    physical = [line.removesuffix("\r") for line in text.split("\n")]
    problems: list[Problem] = []
    at, escape = _directives(physical, problems)
    continuation = re.compile(rf"(^|[^{re.escape(escape)}]){re.escape(escape)}[ \t]*$")
    found: list[LogicalLine] = []
    while at < len(physical):
        first = at
        joined = physical[at].lstrip()
        at += 1
        if not joined or joined.startswith("#"):
            continue
        goes_on = continuation.search(joined)
        joined = continuation.sub(r"\1", joined) if goes_on else joined
        while goes_on and at < len(physical):
            line = physical[at]
            at += 1
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            goes_on = continuation.search(line)
            joined += continuation.sub(r"\1", line) if goes_on else line
        joined = joined.rstrip()
        if not joined:
            continue
        heredocs: list[Heredoc] = []
        for begun in _heredocs_begun(joined, escape):
            at = _read_body(begun, physical, at, first + 1, heredocs, problems)
        found.append(LogicalLine(joined, first + 1, at, tuple(heredocs)))
    return Source(tuple(found), escape), tuple(problems)


def as_heredoc(word: str) -> Optional[Heredoc]:
    """The heredoc that a word such as `<<EOF`, `<<-"EOF"` or `3<<EOF` begins, without a body; None for any other word."""
    match = HEREDOC.fullmatch(word)
    if not match:
        return None
    try:
        names = expand_words(match.group(3), {})
    except DockerfileError:
        return None
    if len(names) != 1 or "\n" in names[0]:
        return None
    return Heredoc(names[0], "", expand=names[0] == match.group(3), strip_tabs=bool(match.group(2)))


def split_words(text: str, escape: str) -> list[str]:
    """The words between white space, with their quotes and escapes still on; white space inside quotes separates nothing."""
    words: list[str] = []
    current = ""
    quote = ""
    characters = iter(text)
    for character in characters:
        if character == escape and quote != "'":
            current += character + next(characters, "")
        elif quote:
            current += character
            quote = "" if character == quote else quote
        elif character.isspace():
            if current:
                words.append(current)
            current = ""
        else:
            current += character
            quote = character if character in "'\"" else ""
    return [*words, current] if current else words


def _directives(physical: list[str], problems: list[Problem]) -> tuple[int, str]:
    """How many lines the directives take, and the escape character."""
    seen: set[str] = set()
    escape = "\\"
    for at, line in enumerate(physical):
        match = DIRECTIVE.fullmatch(line.lstrip())
        name = match.group(1).lower() if match else ""
        if not match or name not in ("escape", "syntax", "check"):
            return at, escape
        value = match.group(2)
        if name in seen:
            problems.append(Problem(f"the directive {name} stands here twice", at + 1))
        seen.add(name)
        if name == "escape":
            if value not in ("\\", "`"):
                problems.append(Problem(f"escape={value}: expected \\ or `", at + 1))
            else:
                escape = value
        elif name == "syntax" and not KNOWN_FRONTEND.fullmatch(value):
            problems.append(Problem(f"syntax={value}: expected docker/dockerfile, no other frontend is there", at + 1))
    return len(physical), escape


def _heredocs_begun(text: str, escape: str) -> list[Heredoc]:
    if text.split(None, 1)[0].upper() not in WITH_HEREDOCS or "<<" not in text:
        return []
    begun = (as_heredoc(word) for word in split_words(text, escape))
    return [heredoc for heredoc in begun if heredoc]


def _read_body(begun: Heredoc, physical: list[str], at: int, line: int, heredocs: list[Heredoc], problems: list[Problem]) -> int:
    """Adds the heredoc with its body, and says at which physical line to go on."""
    body: list[str] = []
    for position in range(at, len(physical)):
        text = physical[position]
        if (text.lstrip("\t") if begun.strip_tabs else text) == begun.name:
            heredocs.append(Heredoc(begun.name, "".join(body), begun.expand, begun.strip_tabs))
            return position + 1
        body.append(text + "\n")
    problems.append(Problem(f"expected a line {begun.name!r} that ends the heredoc", line))
    return len(physical)
