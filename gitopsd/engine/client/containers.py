"""run, create, start, stop, restart, kill, rm, ps, logs, exec, inspect, rename, update, wait."""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
from typing import Any, Optional

from gitopsd.dockerapi.errors import ApiError
from gitopsd.dockerapi.values import Json
from gitopsd.engine.client import images, tables
from gitopsd.engine.client.connection import Client, TakenOver

_UNITS = {"b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_SECONDS = {"ns": 1, "us": 1000, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}


def add_commands(commands: Any) -> None:
    for name, text, run in (("run", "Run a command in a new container", run_container), ("create", "Create a container", create)):
        parser = _command(commands, name, text, run, f"gitopsd-engine {name} --name web -p 8080:80 busybox httpd -f")
        _creation_options(parser)
        if name == "run":
            parser.add_argument("-d", "--detach", action="store_true", help="print the id and go on in the background")
    for name, text in (("start", "Start containers"), ("restart", "Restart containers"), ("stop", "Stop containers")):
        parser = _command(commands, name, text, _for_each, f"gitopsd-engine {name} web")
        parser.add_argument("containers", nargs="+", metavar="CONTAINER")
        if name != "start":
            parser.add_argument("-t", "--time", type=int, help="seconds to wait before killing it")
    parser = _command(commands, "kill", "Kill containers", _for_each, "gitopsd-engine kill -s HUP web")
    parser.add_argument("containers", nargs="+", metavar="CONTAINER")
    parser.add_argument("-s", "--signal", help="the signal (default: SIGKILL)")
    parser = _command(commands, "rm", "Remove containers", remove, "gitopsd-engine rm -f web")
    parser.add_argument("containers", nargs="+", metavar="CONTAINER")
    parser.add_argument("-f", "--force", action="store_true", help="also one that runs")
    parser.add_argument("-v", "--volumes", action="store_true", help="its anonymous volumes too")
    parser = _command(commands, "ps", "List containers", list_all, "gitopsd-engine ps -a")
    parser.add_argument("-a", "--all", action="store_true", help="also those that do not run")
    parser.add_argument("-q", "--quiet", action="store_true", help="ids only")
    parser.add_argument("-f", "--filter", action="append", default=[], help="key=value, as docker ps has them")
    parser.add_argument("--json", action="store_true", help="the API's answer")
    parser = _command(commands, "logs", "Show a container's output", logs, "gitopsd-engine logs -f --tail 100 web")
    parser.add_argument("container", metavar="CONTAINER")
    parser.add_argument("-f", "--follow", action="store_true", help="go on until it ends")
    parser.add_argument("-t", "--timestamps", action="store_true")
    parser.add_argument("-n", "--tail", default="all", help="lines from the end (default: all)")
    parser.add_argument("--since", help="RFC 3339, or seconds since 1970")
    parser.add_argument("--until", help="RFC 3339, or seconds since 1970")
    parser = _command(commands, "exec", "Run a command in a running container", execute, "gitopsd-engine exec web ps")
    parser.add_argument("-d", "--detach", action="store_true")
    parser.add_argument("-i", "--interactive", action="store_true", help="keep standard input open")
    _terminal_option(parser)
    parser.add_argument("-e", "--env", action="append", default=[])
    parser.add_argument("-u", "--user", default="")
    parser.add_argument("-w", "--workdir", default="")
    parser.add_argument("container", metavar="CONTAINER")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, metavar="COMMAND …")
    parser = _command(commands, "inspect", "Show everything about containers", inspect, "gitopsd-engine inspect web")
    parser.add_argument("containers", nargs="+", metavar="CONTAINER")
    parser = _command(commands, "rename", "Rename a container", rename, "gitopsd-engine rename web web-old")
    parser.add_argument("container", metavar="CONTAINER")
    parser.add_argument("name", metavar="NAME")
    parser = _command(commands, "update", "Change limits in place", update, "gitopsd-engine update --memory 256m web")
    parser.add_argument("containers", nargs="+", metavar="CONTAINER")
    _limit_options(parser)
    parser = _command(commands, "wait", "Wait for containers to end", wait, "gitopsd-engine wait job")
    parser.add_argument("containers", nargs="+", metavar="CONTAINER")


