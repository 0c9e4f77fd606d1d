"""The instructions that are there, as frozen values, and where variables count in each.  [pure]

RUN, CMD, ENTRYPOINT and HEALTHCHECK leave variables to the shell that runs them. The name after AS, and what COPY --from names,
have none (as the reference says of `--from`). A value here is as written, quotes and all, until `expanded` was called.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Optional, TypeVar

from gitopsd.dockerfile.expand import expand_text, expand_word, expand_words
from gitopsd.dockerfile.lex import Heredoc

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Instruction:
    line: int
    end_line: int
    text: str
    """As written, continuations joined: what progress and history show."""


@dataclass(frozen=True)
class Command:
    """The exec form's words, or the one string that a shell gets."""

    words: tuple[str, ...]
    in_shell: bool


@dataclass(frozen=True)
class From(Instruction):
    image: str
    name: str = ""
    """After AS, in small letters."""
    platform: str = ""


@dataclass(frozen=True)
class Arg(Instruction):
    items: tuple[tuple[str, Optional[str]], ...]
    """A name and its default."""


@dataclass(frozen=True)
class Env(Instruction):
    pairs: Pairs


@dataclass(frozen=True)
class Label(Instruction):
    pairs: Pairs


@dataclass(frozen=True)
class Run(Instruction):
    command: Command
    heredocs: tuple[Heredoc, ...] = ()


@dataclass(frozen=True)
class Copy(Instruction):
    sources: tuple[str, ...]
    destination: str
    from_: str = ""
    """A stage's name or number, or an image; empty: the build context."""
    chown: str = ""
    chmod: str = ""
    heredocs: tuple[Heredoc, ...] = ()
    """Files whose content stands in the Dockerfile itself."""


@dataclass(frozen=True)
class Workdir(Instruction):
    path: str


@dataclass(frozen=True)
class User(Instruction):
    user: str


@dataclass(frozen=True)
class Expose(Instruction):
    ports: tuple[str, ...]


@dataclass(frozen=True)
class Cmd(Instruction):
    command: Command


@dataclass(frozen=True)
class Entrypoint(Instruction):
    command: Command


@dataclass(frozen=True)
class Healthcheck(Instruction):
    """Times in nanoseconds; 0: not said."""

    command: Optional[Command]
    """None: HEALTHCHECK NONE."""
    interval_ns: int = 0
    timeout_ns: int = 0
    start_period_ns: int = 0
    start_interval_ns: int = 0
    retries: int = 0


Kind = TypeVar("Kind", bound=Instruction)


def expanded(instruction: Kind, env: Mapping[str, str], escape: str) -> Kind:
    """The same with its variables replaced. ARG is left as it is, because each of its items counts for the next one."""
    line = instruction.line

    def word(text: str) -> str:
        return expand_word(text, env, escape, line)

    if isinstance(instruction, From):
        return replace(instruction, image=word(instruction.image), platform=word(instruction.platform))
    if isinstance(instruction, (Env, Label)):
        return replace(instruction, pairs=tuple((word(name), word(value)) for name, value in instruction.pairs))
    if isinstance(instruction, Copy):
        return replace(
            instruction,
            sources=tuple(word(source) for source in instruction.sources),
            destination=word(instruction.destination),
            chown=word(instruction.chown),
            chmod=word(instruction.chmod),
            heredocs=tuple(
                replace(heredoc, body=expand_text(heredoc.content, env, line), strip_tabs=False) if heredoc.expand else heredoc
                for heredoc in instruction.heredocs
            ),
        )
    if isinstance(instruction, Workdir):
        return replace(instruction, path=word(instruction.path))
    if isinstance(instruction, User):
        return replace(instruction, user=word(instruction.user))
    if isinstance(instruction, Expose):
        ports = (port for text in instruction.ports for port in expand_words(text, env, escape, line))
        return replace(instruction, ports=tuple(ports))
    return instruction
