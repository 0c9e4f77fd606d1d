"""Volumes and binds: what is in them, who may write, and what is made where something is missing."""

from __future__ import annotations

import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.engine.archives import a_layer
from tests.engine.running import Engine, fails

pytestmark = pytest.mark.host


def volumes(engine: Engine) -> list[str]:
    return [volume["Name"] for volume in engine.client.call("GET", "/volumes")["Volumes"]]


def an_image_with_data(engine: Engine) -> str:
    owned = tarfile.TarInfo("data/owned")
    owned.uid, owned.gid, owned.mode, owned.mtime = 1000, 1000, 0o640, 1_000_000_000
    folder = tarfile.TarInfo("data")
    folder.type, folder.mode, folder.uid = tarfile.DIRTYPE, 0o750, 1000
    hard = tarfile.TarInfo("data/again")
    hard.type, hard.linkname = tarfile.LNKTYPE, "data/owned"
    layer = a_layer(
        {
            "data": folder,
            "data/owned": owned,
            "data/again": hard,
            "data/deep": None,
            "data/deep/file": b"deep",
            "data/link": "owned",
        }
    )
    return engine.load("seeded", layer, Volumes={"/data": {}})


def test_a_named_volume_outlives_its_containers(engine: Engine) -> None:
    assert engine.shell("echo kept > /v/file", Binds=["things:/v"]).code == 0
    assert engine.shell("cat /v/file", Binds=["things:/v:ro"]).out == "kept\n"
    assert volumes(engine) == ["things"]


def test_a_fresh_volume_begins_with_what_the_image_has_there(engine: Engine) -> None:
    image = an_image_with_data(engine)
    script = "cd /data; stat -c '%a %u %n' . owned; ls; cat deep/file; echo; readlink link; [ owned -ef again ] && echo same; stat -c %Y owned"
    out = engine.shell(script, image=image, Binds=["fresh:/data"]).out.splitlines()
    assert out == ["750 1000 .", "640 1000 owned", "again", "deep", "link", "owned", "deep", "owned", "same", "1000000000"]


def test_a_volume_that_was_used_is_never_filled_again(engine: Engine) -> None:
    image = an_image_with_data(engine)
    engine.shell("rm -r /data/deep; echo mine > /data/owned", image=image, Binds=["used:/data"])
    assert engine.shell("ls /data; cat /data/owned", image=image, Binds=["used:/data"]).out == "again\nlink\nowned\nmine\n"
    assert engine.shell("echo x > /v/mine", Binds=["first-used-elsewhere:/v"]).code == 0
    assert engine.shell("ls /data", image=image, Binds=["first-used-elsewhere:/data"]).out == "mine\n"


def test_a_volume_is_not_filled_where_that_is_not_wanted(engine: Engine) -> None:
    image = an_image_with_data(engine)
    assert engine.shell("ls /data", image=image, Binds=["empty:/data:nocopy"]).out == ""


def test_a_volume_of_the_image_is_anonymous_and_of_one_container(engine: Engine) -> None:
    image = an_image_with_data(engine)
    one, two = (engine.run("sleep", "1000", image=image) for _ in range(2))
    engine.execute(one, "touch", "/data/of-one")
    assert "of-one" not in engine.execute(two, "ls", "/data").out
    assert len(volumes(engine)) == 2
    engine.remove(one)
    assert len(volumes(engine)) == 1


def test_a_volume_in_use_cannot_be_removed(engine: Engine) -> None:
    made = engine.create("true", Binds=["busy:/v"])
    with fails(409):
        engine.client.call("DELETE", "/volumes/busy")
    engine.remove(made)
    engine.client.call("DELETE", "/volumes/busy")
    with fails(404):
        engine.client.call("GET", "/volumes/busy")


