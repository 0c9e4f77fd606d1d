from __future__ import annotations

import base64
import json

import pytest

from gitopsd.registries import read_credentials


def auth(text: str) -> dict[str, str]:
    return {"auth": base64.b64encode(text.encode()).decode()}


def test_users_and_passwords_are_read_and_do_not_show(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(
        json.dumps(
            {"auths": {"https://index.docker.io/v1/": auth("ada:a:b"), "r.example.org:5000": auth("bob:x"), "kept.by.helper": {}}}
        )
    )
    found = read_credentials(path)
    assert {name: (user, password.reveal()) for name, (user, password) in found.items()} == {
        "docker.io": ("ada", "a:b"),
        "r.example.org:5000": ("bob", "x"),
    }
    assert "a:b" not in repr(found)


def test_no_file_is_no_credentials(tmp_path):
    assert read_credentials(tmp_path / "config.json") == {}


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"auths": []}', '{"auths": {"r": {"auth": "%%%"}}}', '{"auths": {"r": {"auth": "bm9jb2xvbg=="}}}']
)
def test_a_broken_file_is_named_and_not_shown(tmp_path, text):
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"config\.json"):
        read_credentials(path)
