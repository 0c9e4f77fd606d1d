"""Which files of a build context .dockerignore leaves out.  [pure]

In: the text of a .dockerignore.  Out: `Ignore`, that says of a path whether it is left out.

Rule 1: the last pattern that matches a path or a folder above it decides; `!` in front of it takes the path in again.
Rule 2: `*` and `?` stop at `/`; `**` with the `/` after it is any number of folders, at the end everything below.
Rule 3: patterns come from strangers, so matching one takes no more than quadratic time: what a star took is not given back
(a lookahead that is then repeated, since `re` has atomic groups from 3.11 on only). What follows a star can match again
later, so the first fit is as good as any.

Semantics are those of moby's patternmatcher, odd corners included: `**name` with nothing wild in `name` is a plain suffix.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from gitopsd.dockerfile.errors import DockerfileError

MAX_PATTERNS = 4096
MAX_PATTERN = 4096
MAX_TRIED_AGAIN = 3
WILD = frozenset("*?[\\")


def names_for(dockerfile: str) -> tuple[str, str]:
    """Where the patterns for a Dockerfile may stand in the context; the first that exists counts, alone."""
    return (f"{dockerfile}.dockerignore", ".dockerignore")


def parse_ignore(data: bytes) -> Ignore:
    """The patterns of a .dockerignore; raises DockerfileError with the line of a pattern that is none."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DockerfileError(".dockerignore: expected UTF-8", data.count(b"\n", 0, error.start) + 1) from None
    patterns: list[_Pattern] = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.startswith("#") or not line.strip():
            continue
        line = line.strip()
        keeps = line.startswith("!")
        pattern = _cleaned(line[1:].strip() if keeps else line)
        if keeps and not pattern:
            raise DockerfileError(".dockerignore: expected a pattern after '!'", number)
        if len(pattern) > MAX_PATTERN or len(patterns) >= MAX_PATTERNS:
            raise DockerfileError(f".dockerignore: expected at most {MAX_PATTERNS} patterns of {MAX_PATTERN} characters", number)
        patterns.append(_Pattern(_Translation(pattern, number, prefix=f"p{number}_").regex(), keeps))
    return Ignore(patterns)


def name_pattern(pattern: str) -> re.Pattern[str]:
    """The wildcards that COPY knows, for one name; to be used with `match`. A `**` is no more than a `*` there."""
    return _Translation(re.sub(r"(?<!\\)\*+", "*", pattern), 0, "COPY").regex()


@dataclass(frozen=True)
class _Pattern:
    regex: re.Pattern[str]
    keeps: bool


class Ignore:
    """The patterns of one .dockerignore. Paths are relative to the context, with `/`, without a `.` in front."""

    def __init__(self, patterns: Iterable[_Pattern] = ()) -> None:
        self._patterns = tuple(patterns)
        self._any = re.compile("|".join(f"(?:{pattern.regex.pattern})" for pattern in self._patterns) or "(?!)", re.DOTALL)
        """Most paths match nothing, and one look says so."""
        self._decided: dict[str, int] = {"": -1}
        """Folder to the number of the last pattern that matches it or one above it."""

    def leaves_out(self, path: str) -> bool:
        decided = self._last(path)
        return decided >= 0 and not self._patterns[decided].keeps

    def may_keep_below(self, folder: str) -> bool:
        """Whether something below a folder that is left out might still be taken in, so that it has to be looked through."""
        return any(pattern.keeps for pattern in self._patterns[max(self._last(folder), 0) :])

    def _last(self, path: str) -> int:
        folder = path.rpartition("/")[0]
        above = self._decided.get(folder)
        if above is None:
            above = self._decided[folder] = self._last(folder)
        if not self._any.match(path):
            return above
        for number in range(len(self._patterns) - 1, above, -1):
            if self._patterns[number].regex.match(path):
                return number
        return above


def _cleaned(pattern: str) -> str:
    """Without `.`, `..` and doubled or closing slashes, relative to the context."""
    kept: list[str] = []
    for part in pattern.split("/"):
        if part == ".." and kept and kept[-1] != "..":
            kept.pop()
        elif part not in ("", ".", "..") or (part == ".." and not pattern.startswith("/")):
            kept.append(part)
    return "/".join(kept) or ("." if pattern else "")


ANY_NAME = "[^/]*?"
ANY_FOLDERS = "(?:.*?/)??"
ALL_THE_REST = ".*"


@dataclass
class _Piece:
    """A star, or none, and what has to follow it."""

    star: str = ""
    text: str = ""
    has_slash: bool = False
    ends_in_slash: bool = False


