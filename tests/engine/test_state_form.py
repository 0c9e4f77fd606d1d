"""docs/state.md against what a running engine really has on disk and in the kernel."""

from __future__ import annotations

import fcntl
import json
import os
import re
import stat
import struct
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from tests.engine.running import SOURCE, Engine, until
from tests.engine.test_adoption import post

pytestmark = pytest.mark.host

DOCUMENT = (SOURCE / "docs/state.md").read_text()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def documented(section: str) -> list[str]:
    """The patterns in the first column of a section's table: `<x>` stands for anything without a slash."""
    found: list[str] = []
    for line in DOCUMENT.partition(section)[2].partition("\n## ")[0].splitlines():
        if line.startswith("| `"):
            names = [name.rstrip("/") for name in re.findall(r"`([^`]+)`", line.split("|")[1])]
            base = names[0].rpartition("/")[0]
            found += [name if "/" in name or name == names[0] or not base else f"{base}/{name}" for name in names]
    return [re.sub(r"<[^>]+>", "?*", name) for name in found]


def is_documented(path: str, patterns: list[str]) -> bool:
    """A documented path, a folder above one, or something in a folder that others fill."""
    if any(fnmatchcase(path, pattern) and path.count("/") == pattern.count("/") for pattern in patterns):
        return True
    return any(pattern.startswith("/".join([*pattern.split("/")[: path.count("/") + 1], ""])) and fnmatchcase(
        path, "/".join(pattern.split("/")[: path.count("/") + 1])) for pattern in patterns)  # fmt: skip


@pytest.fixture
def busy(own: Engine) -> Engine:
    """An engine that has some of everything."""
    own.client.call("POST", "/networks/create", {"Name": "back"})
    own.run("sh", "-c", "echo out; echo err >&2; exec sleep 1000", name="one", NetworkMode="back", Binds=["data:/data"],
            PortBindings={"80/tcp": [{"HostIp": "", "HostPort": "8080"}]})  # fmt: skip
    own.wait(own.run("true", name="two"))
    own.call("PUT", "/gitopsd/v1/intent", {"a": 1}, {"If-Match": '"0"'})
    return own


def test_everything_in_the_data_root_is_documented(busy: Engine) -> None:
    patterns = documented("## The data root")
    assert "containers/?*/config.json" in patterns
    opaque = re.compile(r"^(layers/[0-9a-z]+|containers/[0-9a-f]+/(upper|work)|volumes/[^/]+/_data)/")
    strange = [str(path.relative_to(busy.data_root)) for path in busy.data_root.rglob("*")]
    strange = [path for path in strange if not opaque.match(path) and not is_documented(path, patterns)]
    assert strange == [], "\n".join(strange)


def test_everything_in_the_exec_root_is_documented(busy: Engine) -> None:
    patterns = documented("## The exec root")
    strange = [str(path.relative_to(busy.exec_root)) for path in busy.exec_root.rglob("*")]
    assert [path for path in strange if not is_documented(path, patterns)] == []


def test_modes_let_nobody_else_in(busy: Engine) -> None:
    data, run = busy.data_root, busy.exec_root
    assert (mode(data), mode(run), mode(run / "m"), mode(run / "c")) == (0o700, 0o711, 0o700, 0o700)
    assert mode(run / "engine.sock") == 0o600
    assert {mode(path) for path in (run / "m").iterdir()} == {0o600}
    for path in data.rglob("*"):
        if path.is_symlink() or re.search(r"/(upper|work|_data|layers/[0-9a-z]+)(/|$)|/etc/", str(path)):
            continue
        assert not mode(path) & 0o022, path
    for name in ("containers", "volumes", "networks", "blobs"):
        assert not mode(data / name) & 0o077, name
    assert {mode(path) for path in (data / "blobs/sha256").iterdir()} == {0o600}


def test_version_and_lock_are_as_documented(own: Engine) -> None:
    text = (own.data_root / "VERSION").read_text()
    assert re.fullmatch(r'\{\s*"layout": 1,\s*"instance": "[a-z2-7]{5}"\s*\}\n', text)
    assert (own.data_root / "lock").stat().st_size == 0
    with open(own.data_root / "lock") as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    own.kill()
    with open(own.data_root / "lock") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_records_are_as_documented(busy: Engine) -> None:
    data = busy.data_root

    def read(name: str) -> Any:
        return json.loads((data / name).read_text())

    images, layers = read("images.json"), read("layers.json")
    assert (images["version"], layers["version"]) == (1, 1)
    (reference, digest), *_ = images["references"].items()
    assert reference == "docker.io/library/busybox:latest"
    assert set(images["images"][digest]) == {"config", "platform", "size_bytes", "added_ns"}
    assert (data / "blobs/sha256" / digest[7:]).exists()
    for layer in layers["layers"].values():
        assert {"short", "diff_id", "parent", "size"} <= set(layer)
        assert re.fullmatch(r"[0-9a-z]{1,6}", layer["short"])
        assert (data / "layers" / layer["short"]).is_dir()
    one = busy.inspect("one")["Id"]
    record = busy.record(one)
    assert {"version", "id", "name", "created", "generation", "create", "image", "should_run", "replaces"} <= set(record)
    assert (record["version"], record["id"], record["name"], record["should_run"]) == (1, one, "one", True)
    end = read(f"containers/{busy.inspect('two')['Id']}/exit.json")
    assert {"run", "exit_code", "finished", "oom_killed"} <= set(end)
    network = read(f"networks/{busy.client.call('GET', '/networks/back')['Id']}.json")
    row = next(line for line in DOCUMENT.splitlines() if line.startswith("| `networks/<id>.json`"))
    assert set(network) == set(re.findall(r'"(\w+)"', row))
    assert read("volumes/data/volume.json")["name"] == "data"
    config = read(f"containers/{one}/bundle/config.json")
    assert {"ociVersion", "process", "root", "mounts", "linux"} <= set(config)


