"""images, pull, push, build, load, tag, rmi."""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
import tarfile
from collections.abc import Iterable, Iterator
from typing import Any, TextIO

from gitopsd.dockerapi.errors import ApiError
from gitopsd.dockerapi.values import Json
from gitopsd.dockerfile import ignore
from gitopsd.engine.client import tables
from gitopsd.engine.client.connection import Client

OUTSIDE = ".gitopsd.Dockerfile"
"""The name in the context of a Dockerfile that lies outside of it."""


def add_commands(commands: Any) -> None:
    parser = _command(commands, "images", "List images", list_all, "gitopsd-engine images")
    parser.add_argument("-a", "--all", action="store_true", help="also those without a name")
    parser.add_argument("-q", "--quiet", action="store_true", help="ids only")
    parser.add_argument("--json", action="store_true", help="the API's answer")
    parser = _command(commands, "pull", "Fetch an image", pull, "gitopsd-engine pull busybox:stable")
    parser.add_argument("image", metavar="IMAGE")
    parser = _command(commands, "push", "Send an image to its registry", push, "gitopsd-engine push 127.0.0.1:5000/app:1")
    parser.add_argument("image", metavar="IMAGE")
    parser = _command(commands, "build", "Build an image from a Dockerfile", build, "gitopsd-engine build -t app:1 .")
    parser.add_argument("-t", "--tag", action="append", default=[])
    parser.add_argument("-f", "--file", default="", help="the Dockerfile, anywhere (default: Dockerfile in the context)")
    parser.add_argument("--build-arg", action="append", default=[], help="NAME=value")
    parser.add_argument("--label", action="append", default=[], help="name=value")
    parser.add_argument("--target", default="", help="the stage to build")
    parser.add_argument("--no-cache", action="store_true")
    parser.add_argument("--pull", action="store_true", help="look for newer base images")
    parser.add_argument("-q", "--quiet", action="store_true", help="print the id only")
    parser.add_argument("context", metavar="FOLDER")
    parser = _command(commands, "load", "Load images from an archive", load, "gitopsd-engine load -i app.tar")
    parser.add_argument("-i", "--input", help="the file (default: standard input)")
    parser = _command(commands, "tag", "Give an image another name", tag, "gitopsd-engine tag app:1 127.0.0.1:5000/app:1")
    parser.add_argument("image", metavar="IMAGE")
    parser.add_argument("name", metavar="NAME")
    parser = _command(commands, "rmi", "Remove images", remove, "gitopsd-engine rmi app:1")
    parser.add_argument("images", nargs="+", metavar="IMAGE")
    parser.add_argument("-f", "--force", action="store_true")


def _command(commands: Any, name: str, text: str, run: Any, example: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=f"{text}.", epilog=f"Example: {example}")
    parser.set_defaults(run=run)
    return parser


def show_progress(lines: Iterable[Json], output: TextIO) -> str:
    """Print what a stream says, and raise its error; the id that it made, if it says one."""
    made = ""
    for line in lines:
        if "error" in line:
            raise ApiError(500, line["error"])
        if "stream" in line:
            output.write(line["stream"])
        elif "aux" in line:
            made = line["aux"].get("ID", made)
        elif line.get("status") and not line.get("progressDetail"):
            output.write(f"{line['id']}: {line['status']}\n" if line.get("id") else f"{line['status']}\n")
        output.flush()
    return made


def list_all(client: Client, options: argparse.Namespace) -> int:
    shown: list[Json] = client.call("GET", "/images/json", all=int(options.all))
    if options.json:
        print(json.dumps(shown, indent=1))
    elif options.quiet:
        print("".join(f"{tables.short(entry['Id'])}\n" for entry in shown), end="")
    else:
        rows: list[list[str]] = []
        for entry in shown:
            for name in entry["RepoTags"] or ["<none>:<none>"]:
                repository, _, label = name.rpartition(":")
                rows.append([repository, label, tables.short(entry["Id"]), tables.size(entry["Size"])])
        print(tables.render(["REPOSITORY", "TAG", "IMAGE ID", "SIZE"], rows))
    return 0


def pull(client: Client, options: argparse.Namespace) -> int:
    show_progress(pulled(client, options.image), sys.stdout)
    return 0


def pulled(client: Client, image: str) -> Iterator[Json]:
    """The messages of a pull; a name alone means `latest`."""
    tag = "" if ":" in image.rpartition("/")[2] else "latest"
    return client.lines("POST", "/images/create", fromImage=image, tag=tag)


