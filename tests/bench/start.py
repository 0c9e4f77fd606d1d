"""`docker run --rm IMAGE true` and `docker exec`, ours against Debian's dockerd, interleaved; memory; and where our time goes.

    python tests/bench/start.py [--rounds 30] [--json FILE]

Needs root, docker.io and busybox-static from apt. Each engine runs in a network namespace of its own, so nothing of either is left on this
machine. The docker CLI is the same for both: its own time is in both figures. Writing to disk stays as each engine has it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(ROOT / "tests" / "engine"))

from archives import an_archive, busybox  # noqa: E402

from gitopsd.engine.client.connection import Client  # noqa: E402

PYTHON = os.environ.get("GITOPSD_ENGINE_PYTHON", "/usr/bin/python3")


@contextlib.contextmanager
def engine(name: str, folder: Path) -> Iterator[tuple[str, int]]:
    """A daemon in a network namespace; its socket and its process id."""
    sock = folder / f"{name}.sock"
    if name == "ours":
        command = [PYTHON, "-m", "gitopsd.engine.main", "daemon", "--data-root", str(folder / "data"),
                   "--exec-root", str(folder / "run"), "--host", f"unix://{sock}"]  # fmt: skip
    else:
        command = ["dockerd", "--data-root", str(folder / "docker"), "--exec-root", str(folder / "docker-run"), "--host", f"unix://{sock}",
                   "--pidfile", str(folder / "docker.pid")]  # fmt: skip
    with open(folder / f"{name}.log", "wb") as log:
        process = subprocess.Popen(["unshare", "--net", "--", *command], stdout=log, stderr=log, cwd=ROOT)
    try:
        for _ in range(600):
            if (
                sock.exists()
                and subprocess.run(["docker", "-H", f"unix://{sock}", "version"], capture_output=True).returncode == 0
            ):
                break
            if process.poll() is not None:
                raise SystemExit((folder / f"{name}.log").read_text())
            time.sleep(0.05)
        yield f"unix://{sock}", process.pid
    finally:
        process.terminate()
        process.wait(30)
        if name == "ours":
            subprocess.run(
                ["unshare", "--net", "--", PYTHON, "-m", "gitopsd.engine.main", "uninstall", "--data-root", str(folder / "data"),
                 "--exec-root", str(folder / "run")], cwd=ROOT)  # fmt: skip


def docker(host: str, *words: str) -> float:
    """Run the CLI; milliseconds."""
    started = time.perf_counter()
    subprocess.run(["docker", "-H", host, *words], check=True, stdout=subprocess.DEVNULL)
    return (time.perf_counter() - started) * 1000


def breakdown(host: str, rounds: int) -> dict[str, float]:
    """Milliseconds of each request of `docker run`, without the CLI."""
    client = Client(host)
    taken: dict[str, list[float]] = {}
    for _ in range(rounds):
        marks = [time.perf_counter()]
        identity = client.call("POST", "/containers/create", {"Image": "busybox", "Cmd": ["true"]})["Id"]
        marks.append(time.perf_counter())
        client.call("POST", f"/containers/{identity}/start")
        marks.append(time.perf_counter())
        client.call("POST", f"/containers/{identity}/wait")
        marks.append(time.perf_counter())
        client.call("DELETE", f"/containers/{identity}")
        marks.append(time.perf_counter())
        for step, first, second in zip(("create", "start", "wait", "remove"), marks, marks[1:], strict=False):
            taken.setdefault(step, []).append((second - first) * 1000)
    return {step: statistics.median(values) for step, values in taken.items()}


def memory_kib(pid: int, field: str) -> int:
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(field))


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def monitors(host: str) -> list[int]:
    """PSS of each of ten containers' monitors, in KiB."""
    client = Client(host)
    made = [client.call("POST", "/containers/create", {"Image": "busybox", "Cmd": ["sleep", "1000"]})["Id"] for _ in range(10)]
    for identity in made:
        client.call("POST", f"/containers/{identity}/start")
    time.sleep(1)
    found: list[int] = []
    for identity in made:
        pid = client.call("GET", f"/containers/{identity}/json")["State"]["Pid"]
        parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        found.append(memory_kib(parent, "Pss:"))
    for identity in made:
        client.call("DELETE", f"/containers/{identity}", force=1)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Time docker run and exec against Debian's dockerd.")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="gitopsd-bench-", dir="/var/tmp"))
    try:
        with engine("ours", folder) as (ours, pid), engine("dockerd", folder) as (theirs, _):
            archive = folder / "busybox.tar"
            archive.write_bytes(an_archive("busybox:latest", busybox(), Env=["PATH=/bin"], Cmd=["sh"]))
            hosts = {"ours": ours, "dockerd": theirs}
            idle = memory_kib(pid, "Rss:")
            for host in hosts.values():
                docker(host, "load", "-q", "-i", str(archive))
                docker(host, "run", "-d", "--name", "stay", "busybox", "sleep", "1000")
            times: dict[str, dict[str, list[float]]] = {name: {"cli": [], "run": [], "exec": []} for name in hosts}
            for _ in range(options.rounds):
                for name, host in hosts.items():
                    times[name]["cli"].append(docker(host, "version"))
                    times[name]["run"].append(docker(host, "run", "--rm", "busybox", "true"))
                    times[name]["exec"].append(docker(host, "exec", "stay", "true"))
            found = {
                "milliseconds": {
                    name: {what: statistics.median(values) for what, values in each.items()} for name, each in times.items()
                },
                "breakdown": breakdown(ours, options.rounds),
                "daemon_idle_rss_kib": idle,
                "daemon_after_rss_kib": memory_kib(pid, "Rss:"),
                "monitor_pss_kib": monitors(ours),
            }
            for host in hosts.values():
                docker(host, "rm", "-f", "stay")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    medians = found["milliseconds"]
    for what in ("cli", "run", "exec"):
        mine, peer = medians["ours"][what], medians["dockerd"][what]
        print(f"{what:5} ours {mine:7.1f} ms   dockerd {peer:7.1f} ms   ratio {mine / peer:.2f}")
    print("ours, without the CLI:", "  ".join(f"{step} {value:.1f} ms" for step, value in found["breakdown"].items()))
    print(
        f"daemon: {found['daemon_idle_rss_kib'] / 1024:.1f} MiB idle, {found['daemon_after_rss_kib'] / 1024:.1f} MiB after (RSS)"
    )
    print(f"monitor among ten: {statistics.median(found['monitor_pss_kib']) / 1024:.2f} MiB (PSS, median)")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