def test_the_log_is_records_as_documented(busy: Engine) -> None:
    one = busy.inspect("one")["Id"]
    until(lambda: busy.logs(one, 2), "it has written")
    (file,) = (busy.data_root / "containers" / one / "log").iterdir()
    assert file.name == "1"
    data, found, offset = file.read_bytes(), [], 0
    while offset < len(data):
        length, stream, nanoseconds = struct.unpack_from(">IBxxxQ", data, offset)
        found.append((stream, data[offset + 16 : offset + 16 + length]))
        assert 1_600_000_000 * 10**9 < nanoseconds < 5_000_000_000 * 10**9
        offset += 16 + length
    assert sorted(found) == [(1, b"out\n"), (2, b"err\n")]
    assert mode(file) == 0o600
    whole = busy.raw_logs(one)
    post(busy, one, "stop", t=0)
    with open(file, "ab") as torn:
        torn.write(struct.pack(">IBxxxQ", 1000, 1, 1) + b"half")
    assert busy.raw_logs(one) == whole, "a torn record at the end is ignored"
    busy.start_container(one)
    until(lambda: busy.raw_logs(one) == whole + b"out\n", "and the next one is whole")


def test_names_in_the_kernel_are_as_documented(busy: Engine) -> None:
    one, instance = busy.inspect("one")["Id"], busy.instance
    network = busy.client.call("GET", "/networks/back")["Id"]
    links = busy.inside("ip", "-o", "link")
    assert f"gb{instance}-{network[:6]}" in links
    endpoint = busy.inspect(one)["NetworkSettings"]["Networks"]["back"]["EndpointID"]
    assert f"gv{instance}-{endpoint[:6]}" in links
    assert f"1 {one} {endpoint} {network[:12]} " in links, "the alias that the next daemon reads"
    tables = busy.inside("nft", "list", "tables")
    assert f"table ip gitopsd-{instance}" in tables
    for top in Path("/sys/fs/cgroup").glob(f"*/gitopsd-{instance}"):
        assert [folder.name for folder in top.iterdir() if folder.is_dir()] == [one[:12]]
        assert {folder.name for folder in (top / one[:12]).iterdir() if folder.is_dir()} <= {"payload", "monitor"}
    with busy.monitor(one) as monitor:
        hello = monitor.ask("hello")
    for pid, child in ((hello["pid"], "payload"), (hello["monitor"], "monitor")):
        groups = Path(f"/proc/{pid}/cgroup").read_text()
        assert f"/gitopsd-{instance}/{one[:12]}/{child}\n" in groups
    assert {file.name for file in (busy.exec_root / "m").iterdir()} == {one[:12]}
    kept = json.loads((busy.exec_root / "c" / f"{one[:12]}.json").read_text())
    assert kept["ports"] == {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}]}


def test_a_subnet_is_the_first_free_one_of_the_block(own: Engine) -> None:
    subnets = [own.client.call("GET", f"/networks/{name}")["IPAM"]["Config"][0]["Subnet"] for name in ("bridge",)]
    for name in ("n-1", "n-2"):
        own.client.call("POST", "/networks/create", {"Name": name})
        subnets.append(own.client.call("GET", f"/networks/{name}")["IPAM"]["Config"][0]["Subnet"])
    assert subnets == ["10.192.0.0/26", "10.192.0.64/26", "10.192.0.128/26"]


def test_unknown_keys_are_accepted_and_kept(busy: Engine) -> None:
    one = busy.inspect("one")["Id"]
    network = busy.client.call("GET", "/networks/back")["Id"]
    host = {"fleet": "f", "host": "h", "number": 0, "block": "10.192.0.0/21", "spans": "10.208.0.0/12"}
    busy.call("PUT", "/gitopsd/v1/host", host)
    names = [
        f"containers/{one}/config.json",
        "images.json",
        "layers.json",
        "volumes/data/volume.json",
        f"networks/{network}.json",
        "fleet.json",
    ]
    busy.kill()
    for name in names:
        path = busy.data_root / name
        path.write_text(json.dumps({**json.loads(path.read_text()), "from_the_future": [1]}))
    busy.start()
    post(busy, one, "rename", name="renamed")
    busy.load("another", Labels={"l": "m"})
    busy.run("true", Binds=["data:/data"])
    assert busy.call("PUT", "/gitopsd/v1/host", host).status == 200
    busy.restart()
    for name in names:
        assert json.loads((busy.data_root / name).read_text())["from_the_future"] == [1], name


def test_nothing_unfinished_is_left_and_what_is_goes_when_the_daemon_starts(busy: Engine) -> None:
    def unfinished() -> list[str]:
        return [
            str(path)
            for path in busy.data_root.rglob("*")
            if re.search(r"\.tmp|/\.|_data\.|_view|removing|gone-", str(path.relative_to(busy.data_root)))
        ]

    assert unfinished() == []
    busy.kill()
    for name in ("containers/.abc", "volumes/.removing-x", "layers/.tmp-9"):
        (busy.data_root / name / "deep").mkdir(parents=True)
    busy.start()
    assert unfinished() == []


def test_the_page_names_the_files_that_a_reader_looks_for() -> None:
    for name in ("tests/engine/test_state_form.py", "tests/unit/engine/test_state_document.py"):
        assert name in DOCUMENT
        assert os.path.exists(SOURCE / name)
