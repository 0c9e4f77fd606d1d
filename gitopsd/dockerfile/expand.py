"""Variables, quotes and escapes in a word of a Dockerfile.  [pure]

In: a word and the variables in scope.  Out: the word as the instruction means it, or the several words it became.

The forms are those of the Dockerfile reference, not all of a shell's: `$v ${v} ${v:-d} ${v-d} ${v:+a} ${v+a} ${v:?e} ${v?e}
${v#p} ${v##p} ${v%p} ${v%%p} ${v/p/r} ${v//p/r}`. An unset variable is empty. In patterns `*` and `?` are wild, nothing else.
They are matched by following all positions at once, so that none can take exponential time.
Not here: which parts of which instruction are expanded (instructions.py, `expanded`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Optional

from gitopsd.dockerfile.errors import DockerfileError

SPECIAL_PARAMETERS = "@*#?-$!"
MAX_DEPTH = 32
MAX_EXPANDED = 1 << 20
MAX_PATTERN_WORK = 2_000_000


def expand_word(word: str, env: Mapping[str, str], escape: str = "\\", line: int = 0) -> str:
    """The word with its variables replaced and its quotes and escapes gone."""
    return "".join(piece.text for piece in _Expansion(word, env, escape, line).pieces("", raw=False))


def expand_words(word: str, env: Mapping[str, str], escape: str = "\\", line: int = 0) -> tuple[str, ...]:
    """The same, split at white space that is not quoted; a variable may hold several words."""
    words: list[str] = []
    current = ""
    for piece in _Expansion(word, env, escape, line).pieces("", raw=False):
        if piece.whole:
            current += piece.text
            continue
        for character in piece.text:
            if not character.isspace():
                current += character
            elif current:
                words.append(current)
                current = ""
    return (*words, current) if current else tuple(words)


def expand_text(text: str, env: Mapping[str, str], line: int = 0) -> str:
    """The body of a heredoc with its variables replaced; quotes mean nothing in it, a backslash is dropped before anything."""
    return "".join(piece.text for piece in _Expansion(text, env, "\\", line, quotes="").pieces("", raw=False))


class _Piece(NamedTuple):
    text: str
    whole: bool
    """It was quoted or escaped, so white space in it separates nothing."""


class _Expansion:
    """One pass over one word; `at` is the next character to read."""

    def __init__(self, text: str, env: Mapping[str, str], escape: str, line: int, quotes: str = "'\"") -> None:
        self.text = text
        self.env = env
        self.escape = escape
        self.line = line
        self.quotes = quotes
        self.at = 0
        self.depth = 0
        self.produced = 0

    def error(self, message: str) -> DockerfileError:
        return DockerfileError(f"{message} in {_shown(self.text)}", self.line)

    def peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def take(self) -> str:
        character = self.text[self.at : self.at + 1]
        self.at += 1
        return character

    def pieces(self, stop: str, raw: bool) -> list[_Piece]:
        """Everything up to `stop`, or to the end where `stop` is empty. `raw` keeps the escapes, for a pattern."""
        if self.depth > MAX_DEPTH:
            raise self.error(f"variables nested more than {MAX_DEPTH} deep")
        found: list[_Piece] = []
        while self.at < len(self.text):
            character = self.take()
            if stop and character == stop:
                return found
            if character in self.quotes:
                found.append(_Piece(self.single_quoted() if character == "'" else self.double_quoted(raw), True))
            elif character == "$":
                found.append(_Piece(self.variable(), False))
            elif character == self.escape:
                if raw:
                    found.append(_Piece(character, True))
                found.append(_Piece(self.take(), True))
            else:
                found.append(_Piece(character, False))
        if stop:
            raise self.error(f"expected {stop!r} to close ${{…}}")
        return found

    def single_quoted(self) -> str:
        end = self.text.find("'", self.at)
        if end < 0:
            raise self.error("expected a closing single quote")
        inside, self.at = self.text[self.at : end], end + 1
        return inside

    def double_quoted(self, raw: bool) -> str:
        found = ""
        while self.at < len(self.text):
            character = self.take()
            if character == '"':
                return found
            if character == "$":
                found += self.variable()
                continue
            if character == self.escape:
                if raw:
                    found += character
                if self.peek() == "":
                    break
                if self.peek() in ('"', "$", self.escape):
                    character = self.take()
                elif raw:
                    continue
            found += character
        raise self.error("expected a closing double quote")

    def variable(self) -> str:
        """What stands for `$…`; the dollar sign was read."""
        if self.peek() != "{":
            name = self.name()
            return self.grown(self.env.get(name, "")) if name else "$"
        self.at += 1
        name = self.name()
        if not name:
            raise self.error("expected the name of a variable after ${")
        self.depth += 1
        value = self.grown(self.substituted(name))
        self.depth -= 1
        return value

    def grown(self, value: str) -> str:
        self.produced += len(value)
        if self.produced > MAX_EXPANDED:
            raise self.error(f"variables grew beyond {MAX_EXPANDED} characters")
        return value

    def name(self) -> str:
        start = self.at
        first = self.peek()
        if first and first in SPECIAL_PARAMETERS:
            return self.take()
        if first.isdigit():
            while self.peek().isdigit():
                self.at += 1
        else:
            while self.peek().isalnum() or self.peek() == "_":
                self.at += 1
        return self.text[start : self.at]

    def substituted(self, name: str) -> str:
        """What stands for `${name…}`; all up to the modifier was read."""
        value = self.env.get(name)
        modifier = self.take()
        if modifier == "}":
            return value or ""
        if modifier == "":
            raise self.error("expected '}' to close ${…}")
        if modifier in "#%":
            pattern = self.joined("}", raw=True)
            longest = pattern.startswith(modifier)
            tokens = self.tokens(pattern[1:] if longest else pattern)
            return self.trimmed(value or "", tokens, longest, from_end=modifier == "%")
        if modifier == "/":
            everywhere = self.peek() == "/"
            self.at += 1 if everywhere else 0
            tokens = self.tokens(self.joined("/", raw=True))
            return self.replaced(value or "", tokens, self.joined("}", raw=True), everywhere)
        empty_counts = modifier == ":"
        if empty_counts:
            modifier += self.take()
        if modifier[-1] not in "-+?":
            raise self.error(f"expected one of - + ? # % / or }} after ${{{name}, found {modifier!r}")
        word = self.joined("}", raw=False)
        is_missing = value is None or (empty_counts and value == "")
        if modifier[-1] == "+":
            return "" if is_missing else word
        if not is_missing:
            return value or ""
        if modifier[-1] == "-":
            return word
        raise self.error(f"{name}: {word or ('must not be empty' if value == '' else 'must be set')}")

    def joined(self, stop: str, raw: bool) -> str:
        return "".join(piece.text for piece in self.pieces(stop, raw))

    def tokens(self, pattern: str) -> list[Optional[str]]:
        """The pattern as characters to meet, "" for any one, None for any number of any."""
        found: list[Optional[str]] = []
        at = 0
        while at < len(pattern):
            character = pattern[at]
            if character == "*":
                if not found or found[-1] is not None:
                    found.append(None)
            elif character == "?":
                found.append("")
            elif character == "\\":
                at += 1
                if pattern[at : at + 1] not in ("*", "?", "\\", "}", "/"):
                    raise self.error(f"pattern {pattern!r}: a backslash may stand before * ? \\ / or }} only,")
                found.append(pattern[at])
            else:
                found.append(character)
            at += 1
        return found

    def lengths(self, value: str, start: int, tokens: list[Optional[str]]) -> tuple[int, ...]:
        """Where a match of all tokens that begins at `start` can end, in order."""
        ends = {start}
        for token in tokens:
            if token is None:
                ends = set(range(min(ends), len(value) + 1))
            else:
                ends = {end + 1 for end in ends if end < len(value) and token in ("", value[end])}
            if not ends:
                return ()
        return tuple(sorted(ends))

    def trimmed(self, value: str, tokens: list[Optional[str]], longest: bool, from_end: bool) -> str:
        if len(value) * len(tokens) > MAX_PATTERN_WORK:
            raise self.error("the value is too long for a pattern")
        if from_end:
            value, tokens = value[::-1], tokens[::-1]
        ends = self.lengths(value, 0, tokens)
        left = value[ends[-1 if longest else 0] :] if ends else value
        return left[::-1] if from_end else left

    def replaced(self, value: str, tokens: list[Optional[str]], replacement: str, everywhere: bool) -> str:
        if len(value) ** 2 * len(tokens) > MAX_PATTERN_WORK and any(token in (None, "") for token in tokens):
            raise self.error("the value is too long for a pattern")
        found = ""
        at = matched_to = 0
        while at <= len(value):
            ends = self.lengths(value, at, tokens)
            end = ends[-1] if ends else -1
            if end > at or (end == at and (at == 0 or at > matched_to)):
                found += replacement
                matched_to = end
                if not everywhere:
                    return found + value[end:]
            if end > at:
                at = end
            else:
                found += value[at : at + 1]
                at += 1
        return found


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")
