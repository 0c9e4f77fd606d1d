"""The names that stacks use, to exact values.

In: a revision, what it says, registries to ask.  Out: `Pins`: tags as digests, builds as keys and whether they are there already.

Rule 1: each name is asked for once, whoever uses it, so that all hosts run the same bytes.
Rule 2: what cannot be found out is an error of the name, not of the whole: its stack is blocked, the others go on.
Rule 3: while a registry does not answer, what it said last holds; healing a host must not wait for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

from gitopsd.dockerfile.errors import DockerfileError
from gitopsd.dockerfile.parse import parse
from gitopsd.dockerfile.stages import bases
from gitopsd.model.desired import BuildWant, PinnedImage, Pins
from gitopsd.model.errors import GitopsdError, Where
from gitopsd.model.rendered import Rendered
from gitopsd.model.revision import Revision, Tree
from gitopsd.model.stack import Build, Service, Stack
from gitopsd.oci.platform import Platform, parse_platform
from gitopsd.pin.key import image_key
from gitopsd.registries import Registries

Item = TypeVar("Item")
Result = TypeVar("Result")

_AT_ONCE = 8
_LARGEST_DOCKERFILE = 1024 * 1024
_SILENT = ("registry-unreachable", "registry-busy")


def pin(revision: Revision, rendered: Rendered, registries: Registries, platform: str, known: Pins | None = None) -> Pins:
    """What every name means now. `platform` is the hosts', `linux/amd64`; `known` is what the last call gave."""
    pinning = _Pinning(revision.tree, registries, platform, known or Pins())
    built = [(stack, service, service.build) for stack in rendered.stacks for service in stack.services if service.build]
    drafts = [(build, pinning.draft(stack, service, build, rendered.fleet.registry.address)) for stack, service, build in built]
    run = {service.image for stack in rendered.stacks for service in stack.services if service.image and not service.build}
    names = run | {name for _, draft in drafts for name, _ in draft.bases}
    images = {image.reference: image for image in _all(pinning.image, sorted(names))}
    return Pins(
        images=tuple(images[name] for name in sorted(run)),
        builds=tuple(_all(lambda each: pinning.finish(*each, images), drafts)),
    )


def _all(ask: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """`ask` for each item, some at once."""
    with ThreadPoolExecutor(_AT_ONCE, "pin") as pool:
        return list(pool.map(ask, items))


class _Pinning:
    def __init__(self, tree: Tree, registries: Registries, platform: str, known: Pins) -> None:
        self._tree = tree
        self._registries = registries
        self._text = platform
        self._platform: Platform = parse_platform(platform)
        self._known = known

    def image(self, reference: str) -> PinnedImage:
        """What a name means now, or why nobody can say."""
        try:
            location = self._registries.locate(reference)
            found = self._registries.resolve(reference, self._platform)
        except ValueError as error:
            return PinnedImage(reference, None, str(error))
        except GitopsdError as error:
            known = self._known.image(reference)
            if known and known.digest and error.code in _SILENT:
                return known
            return PinnedImage(reference, None, _said(error))
        if not found:
            registry, _, repository = location.partition("/")
            return PinnedImage(reference, None, f"{registry} has no {repository} by this tag or digest")
        return PinnedImage(reference, found.digest, location=found.location)

    def draft(self, stack: Stack, service: Service, build: Build, registry: str) -> BuildWant:
        """A build with the names of its bases, without digests and key yet."""
        want = BuildWant(
            stack=stack.name,
            service=service.name,
            repository=f"{registry}/{stack.name}/{service.name}",
            key="",
            context=build.context,
            context_tree="",
            dockerfile=build.dockerfile,
            args=build.args,
            bases=(),
            platform=self._text,
            epoch=0,
            where=build.where,
        )
        try:
            names = bases(parse(self._dockerfile(build.dockerfile)), dict(build.args), self._text)
            return replace(
                want,
                context_tree=self._tree.tree_id(build.context),
                bases=tuple((name, "") for name in sorted(names)),
                epoch=max(self._tree.touched_at(build.context), self._tree.touched_at(build.dockerfile)),
            )
        except DockerfileError as error:
            return replace(want, error="; ".join(_problem(build.dockerfile, each.message, each.line) for each in error.problems))
        except GitopsdError as error:
            if error.next == "retry":
                raise  # the mirror's trouble, not the build's
            return replace(want, error=_said(error))

    def finish(self, build: Build, draft: BuildWant, images: dict[str, PinnedImage]) -> BuildWant:
        """The draft with the digests of its bases, its key, and its own digest if it was built before."""
        if draft.error:
            return draft
        pinned = [images[name] for name, _ in draft.bases]
        lacking = [f"base {image.reference}: {image.error}" for image in pinned if not image.digest]
        if lacking:
            return replace(draft, error="; ".join(lacking))
        found = tuple((image.reference, image.digest or "") for image in pinned)
        key = image_key(
            tree=draft.context_tree,
            dockerfile=self._tree.blob_id(draft.dockerfile),
            args=draft.args,
            platform=draft.platform,
            bases=found,
            salt=build.salt,
        )
        want = replace(draft, bases=found, key=key)
        try:
            own = self._registries.resolve(f"{draft.repository}:{key}", self._platform)
        except GitopsdError as error:
            known = self._known.build(draft.stack, draft.service)
            if known and known.key == key and known.digest and error.code in _SILENT:
                return replace(want, digest=known.digest)
            return replace(want, error=_said(error))
        return replace(want, digest=own.digest if own else None)

    def _dockerfile(self, path: str) -> bytes:
        size = self._tree.size(path)
        if size > _LARGEST_DOCKERFILE:
            raise GitopsdError("too-large", f"is {size} bytes long; at most {_LARGEST_DOCKERFILE} are read", Where(file=path))
        return self._tree.read(path)


def _problem(file: str, message: str, line: int) -> str:
    return f"{file}:{line}: {message}" if line else f"{file}: {message}"


def _said(error: GitopsdError) -> str:
    place = f"{error.where.file}: " if error.where.file else ""
    return place + error.message + (f" ({error.hint})" if error.hint else "")