class _Translation:
    """One pattern on its way to a regular expression; `at` is the next character to read."""

    def __init__(self, pattern: str, line: int, what: str = ".dockerignore", prefix: str = "") -> None:
        self.pattern = pattern
        self.line = line
        self.what = what
        self.prefix = prefix
        """Of its groups' names, which differ from those of other patterns so that they can stand in one expression."""
        self.at = 0
        self.groups = 0

    def error(self, expected: str) -> DockerfileError:
        return DockerfileError(f"{self.what}: pattern {self.pattern!r}: {expected}", self.line)

    def regex(self) -> re.Pattern[str]:
        if self.pattern.startswith("**") and not WILD.intersection(self.pattern[2:]):
            suffix = self.pattern[2:]
            whole = f"|{re.escape(suffix[1:])}" if suffix.startswith("/") else ""
            return re.compile(f"(?:.*{re.escape(suffix)}{whole})\\Z", re.DOTALL)
        runs = [[_Piece()]]
        while self.at < len(self.pattern):
            star = self.star()
            if star == ANY_NAME:
                runs[-1].append(_Piece(star))
            elif star:
                runs.append([_Piece(star)])
            else:
                piece = runs[-1][-1]
                piece.ends_in_slash = self.pattern[self.at] == "/"
                piece.has_slash = piece.has_slash or piece.ends_in_slash
                piece.text += self.character()
        return re.compile(self.joined(runs) + r"\Z", re.DOTALL)

    def star(self) -> str:
        """What the stars here stand for: a part of a name, folders, or all the rest; empty where there is none."""
        if not self.pattern.startswith("*", self.at):
            return ""
        if not self.pattern.startswith("**", self.at):
            self.at += 1
            return ANY_NAME
        self.at += 3 if self.pattern.startswith("**/", self.at) else 2
        return ANY_FOLDERS if self.at < len(self.pattern) else ALL_THE_REST

    def joined(self, runs: list[list[_Piece]]) -> str:
        """The expression, with first fits kept. A run is a `**` with everything up to the next one; between slashes it spans
        a fixed number of names, so its first fit ends first, and the next `**` makes up for the rest. The same goes for a `*`
        before another `*` in one name. A `*` whose text has a slash fits in one way only. What is left to try is bounded."""
        whole = ""
        tried_again = 0
        for number, run in enumerate(runs):
            text = ""
            for position, piece in enumerate(run):
                part = piece.star + piece.text
                is_kept = piece.star == ANY_NAME and not piece.has_slash and position + 1 < len(run)
                text += self.kept(part) if is_kept else part
            last = run[-1]
            if number + 1 == len(runs):
                whole += text
            elif runs[number + 1][0].star == ALL_THE_REST or last.ends_in_slash or (last.star == ANY_FOLDERS and not last.text):
                whole += self.kept(text)
            else:
                whole += text
                tried_again += 1
        if tried_again > MAX_TRIED_AGAIN:
            raise self.error(f"expected at most {MAX_TRIED_AGAIN} times '**' right after a name")
        return whole

    def kept(self, text: str) -> str:
        self.groups += 1
        name = f"{self.prefix}g{self.groups}"
        return f"(?=(?P<{name}>{text}))(?P={name})"

    def character(self) -> str:
        character = self.pattern[self.at]
        self.at += 1
        if character == "?":
            return "[^/]"
        if character == "[":
            return self.character_class()
        return re.escape(self.escaped() if character == "\\" else character)

    def escaped(self) -> str:
        if self.at >= len(self.pattern):
            raise self.error("expected a character after the backslash")
        self.at += 1
        return self.pattern[self.at - 1]

    def character_class(self) -> str:
        """`[abc]`, `[a-z]`, `[^a]`; as in Go, a `-` or `]` of its own needs a backslash. A slash is never in one."""
        is_negated = self.pattern.startswith("^", self.at)
        self.at += 1 if is_negated else 0
        ranges: list[str] = []
        is_first = True
        while is_first or not self.pattern.startswith("]", self.at):
            is_first = False
            low = high = self.class_character()
            if self.pattern.startswith("-", self.at):
                self.at += 1
                high = self.class_character()
            if low <= high:
                ranges.append(f"{re.escape(low)}-{re.escape(high)}")
        self.at += 1
        if not ranges:
            return "[^/]" if is_negated else "(?!)"
        return f"(?!/)[{'^' if is_negated else ''}{''.join(ranges)}]"

    def class_character(self) -> str:
        character = self.pattern[self.at : self.at + 1]
        self.at += 1
        if character == "\\":
            return self.escaped()
        if character in ("", "-", "]"):
            raise self.error("expected a character class such as [a-z]")
        return character
