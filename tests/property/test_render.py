"""What must hold of every stack file, whatever stands in it."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gitopsd.model.codec import from_json, to_json
from gitopsd.model.errors import Errors, GitopsdError
from gitopsd.model.fleet import StackEntry
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
    Stack,
    StackNetwork,
    StackVolume,
)
from gitopsd.render import render_stack, stack_text
from gitopsd.render.interpolate import BadInterpolation, escape, fill_in
from gitopsd.render.locate import parse_yaml
from gitopsd.render.schema.stack import CAPABILITIES


class Tree:
    """Files in memory; every folder of a file is one."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files

    def read(self, path: str) -> bytes:
        if path not in self.files:
            raise GitopsdError("no-such-file", f"there is no {path} in this commit")
        return self.files[path]

    def size(self, path: str) -> int:
        return len(self.read(path))

    def paths(self, under: str = "") -> tuple[str, ...]:
        found = tuple(sorted(path for path in self.files if not under or path.startswith(under + "/")))
        if not found:
            raise GitopsdError("no-such-file", f"there is no {under} in this commit")
        return found

    def mode(self, path: str) -> int:
        self.read(path)
        return 0o100644

    def tree_id(self, path: str) -> str:
        return "0" * 40

    blob_id = tree_id

    def touched_at(self, path: str) -> int:
        return 0


ENTRY = StackEntry("shop", "stacks/shop.yaml")
FOLDERS = ("web", "stacks", "stacks/deep", "")


def render_text(text: str, entry: StackEntry = ENTRY) -> Stack:
    files = {f"{folder}/Dockerfile".lstrip("/"): b"FROM a\n" for folder in FOLDERS}
    return render_stack(Tree({**files, entry.file: text.encode()}), entry)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**12), 10**12)
    | st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(categories=["L", "N", "P"]), max_size=8), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(json_values)
def test_json_is_yaml(value):
    assert parse_yaml(json.dumps(value, ensure_ascii=False), "f").plain() == value


@given(json_values)
def test_what_yaml_writes_is_read_back_with_every_line_in_the_file(value):
    text = yaml.safe_dump(value, allow_unicode=True)
    node = parse_yaml(text, "f")
    lines = text.count("\n") + 1

    def walk(node):
        assert 1 <= node.line <= lines
        for key, member in node.mapping.items():
            assert 1 <= node.key_lines[key] <= lines
            walk(member)
        for item in node.items:
            walk(item)

    walk(node)
    if isinstance(value, (dict, list)):
        assert type(node.plain()) is type(value)


@given(st.text(max_size=300))
def test_any_text_is_yaml_or_an_error(text):
    with suppress(Errors):
        parse_yaml(text, "f")


@given(st.text(max_size=100))
def test_what_was_escaped_comes_out_as_it_was(text):
    assert fill_in(escape(text), {}) == text


VALUES = {"A": "a", "EMPTY": "", "B_1": "b $ } {"}
names = st.sampled_from(["A", "EMPTY", "B_1", "NO"])


@st.composite
def words(draw, depth=0):
    """A text with variables in it, and what it means by the rules of Compose: a text, or None for an error."""
    parts = draw(st.lists(st.sampled_from(["literal", "plain", "braced", "operator"] if depth < 3 else ["literal"]), max_size=4))
    text, meaning = "", ""
    for part in parts:
        name = draw(names)
        value = VALUES.get(name)
        if part == "literal":
            literal = draw(st.text(st.sampled_from("ab:-?+ é{"), max_size=5))
            text, found = text + literal, literal
        elif part in ("plain", "braced"):
            text, found = text + (f"${name}" + ("-" if part == "plain" else "") if part == "plain" else f"${{{name}}}"), value
            found = found + "-" if found is not None and part == "plain" else found
        else:
            operator = draw(st.sampled_from([":-", "-", ":+", "+", ":?", "?"]))
            inner_text, inner = draw(words(depth + 1))
            text += f"${{{name}{operator}{inner_text}}}"
            is_there = value is not None and (value != "" or ":" not in operator)
            if "-" in operator:
                found = value if is_there else inner
            elif "+" in operator:
                found = inner if is_there else ""
            else:
                found = value if is_there else None
        meaning = None if meaning is None or found is None else meaning + found
    return text, meaning


