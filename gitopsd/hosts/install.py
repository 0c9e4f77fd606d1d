"""Put, start, look at and remove the engine, on the host itself: sent as text and run as root there.  [python 3.7]

In: `python3 -c <this> VERB SETTINGS`, SETTINGS a JSON object of paths and texts (`bootstrap.py` makes it); for `put` the zipapp,
compressed, on standard input.  Out: a JSON object, or exit code 1 and one line that says what failed.

Rule 1: every verb may be run again, and after one that was cut off.
Rule 2: nothing here touches a container: stopping the daemon leaves them alone, whichever way it is kept running.
Rule 3: a process is known by its number and by what stands in its command line, since numbers come again.

Where systemd is process 1 the daemon is a unit. Elsewhere `gitopsd-engine supervise` is its parent, started here in a session of its own.
"""

import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zlib
from typing import Any


def status(settings: "dict[str, Any]") -> "dict[str, Any]":
    """Which zipapps are here and which one runs."""
    folder = os.path.join(settings["data_root"], "engine")
    names = os.listdir(folder) if os.path.isdir(folder) else []
    pid, words = running(settings)
    return {"packages": sorted(name[:-4] for name in names if name.endswith(".pyz")), "pid": pid, "command": words}


def log(settings: "dict[str, Any]") -> "dict[str, Any]":
    """The last lines that the daemon wrote, for somebody who asks why it does not run."""
    if os.path.isdir("/run/systemd/system"):
        name = os.path.basename(settings["unit_path"])
        command = ["journalctl", "--unit", name, "--lines", "20", "--output", "cat", "--no-pager"]
        text = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False).stdout.decode(
            errors="replace"
        )
    else:
        text = read(settings["log_path"])
    return {"lines": [line for line in text.splitlines() if line.strip()][-20:]}


def put(settings: "dict[str, Any]") -> "dict[str, Any]":
    data = zlib.decompress(sys.stdin.buffer.read())
    digest = hashlib.sha256(data).hexdigest()
    if digest != settings["digest"]:
        raise ValueError(f"the engine arrived as {digest} and was sent as {settings['digest']}")
    os.makedirs(settings["data_root"], 0o700, exist_ok=True)
    os.chmod(settings["data_root"], 0o700)
    folder = os.path.join(settings["data_root"], "engine")
    os.makedirs(folder, 0o700, exist_ok=True)
    write(os.path.join(folder, f"{digest}.pyz"), data, 0o600)
    return {}


def start(settings: "dict[str, Any]") -> "dict[str, Any]":
    """Have the daemon running with exactly this command; what had to be done for it."""
    if os.path.isdir("/run/systemd/system"):
        done = start_unit(settings)
    else:
        done = start_supervised(settings)
    prune(settings)
    return {"done": done}


def start_unit(settings: "dict[str, Any]") -> str:
    path, name = settings["unit_path"], os.path.basename(settings["unit_path"])
    if read(path) == settings["unit"]:
        if call("systemctl", "is-active", "--quiet", name):
            call("systemctl", "enable", "--quiet", name)
            return ""
    else:
        write(path, settings["unit"].encode(), 0o644)
    must("systemctl", "daemon-reload")
    must("systemctl", "enable", "--quiet", name)
    was_running = call("systemctl", "is-active", "--quiet", name)
    must("systemctl", "restart", "--no-block", name)
    return "restarted" if was_running else "started"


def start_supervised(settings: "dict[str, Any]") -> str:
    supervisor = find(os.path.join(settings["exec_root"], "supervise.pid"), "supervise")
    if supervisor and command_of(supervisor) == settings["command"]:
        return ""
    was_running = stop_supervised(settings)
    os.makedirs(settings["exec_root"], 0o711, exist_ok=True)
    log = settings["log_path"]
    if os.path.exists(log) and os.path.getsize(log) > 4 << 20:
        os.replace(log, f"{log}.1")
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    # it must not end with this connection, nor keep it open
    process = subprocess.Popen(
        settings["command"], stdin=nothing, stdout=output, stderr=output, start_new_session=True, close_fds=True, cwd="/"
    )
    write(os.path.join(settings["exec_root"], "supervise.pid"), f"{process.pid}\n".encode(), 0o600)
    process.returncode = 0  # nobody here waits for it
    return "restarted" if was_running else "started"


def stop(settings: "dict[str, Any]") -> "dict[str, Any]":
    if os.path.isdir("/run/systemd/system") and os.path.exists(settings["unit_path"]):
        must("systemctl", "disable", "--now", "--quiet", os.path.basename(settings["unit_path"]))
    stop_supervised(settings)
    return {}


def stop_supervised(settings: "dict[str, Any]") -> bool:
    """Whether anything ran. The parent ends first, so that it does not start the daemon again."""
    found = False
    for file, word in (("supervise.pid", "supervise"), ("engine.pid", "daemon")):
        pid = find(os.path.join(settings["exec_root"], file), word)
        if pid:
            end(pid)
            found = True
    return found