def _command(commands: Any, name: str, text: str, run: Any, example: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=f"{text}.", epilog=f"Example: {example}")
    parser.set_defaults(run=run)
    return parser


def _limit_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-m", "--memory", type=size_of, default=0, help="memory limit: 256m")
    parser.add_argument("--cpus", type=float, default=0, help="processors: 0.5")
    parser.add_argument("--restart", default="", help="no, on-failure[:N], always, unless-stopped")


def _creation_options(parser: argparse.ArgumentParser) -> None:
    _limit_options(parser)
    add = parser.add_argument
    add("--name", default="")
    add("--rm", action="store_true", help="remove it when it ends")
    add("-i", "--interactive", action="store_true", help="keep standard input open")
    _terminal_option(parser)
    add("-e", "--env", action="append", default=[], help="NAME=value, or NAME to pass it on")
    add("-l", "--label", action="append", default=[], help="name=value")
    add("-p", "--publish", action="append", default=[], help="[address:][port:]port[/protocol]")
    add("-P", "--publish-all", action="store_true", help="publish every exposed port")
    add("-v", "--volume", action="append", default=[], help="source:/target[:ro]")
    add("--tmpfs", action="append", default=[], help="/path[:options]")
    add("--network", "--net", default="default")
    add("--network-alias", action="append", default=[])
    add("--add-host", action="append", default=[], help="name:address")
    add("--entrypoint")
    add("-u", "--user", default="")
    add("-w", "--workdir", default="")
    add("--hostname", default="")
    add("--read-only", action="store_true")
    add("--cap-add", action="append", default=[])
    add("--cap-drop", action="append", default=[])
    add("--stop-signal", default="")
    add("--stop-timeout", type=int)
    add("--health-cmd")
    add("--health-interval", type=duration_of, default=0)
    add("--health-timeout", type=duration_of, default=0)
    add("--health-retries", type=int, default=0)
    add("--health-start-period", type=duration_of, default=0)
    add("--no-healthcheck", action="store_true")
    add("--pids-limit", type=int)
    add("image", metavar="IMAGE")
    add("arguments", nargs=argparse.REMAINDER, metavar="COMMAND …")


def _terminal_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-t", "--tty", action="store_true", help="a terminal; not there yet")


def refuse_terminal(options: argparse.Namespace) -> None:
    if options.tty:
        raise ApiError(
            501, f"{options.command}: terminals (-t) are not there yet; leave -t out, -i alone passes input on", "not-there-yet"
        )


def size_of(text: str) -> int:
    """`256m` in bytes."""
    number, unit = (text[:-1], text[-1].lower()) if text[-1:].lower() in _UNITS else (text, "b")
    return int(float(number) * _UNITS[unit])


def duration_of(text: str) -> int:
    """`1m30s` in nanoseconds."""
    total, number, unit = 0.0, "", ""
    for character in f"{text} ":
        if unit and not character.isalpha():
            total += float(number) * _SECONDS[unit]
            number = unit = ""
        if character.isalpha():
            unit += character
        else:
            number += character.strip()
    if number:
        raise ValueError(text)
    return int(total)