@given(words())
def test_variables_mean_what_compose_says(case):
    text, meaning = case
    filled = None
    with suppress(BadInterpolation):
        filled = fill_in(text, VALUES)
    assert filled == meaning


@given(st.text(st.sampled_from("$${}{}:-?+AB_ "), max_size=40))
def test_any_text_is_filled_in_or_an_error(text):
    with suppress(BadInterpolation):
        fill_in(text, VALUES)


def sorted_unique(strategy, most=3):
    return st.lists(strategy, max_size=most, unique=True).map(lambda items: tuple(sorted(items)))


simple_names = st.from_regex(r"[a-z0-9]([a-z0-9_-]{0,6}[a-z0-9])?", fullmatch=True).filter(
    lambda name: "_-" not in name and "-_" not in name and "___" not in name
)
texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12)
pairs = st.dictionaries(
    texts.filter(lambda key: "=" not in key and not key.startswith("gitopsd.")),
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=10),
    max_size=3,
).map(lambda found: tuple(sorted(found.items())))
absolute = st.from_regex(r"/[a-z]{1,5}(/[a-z.$ ]{1,5}[a-z])?", fullmatch=True).filter(lambda path: "/." not in path)
durations = st.integers(0, 10**13)
images = st.sampled_from(["busybox", "a/b:1", "r.example.org:5000/x@sha256:" + "0" * 64])
constraints = st.sampled_from([(), ("node.labels.a == $b",)])
commands = st.none() | st.lists(texts, min_size=1, max_size=3).map(tuple)
healthchecks = st.none() | st.just(Healthcheck(("NONE",))) | st.builds(
    Healthcheck,
    st.lists(texts, min_size=1, max_size=2).map(lambda found: ("CMD", *found)) | texts.map(lambda line: ("CMD-SHELL", line)),
    durations, durations, st.integers(0, 1000), durations, durations,
)  # fmt: skip


@st.composite
def stacks(draw):
    """Stacks as rendering gives them: every list sorted, every name declared."""
    names_ = draw(st.lists(simple_names, min_size=1, max_size=3, unique=True).map(sorted))
    networks = draw(st.lists(simple_names.filter(lambda name: name != "default"), max_size=2, unique=True).map(sorted))
    volumes = draw(st.lists(simple_names, max_size=2, unique=True).map(sorted))
    services = tuple(draw(services_(name, names_[:at], networks, volumes)) for at, name in enumerate(names_))
    uses_default = any(each.network == "default" for service in services for each in service.networks)
    keys = sorted({*networks, *(["default"] if uses_default else [])})
    return Stack(
        "shop",
        services,
        tuple(
            StackNetwork(
                key,
                f"shop_{key}",
                internal=draw(st.booleans()),
                subnet=draw(st.sampled_from(["", "10.1.0.0/24"])),
                labels=draw(pairs),
            )
            if key != "default"
            else StackNetwork(key, "shop_default")
            for key in keys
        ),
        tuple(StackVolume(key, f"shop_{key}", labels=draw(pairs)) for key in volumes),
    )