def remove(settings: "dict[str, Any]") -> "dict[str, Any]":
    """Take everything away: containers, networks, mounts, cgroups, files. Volumes only if `volumes` says so."""
    root = settings["data_root"]
    volumes = os.path.join(root, "volumes")
    kept = sorted(os.listdir(volumes)) if os.path.isdir(volumes) else []
    if kept and not settings["volumes"]:
        return {"volumes": kept}
    stop(settings)
    packages = [
        name for name in (os.listdir(f"{root}/engine") if os.path.isdir(f"{root}/engine") else []) if name.endswith(".pyz")
    ]
    packages.sort(key=lambda name: os.stat(f"{root}/engine/{name}").st_mtime)
    if packages and os.path.exists(f"{root}/VERSION"):
        must(sys.executable, "-I", "-S", f"{root}/engine/{packages[-1]}", "uninstall", "--data-root", root,
             "--exec-root", settings["exec_root"])  # fmt: skip
    with contextlib.suppress(FileNotFoundError):
        os.unlink(settings["unit_path"])
        must("systemctl", "daemon-reload")
    if os.path.isdir("/run/systemd/system"):
        stop_slices(read(f"{root}/VERSION"))
    for log in (settings["log_path"], settings["log_path"] + ".1"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(log)
    clear(settings["exec_root"])
    clear(root)
    return {"volumes": []}


def stop_slices(version: str) -> None:
    """systemd keeps the slices that it made for scopes; the upper one is shared with other engines, and goes with the last."""
    if version:
        call("systemctl", "stop", f"gitopsd-{json.loads(version)['instance']}.slice")
    top = next(
        (path for path in ("/sys/fs/cgroup/gitopsd.slice", "/sys/fs/cgroup/unified/gitopsd.slice") if os.path.isdir(path)), ""
    )
    if top and not any(name.endswith(".slice") for name in os.listdir(top)):
        call("systemctl", "stop", "gitopsd.slice")


def clear(folder: str) -> None:
    for name in os.listdir(folder) if os.path.isdir(folder) else []:
        path = os.path.join(folder, name)
        if os.path.isdir(path) and not os.path.islink(path):
            remove_tree(path)
        else:
            os.unlink(path)
    with contextlib.suppress(OSError):  # a file system of its own may be mounted there
        os.rmdir(folder)


def remove_tree(top: str) -> None:
    """Folders move up to the top before they are emptied: a container may have made them deeper than recursion and paths go."""
    waiting = [top]
    while waiting:
        folder = waiting.pop()
        with os.scandir(folder) as entries:
            found = list(entries)
        for entry in found:
            if entry.is_dir(follow_symlinks=False):
                waiting.append(os.path.join(top, f".gone-{os.urandom(8).hex()}"))
                os.rename(entry.path, waiting[-1])
            else:
                os.unlink(entry.path)
        if folder != top:
            os.rmdir(folder)
    os.rmdir(top)


def running(settings: "dict[str, Any]") -> "tuple[int, list[str]]":
    pid = find(os.path.join(settings["exec_root"], "engine.pid"), "daemon")
    return pid, command_of(pid) if pid else []


def prune(settings: "dict[str, Any]") -> None:
    """Remove code that no process of this machine has in its command line, but the newest two versions."""
    folder = os.path.join(settings["data_root"], "engine")
    lines = b"\n".join(read_bytes(f"/proc/{pid}/cmdline") for pid in os.listdir("/proc") if pid.isdigit())
    found = {name[:64] for name in os.listdir(folder)} - {settings["digest"]}
    by_age = sorted(found, key=lambda digest: max(age(f"{folder}/{digest}.pyz"), age(f"{folder}/{digest}")))
    for digest in by_age[:-1]:
        if digest.encode() not in lines:
            shutil.rmtree(f"{folder}/{digest}", ignore_errors=True)  # noqa: TID251  our own files
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{folder}/{digest}.pyz")


def find(path: str, word: str) -> int:
    """The process that a file names, if it still is what it was: 0 if not."""
    try:
        pid = int(read(path) or "0")
    except ValueError:
        return 0
    return pid if pid and word in command_of(pid) else 0


def command_of(pid: int) -> "list[str]":
    return [word.decode(errors="replace") for word in read_bytes(f"/proc/{pid}/cmdline").split(b"\0")[:-1]]


def end(pid: int) -> None:
    for number, seconds in ((signal.SIGTERM, 15), (signal.SIGKILL, 5)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if not command_of(pid):  # gone, or a zombie that its parent will reap
                return
            time.sleep(0.02)
    raise TimeoutError(f"process {pid} does not end")


def age(path: str) -> float:
    try:
        return os.stat(path).st_mtime
    except OSError:
        return 0.0


def read(path: str) -> str:
    return read_bytes(path).decode(errors="replace")


def read_bytes(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def write(path: str, data: bytes, mode: int) -> None:
    temporary = f"{path}.{os.getpid()}.tmp"
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.rename(temporary, path)
    folder = os.open(os.path.dirname(path), os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)


def call(*argv: str) -> bool:
    return subprocess.run(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode == 0


def must(*argv: str) -> None:
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        lines = done.stdout.decode(errors="replace").strip().splitlines() or [f"exit code {done.returncode}"]
        raise ValueError(f"{' '.join(argv[:2])}: {lines[-1]}")


if __name__ == "__main__":
    try:
        verbs = {"status": status, "put": put, "start": start, "stop": stop, "remove": remove, "log": log}
        print(json.dumps(verbs[sys.argv[1]](json.loads(sys.argv[2]))))
    except (OSError, ValueError, zlib.error) as problem:
        sys.exit(str(problem))
