from __future__ import annotations

import pytest

from gitopsd.model.errors import GitopsdError
from gitopsd.source.address import parse_address


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("https://git.example.org/shop.git", "https"),
        ("https://git.example.org:8443/team/shop", "https"),
        ("ssh://git@git.example.org:2222/shop.git", "ssh"),
        ("ssh://git@[fe80::1]/shop.git", "ssh"),
        ("git@git.example.org:team/shop.git", "ssh"),
        ("git.example.org:shop", "ssh"),
        ("/srv/shop", "local"),
        ("./shop:copy", "local"),
        ("shop", "local"),
    ],
)
def test_https_ssh_and_paths_are_ways_to_a_repository(text, kind):
    assert parse_address(text).kind == kind


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-oProxyCommand=touch x",
        "--upload-pack=touch x",
        "ext::sh -c touch% x",
        "ext::sh",
        "::sh",
        "fd::17",
        "file:///etc",
        "http://git.example.org/shop",
        "git://git.example.org/shop",
        "https://user@git.example.org/shop",
        "https://user:secret@git.example.org/shop",
        "https://git.example.org/shop?token=secret",
        "https://git.example.org",
        "https:///shop",
        "https://-x/shop",
        "https://git.example.org:99999/shop",
        "ssh://-oProxyCommand=x/shop",
        "ssh://-x@host/shop",
        "ssh://user:secret@host/shop",
        "ssh://host/-x",
        "-x@host:shop",
        "ho st:shop",
        "host;touch x:shop",
        "$(touch x):shop",
        "host:-x",
        "host:",
        "/srv/shop\nx",
        " /srv/shop",
        "/srv/\x1b[2Jshop",
    ],
)
def test_what_could_run_something_or_carries_a_password_is_refused(text):
    with pytest.raises(GitopsdError) as caught:
        parse_address(text)
    assert caught.value.code == "bad-repository"
    assert "secret" not in str(caught.value) or "?token" in text
