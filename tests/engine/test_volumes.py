"""Volumes that somebody fills, that several containers begin with at once, and that hold what is hard to remove."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest

from gitopsd.hosts import install
from tests.engine.archives import a_layer
from tests.engine.running import Engine, until

pytestmark = pytest.mark.host

DEPTH = 2100
"""Deeper than Python recurses, and than a path can say."""


def deepen(folder: Path) -> None:
    """What a program makes that goes on with mkdir("d"), chdir("d")."""
    here = os.open(folder, os.O_RDONLY)
    for _ in range(DEPTH):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)


def leftovers(folder: Path) -> list[str]:
    return [name for name in os.listdir(folder) if name.startswith(".")]


def test_a_container_whose_folders_are_very_deep_can_be_removed(own: Engine) -> None:
    made = own.run("true")
    own.wait(made)
    deepen(own.data_root / "containers" / made / "upper")
    own.remove(made)
    assert own.containers() == []
    assert leftovers(own.data_root / "containers") == []


def test_very_deep_leftovers_do_not_keep_the_daemon_from_starting(own: Engine) -> None:
    own.stop()
    for name in ("containers/.left", "volumes/.removing-left"):
        (own.data_root / name).mkdir()
        deepen(own.data_root / name)
    own.start()
    assert leftovers(own.data_root / "containers") == leftovers(own.data_root / "volumes") == []


def test_leftovers_that_cannot_be_removed_are_logged_and_no_obstacle(own: Engine) -> None:
    own.stop()
    for name in ("containers/.left", "volumes/.removing-left"):
        (own.data_root / name).mkdir()
        own.inside("nsenter", "-t", str(own.keeper.pid), "-m", "mount", "-t", "tmpfs", "busy", str(own.data_root / name))
    try:
        own.start()
        assert own.log.read_text().count("what is left of a removed") == 2
    finally:
        for name in ("containers/.left", "volumes/.removing-left"):
            own.inside("nsenter", "-t", str(own.keeper.pid), "-m", "umount", str(own.data_root / name))


def test_what_a_removal_of_a_volume_had_moved_up_is_no_volume(own: Engine) -> None:
    own.stop()
    moved = own.data_root / "volumes" / ".gone-0123456789abcdef"
    moved.mkdir()
    (moved / "volume.json").write_text(
        '{"name": "../../etc", "labels": {}, "created": "", "seeded": true, "generation": 1, "create": {}}'
    )
    own.start()
    assert own.client.call("GET", "/volumes")["Volumes"] == []
    assert not moved.exists()


def test_a_volume_whose_folders_are_very_deep_can_be_removed(engine: Engine) -> None:
    engine.shell("true", Binds=["deep:/v"])
    deepen(engine.data_root / "volumes" / "deep" / "_data")
    engine.client.call("DELETE", "/volumes/deep")
    assert leftovers(engine.data_root / "volumes") == []


def test_an_uninstall_clears_very_deep_folders_and_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_text("kept")
    folder = tmp_path / "data"
    (folder / "volumes").mkdir(parents=True)
    (folder / "link").symlink_to(tmp_path / "kept")
    (folder / "volumes" / "link").symlink_to(tmp_path / "kept")
    deepen(folder / "volumes")
    install.clear(str(folder))
    assert not folder.exists()
    assert (tmp_path / "kept" / "file").read_text() == "kept"


def an_image_with_data(engine: Engine, files: int = 1) -> str:
    entries = {f"data/{number}": b"x" * 100 for number in range(files)}
    return engine.load("filled", a_layer({"data": None, "data/fromimage": b"image", **entries}))


def test_what_somebody_put_into_a_volume_before_its_first_start_stays(engine: Engine) -> None:
    image = an_image_with_data(engine)
    made = engine.client.call("POST", "/volumes/create", {"Name": "restored"})
    (Path(made["Mountpoint"]) / "precious.db").write_text("precious")
    out = engine.shell("ls /data; cat /data/precious.db", image=image, Binds=["restored:/data"]).out
    assert out == "precious.db\nprecious"
    assert os.listdir(Path(made["Mountpoint"]).parent) in (["_data", "volume.json"], ["volume.json", "_data"])


def test_what_is_put_into_a_volume_while_it_is_filled_stays(engine: Engine) -> None:
    """At any moment: the copy takes the place of an empty folder and of no other."""
    image = an_image_with_data(engine, 1500)
    for number in range(4):
        made = engine.client.call("POST", "/volumes/create", {"Name": f"raced-{number}"})
        data = Path(made["Mountpoint"])
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(engine.shell, "ls /data", image=image, Binds=[f"raced-{number}:/data"])
            until(lambda data=data: len(os.listdir(data.parent)) > 2, "it is being filled", pause_s=0.0001)
            (data / "precious.db").write_text("precious")
            assert running.result().code == 0
        assert (data / "precious.db").read_text() == "precious"
        assert sorted(os.listdir(data.parent)) == ["_data", "volume.json"]


def test_containers_that_start_together_on_a_fresh_volume_find_it_whole(engine: Engine) -> None:
    image = an_image_with_data(engine, 1500)
    for number in range(3):
        volume = f"shared-{number}"
        made = [engine.create("sh", "-c", "ls /data | wc -l", image=image, Binds=[f"{volume}:/data"]) for _ in range(4)]
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(engine.start_container, made))
        for container in made:
            assert engine.wait(container) == 0
            assert engine.logs(container).strip() == "1501"
        assert sorted(os.listdir(engine.data_root / "volumes" / volume)) == ["_data", "volume.json"]


def test_a_volume_is_in_use_from_the_moment_that_a_container_is_made_with_it(engine: Engine) -> None:
    """Somebody removes it all the while; found was a container that was made and whose volume was gone."""

    def remove_until(is_made: Event) -> None:
        while not is_made.is_set():
            engine.call("DELETE", "/volumes/wanted")

    for _ in range(15):
        is_made = Event()
        with ThreadPoolExecutor(1) as pool:
            removing = pool.submit(remove_until, is_made)
            try:
                made = engine.create("true", Binds=["wanted:/v"])
            finally:
                is_made.set()
            removing.result()
        assert engine.call("GET", "/volumes/wanted").status == 200
        engine.remove(made)
        assert engine.call("DELETE", "/volumes/wanted").status == 204
