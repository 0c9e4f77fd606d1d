"""/containers and /exec."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from collections.abc import AsyncIterator, Coroutine
from typing import Any, Optional

from gitopsd.dockerapi.errors import ApiError
from gitopsd.dockerapi.frames import frame
from gitopsd.dockerapi.signals import signal_number
from gitopsd.dockerapi.values import Json, mapping
from gitopsd.engine.api.engine import Engine
from gitopsd.engine.api.router import Route, asked_version, json_body, json_response, upgrade_headers
from gitopsd.engine.daemon import logs, views
from gitopsd.engine.daemon.container import Container
from gitopsd.engine.daemon.execs import Exec
from gitopsd.engine.daemon.filters import filtered, read_filters
from gitopsd.engine.daemon.monitorlink import MonitorError, MonitorGone
from gitopsd.engine.daemon.times import parse
from gitopsd.engine.http.server import Request, Response, Stream
from gitopsd.engine.images import naming
from gitopsd.engine.paths.root import disk_usage

_ENGINE_REMOVES = (1, 25)
"""Clients of older versions remove by themselves what they ran with --rm."""
_MULTIPLEXED = "application/vnd.docker.multiplexed-stream"
_RAW = "application/vnd.docker.raw-stream"
_STREAMS = {1: "stdout", 2: "stderr"}


async def create(engine: Engine, request: Request, _: dict[str, str]) -> Response:
    body, platform = await json_body(request), request.argument("platform")
    if asked_version(request) < _ENGINE_REMOVES:
        body = {**body, "HostConfig": {**mapping(body, "HostConfig"), "AutoRemove": False}}
    container, warnings = await engine.containers.create(body, request.argument("name"), platform=naming.platform(platform))
    return json_response({"Id": container.id, "Warnings": warnings}, 201)


async def list_all(engine: Engine, request: Request, _: dict[str, str]) -> Response:
    limit = request.argument("limit", "0")
    wanted = filtered(
        engine.containers.all(),
        read_filters(request.argument("filters")),
        request.flag("all"),
        int(limit) if limit.lstrip("-").isdigit() else 0,
    )
    now = time.time_ns()
    shown = [views.summary(container, now) for container in wanted]
    if request.flag("size"):
        for container, entry in zip(wanted, shown):
            entry.update(await asyncio.to_thread(_sizes, engine, container))
    return json_response(shown)


async def inspect(engine: Engine, request: Request, names: dict[str, str]) -> Response:
    container = engine.containers.get(names["name"])
    shown = views.inspect(container, engine.store.path(container.id))
    if request.flag("size"):
        shown.update(await asyncio.to_thread(_sizes, engine, container))
    return json_response(shown)


def _sizes(engine: Engine, container: Container) -> Json:
    """Bytes that it has written itself, and those with its image's; of an image that was removed nothing is known."""
    try:
        written = disk_usage(engine.store.path(container.id, "upper"))
    except FileNotFoundError:  # it was removed a moment ago
        written = 0
    image = engine.images.lookup(container.record["image"]["digest"])
    return {"SizeRw": written, "SizeRootFs": written + (image.record.size_bytes if image is not None else 0)}


async def start(engine: Engine, _: Request, names: dict[str, str]) -> Response:
    return Response(204 if await engine.lifecycle.start(engine.containers.get(names["name"])) else 304)


def _timeout(request: Request) -> Optional[float]:
    text = request.argument("t")
    if not text:
        return None
    if not text.lstrip("-").isdigit():
        raise ApiError(400, f"t: {text!r} is not a number of seconds")
    return float(text)


async def stop(engine: Engine, request: Request, names: dict[str, str]) -> Response:
    container = engine.containers.get(names["name"])
    stopped = await engine.lifecycle.stop(container, _timeout(request), request.argument("signal"))
    return Response(204 if stopped else 304)


async def restart(engine: Engine, request: Request, names: dict[str, str]) -> Response:
    await engine.lifecycle.restart(engine.containers.get(names["name"]), _timeout(request), request.argument("signal"))
    return Response(204)


async def kill(engine: Engine, request: Request, names: dict[str, str]) -> Response:
    await engine.lifecycle.kill(engine.containers.get(names["name"]), signal_number(request.argument("signal") or "SIGKILL"))
    return Response(204)


async def rename(engine: Engine, request: Request, names: dict[str, str]) -> Response:
    await engine.containers.rename(engine.containers.get(names["name"]), request.argument("name"))
    return Response(204)


