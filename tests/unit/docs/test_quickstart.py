"""The quickstart's repository: what its files mean, and its page served by busybox itself."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest

from gitopsd.model.observed import HostObserved, Observed
from gitopsd.oci.digest import Digest
from gitopsd.oci.manifest import OCI_CONFIG, Descriptor, render_manifest
from gitopsd.pin import pin
from gitopsd.place import place
from gitopsd.render import render
from gitopsd.source import folder_revision
from tests.fakes.registries import MemoryRegistries

QUICKSTART = Path(__file__).parents[3] / "examples" / "quickstart"


def test_every_host_gets_its_own_pair_and_one_of_them_the_notes():
    revision = folder_revision(QUICKSTART)
    rendered = render(revision)
    assert not rendered.blocked, rendered.blocked
    registries = MemoryRegistries({"docker.io": "127.0.0.1:5000"})
    base = render_manifest(Descriptor(OCI_CONFIG, Digest.of(b"{}"), 2), [])
    registries.put("127.0.0.1:5000/library/busybox", base, "stable")
    pins = pin(revision, rendered, registries, "linux/amd64")
    assert pins.build("shop", "web").bases == (("busybox:stable", Digest.of(base)),)
    desired = place(rendered, pins, Observed((HostObserved("lab-1"), HostObserved("lab-2"))))
    assert desired.held == ()
    names = [[each.spec.name for each in host.containers if each.stack == "shop"] for host in desired.hosts]
    assert names == [["shop-store-1", "shop-web-1"]] * 2
    assert sorted(each.spec.name for host in desired.hosts for each in host.containers if each.stack == "notes") == [
        "notes-writer-1"
    ]
    orders = {each.service: each.order for each in desired.hosts[0].containers if each.stack == "shop"}
    assert orders == {"web": "start-first", "store": "stop-first"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def fetch(port: int, path: str) -> str:
    for _ in range(100):
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.read().decode()
        time.sleep(0.05)
    raise AssertionError("no answer")


def test_the_page_shows_its_version_and_what_the_store_has(tmp_path):
    busybox = shutil.which("busybox")
    if not busybox:
        pytest.skip("busybox is not installed")
    site = shutil.copytree(QUICKSTART / "web" / "site", tmp_path / "site")
    (tmp_path / "bin").mkdir()
    for applet in ("sh", "cat", "wget", "hostname", "date", "httpd", "printf", "test"):
        (tmp_path / "bin" / applet).symlink_to(busybox)
    (tmp_path / "data").mkdir()
    web, store = free_port(), free_port()
    environment = {"PATH": str(tmp_path / "bin"), "STORE": f"127.0.0.1:{store}", "LC_ALL": "C"}
    command = render(folder_revision(QUICKSTART)).stacks[1].service("store").command[2]
    command = command.replace("/data", str(tmp_path / "data")).replace("9000", str(store))
    started = [
        subprocess.Popen([tmp_path / "bin" / "sh", "-c", command], env=environment),
        subprocess.Popen([tmp_path / "bin" / "httpd", "-f", "-p", f"127.0.0.1:{web}", "-h", site], env=environment),
    ]
    try:
        since = fetch(store, "/since").strip()
        page = fetch(web, "/")
        assert "<h1>Shop, version 1</h1>" in page
        assert f"Data since {since}" in page
        assert os.uname().nodename in page
        assert fetch(web, "/version") == "1\n"
        started[0].kill()
        started[0].wait()
        assert "nobody knows: the store does not answer" in fetch(web, "/")
    finally:
        for process in started:
            process.kill()
            process.wait()