def test_a_bind_shows_the_hosts_folder_and_read_only_means_it(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("host")
    assert engine.shell("cat /b/file; echo new > /b/new", Binds=[f"{tmp_path}:/b"]).out == "host"
    assert (tmp_path / "new").read_text() == "new\n"
    done = engine.shell("echo x > /b/x", Binds=[f"{tmp_path}:/b:ro"])
    assert (done.code, "Read-only" in done.err) == (1, True)
    mount = {"Type": "bind", "Source": str(tmp_path), "Target": "/b", "ReadOnly": True}
    assert engine.shell("echo x > /b/x", Mounts=[mount]).code == 1
    assert engine.shell("mount -o remount,rw /b; echo x > /b/x", Mounts=[mount], CapAdd=["SYS_ADMIN"]).code in (0, 1)


def test_a_read_only_bind_is_read_only_all_the_way_down(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()

    inside = ["nsenter", "-t", str(engine.pid), "-m"]
    subprocess.run([*inside, "mount", "-t", "tmpfs", "inner", tmp_path / "inner"], check=True)
    try:
        assert engine.shell("touch /b/inner/x", Binds=[f"{tmp_path}:/b:ro"]).code == 1
        assert engine.shell("touch /b/inner/x", Binds=[f"{tmp_path}:/b"]).code == 0
    finally:
        subprocess.run([*inside, "umount", tmp_path / "inner"], check=True)


def test_a_single_file_can_be_bound_over_one_that_is_there_or_not(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("host")
    assert (
        engine.shell(
            "cat /etc/passwd /new/place/file", Binds=[f"{tmp_path}/file:/etc/passwd", f"{tmp_path}/file:/new/place/file"]
        ).out
        == "hosthost"
    )


def test_v_makes_a_missing_source_and_mount_does_not(engine: Engine, tmp_path: Path) -> None:
    assert engine.shell("touch /b/x", Binds=[f"{tmp_path}/made:/b"]).code == 0
    assert (tmp_path / "made" / "x").exists()
    made = engine.create("true", Mounts=[{"Type": "bind", "Source": str(tmp_path / "missing"), "Target": "/b"}])
    with fails(400) as errors:
        engine.start_container(made)
    assert str(tmp_path / "missing") in errors[0].message
    assert not (tmp_path / "missing").exists()


@pytest.mark.parametrize("settings", [
    {"Binds": ["relative/path:/x"]}, {"Binds": ["/a"]}, {"Binds": ["/a:/x", "/b:/x/"]}, {"Binds": ["/a:/"]}, {"Binds": ["v:/proc"]},
    {"Binds": ["v:/proc/sys"]}, {"Binds": ["v:/x:wild"]}, {"Binds": ["a/b:/x"]}, {"Mounts": [{"Type": "volume", "Target": "x"}]},
    {"Tmpfs": {"/proc/x": ""}}, {"Tmpfs": {"/": ""}},
    {"Mounts": [{"Type": "bind", "Source": "rel", "Target": "/x"}]}, {"Binds": ["/a:/x"], "Tmpfs": {"/x": ""}},
])  # fmt: skip
def test_mounts_that_cannot_be_are_refused_and_make_nothing(engine: Engine, settings: dict[str, object]) -> None:
    with fails(400):
        engine.create("true", **settings)
    assert volumes(engine) == []
    assert engine.containers() == []


def test_mounts_within_mounts_are_made_from_the_outside_in(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    out = engine.shell(
        "ls /v /v/inner; touch /v/inner/deep/x",
        Binds=[f"{tmp_path}/inner:/v/inner", f"{tmp_path}:/v"],
        Tmpfs={"/v/inner/deep": ""},
    )
    assert out.code == 0
    assert os.listdir(tmp_path / "inner") == ["deep"]
    assert os.listdir(tmp_path / "inner" / "deep") == []


def test_nothing_mounted_in_a_container_shows_on_the_host(engine: Engine) -> None:
    before = engine.keeper.mounts()
    engine.run("sleep", "1000", Binds=["vol:/v"], Tmpfs={"/t": ""}, Volumes={"/w": {}})
    assert engine.keeper.mounts() == before


def test_a_volume_is_created_once_and_named_by_rule(engine: Engine) -> None:
    body = {"Name": "twice", "Labels": {"a": "1"}}
    first = engine.client.call("POST", "/volumes/create", body)
    assert engine.client.call("POST", "/volumes/create", {"Name": "twice", "Labels": {"a": "2"}}) == first
    for name in ("../up", "a/b", ".hidden", "x", "-dash", "a" * 300, "null\0byte"):
        with fails(400):
            engine.client.call("POST", "/volumes/create", {"Name": name})
    with fails(501):
        engine.client.call("POST", "/volumes/create", {"Name": "nfs", "DriverOpts": {"type": "nfs"}})