def creation_body(options: argparse.Namespace, environment: dict[str, str]) -> Json:
    """A create body from the command line.  [pure]"""
    ports: Json = {}
    for text in options.publish:
        address, _, rest = text.rpartition(":") if text.count(":") < 2 else (text.rpartition(":")[0], "", text.rpartition(":")[2])
        host, _, number = address.rpartition(":")
        inside = rest if "/" in rest else f"{rest}/tcp"
        ports.setdefault(inside, []).append({"HostIp": host, "HostPort": number})
    check: Optional[Json] = None
    if options.no_healthcheck:
        check = {"Test": ["NONE"]}
    elif options.health_cmd:
        check = {"Test": ["CMD-SHELL", options.health_cmd], "Interval": options.health_interval, "Timeout": options.health_timeout,
                 "Retries": options.health_retries, "StartPeriod": options.health_start_period}  # fmt: skip
    endpoint = {"Aliases": options.network_alias} if options.network_alias else {}
    return {
        "Image": options.image,
        "Cmd": options.arguments or None,
        "Entrypoint": None if options.entrypoint is None else [options.entrypoint] if options.entrypoint else [],
        "Env": [
            text if "=" in text else f"{text}={environment[text]}" for text in options.env if "=" in text or text in environment
        ],
        "Labels": dict(text.partition("=")[::2] for text in options.label),
        "User": options.user,
        "WorkingDir": options.workdir,
        "Hostname": options.hostname,
        "OpenStdin": options.interactive,
        "StdinOnce": options.interactive,
        "StopSignal": options.stop_signal,
        "StopTimeout": options.stop_timeout,
        "ExposedPorts": {port: {} for port in ports},
        "Healthcheck": check,
        "HostConfig": {
            "AutoRemove": options.rm,
            "Binds": options.volume,
            "Tmpfs": dict(text.partition(":")[::2] for text in options.tmpfs),
            "PortBindings": ports,
            "PublishAllPorts": options.publish_all,
            "NetworkMode": options.network,
            "ExtraHosts": options.add_host,
            "ReadonlyRootfs": options.read_only,
            "CapAdd": options.cap_add,
            "CapDrop": options.cap_drop,
            "PidsLimit": options.pids_limit,
            **_limits(options),
        },
        "NetworkingConfig": {"EndpointsConfig": {options.network: endpoint}} if endpoint else {},
    }


def _limits(options: argparse.Namespace) -> Json:
    limits: Json = {"Memory": options.memory, "NanoCpus": int(options.cpus * 10**9)}
    if options.restart:
        name, _, retries = options.restart.partition(":")
        limits["RestartPolicy"] = {"Name": name, "MaximumRetryCount": int(retries or 0)}
    return limits


def _create(client: Client, options: argparse.Namespace) -> str:
    refuse_terminal(options)
    body = creation_body(options, dict(os.environ))
    try:
        return client.call("POST", "/containers/create", body, name=options.name)["Id"]
    except ApiError as error:
        if error.status != 404 or "image" not in error.message.lower():
            raise
        print(f"Unable to find image '{options.image}' locally", file=sys.stderr)
        images.show_progress(images.pulled(client, options.image), sys.stderr)
        return client.call("POST", "/containers/create", body, name=options.name)["Id"]


def create(client: Client, options: argparse.Namespace) -> int:
    print(_create(client, options))
    return 0


def run_container(client: Client, options: argparse.Namespace) -> int:
    """Everything is attached before it starts, so that nothing is missed."""
    identity = _create(client, options)
    path = f"/containers/{identity}"
    if options.detach:
        client.call("POST", f"{path}/start")
        print(identity)
        return 0
    attached = client.take_over(f"{path}/attach", stream=1, stdout=1, stderr=1, stdin=int(options.interactive))
    waiting = client.lines("POST", f"{path}/wait", condition="removed" if options.rm else "next-exit")
    code: list[int] = []
    waiter = threading.Thread(target=lambda: code.extend(line["StatusCode"] for line in waiting), daemon=True)
    waiter.start()
    try:
        client.call("POST", f"{path}/start")
    except ApiError as error:
        print(f"gitopsd-engine: {error.message}", file=sys.stderr)
        return 127 if "not found" in error.message else 126 if "permission denied" in error.message else 125
    _pump(attached, options.interactive)
    waiter.join()
    return code[0] if code else 1


def _pump(attached: TakenOver, interactive: bool) -> None:
    if interactive:
        threading.Thread(target=attached.feed, args=(0,), daemon=True).start()
    outputs = {1: sys.stdout.buffer, 2: sys.stderr.buffer}
    for stream, data in attached.frames():
        outputs[stream].write(data)
        outputs[stream].flush()


