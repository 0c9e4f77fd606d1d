"""The config document of a built image."""

import json

from gitopsd.engine.builder.export import Done, image_config
from gitopsd.oci.manifest import parse_config
from gitopsd.oci.platform import Platform

A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64


def document(**changes: object) -> bytes:
    fields = {
        "platform": Platform("linux", "arm", "v7"),
        "config": {"Env": ["A=1"], "User": "", "Labels": {}, "Cmd": None},
        "diff_ids": [A, B],
        "base_history": [{"created_by": "base"}],
        "base_layers": 1,
        "done": [Done("ENV A=1", False), Done("RUN x", True)],
        "created_s": 0,
    }
    return image_config(**{**fields, **changes})  # type: ignore[arg-type]


def test_it_is_what_the_image_spec_says() -> None:
    assert json.loads(document()) == {
        "architecture": "arm",
        "os": "linux",
        "variant": "v7",
        "created": "1970-01-01T00:00:00Z",
        "config": {"Env": ["A=1"]},
        "rootfs": {"type": "layers", "diff_ids": [A, B]},
        "history": [
            {"created_by": "base"},
            {"created": "1970-01-01T00:00:00Z", "created_by": "ENV A=1", "empty_layer": True},
            {"created": "1970-01-01T00:00:00Z", "created_by": "RUN x"},
        ],
    }
    assert [str(diff_id) for diff_id in parse_config(document()).diff_ids] == [A, B]


def test_the_same_gives_the_same_bytes() -> None:
    assert document() == document()


def test_layers_of_a_base_without_history_are_counted_all_the_same() -> None:
    history = json.loads(document(base_history=[], base_layers=1))["history"]
    assert len([entry for entry in history if not entry.get("empty_layer")]) == 2