async def update(engine: Engine, request: Request, names: dict[str, str]) -> Response:
    await engine.containers.update(engine.containers.get(names["name"]), await json_body(request))
    return json_response({"Warnings": None})


async def remove(engine: Engine, request: Request, names: dict[str, str]) -> Response:
    if request.flag("link"):
        raise ApiError(501, "remove container: link is not there yet in this engine", "not-there-yet")
    await engine.containers.remove(engine.containers.get(names["name"]), request.flag("force"), request.flag("v"))
    return Response(204)


async def wait(engine: Engine, request: Request, names: dict[str, str]) -> Response:
    """The head goes out at once: clients wait for it before they start the container."""
    waiting = asyncio.ensure_future(engine.containers.wait(engine.containers.get(names["name"]), request.argument("condition")))
    await asyncio.sleep(0)
    if waiting.done() and waiting.exception() is not None:
        raise waiting.exception() or ApiError(500, "wait")

    async def body() -> AsyncIterator[bytes]:
        try:
            yield json.dumps({"StatusCode": await waiting}).encode() + b"\n"
        finally:
            waiting.cancel()

    return Response(200, body(), {"Content-Type": "application/json"})


async def read_logs(engine: Engine, request: Request, names: dict[str, str]) -> Response:
    container = engine.containers.get(names["name"])
    wanted = {number for number, name in _STREAMS.items() if request.flag(name)}
    if not wanted:
        raise ApiError(400, "Bad parameters: you must choose at least one stream")
    tail = request.argument("tail", "all")
    try:
        since, until = (parse(request.argument(name) or "0") for name in ("since", "until"))
        lines = -1 if tail in ("all", "") or int(tail) < 0 else int(tail)
    except ValueError as error:
        raise ApiError(400, f"logs of {container.name}: {error}") from None
    ended = None if not request.flag("follow") or until else container.ended
    stamper = logs.Stamper() if request.flag("timestamps") else None

    async def body() -> AsyncIterator[bytes]:
        async for records in _log_records(engine, container, lines, ended):
            shown = [
                frame(record[0], stamper.stamp(record) if stamper else record[2])
                for record in records
                if record[0] in wanted and record[1] >= since and (not until or record[1] < until)
            ]
            if shown:
                yield b"".join(shown)

    return Response(200, body(), {"Content-Type": _MULTIPLEXED})


async def _log_records(
    engine: Engine, container: Container, lines: int, ended: Optional[asyncio.Event]
) -> AsyncIterator[list[logs.Record]]:
    folder = engine.store.path(container.id, "log")
    position = logs.beginning(folder)
    if lines >= 0:
        last = await asyncio.to_thread(logs.LastLines, folder, lines)
        position, batches = last.position, iter(last)
        try:
            while batch := await asyncio.to_thread(next, batches, None):
                yield batch
        finally:
            last.close()
        if ended is None:
            return
    async for records in logs.follow(engine.logs, folder, position, ended):
        yield records


async def attach(engine: Engine, request: Request, names: dict[str, str]) -> None:
    """Output from now on (with `logs`, from the beginning) until the end, and standard input the other way."""
    container = engine.containers.get(names["name"])
    if not (request.flag("stream") or request.flag("logs")):
        raise ApiError(400, "attach: choose stream or logs")
    wanted = {number for number, name in _STREAMS.items() if request.flag(name)}
    folder = engine.store.path(container.id, "log")
    position = logs.beginning(folder) if request.flag("logs") else await asyncio.to_thread(logs.end, folder)
    ended = container.ended if container.state not in ("created", "restarting", "exited") else container.next_end
    stream = await request.hijack(*upgrade_headers(request, _MULTIPLEXED if "upgrade" in request.headers else _RAW))

    async def give() -> None:
        await stream.taken()
        async for records in logs.follow(engine.logs, folder, position, ended if request.flag("stream") else None):
            await stream.write(b"".join(frame(number, data) for number, _, data in records if number in wanted))

    await _converse(stream, give(), _feed(container, stream, request.flag("stdin") and request.flag("stream")))


