"""Images that were made to hurt: what a config says that stands in no specification, and what it says that other programs believe."""

from __future__ import annotations

import pytest

from tests.engine.running import Engine

pytestmark = pytest.mark.host


def test_a_label_of_an_image_does_not_remove_its_containers(own: Engine) -> None:
    image = own.load("lab", Labels={"gitopsd.build": "hello"}, Volumes={"/data": {}})
    made = own.run("sh", "-c", "echo kept > /data/file; sleep 1000", image=image, name="precious")
    own.restart()
    assert [container["Id"] for container in own.containers()] == [made]
    assert own.execute(made, "cat", "/data/file").out == "kept\n"


def test_the_containers_of_builds_that_ended_are_removed_whatever_their_labels_say(own: Engine) -> None:
    made = own.create("true")
    own.stop()
    path = own.data_root / "containers" / made / "config.json"
    path.write_text(path.read_text().replace('"version": 1,', '"version": 1,\n "build": true,', 1))
    own.start()
    assert own.containers() == []
