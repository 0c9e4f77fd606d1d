"""One service of a stack file, from its form to `model.Service`.  [pure]

In: the form, the whole file's form, its place.  Out: a Service; errors go to the place, all of them, and then it is not used.

Rule 1: a path stays inside of the repository, and what it names is there.
Rule 2: what is wrong in a Dockerfile or .dockerignore by its form alone is found here, before any host or registry is asked.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Mapping
from typing import Any, Literal, cast

from gitopsd.dockerfile.errors import DockerfileError
from gitopsd.dockerfile.ignore import names_for, parse_ignore
from gitopsd.dockerfile.parse import parse
from gitopsd.dockerfile.stages import bases
from gitopsd.model.constraint import parse_constraint
from gitopsd.model.errors import GitopsdError, Where
from gitopsd.model.fleet import Pairs
from gitopsd.model.stack import (
    Attachment,
    Build,
    Dependency,
    Deploy,
    Healthcheck,
    Mount,
    Port,
    Restart,
    Service,
)
from gitopsd.oci.reference import parse_reference
from gitopsd.render.interpolate import BadInterpolation, fill_in
from gitopsd.render.reading import Place, Reader, path_within
from gitopsd.render.schema import stack as schema
from gitopsd.render.schema.form import Path

DEFAULT_NETWORK = "default"
_LEAST_MEMORY = 6 * 1024 * 1024  # the Docker API's own floor
_MOST_PORTS = 200  # of one range: each is a map element and a socket on the host
_OURS = "gitopsd."
_HOST_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,62}[A-Za-z0-9])?")
_REPOSITORY_PART = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")


def read_labels(form: Mapping[str, str | None], path: Path, place: Place) -> Pairs:
    for key in form:
        if key.startswith(_OURS):
            place.say((*path, key), "reserved-label", f"labels that begin with {_OURS} are set by gitopsd itself")
    return tuple(sorted((key, value or "") for key, value in form.items()))


class ServiceReader:
    """Reads one service."""

    def __init__(
        self, name: str, form: schema.Service, file: schema.StackFile, values: Mapping[str, Any], place: Place, reader: Reader
    ) -> None:
        self._name = name
        self._form = form
        self._file = file
        self._values = values
        self._place = place
        self._reader = reader
        self._path: Path = ("services", name)

    def read(self) -> Service:
        form = self._form
        deploy = self._deploy()
        return Service(
            name=self._name,
            image=self._image(),
            build=self._build(form.build) if form.build else None,
            command=tuple(form.command) if form.command else None,
            # Docker clears an image's entrypoint by one empty word; an empty list means the image's.
            entrypoint=tuple(form.entrypoint or [""]) if form.entrypoint is not None else None,
            environment=self._pairs(form.environment, "environment"),
            ports=self._ports(),
            mounts=self._mounts(),
            networks=self._networks(),
            depends_on=self._depends_on(),
            healthcheck=self._healthcheck(form.healthcheck) if form.healthcheck else None,
            labels=read_labels(form.labels, (*self._path, "labels"), self._place),
            restart=self._restart(),
            deploy=deploy,
            memory_bytes=self._memory(),
            nano_cpus=self._limit("cpus", form.cpus, form.deploy.resources.limits.cpus),
            user=form.user,
            working_dir=self._absolute(form.working_dir, "working_dir"),
            hostname=self._hostname(),
            read_only=form.read_only,
            cap_add=tuple(sorted(set(form.cap_add))),
            cap_drop=tuple(sorted(set(form.cap_drop))),
            stop_grace_ns=form.stop_grace_period or 0,
            stop_signal=form.stop_signal,
            order=form.extension.order,
            where=self._place.where(*self._path),
            ports_at=self._place.where(*self._path, "ports") if form.ports else Where(),
        )

    def _say(self, path: Path, code: str, message: str, hint: str | None = None) -> None:
        self._place.say((*self._path, *path), code, message, hint)

    def _image(self) -> str | None:
        image = self._form.image
        if image is None:
            if not self._form.build:
                self._say((), "missing-key", "has neither image nor build", "say which image to run, or how to build it")
            return None
        try:
            parse_reference(image)
        except ValueError as error:
            self._say(("image",), "bad-value", str(error))
        return image

    def _build(self, form: schema.Build) -> Build:
        path: Path = ("build",) if "context" not in self._node_at("build") else ("build", "context")
        if not _REPOSITORY_PART.fullmatch(self._name):
            self._say((), "bad-value", f"{self._name} cannot name an image; a service that is built is written in lower case")
        context = self._folder(form.context, form.dockerfile, path)
        dockerfile = self._dockerfile(context, form.dockerfile) if context is not None else ""
        args = self._pairs(form.args, "build", "args")
        if context is not None and dockerfile:
            self._check_dockerfile(context, dockerfile, args)
        return Build(
            context=context or "",
            dockerfile=dockerfile,
            args=args,
            salt=form.extension.rebuild,
            where=self._place.where(*self._path, "build"),
        )

    def _node_at(self, key: str) -> Mapping[str, Any]:
        return self._place.node.mapping["services"].mapping[self._name].mapping[key].mapping

    def _folder(self, written: str, dockerfile: str, path: Path) -> str | None:
        """The folder that is built, from the root; None when it is none."""
        try:
            folder = path_within(posixpath.dirname(self._place.file), written)
            if not self._reader.tree.paths(folder):
                raise ValueError(f"is empty: there is no {dockerfile} in it")
        except ValueError as error:
            self._say(path, "bad-path", f'"{written}" {error}')
        except GitopsdError as error:
            self._place.pass_on((*self._path, *path), error)
        else:
            return folder
        return None

    def _dockerfile(self, context: str, written: str) -> str:
        has_key = "dockerfile" in self._node_at("build")
        path: Path = ("build", "dockerfile") if has_key else ("build",)
        try:
            file = path_within(context, written)
            self._reader.check_file(file)
        except ValueError as error:
            self._say(path, "bad-path", f'"{written}" {error}')
        except GitopsdError as error:
            self._place.pass_on((*self._path, *path), error)
        else:
            return file
        return ""

    def _check_dockerfile(self, context: str, dockerfile: str, args: Pairs) -> None:
        """What the build would say before its first step."""
        folder = f"{context}/" if context else ""
        there = set(self._reader.tree.paths(context))
        self._check(dockerfile, lambda data: bases(parse(data), dict(args)))
        for name in names_for(dockerfile.removeprefix(folder)):
            if folder + name in there:
                self._check(folder + name, parse_ignore)
                break

    def _check(self, file: str, parsed: Callable[[bytes], object]) -> None:
        key = f"services.{self._name}.build"
        try:
            parsed(self._reader.data(file))
        except DockerfileError as error:
            for problem in error.problems:
                message = problem.message.removeprefix(".dockerignore: ")
                self._place.errors.append(GitopsdError("bad-dockerfile", message, Where(file, problem.line or None, key)))
        except GitopsdError as error:
            self._place.errors.append(error)

    def _pairs(self, form: Mapping[str, str | None], *path: str) -> Pairs:
        """Names and values; one without a value takes the declared one of its name."""
        pairs: list[tuple[str, str]] = []
        for key, value in sorted(form.items()):
            if value is None:
                try:
                    value = fill_in(f"${{{key}}}", self._values) if key.isidentifier() else None
                except BadInterpolation as error:
                    self._say((*path, key), error.code, f"has no value here, and {error}", error.hint)
                    continue
            if value is None or "\0" in value:
                self._say((*path, key), "bad-value", "has no value" if value is None else "has a NUL in it")
                continue
            pairs.append((key, value))
        return tuple(pairs)

    def _ports(self) -> tuple[Port, ...]:
        ports: list[Port] = []
        for at, form in enumerate(self._form.ports):
            for port in self._port_range(form, ("ports", at)):
                if any(_meet(port, other) for other in ports):
                    self._say(("ports", at), "port-taken", f"port {port.published}/{port.protocol} is published twice")
                ports.append(port)
        return tuple(sorted(ports))

    def _port_range(self, form: schema.PublishedPort, path: Path) -> list[Port]:
        targets = _numbers(form.target)
        published = _numbers(form.published) if form.published is not None else None
        for numbers in (targets, published):
            if numbers is not None and (not numbers or numbers[0] < 1 or numbers[-1] > 65535 or len(numbers) > _MOST_PORTS):
                hint = f"ports are from 1 to 65535, and at most {_MOST_PORTS} in a range"
                self._say(path, "bad-value", f'"{form.published or form.target}" is no port or range of ports', hint)
                return []
        if published is not None and len(published) != len(targets):
            what = f"{len(published)} ports of the host cannot lead to {len(targets)} of the container"
            self._say(path, "bad-value", what, "write ranges of the same length")
            return []
        pairs = zip(targets, published or [0] * len(targets), strict=True)
        return [Port(target, port, form.protocol, form.host_ip) for target, port in pairs]

    def _mounts(self) -> tuple[Mount, ...]:
        mounts: dict[str, Mount] = {}
        for at, form in enumerate(self._form.volumes):
            path: Path = ("volumes", at)
            target = self._absolute(form.target, *path)
            if target in mounts:
                self._say(path, "duplicate-key", f"{target} is mounted twice")
            source = self._source(form, path)
            mounts[target] = Mount(target, form.type, source, form.read_only)
        return tuple(sorted(mounts.values()))

    def _source(self, form: schema.Mount, path: Path) -> str:
        source = form.source
        if form.type == "tmpfs":
            if source:
                self._say(path, "bad-value", "tmpfs has no source")
        elif not source:
            hint = "declare a volume under the top-level volumes and name it"
            self._say(path, "not-there-yet", f"a {form.type} without a source is not there yet", hint)
        elif form.type == "bind":
            if not source.startswith("/"):
                hint = "name a folder of the host by its whole path, or COPY the files into the image"
                self._say(path, "not-there-yet", f'"{source}" is a path of the repository; mounting it is not there yet', hint)
            return self._absolute(source, *path) if source.startswith("/") else source
        elif source not in self._file.volumes:
            known = ", ".join(sorted(self._file.volumes)) or "none"
            hint = f"declare it under the top-level volumes; there: {known}"
            self._say(path, "undeclared-volume", f"volume {source} is not declared", hint)
        return source

    def _absolute(self, written: str, *path: str | int) -> str:
        """A path inside of a container or of a host, without detours."""
        if not written:
            return ""
        parts = written.split("/")
        if not written.startswith("/") or ".." in parts or "\0" in written or ":" in written:
            self._say(path, "bad-path", f'"{written}" is not a whole path', "expected one that begins with / and has no .. in it")
        return posixpath.normpath(written)

    def _networks(self) -> tuple[Attachment, ...]:
        attachments: list[Attachment] = []
        for key, form in sorted((self._form.networks or {DEFAULT_NETWORK: None}).items()):
            if key != DEFAULT_NETWORK and key not in self._file.networks:
                known = ", ".join(sorted(self._file.networks)) or "none"
                hint = f"declare it under the top-level networks; there: {known}"
                self._say(("networks", key), "undeclared-network", f"network {key} is not declared", hint)
            attachments.append(Attachment(key, tuple(sorted(set(form.aliases))) if form else ()))
        return tuple(attachments)

    def _depends_on(self) -> tuple[Dependency, ...]:
        found: list[Dependency] = []
        for key, form in sorted(self._form.depends_on.items()):
            form = form or schema.Dependency()
            if key not in self._file.services:
                others = ", ".join(sorted(set(self._file.services) - {self._name})) or "none"
                self._say(("depends_on", key), "unknown-service", f"{key} is no service of this file", f"others: {others}")
            found.append(Dependency(key, form.condition, form.required))
        return tuple(found)

    def _healthcheck(self, form: schema.Healthcheck) -> Healthcheck:
        path: Path = ("healthcheck",)
        test = list(form.test or [])
        if form.disable or test == ["NONE"]:
            return Healthcheck(("NONE",))
        if not test:
            self._say(path, "missing-key", "test is missing", "taking it from the image is not there yet")
        elif (test[0] != "CMD" or len(test) < 2) and (test[0] != "CMD-SHELL" or len(test) != 2):
            found = " ".join(test)[:60]
            self._say((*path, "test"), "bad-value", f'expected [CMD, …], [CMD-SHELL, line] or [NONE], found "{found}"')
        return Healthcheck(
            tuple(test),
            form.interval or 0,
            form.timeout or 0,
            form.retries or 0,
            form.start_period or 0,
            form.start_interval or 0,
        )

    def _restart(self) -> Restart:
        name, _, retries = self._form.restart.partition(":")
        return Restart(cast("Literal['no', 'always', 'unless-stopped', 'on-failure']", name), int(retries or 0))

    def _deploy(self) -> Deploy:
        form = self._form.deploy
        if form.mode == "global" and form.replicas is not None:
            self._say(("deploy", "replicas"), "bad-value", "mode: global runs one on every host, so replicas says nothing")
        for at, constraint in enumerate(form.placement.constraints):
            try:
                parse_constraint(constraint)
            except ValueError as error:
                self._say(("deploy", "placement", "constraints", at), "bad-constraint", str(error))
        return Deploy(
            mode=form.mode,
            replicas=1 if form.replicas is None or form.mode == "global" else form.replicas,
            constraints=tuple(form.placement.constraints),
        )

    def _memory(self) -> int:
        memory = self._limit("mem_limit", self._form.mem_limit, self._form.deploy.resources.limits.memory)
        if 0 < memory < _LEAST_MEMORY:
            path: Path = ("mem_limit",) if self._form.mem_limit else ("deploy", "resources", "limits", "memory")
            self._say(path, "bad-value", f"{memory} bytes are less than a container needs", "expected 6m or more")
        return memory

    def _limit(self, key: str, short: int | None, long: int | None) -> int:
        if short is not None and long is not None and short != long:
            self._say((key,), "bad-value", "differs from deploy.resources.limits", "leave one of them out")
        return short or long or 0

    def _hostname(self) -> str:
        name = self._form.hostname
        if name and not _HOST_NAME.fullmatch(name):
            self._say(("hostname",), "bad-value", f'"{name}" cannot be a host name')
        return name


def _meet(one: Port, other: Port) -> bool:
    """Whether both would listen at one place of the host."""
    is_same_address = not one.host_ip or not other.host_ip or one.host_ip == other.host_ip
    return one.published != 0 and (one.published, one.protocol) == (other.published, other.protocol) and is_same_address


def _numbers(text: str) -> range:
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1)