def _for_each(client: Client, options: argparse.Namespace) -> int:
    """start, stop, restart, kill: each named container, an error for one does not stop the others."""
    failed = 0
    for name in options.containers:
        try:
            client.call(
                "POST",
                f"/containers/{name}/{options.command}",
                t=getattr(options, "time", None),
                signal=getattr(options, "signal", None),
            )
            print(name)
        except ApiError as error:
            print(f"gitopsd-engine: {error.message}", file=sys.stderr)
            failed = 1
    return failed


def remove(client: Client, options: argparse.Namespace) -> int:
    failed = 0
    for name in options.containers:
        try:
            client.call("DELETE", f"/containers/{name}", force=int(options.force), v=int(options.volumes))
            print(name)
        except ApiError as error:
            print(f"gitopsd-engine: {error.message}", file=sys.stderr)
            failed = 1
    return failed


def filters_of(given: list[str]) -> str:
    """`--filter` words as the API takes them.  [pure]"""
    found: dict[str, list[str]] = {}
    for text in given:
        key, _, value = text.partition("=")
        found.setdefault(key, []).append(value)
    return json.dumps(found) if found else ""


def list_all(client: Client, options: argparse.Namespace) -> int:
    shown: list[Json] = client.call("GET", "/containers/json", all=int(options.all), filters=filters_of(options.filter))
    if options.json:
        print(json.dumps(shown, indent=1))
    elif options.quiet:
        print("".join(f"{entry['Id'][:12]}\n" for entry in shown), end="")
    else:
        rows = [
            [entry["Id"][:12], entry["Image"], f'"{entry["Command"][:30]}"', entry["Status"], tables.ports(entry["Ports"]),
             ", ".join(name.lstrip("/") for name in entry["Names"])]
            for entry in shown
        ]  # fmt: skip
        print(tables.render(["CONTAINER ID", "IMAGE", "COMMAND", "STATUS", "PORTS", "NAMES"], rows))
    return 0


def logs(client: Client, options: argparse.Namespace) -> int:
    wanted = {"stdout": 1, "stderr": 1, "follow": int(options.follow), "timestamps": int(options.timestamps)}
    outputs = {1: sys.stdout.buffer, 2: sys.stderr.buffer}
    query = {**wanted, "tail": options.tail, "since": options.since, "until": options.until}
    for stream, data in client.frames("GET", f"/containers/{options.container}/logs", **query):
        outputs[stream].write(data)
        outputs[stream].flush()
    return 0


def execute(client: Client, options: argparse.Namespace) -> int:
    refuse_terminal(options)
    attach = not options.detach
    body = {"Cmd": options.arguments, "User": options.user, "WorkingDir": options.workdir, "Env": options.env,
            "AttachStdin": options.interactive and attach, "AttachStdout": attach, "AttachStderr": attach}  # fmt: skip
    identity = client.call("POST", f"/containers/{options.container}/exec", body)["Id"]
    if options.detach:
        client.call("POST", f"/exec/{identity}/start", {"Detach": True})
        return 0
    _pump(client.take_over(f"/exec/{identity}/start", {"Detach": False, "Tty": False}), options.interactive)
    return client.call("GET", f"/exec/{identity}/json")["ExitCode"]


def inspect(client: Client, options: argparse.Namespace) -> int:
    print(json.dumps([client.call("GET", f"/containers/{name}/json") for name in options.containers], indent=4))
    return 0


def rename(client: Client, options: argparse.Namespace) -> int:
    client.call("POST", f"/containers/{options.container}/rename", name=options.name)
    return 0


def update(client: Client, options: argparse.Namespace) -> int:
    for name in options.containers:
        client.call("POST", f"/containers/{name}/update", _limits(options))
        print(name)
    return 0


def wait(client: Client, options: argparse.Namespace) -> int:
    for name in options.containers:
        print(client.call("POST", f"/containers/{name}/wait")["StatusCode"])
    return 0
