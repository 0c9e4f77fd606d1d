"""How long the network side takes: `PYTHONPATH=. python tests/bench/networks.py`, as root. Prints medians in milliseconds.

All of it in a fresh network namespace; containers are namespaces of forked processes.
"""

from __future__ import annotations

import importlib.util
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gitopsd.engine.kernel import process
from gitopsd.engine.networks import lookup
from gitopsd.engine.networks.endpoint import Attachment
from gitopsd.engine.networks.networks import Networks, Running
from gitopsd.engine.networks.ports import PortRequest
from gitopsd.engine.networks.ruleset import Port, Published

CONTAINERS = 100


def scene() -> Any:
    """What the tests build their hosts from."""
    path = Path(__file__).parents[1] / "engine" / "networks" / "conftest.py"
    spec = importlib.util.spec_from_file_location("scene", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def median(work: Callable[[], object], times: int = 50) -> float:
    taken: list[float] = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        taken.append((time.perf_counter() - start) * 1000)
    return statistics.median(taken)


def main() -> None:
    process.unshare(process.CLONE_NEWNET)
    resource.setrlimit(resource.RLIMIT_NOFILE, (8192, 8192))
    host = scene().Host()
    with tempfile.TemporaryDirectory() as folder:
        networks = Networks(host.instance, folder, now=lambda: "")
        networks.start()
        networks.create({"Name": "front", "IPAM": {"Config": [{"Subnet": "10.77.0.0/24"}]}})
        containers = [host.container() for _ in range(CONTAINERS)]
        waiting = iter(containers)

        def start() -> None:
            container = next(waiting)
            networks.allocate(container.id, container.id[:6], [Attachment("front")])
            networks.attach(container.id, container.sockets())

        print(f"endpoint: address, veth, route, look-ups   {median(start, CONTAINERS):8.2f}")
        one, other = containers[:2]
        port = Port("tcp", "0.0.0.0", 8080, 80)
        print(f"publish a port                             {median(lambda: networks.publish(one.id, [port])):8.2f}")
        here = [Published(port, networks.endpoints(c.id)[0].address) for c in (one, other)]
        networks._later.submit(int).result()

        def move() -> None:
            here.reverse()
            networks._host.set_ports(here[1:], here[:1])

        print(f"move a port, in nf_tables                  {median(move, 100):8.2f}")
        networks.reassert()
        pair = [one, other]
        networks._state.member(other.id).is_serving = False

        def transition() -> None:
            networks.transition(pair[0].id, pair[1].id, [PortRequest("tcp", 80, host_port=8080)])
            pair.reverse()

        print(f"transition, tracked connections included   {median(transition, 30):8.2f}")
        print(f"find that nothing is to be mended          {median(networks.reassert):8.2f}")
        query = lookup_query(containers[3].id[:6])
        print(
            f"answer a look-up                           {median(lambda: lookup.respond(query, networks.names, one.id, 0), 500):8.3f}"
        )
        networks.close()

        running = [Running(c.id, c.id[:6], (Attachment("front"),), c.sockets()) for c in containers]
        start_s = time.perf_counter()
        networks = Networks(host.instance, folder, now=lambda: "")
        networks.start(running)
        print(f"adopt {CONTAINERS} containers                       {(time.perf_counter() - start_s) * 1000:8.2f}")
        leaving = iter(containers[10:60])
        print(f"release a container                        {median(lambda: networks.release(next(leaving).id)):8.2f}")
        networks.tear_down()
        networks.close()
    host.close()


def lookup_query(name: str) -> bytes:
    return b"\1\2\1\0\0\1\0\0\0\0\0\0" + bytes((len(name),)) + name.encode() + b"\0\0\1\0\1"


if __name__ == "__main__":
    if os.geteuid() != 0:
        raise SystemExit("as root, please: it makes network namespaces")
    main()
