"""A Dockerfile as stages of typed instructions.  [pure]

In: the bytes of a Dockerfile.  Out: `Dockerfile`. Every problem that the form shows is reported, not the first alone.
What the language has and we do not have yet is refused by name, never passed over: an image that lacks what its Dockerfile
asks for is worse than none.
Not here: values that are known only once variables are (ports, modes, names of images).
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Optional, cast

from gitopsd.dockerfile.errors import DockerfileError, Problem
from gitopsd.dockerfile.instructions import (
    Arg,
    Cmd,
    Command,
    Copy,
    Entrypoint,
    Env,
    Expose,
    From,
    Healthcheck,
    Instruction,
    Label,
    Pairs,
    Run,
    User,
    Workdir,
)
from gitopsd.dockerfile.lex import BLANK, Heredoc, LogicalLine, as_heredoc, lex, split_words

NOT_THERE_YET = ("ADD", "MAINTAINER", "ONBUILD", "SHELL", "STOPSIGNAL", "VOLUME")
FLAGS_NOT_THERE_YET = {
    "RUN": ("mount", "network", "security", "device"),
    "COPY": ("link", "parents", "exclude"),
}
STAGE_NAME = re.compile(r"[a-z][a-z0-9_.-]*")
VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
DURATION = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")
NANOSECONDS = {"ns": 1, "us": 10**3, "µs": 10**3, "μs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
LONGEST_NS = (1 << 63) - 1


@dataclass(frozen=True)
class Stage:
    index: int
    base: From
    instructions: tuple[Instruction, ...]

    @property
    def name(self) -> str:
        return self.base.name


@dataclass(frozen=True)
class Dockerfile:
    args: tuple[Arg, ...]
    """Those before the first FROM, for FROM lines alone."""
    stages: tuple[Stage, ...]
    escape: str = "\\"


def parse(data: bytes) -> Dockerfile:
    """The stages of a Dockerfile; raises DockerfileError with all problems found."""
    source, found = lex(data)
    problems = list(found)
    args: list[Arg] = []
    stages: list[tuple[From, list[Instruction]]] = []
    is_in_stage = False
    for line in source.lines:
        name = line.text.split(None, 1)[0].upper()
        is_in_stage = is_in_stage or name == "FROM"
        try:
            instruction = _Reading(line, name, source.escape).instruction()
        except DockerfileError as error:
            problems.extend(error.problems)
            continue
        if isinstance(instruction, From):
            stages.append((instruction, []))
        elif stages:
            stages[-1][1].append(instruction)
        elif isinstance(instruction, Arg):
            args.append(instruction)
        elif not is_in_stage:
            problems.append(Problem(f"{name} before the first FROM: only ARG may stand there", line.line))
    if not is_in_stage and not problems:  # which may be about a FROM that was meant
        problems.append(Problem("expected at least one FROM", 0))
    if problems:
        raise DockerfileError.of(problems)
    numbered = tuple(Stage(index, base, tuple(instructions)) for index, (base, instructions) in enumerate(stages))
    return Dockerfile(tuple(args), numbered, source.escape)


class _Reading:
    """One logical line while it is read; `rest` is what follows the instruction's name and its flags."""

    def __init__(self, line: LogicalLine, name: str, escape: str) -> None:
        self.source = line
        self.name = name
        self.escape = escape
        words = line.text.split(None, 1)
        self.rest = words[1] if len(words) > 1 else ""
        self.where = (line.line, line.end_line, line.text)

    def error(self, message: str) -> DockerfileError:
        return DockerfileError(f"{self.name}: {message}", self.source.line)

    def instruction(self) -> Instruction:
        readers: dict[str, Callable[[], Instruction]] = {
            "FROM": self.from_,
            "ARG": self.arg,
            "ENV": lambda: Env(*self.where, self.pairs()),
            "LABEL": lambda: Label(*self.where, self.pairs()),
            "RUN": self.run,
            "COPY": self.copy,
            "WORKDIR": lambda: Workdir(*self.where, self.one("a path")),
            "USER": lambda: User(*self.where, self.one("a user")),
            "EXPOSE": self.expose,
            "CMD": lambda: Cmd(*self.where, self.command(may_be_empty=True)),
            "ENTRYPOINT": lambda: Entrypoint(*self.where, self.command(may_be_empty=True)),
            "HEALTHCHECK": self.healthcheck,
        }
        if self.name in NOT_THERE_YET:
            raise DockerfileError(f"{self.name} is not there yet", self.source.line)
        if self.name not in readers:
            near = difflib.get_close_matches(self.name[:40], [*readers, *NOT_THERE_YET], n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(readers))}"
            raise DockerfileError(f"unknown instruction {self.name[:40]}; {hint}", self.source.line)
        return readers[self.name]()

    def flags(self, *known: str) -> dict[str, str]:
        """The leading `--name=value` words, taken off `rest`."""
        given: dict[str, str] = {}
        while self.rest.startswith("--"):
            word = split_words(self.rest, self.escape)[0]
            self.rest = self.rest[len(word) :].lstrip(BLANK + "\n")
            if word == "--":
                break
            name, has_value, value = word[2:].partition("=")
            if name in FLAGS_NOT_THERE_YET.get(self.name, ()):
                raise self.error(f"the flag --{name} is not there yet")
            if name not in known:
                expected = ", ".join(f"--{flag}" for flag in known) or "none"
                raise self.error(f"unknown flag --{name[:40]}; there are {expected}")
            if not has_value or not value:
                raise self.error(f"expected --{name}=VALUE")
            if name in given:
                raise self.error(f"the flag --{name} stands here twice")
            given[name] = value
        return given

    def one(self, what: str) -> str:
        self.flags()
        if not self.rest:
            raise self.error(f"expected {what}")
        return self.rest

    def array(self, text: str) -> Optional[tuple[str, ...]]:
        """The exec form; None where the text is not a JSON array, which makes it the shell form."""
        if not text.startswith("["):
            return None
        try:
            items = json.loads(text)
        except (ValueError, RecursionError):
            return None
        if not all(isinstance(item, str) for item in items):
            raise self.error("expected strings alone in the JSON array")
        if any(_is_unprintable(item) for item in cast("list[str]", items)):
            raise self.error("expected text in the JSON array, found a zero byte or half of a surrogate pair")
        return tuple(cast("list[str]", items))

    def command(self, may_be_empty: bool = False) -> Command:
        self.flags()
        words = self.array(self.rest)
        if words == () and not may_be_empty:
            raise self.error("expected a command, found an empty array")
        if words is not None:
            return Command(words, in_shell=False)
        if not self.rest and not may_be_empty:
            raise self.error("expected a command")
        return Command((self.rest,) if self.rest else (), in_shell=bool(self.rest))

    def from_(self) -> From:
        flags = self.flags("platform")
        words = self.rest.split()
        if len(words) not in (1, 3) or (len(words) == 3 and words[1].upper() != "AS"):
            raise self.error("expected IMAGE or IMAGE AS NAME")
        name = words[2].lower() if len(words) == 3 else ""
        if name and not STAGE_NAME.fullmatch(name):
            raise self.error(f"{words[2]!r} cannot name a stage: expected a letter, then letters, digits, _ . or -")
        if name == "scratch":
            raise self.error("a stage cannot be named scratch, which is the empty image")
        return From(*self.where, words[0], name, flags.get("platform", ""))

    def arg(self) -> Arg:
        self.flags()
        items: list[tuple[str, Optional[str]]] = []
        for word in split_words(self.rest, self.escape):
            name, has_default, default = word.partition("=")
            if not VARIABLE_NAME.fullmatch(name):
                raise self.error(f"{name!r} cannot name a variable: expected a letter or _, then letters, digits and _")
            items.append((name, default if has_default else None))
        if not items:
            raise self.error("expected NAME or NAME=DEFAULT")
        return Arg(*self.where, tuple(items))

    def pairs(self) -> Pairs:
        """`name=value …`, or the old form `name value` whose value is the rest of the line."""
        self.flags()
        words = split_words(self.rest, self.escape)
        if words and "=" not in words[0]:
            value = self.rest[len(words[0]) :].strip()
            if not value:
                raise self.error(f"expected NAME=VALUE, found {words[0]!r}")
            return ((words[0], value),)
        found: list[tuple[str, str]] = []
        for word in words:
            name, separator, value = word.partition("=")
            if not separator or not name:
                raise self.error(f"expected NAME=VALUE, found {word!r}")
            found.append((name, value))
        if not found:
            raise self.error("expected NAME=VALUE")
        return tuple(found)

    def run(self) -> Run:
        command = self.command()
        if self.source.heredocs and not command.in_shell:
            raise self.error("a heredoc goes with a shell command, not with a JSON array")
        return Run(*self.where, command, self.source.heredocs)

    def copy(self) -> Copy:
        flags = self.flags("from", "chown", "chmod")
        if "$" in flags.get("from", ""):
            raise self.error("--from knows no variables; name a stage with FROM, and the variable there")
        words = self.array(self.rest)
        if words is None:
            words = tuple(self.rest.split())
        if len(words) < 2:
            raise self.error("expected at least one SOURCE and a DESTINATION")
        if not all(words):
            raise self.error("expected paths, found an empty one")
        *sources, destination = words
        if as_heredoc(destination):
            raise self.error("the destination cannot be a heredoc")
        heredocs: list[Heredoc] = []
        bodies = iter(self.source.heredocs)
        paths: list[str] = []
        for source in sources:
            if as_heredoc(source):
                heredocs.append(next(bodies, None) or self._missing(source))
            else:
                paths.append(source)
        if heredocs and flags.get("from"):
            raise self.error("a heredoc has its content here, so --from cannot be given with it")
        return Copy(
            *self.where,
            tuple(paths),
            destination,
            flags.get("from", ""),
            flags.get("chown", ""),
            flags.get("chmod", ""),
            tuple(heredocs),
        )

    def _missing(self, word: str) -> Heredoc:
        raise self.error(f"expected the body of the heredoc {word}")

    def expose(self) -> Expose:
        self.flags()
        ports = tuple(self.rest.split())
        if not ports:
            raise self.error("expected at least one port")
        return Expose(*self.where, ports)

    def healthcheck(self) -> Healthcheck:
        flags = self.flags("interval", "timeout", "start-period", "start-interval", "retries")
        words = [*self.rest.split(None, 1), "", ""]
        kind, self.rest = words[0].upper(), words[1]
        if kind == "NONE" and not self.rest:
            return Healthcheck(*self.where, None)
        if kind != "CMD":
            raise self.error("expected CMD and a command, or NONE alone")
        retries = flags.get("retries", "0")
        if not (retries.isascii() and retries.isdigit() and len(retries) < 10):
            raise self.error(f"--retries={retries}: expected a whole number")
        return Healthcheck(
            *self.where,
            self.command(),
            self.duration(flags, "interval"),
            self.duration(flags, "timeout"),
            self.duration(flags, "start-period"),
            self.duration(flags, "start-interval"),
            int(retries),
        )

    def duration(self, flags: dict[str, str], name: str) -> int:
        """Nanoseconds; written as in Go, `1m30s` or `1.5h`."""
        text = flags.get(name, "0")
        if text == "0":
            return 0
        parts: list[Any] = DURATION.findall(text) if len(text) <= 40 else []
        length = int(sum(Fraction(number) * NANOSECONDS[unit] for number, unit in parts))
        if "".join(number + unit for number, unit in parts) != text or length > LONGEST_NS:
            raise self.error(f"--{name}={text}: expected a duration such as 30s or 1m30s")
        if 0 < length < 10**6:
            raise self.error(f"--{name}={text}: expected 0, or at least 1ms")
        return length


def _is_unprintable(text: str) -> bool:
    return "\0" in text or any("\ud800" <= character <= "\udfff" for character in text)
