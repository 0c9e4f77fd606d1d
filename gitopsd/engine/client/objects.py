"""network, volume, info, version."""

from __future__ import annotations

import argparse
import json
from typing import Any

from gitopsd import __version__
from gitopsd.dockerapi.values import Json
from gitopsd.engine.client import tables
from gitopsd.engine.client.connection import Client


def add_commands(commands: Any) -> None:
    network = commands.add_parser("network", help="Manage networks", description="Manage networks.",
                                  epilog="Example: gitopsd-engine network create backend")  # fmt: skip
    verbs = network.add_subparsers(dest="verb", metavar="VERB", required=True)
    _list(verbs, "network", list_networks)
    parser = _verb(verbs, "create", "Create a network", create_network, "gitopsd-engine network create --internal backend")
    parser.add_argument("--internal", action="store_true", help="no way out")
    parser.add_argument("--subnet", default="")
    parser.add_argument("--label", action="append", default=[])
    parser.add_argument("name", metavar="NAME")
    for verb in ("connect", "disconnect"):
        parser = _verb(
            verbs, verb, f"{verb.capitalize()} a container", join_network, f"gitopsd-engine network {verb} backend web"
        )
        parser.add_argument("name", metavar="NETWORK")
        parser.add_argument("container", metavar="CONTAINER")
        if verb == "connect":
            parser.add_argument("--alias", action="append", default=[])
            parser.add_argument("--ip", default="")
    _named(verbs, "networks", "network")
    volume = commands.add_parser("volume", help="Manage volumes", description="Manage volumes.",
                                 epilog="Example: gitopsd-engine volume create data")  # fmt: skip
    verbs = volume.add_subparsers(dest="verb", metavar="VERB", required=True)
    _list(verbs, "volume", list_volumes)
    parser = _verb(verbs, "create", "Create a volume", create_volume, "gitopsd-engine volume create data")
    parser.add_argument("--label", action="append", default=[])
    parser.add_argument("name", metavar="NAME", nargs="?", default="")
    _named(verbs, "volumes", "volume")
    for name, text in (("info", "Show the engine and its machine"), ("version", "Show the versions of client and engine")):
        parser = commands.add_parser(name, help=text, description=f"{text}.", epilog=f"Example: gitopsd-engine {name}")
        parser.set_defaults(run=info if name == "info" else version)


def _verb(verbs: Any, name: str, text: str, run: Any, example: str) -> argparse.ArgumentParser:
    parser = verbs.add_parser(name, help=text, description=f"{text}.", epilog=f"Example: {example}")
    parser.set_defaults(run=run)
    return parser


def _list(verbs: Any, kind: str, run: Any) -> None:
    parser = _verb(verbs, "ls", f"List {kind}s", run, f"gitopsd-engine {kind} ls")
    parser.add_argument("-q", "--quiet", action="store_true", help="names only")
    parser.add_argument("--json", action="store_true", help="the API's answer")


def _named(verbs: Any, collection: str, kind: str) -> None:
    """inspect and rm."""
    for verb, text, run in (("inspect", "Show everything about", inspect), ("rm", "Remove", remove)):
        parser = _verb(verbs, verb, f"{text} {collection}", run, f"gitopsd-engine {kind} {verb} backend")
        parser.add_argument("names", nargs="+", metavar="NAME")
        parser.set_defaults(collection=collection)


def list_networks(client: Client, options: argparse.Namespace) -> int:
    shown: list[Json] = client.call("GET", "/networks")
    rows = [[entry["Id"][:12], entry["Name"], entry["Driver"], entry["Scope"]] for entry in shown]
    return _print(options, shown, ["NETWORK ID", "NAME", "DRIVER", "SCOPE"], rows, 1)


def list_volumes(client: Client, options: argparse.Namespace) -> int:
    shown: list[Json] = client.call("GET", "/volumes")["Volumes"]
    return _print(options, shown, ["DRIVER", "VOLUME NAME"], [[entry["Driver"], entry["Name"]] for entry in shown], 1)


def _print(options: argparse.Namespace, shown: list[Json], header: list[str], rows: list[list[str]], name: int) -> int:
    if options.json:
        print(json.dumps(shown, indent=1))
    elif options.quiet:
        print("".join(f"{row[name]}\n" for row in rows), end="")
    else:
        print(tables.render(header, rows))
    return 0


def _labels(options: argparse.Namespace) -> dict[str, str]:
    return {name: value for name, _, value in (text.partition("=") for text in options.label)}


def create_network(client: Client, options: argparse.Namespace) -> int:
    body: Json = {"Name": options.name, "Internal": options.internal, "Labels": _labels(options)}
    if options.subnet:
        body["IPAM"] = {"Config": [{"Subnet": options.subnet}]}
    print(client.call("POST", "/networks/create", body)["Id"])
    return 0


def join_network(client: Client, options: argparse.Namespace) -> int:
    body: Json = {"Container": options.container}
    if options.verb == "connect":
        body["EndpointConfig"] = {"Aliases": options.alias, "IPAMConfig": {"IPv4Address": options.ip} if options.ip else None}
    client.call("POST", f"/networks/{options.name}/{options.verb}", body)
    return 0


def create_volume(client: Client, options: argparse.Namespace) -> int:
    print(client.call("POST", "/volumes/create", {"Name": options.name, "Labels": _labels(options)})["Name"])
    return 0


def inspect(client: Client, options: argparse.Namespace) -> int:
    print(json.dumps([client.call("GET", f"/{options.collection}/{name}") for name in options.names], indent=4))
    return 0


def remove(client: Client, options: argparse.Namespace) -> int:
    for name in options.names:
        client.call("DELETE", f"/{options.collection}/{name}")
        print(name)
    return 0


def info(client: Client, options: argparse.Namespace) -> int:
    print(json.dumps(client.call("GET", "/info"), indent=1))
    return 0


def version(client: Client, options: argparse.Namespace) -> int:
    print(json.dumps({"Client": {"Version": __version__}, "Server": client.call("GET", "/version")}, indent=1))
    return 0
