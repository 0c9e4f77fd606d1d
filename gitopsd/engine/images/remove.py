"""What goes when somebody removes an image: Docker's rules for `rmi`.

In: the names and images there are, the name given, who uses what.  Out: what is to be removed and what is said of it, or a 409.

- By a name: the name goes; with the last one the image, unless a container needs it (`force` then takes the name alone).
- By id: all names go; not if they are in several repositories, or a stopped container needs it, unless forced; never while one runs.
- The digest names of a repository go with its last tag.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gitopsd.dockerapi.errors import ApiError
from gitopsd.engine.images import naming
from gitopsd.engine.images.refs import References
from gitopsd.oci.digest import Digest


@dataclass(frozen=True)
class Use:
    """A container that needs an image."""

    container: str
    digest: str
    is_running: bool


@dataclass(frozen=True)
class Removal:
    names: Sequence[str]
    images: Sequence[Digest]
    answer: list[dict[str, str]]


def decide(references: References, name: str, found: Digest, uses: Sequence[Use], force: bool) -> Removal:
    """What removing `name`, which means the image `found`, takes away."""
    identity = references.record(found).config
    same = [record.digest for record in references.records() if record.config == identity]
    every = [text for digest in same for text in references.names_of(digest)]
    needing = sorted((use for use in uses if use.digest in same), key=lambda use: not use.is_running)
    reference = naming.name_of(references, name, found)
    if reference is not None:
        going = _with_digest_names(reference, every)
        untagged = [{"Untagged": naming.familiar(text)} for text in going]
        if set(every) - set(going):
            return Removal(going, (), untagged)
        if needing and not force:
            user = f"container {needing[0].container[:12]} is using its referenced image {identity.short}"
            raise ApiError(409, f'conflict: unable to remove repository reference "{name}" (must force) - {user}')
        if needing:
            return Removal(going, (), untagged)
    else:
        if len({_repository(text) for text in every}) > 1 and not force:
            raise ApiError(
                409, f"unable to delete {identity.short} (must be forced) - image is referenced in multiple repositories"
            )
        if needing and (needing[0].is_running or not force):
            cannot, kind = ("cannot be forced", "running") if needing[0].is_running else ("must be forced", "stopped")
            user = f"image is being used by {kind} container {needing[0].container[:12]}"
            raise ApiError(409, f"conflict: unable to delete {identity.short} ({cannot}) - {user}")
        untagged = [{"Untagged": naming.familiar(text)} for text in every]
    return Removal(every, same, [*untagged, {"Deleted": identity}])


def _with_digest_names(reference: str, every: Sequence[str]) -> list[str]:
    """The name, and if it is the last tag of its repository the digest names of that too."""
    repository = _repository(reference)
    siblings = [text for text in every if _repository(text) == repository and text != reference]
    if "@" in reference or any("@" not in text for text in siblings):
        return [reference]
    return [reference, *siblings]


def _repository(text: str) -> str:
    return text.partition("@")[0] if "@" in text else text.rpartition(":")[0]
