"""Names of images, by Docker's grammar.  [pure]

In: what people write (`busybox`, `localhost:5000/shop/web:1`, `name@sha256:…`).  Out: a `Reference` with nothing implied.

`busybox` means `docker.io/library/busybox:latest`. The first part is a registry only if it has a dot or a colon, is
`localhost`, or has a capital letter; otherwise it belongs to the repository. `familiar` is the way back, for people.
The grammar is that of the distribution project's reference package; the length limit is on the repository.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Optional

from gitopsd.oci.digest import Digest

DEFAULT_REGISTRY = "docker.io"
_LIBRARY = "library/"
_OTHER_DEFAULT = "index.docker.io"

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_HOST_COMPONENT = r"(?:[A-Za-z0-9]|[A-Za-z0-9][A-Za-z0-9-]*[A-Za-z0-9])"
_REGISTRY = re.compile(rf"(?:{_HOST_COMPONENT}(?:\.{_HOST_COMPONENT})*|\[[0-9a-fA-F:]+\])(?::[0-9]{{1,5}})?")
_HEX64 = re.compile(r"[0-9a-f]{64}")
_LONGEST_REPOSITORY = 255


class InvalidReference(ValueError):  # noqa: N818
    """Text that names no image."""


@dataclass(frozen=True)
class Reference:
    """Where an image is found: `registry/repository`, with a tag, a digest, or both."""

    registry: str
    repository: str
    tag: Optional[str] = None
    digest: Optional[Digest] = None

    @property
    def name(self) -> str:
        """Registry and repository, without tag and digest."""
        return f"{self.registry}/{self.repository}"

    @property
    def familiar_name(self) -> str:
        """The name as people write it: `busybox` for `docker.io/library/busybox`."""
        if self.registry != DEFAULT_REGISTRY:
            return self.name
        short = self.repository[len(_LIBRARY) :]
        if self.repository.startswith(_LIBRARY) and "/" not in short:
            return short
        head = self.repository.partition("/")[0]
        return self.name if _is_registry(head) else self.repository

    @property
    def familiar(self) -> str:
        """The whole reference as people write it."""
        return self.familiar_name + self._end()

    @property
    def target(self) -> str:
        """What a registry is asked for: the digest if there is one, else the tag."""
        return self.digest or self.tag or "latest"

    def tagged(self, tag: str) -> Reference:
        """The same name with this tag and no digest."""
        return replace(self, tag=check_tag(tag), digest=None)

    def at(self, digest: Digest) -> Reference:
        """The same name with this digest and no tag."""
        return replace(self, tag=None, digest=digest)

    def __str__(self) -> str:
        return self.name + self._end()

    def _end(self) -> str:
        return (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")


def parse_reference(text: str, default_tag: Optional[str] = "latest") -> Reference:
    """What `text` names. Without tag and digest it gets `default_tag`."""
    name, at, digest_text = text.partition("@")
    digest = Digest(digest_text) if at else None
    if _HEX64.fullmatch(name):
        raise InvalidReference(f"invalid reference {text!r}: 64 hexadecimal digits are the id of an image, not a name")
    head, slash, rest = name.partition("/")
    if slash and _is_registry(head):
        registry, remainder = head, rest
    else:
        registry, remainder = DEFAULT_REGISTRY, name
    repository, colon, tag_text = remainder.partition(":")
    if registry == _OTHER_DEFAULT:
        registry = DEFAULT_REGISTRY
    if registry == DEFAULT_REGISTRY and "/" not in repository:
        repository = _LIBRARY + repository
    if not _REGISTRY.fullmatch(registry):
        raise InvalidReference(f"invalid reference {text[:300]!r}: {registry[:100]!r} is no registry's host and port")
    if repository != repository.lower():
        raise InvalidReference(f"invalid reference {text[:300]!r}: repository name must be lowercase")
    check_repository(repository)
    tag = check_tag(tag_text) if colon else None
    if tag is None and digest is None:
        tag = default_tag
    return Reference(registry, repository, tag, digest)


def _is_registry(head: str) -> bool:
    """Whether the first part of a name with several is read as a registry, and not as part of the repository."""
    return bool(set(head) & set(".:[")) or head == "localhost" or head != head.lower()


def check_repository(name: str) -> str:
    """`name`, if it can be a repository's; safe in a path and a URL from then on."""
    if len(name) > _LONGEST_REPOSITORY:
        raise InvalidReference(f"invalid repository name {name[:40]!r}…: longer than {_LONGEST_REPOSITORY} characters")
    if not _REPOSITORY.fullmatch(name):
        raise InvalidReference(
            f"invalid repository name {name!r}: expected lower-case letters and digits in parts, joined by . _ - and /"
        )
    return name


def check_tag(tag: str) -> str:
    """`tag`, if it can be one; safe in a path and a URL from then on."""
    if not _TAG.fullmatch(tag):
        raise InvalidReference(
            f"invalid tag {tag[:200]!r}: expected up to 128 letters, digits, _ . and -, not starting with . or -"
        )
    return tag
