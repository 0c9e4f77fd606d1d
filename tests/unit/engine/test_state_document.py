"""docs/state.md says what the code has: numbers, names and forms that cannot change without restarting people's containers."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

import pytest

from gitopsd.engine import wiring
from gitopsd.engine.networks import allocate
from gitopsd.engine.paths import records
from gitopsd.engine.runtime import logfile, messages
from gitopsd.engine.runtime.cgroups import Cgroups
from gitopsd.engine.runtime.cgroups.layout import Layout
from gitopsd.hosts import unit
from gitopsd.hosts.bodies import LABELS

_DOCS = Path(__file__).parents[3] / "docs"
STATE = (_DOCS / "state.md").read_text()
PROTOCOL = (_DOCS / "monitor-protocol.md").read_text()
INSTANCE = "k7q2m"


def row(text: str) -> str:
    """The line of a table that speaks of something."""
    found = [line for line in STATE.splitlines() if line.startswith("|") and text in line]
    assert found, f"docs/state.md has no row for {text}"
    return found[0]


def test_the_layout_and_the_roots_are_those_of_the_code() -> None:
    assert f"# State on a host, version {wiring.LAYOUT}\n" in STATE
    assert f'{{"layout": {wiring.LAYOUT}, "instance"' in row("`VERSION`")
    assert f"`{wiring.DATA_ROOT}` (`--data-root`), mode 0700" in STATE
    assert f"`{wiring.EXEC_ROOT}` (`--exec-root`), mode 0711" in STATE
    assert allocate.INSTANCE.fullmatch(INSTANCE)
    assert "five characters of `a-z2-7`" in STATE


def test_the_form_of_a_log_is_the_writers() -> None:
    section = STATE.partition("## Logs of a container")[2].partition("##")[0]
    assert f"`{logfile.HEADER.format}`" in section
    assert f"at most {logfile.RECORD_LIMIT:,} bytes" in section
    assert f"At {logfile.FILE_LIMIT >> 20} MiB" in section
    assert "it keeps five" in section
    assert (logfile.FILES_KEPT, logfile.STDOUT, logfile.STDERR) == (5, 1, 2)
    assert "stream 1 stdout or 2 stderr" in section


def test_names_in_the_kernel_carry_the_instance_as_documented() -> None:
    network = endpoint = "0123456789abcdef" * 4
    assert allocate.bridge_name(INSTANCE, network) == "gbk7q2m-012345"
    assert allocate.veth_name(INSTANCE, endpoint) == "gvk7q2m-012345"
    assert allocate.table_name(INSTANCE) == "gitopsd-k7q2m"
    assert "`gbk7q2m-` and the first 6" in row("bridge of a network")
    assert "`gvk7q2m-` and 6" in row("host end of a container's veth")
    assert "`gitopsd-k7q2m`" in row("nftables table")
    plain = Cgroups(INSTANCE, Layout(2, {"unified": "/c"}), has_systemd=False)
    scoped = Cgroups(INSTANCE, Layout(2, {"unified": "/c"}), has_systemd=True)
    assert plain.path("0123456789ab") == "gitopsd-k7q2m/0123456789ab"
    assert scoped.slice_name == "gitopsd-k7q2m.slice"
    assert scoped.scope("0123456789ab") == "gitopsd-k7q2m-0123456789ab.scope"
    assert scoped.path("0123456789ab") == "gitopsd.slice/gitopsd-k7q2m.slice/gitopsd-k7q2m-0123456789ab.scope"
    assert "`/gitopsd-k7q2m`" in row("cgroup parent, plain cgroupfs")
    assert "`gitopsd-k7q2m.slice` (below `gitopsd.slice`)" in row("slice, systemd")
    assert "`gitopsd-k7q2m-<id12>.scope`" in row("scope of a container")


def test_addresses_come_from_the_documented_block() -> None:
    assert allocate.DEFAULT_BLOCK == "10.192.0.0/21"
    assert "An engine that stands alone uses block 0 of the default pool" in STATE
    assert allocate.choose_subnet("x", allocate.DEFAULT_BLOCK, [], []) == "10.192.0.0/26"
    assert "(`10.192.0.0/26` first)" in STATE


def test_the_labels_are_those_that_are_set() -> None:
    section = STATE.partition("## Labels that the controller sets")[2].partition("##")[0]
    assert tuple(re.findall(r"^\| `(gitopsd\.\w+)` \|", section, re.MULTILINE)) == LABELS


def test_the_unit_says_what_the_page_says() -> None:
    text = unit.render_unit(["gitopsd-engine", "daemon"])
    for setting in (
        "Type=notify",
        "KillMode=process",
        "Delegate=yes",
        "Restart=always",
        "TasksMax=infinity",
        "OOMScoreAdjust=-500",
    ):
        assert f"`{setting}`" in STATE
        assert f"\n{setting}\n" in text
    assert f"`{unit.PATH}`" in STATE


def test_the_packets_of_the_protocol_have_the_documented_size() -> None:
    assert f"at most {messages.LIMIT:,} bytes" in PROTOCOL
    assert f"at most {messages.DESCRIPTORS} file descriptors" in PROTOCOL


# ---- durable means


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is asked of the kernel, in order."""
    calls: list[str] = []

    def told(name: str) -> None:
        real = getattr(os, name)

        def call(*arguments: object, **more: object) -> object:
            calls.append(name)
            return real(*arguments, **more)

        monkeypatch.setattr(os, name, call)

    for name in ("write", "fsync", "rename", "unlink"):
        told(name)
    return calls


def test_durable_means_written_synced_renamed_and_the_folder_synced(tmp_path: Path, done: list[str]) -> None:
    records.write_record(str(tmp_path / "record.json"), {"a": 1})
    assert done == ["write", "fsync", "rename", "fsync"]
    assert os.listdir(tmp_path) == ["record.json"]
    assert stat.S_IMODE((tmp_path / "record.json").stat().st_mode) == 0o600
    done.clear()
    records.remove_durably(str(tmp_path / "record.json"))
    assert done == ["unlink", "fsync"]


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "record.json"
    records.write_record(str(path), {"a": 1})

    def full(_: int, __: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space"):
        records.write_record(str(path), {"a": 2})
    monkeypatch.undo()
    assert records.read_record(str(path)) == {"a": 1}
    assert os.listdir(tmp_path) == ["record.json"]


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"[" * 100_000, b'{"a": 1}{'])
def test_a_file_that_is_no_record_is_an_error_that_names_it(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "record.json"
    path.write_bytes(data)
    with pytest.raises(records.Unreadable, match=re.escape(str(path))):
        records.read_record(str(path))


def test_a_record_keeps_any_name_that_a_file_may_have(tmp_path: Path) -> None:
    value = {"name": os.fsdecode(b"caf\xe9 \xff"), "snow": "\u2603"}
    records.write_record(str(tmp_path / "r"), value)
    assert records.read_record(str(tmp_path / "r")) == value
    assert records.read_record(str(tmp_path / "none")) is None