async def _converse(stream: Stream, giving: Coroutine[Any, Any, None], feeding: Coroutine[Any, Any, None]) -> None:
    """Both directions of a connection that was taken over, until all is given or the client has gone."""
    given, fed, gone = (asyncio.ensure_future(work) for work in (giving, feeding, stream.closed()))
    await asyncio.wait({given, gone}, return_when=asyncio.FIRST_COMPLETED)
    for task in (given, fed, gone):
        task.cancel()
    found = await asyncio.gather(given, fed, gone, return_exceptions=True)
    stream.end()
    for error in found:
        if isinstance(error, Exception) and not isinstance(error, (ConnectionError, asyncio.CancelledError)):
            raise error


async def _feed(container: Container, stream: Stream, wanted: bool) -> None:
    """What the client sends goes to standard input; its end closes it. Without `wanted` it is read and dropped."""
    if wanted and container.config["OpenStdin"]:
        await container.running.wait()
        if container.monitor is None:
            return
        try:
            _, (descriptor,) = await container.monitor.ask_for("attach")
        except (MonitorError, MonitorGone):
            wanted = False
        else:
            await _copy_in(stream, descriptor)
            if container.config["StdinOnce"]:
                with contextlib.suppress(MonitorError, MonitorGone):
                    await container.monitor.ask("close-stdin")
            return
    while await stream.read():
        pass


async def _copy_in(stream: Stream, descriptor: int) -> None:
    """Copy to a pipe until the client's end, or until nobody reads the pipe; closes the descriptor."""
    loop = asyncio.get_running_loop()
    os.set_blocking(descriptor, False)
    writable = asyncio.Event()
    try:
        while data := await stream.read(65536):
            while data:
                try:
                    data = data[os.write(descriptor, data) :]
                except BlockingIOError:
                    writable.clear()
                    loop.add_writer(descriptor, writable.set)
                    try:
                        await writable.wait()
                    finally:
                        loop.remove_writer(descriptor)
    except (BrokenPipeError, ConnectionError):
        pass
    finally:
        os.close(descriptor)


async def create_exec(engine: Engine, request: Request, names: dict[str, str]) -> Response:
    engine.lifecycle.warm()
    made = engine.execs.create(engine.containers.get(names["name"]), await json_body(request))
    return json_response({"Id": made.id}, 201)


async def start_exec(engine: Engine, request: Request, names: dict[str, str]) -> Optional[Response]:
    body = await json_body(request)
    made = engine.execs.get(names["name"])
    if body.get("Tty"):
        raise ApiError(501, "start exec: Tty is not there yet in this engine", "not-there-yet")
    if body.get("Detach"):
        await engine.execs.start(made, detach=True)
        return Response(200)
    engine.execs.check(made)
    stream = await request.hijack(*upgrade_headers(request, _MULTIPLEXED if "upgrade" in request.headers else _RAW))
    try:
        await engine.execs.start(made, detach=False)
    except ApiError as error:  # clients show no answer but the one that they asked for: a stream, and then the exit code
        await stream.taken()
        await stream.write(frame(2, f"{error.message}\n".encode()))
        stream.end()
        return None

    async def give() -> None:
        await stream.taken()
        async for number, data in engine.execs.output(made):
            await stream.write(frame(number, data))
        await engine.execs.wait(made)

    await _converse(stream, give(), _feed_exec(made, stream))
    return None


async def _feed_exec(made: Exec, stream: Stream) -> None:
    if made.stdin >= 0:
        descriptor, made.stdin = made.stdin, -1
        await _copy_in(stream, descriptor)
    while await stream.read():
        pass


async def inspect_exec(engine: Engine, _: Request, names: dict[str, str]) -> Response:
    return json_response(engine.execs.get(names["name"]).inspect())


def json_line(value: Json) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode() + b"\r\n"


ROUTES: list[Route] = [
    ("POST", "/containers/create", create),
    ("GET", "/containers/json", list_all),
    ("GET", "/containers/{name*}/json", inspect),
    ("POST", "/containers/{name*}/start", start),
    ("POST", "/containers/{name*}/stop", stop),
    ("POST", "/containers/{name*}/restart", restart),
    ("POST", "/containers/{name*}/kill", kill),
    ("POST", "/containers/{name*}/rename", rename),
    ("POST", "/containers/{name*}/update", update),
    ("POST", "/containers/{name*}/wait", wait),
    ("GET", "/containers/{name*}/logs", read_logs),
    ("POST", "/containers/{name*}/attach", attach),
    ("POST", "/containers/{name*}/exec", create_exec),
    ("DELETE", "/containers/{name*}", remove),
    ("POST", "/exec/{name}/start", start_exec),
    ("GET", "/exec/{name}/json", inspect_exec),
]