def push(client: Client, options: argparse.Namespace) -> int:
    name, tag_name = options.image, ""
    if ":" in name.rpartition("/")[2]:
        name, _, tag_name = name.rpartition(":")
    headers = {"X-Registry-Auth": "e30="}
    show_progress(client.lines("POST", f"/images/{name}/push", None, headers, tag=tag_name), sys.stdout)
    return 0


def build(client: Client, options: argparse.Namespace) -> int:
    arguments = {key: value for key, _, value in (text.partition("=") for text in options.build_arg)}
    labels = {key: value for key, _, value in (text.partition("=") for text in options.label)}
    name, outside = find_dockerfile(options.context, options.file)
    query: Json = {
        "t": options.tag,
        "dockerfile": name,
        "buildargs": json.dumps(arguments) if arguments else "",
        "labels": json.dumps(labels) if labels else "",
        "target": options.target,
        "nocache": int(options.no_cache),
        "pull": int(options.pull),
    }
    try:
        archive = context_tar(options.context, name, outside)
        lines = client.lines("POST", "/build", archive, {"Content-Type": "application/x-tar"}, **query)
        made = show_progress(lines, io.StringIO() if options.quiet else sys.stdout)
    except ApiError as error:
        error.message = error.message.replace(OUTSIDE, options.file)
        raise
    if options.quiet:
        print(made)
    return 0


def find_dockerfile(folder: str, file: str) -> tuple[str, str]:
    """The Dockerfile's name in the context, and its own path if it lies outside. `file` is what -f says: a path from here, as docker
    has it, or else one in the context."""
    if not os.path.isdir(folder):
        raise ApiError(400, f"build: the context {folder!r} is not a folder")
    if not file:
        return "Dockerfile", ""
    if not os.path.isfile(file):
        if os.path.isabs(file) or not os.path.isfile(os.path.join(folder, file)):
            raise ApiError(400, f"build: -f {file}: there is no such file, neither here nor in {folder}")
        return os.path.normpath(file), ""
    inside = os.path.relpath(os.path.realpath(file), os.path.realpath(folder))
    return (OUTSIDE, file) if inside == ".." or inside.startswith("../") else (inside, "")


def context_tar(folder: str, dockerfile: str, outside: str = "") -> Iterator[bytes]:
    """A folder as a tar, piece by piece, without what .dockerignore names. `outside`: the Dockerfile's path, where it lies elsewhere."""
    rules = _ignored(folder, dockerfile)
    kept = {dockerfile, ".dockerignore", f"{dockerfile}.dockerignore"}
    sink = _Pieces()
    with tarfile.open(fileobj=sink, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        for place, folders, files in os.walk(folder):
            for name in sorted(folders) + sorted(files):
                path = os.path.relpath(os.path.join(place, name), folder)
                if path in kept or not rules.leaves_out(path):
                    archive.add(os.path.join(place, name), path, recursive=False)
                elif name in folders and not rules.may_keep_below(path) and not any(item.startswith(f"{path}/") for item in kept):
                    folders.remove(name)
                yield from sink.taken()
        if outside:
            archive.add(outside, dockerfile)
    yield from sink.taken()


def _ignored(folder: str, dockerfile: str) -> ignore.Ignore:
    for name in ignore.names_for(dockerfile):
        try:
            with open(os.path.join(folder, name), "rb") as file:
                return ignore.parse_ignore(file.read())
        except FileNotFoundError:
            continue
    return ignore.Ignore()


class _Pieces(io.RawIOBase):
    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._pieces.append(bytes(data))
        return len(data)

    def taken(self) -> list[bytes]:
        pieces, self._pieces = self._pieces, []
        return pieces


def load(client: Client, options: argparse.Namespace) -> int:
    with open(options.input or 0, "rb") as source:
        show_progress(client.lines("POST", "/images/load", iter(lambda: source.read(1 << 18), b"")), sys.stdout)
    return 0


def tag(client: Client, options: argparse.Namespace) -> int:
    name, label = options.name, ""
    if ":" in name.rpartition("/")[2]:
        name, _, label = name.rpartition(":")
    client.call("POST", f"/images/{options.image}/tag", repo=name, tag=label)
    return 0


def remove(client: Client, options: argparse.Namespace) -> int:
    for name in options.images:
        for change in client.call("DELETE", f"/images/{name}", force=int(options.force)):
            print("".join(f"{word}: {target}" for word, target in change.items()))
    return 0
