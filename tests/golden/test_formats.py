"""Hashes that are on running containers and in registries. These must never change: a change here is a new version of the form."""

from __future__ import annotations

import hashlib

from gitopsd.model.codec import canonical
from gitopsd.model.desired import ContainerSpec, ImageChoice, NetworkSpec, VolumeSpec
from gitopsd.model.stack import Attachment, Healthcheck, Mount, Port, Restart
from gitopsd.pin.key import image_key
from gitopsd.place.config import container_config, network_config, volume_config

DIGEST = "sha256:" + "1" * 64
FULL = ContainerSpec(
    name="shop-web-1",
    image=ImageChoice("busybox:stable", DIGEST),
    command=("httpd", "-f"),
    entrypoint=("sh", "-c"),
    environment=(("EMPTY", ""), ("GREETING", "grüß dich")),
    labels=(("team", "shop"),),
    ports=(Port(8080, 80), Port(53, 5353, "udp", "127.0.0.1")),
    mounts=(Mount("/data", "volume", "shop_data"), Mount("/etc/x", "bind", "/srv/x", True), Mount("/tmp", "tmpfs")),
    networks=(Attachment("shop_default", ("web", "www")),),
    healthcheck=Healthcheck(("CMD", "true"), 10**9, 2 * 10**9, 3, 4 * 10**9, 5 * 10**9),
    restart=Restart("on-failure", 5),
    memory_bytes=64 * 1024 * 1024,
    nano_cpus=500_000_000,
    user="1000:1000",
    working_dir="/srv",
    hostname="web",
    read_only=True,
    cap_add=("NET_ADMIN",),
    cap_drop=("ALL",),
    stop_grace_ns=10**10,
    stop_signal="SIGTERM",
)

FULL_TEXT = (
    '{"cap_add":["NET_ADMIN"],"cap_drop":["ALL"],"command":["httpd","-f"],"entrypoint":["sh","-c"],'
    '"environment":[["EMPTY",""],["GREETING","grüß dich"]],'
    '"healthcheck":{"interval_ns":1000000000,"retries":3,"start_interval_ns":5000000000,"start_period_ns":4000000000,'
    '"test":["CMD","true"],"timeout_ns":2000000000},"hostname":"web",'
    f'"image":"{DIGEST}","labels":[["team","shop"]],'
    '"mounts":[{"kind":"volume","source":"shop_data","target":"/data"},'
    '{"kind":"bind","read_only":true,"source":"/srv/x","target":"/etc/x"},{"kind":"tmpfs","target":"/tmp"}],'
    '"networks":[{"aliases":["web","www"],"network":"shop_default"}],'
    '"ports":[{"published":80,"target":8080},{"host_ip":"127.0.0.1","protocol":"udp","published":5353,"target":53}],'
    '"read_only":true,"stop_grace_ns":10000000000,"stop_signal":"SIGTERM","user":"1000:1000","working_dir":"/srv"}'
)


def hashed(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def test_the_config_hash_of_a_container_is_of_this_text():
    assert container_config(FULL) == f"1:{hashed(FULL_TEXT)}"


def test_the_config_hashes_of_version_1_are_these():
    assert container_config(FULL) == "1:bddfad0091861e547ca66e46112b36c4"
    assert container_config(ContainerSpec("a", ImageChoice("b", DIGEST))) == "1:147b725885cdb33576c16615a99d82c2"
    assert container_config(ContainerSpec("a", ImageChoice("b", DIGEST, "key-1"))) == "1:" + hashed('{"image":"key:key-1"}')
    assert network_config(NetworkSpec("shop_default", True, "10.1.0.0/24", (("a", "b"),))) == "1:" + hashed(
        '{"internal":true,"labels":[["a","b"]],"name":"shop_default","subnet":"10.1.0.0/24"}'
    )
    assert volume_config(VolumeSpec("shop_data")) == "1:" + hashed('{"name":"shop_data"}')


def test_the_image_key_of_version_1_is_of_this_text():
    text = (
        '{"args":[["EMPTY",""],["VERSION","1"]],"bases":{"busybox:stable":"' + DIGEST + '"},"builder":1,'
        '"dockerfile":"e69de29bb2d1d6434b8b29ae775ad8c2e48c5391","platform":"linux/amd64","salt":"again","target":"tests",'
        '"tree":"4b825dc642cb6eb9a060e54bf8d69288fbee4904","version":1}'
    )
    given = {
        "tree": "4b825dc642cb6eb9a060e54bf8d69288fbee4904",
        "dockerfile": "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391",
        "args": (("VERSION", "1"), ("EMPTY", "")),
        "platform": "linux/amd64",
        "bases": (("busybox:stable", DIGEST),),
    }
    assert image_key(**given, target="tests", salt="again") == f"key-{hashed(text)}" == "key-671c4e2012e16378d7edb4dfd1c36439"
    least = text.replace(',"salt":"again","target":"tests"', "")
    assert image_key(**given) == f"key-{hashed(least)}", "what is not said is left out"


def test_canonical_json_is_sorted_tight_unescaped_and_without_defaults():
    assert canonical(Port(80, 8080)) == b'{"published":8080,"target":80}'
    assert canonical(Port(80, 0)) == b'{"published":0,"target":80}', "published has no default"
    assert canonical(ContainerSpec("ü", ImageChoice("b"))) == '{"image":{"reference":"b"},"name":"ü"}'.encode()