@st.composite
def services_(draw, name, before, networks, volumes):
    build = None
    if draw(st.booleans()):
        folder = draw(st.sampled_from(FOLDERS))
        build = Build(folder, f"{folder}/Dockerfile".lstrip("/"), draw(pairs), draw(st.text(st.sampled_from("a$1"), max_size=4)))
    targets = draw(st.lists(absolute, max_size=3, unique=True))
    mounts = []
    for target in targets:
        kind = draw(st.sampled_from(["bind", "tmpfs", *(["volume"] if volumes else [])]))
        source = {"bind": draw(absolute), "tmpfs": "", "volume": draw(st.sampled_from(volumes)) if volumes else ""}[kind]
        mounts.append(Mount(target, kind, source, draw(st.booleans())))
    published = draw(st.lists(st.integers(1, 65535), max_size=3, unique=True))
    ports = [
        Port(
            draw(st.integers(1, 65535)),
            port,
            draw(st.sampled_from(["tcp", "udp"])),
            draw(st.sampled_from(["", "127.0.0.1", "::1"])),
        )
        for port in published
    ]
    is_global = draw(st.booleans())
    attached = draw(st.lists(st.sampled_from([*networks, "default"]), min_size=1, max_size=2, unique=True))
    restart = draw(
        st.sampled_from(
            [Restart(), Restart("always"), Restart("unless-stopped"), Restart("on-failure", 3), Restart("on-failure")]
        )
    )
    return Service(
        name,
        image=draw(images) if build is None or draw(st.booleans()) else None,
        build=build,
        command=draw(commands),
        entrypoint=draw(commands),
        environment=draw(pairs),
        ports=tuple(sorted(ports)),
        mounts=tuple(sorted(mounts)),
        networks=tuple(sorted(Attachment(key, draw(sorted_unique(simple_names))) for key in attached)),
        depends_on=tuple(
            Dependency(other, draw(st.sampled_from(["service_started", "service_healthy", "service_completed_successfully"])), draw(st.booleans()))
            for other in sorted(draw(st.lists(st.sampled_from(before), unique=True)) if before else [])
        ),
        healthcheck=draw(healthchecks),
        labels=draw(pairs),
        restart=restart,
        deploy=Deploy("global") if is_global else Deploy("replicated", draw(st.integers(1, 5)), draw(constraints)),
        memory_bytes=draw(st.sampled_from([0, 64 * 1024 * 1024, 123456789])),
        nano_cpus=draw(st.sampled_from([0, 1, 500_000_000, 1_250_000_000])),
        user=draw(st.sampled_from(["", "1000", "a:b", "$u"])),
        working_dir=draw(st.just("") | absolute),
        hostname=draw(st.sampled_from(["", "web.shop"])),
        read_only=draw(st.booleans()),
        cap_add=draw(sorted_unique(st.sampled_from(sorted(CAPABILITIES)))),
        cap_drop=draw(sorted_unique(st.sampled_from(sorted(CAPABILITIES)))),
        stop_grace_ns=draw(durations),
        stop_signal=draw(st.sampled_from(["", "SIGTERM", "RTMIN+3", "9"])),
        order=draw(st.sampled_from([None, "start-first", "stop-first"])),
    )  # fmt: skip


@settings(
    max_examples=80,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    deadline=None,
)
@given(stacks())
def test_a_stack_that_is_written_out_is_read_back_as_itself(stack):
    text = stack_text(replace(stack, where=replace(stack.where, file=ENTRY.file)))
    again = render_text(text)
    assert replace(again, read=()) == stack
    assert stack_text(again) == text
    assert from_json(Stack, json.loads(json.dumps(to_json(again)))) == again


@settings(
    max_examples=80,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    deadline=None,
)
@given(stacks(), st.data())
def test_a_stack_file_with_anything_changed_is_read_or_an_error_in_the_file(stack, data):
    document = yaml.safe_load(stack_text(stack))
    places = []

    def walk(container):
        for key, member in container.items() if isinstance(container, dict) else enumerate(container):
            places.append((container, key))
            if isinstance(member, (dict, list)):
                walk(member)

    walk(document)
    for _ in range(data.draw(st.integers(1, 3))):
        container, key = data.draw(st.sampled_from(places))
        if not isinstance(container, dict) or data.draw(st.booleans()):
            container[key] = data.draw(json_values)
        else:
            container[data.draw(st.text(st.sampled_from("abcdefx-_ ."), max_size=8))] = data.draw(json_values)
    text = yaml.safe_dump(document, allow_unicode=True)
    try:
        render_text(text)
    except Errors as errors:
        for error in errors.errors:
            assert error.where.file == ENTRY.file
            assert error.where.line is None or 1 <= error.where.line <= text.count("\n") + 1
            assert error.message
