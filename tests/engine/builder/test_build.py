"""Whole builds: stages, cache, config, progress, what ends them."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from gitopsd.engine.builder.errors import BuildError
from tests.engine.builder.rig import PLATFORM, Rig, link, tar
from tests.engine.registry.running import our_registry

pytestmark = pytest.mark.host

WEB = """ARG TAG=stable
FROM busybox:$TAG AS made
ARG GREETING=hello
RUN echo $GREETING > /page
FROM busybox:$TAG
LABEL role=web
ENV PORT=80 WHERE=/www
WORKDIR $WHERE
COPY --from=made /page index.html
COPY style.css ./
RUN echo "$PORT" > port && ls
EXPOSE $PORT 53/udp
HEALTHCHECK --interval=5s CMD cat index.html
USER web
ENTRYPOINT ["cat"]
CMD ["index.html"]
"""
FILES = {"style.css": "body{}", "unused": "1"}


def test_a_build_prints_what_docker_s_does(rig: Rig) -> None:
    image = rig.build(WEB, FILES, tags=("shop/web:1", "web"))
    short = image.id[7:19]
    lines = rig.printed.splitlines()
    assert lines[0] == "Step 1/15 : FROM busybox:$TAG AS made"
    assert lines[1] == f" ---> {rig.base.id[7:19]}"
    assert 'Step 10/15 : RUN echo "$PORT" > port && ls' in lines
    assert "index.html" in lines
    assert lines[-3:] == [f"Successfully built {short}", "Successfully tagged shop/web:1", "Successfully tagged web:latest"]
    assert {"aux": {"ID": image.id}} in rig.output
    assert rig.images.find("web") == image


def test_the_config_is_the_base_s_with_what_the_instructions_say(rig: Rig) -> None:
    image = rig.build(WEB, FILES, labels={"from": "outside"})
    assert image.config == {
        "Env": ["PATH=/bin", "PORT=80", "WHERE=/www"],
        "Labels": {"role": "web", "from": "outside"},
        "WorkingDir": "/www",
        "ExposedPorts": {"80/tcp": {}, "53/udp": {}},
        "Healthcheck": {"Test": ["CMD-SHELL", "cat index.html"], "Interval": 5_000_000_000},
        "User": "web",
        "Entrypoint": ["cat"],
        "Cmd": ["index.html"],
    }
    assert image.document["os"] == "linux"
    made = [entry["created_by"] for entry in image.document["history"] if not entry.get("empty_layer")]
    assert made[0] == "busybox"
    assert made[1:] == [
        "WORKDIR $WHERE",
        "COPY --from=made /page index.html",
        "COPY style.css ./",
        'RUN /bin/sh -c echo "$PORT" > port && ls',
    ]
    assert len(made) == len(image.manifest.layers) == len(image.document["rootfs"]["diff_ids"])
    assert rig.read(image, "/www/port") == "80\n"
    assert rig.read(image, "/www/index.html") == "hello\n"


def test_the_same_build_again_runs_nothing(rig: Rig) -> None:
    first = rig.build(WEB, FILES)
    ran = len(rig.runner.commands)
    assert rig.build(WEB, FILES).id == first.id
    assert len(rig.runner.commands) == ran
    assert rig.hits == 5


def test_what_the_cache_keeps_outlives_the_daemon(rig: Rig) -> None:
    rig.build(WEB, FILES)
    ran = len(rig.runner.commands)
    rig.builder = rig.new_builder()
    rig.build(WEB, FILES)
    assert len(rig.runner.commands) == ran


def test_a_file_that_is_copied_changes_what_comes_after_it_and_no_other_file_does(rig: Rig) -> None:
    rig.build(WEB, FILES)
    rig.build(WEB, {**FILES, "unused": "2"})
    assert rig.hits == 5
    rig.build(WEB, {**FILES, "style.css": "p{}"})
    assert rig.hits == 3


def test_an_argument_counts_from_its_first_use(rig: Rig) -> None:
    dockerfile = "FROM busybox:stable\nARG V\nCOPY style.css /\nRUN echo a > /a\nARG W\nRUN echo $V$W > /b\n"
    rig.build(dockerfile, FILES, args={"V": "1", "W": "1"})
    rig.build(dockerfile, FILES, args={"V": "1", "W": "2"})
    assert rig.hits == 2
    rig.build(dockerfile, FILES, args={"V": "2", "W": "2"})
    assert rig.hits == 1


def test_a_label_or_health_check_in_front_changes_the_image_and_builds_nothing_again(rig: Rig) -> None:
    first = rig.build("FROM busybox:stable\nHEALTHCHECK CMD true\nRUN echo a > /a\n")
    second = rig.build("FROM busybox:stable\nHEALTHCHECK CMD false\nLABEL a=b\nRUN echo a > /a\n")
    assert rig.hits == 1
    assert first.id != second.id
    assert second.config["Healthcheck"] == {"Test": ["CMD-SHELL", "false"]}


def test_equal_content_from_another_stage_is_a_hit(rig: Rig) -> None:
    made = "FROM busybox:stable AS made\nARG V\nRUN echo $V > /noise && echo same > /same\n"
    dockerfile = f"{made}FROM busybox:stable\nCOPY --from=made /same /\nRUN cat /same\n"
    rig.build(dockerfile, args={"V": "1"})
    rig.build(dockerfile, args={"V": "2"})
    assert rig.hits == 2


def test_nocache_runs_everything(rig: Rig) -> None:
    rig.build(WEB, FILES)
    rig.build(WEB, FILES, nocache=True)
    assert rig.hits == 0


def test_a_record_or_layer_that_was_lost_costs_a_rebuild_and_nothing_else(rig: Rig) -> None:
    first = rig.build(WEB, FILES, epoch=1)
    os.unlink(rig.images.blobs.path(first.manifest.layers[-1].digest))
    again = rig.build(WEB, FILES, epoch=1)
    assert (rig.hits, again.id) == (4, first.id)
    for record in (rig.folder / "data/builder/cache").iterdir():
        record.write_bytes(b"{")
    assert rig.build(WEB, FILES, epoch=1).id == first.id
    assert rig.hits == 0


def test_the_same_epoch_gives_the_same_image(rig: Rig) -> None:
    images = []
    for _ in range(2):
        images.append(rig.build(WEB, FILES, epoch=1_600_000_001, nocache=True))
        time.sleep(1.1)
    assert images[0].id == images[1].id
    assert images[0].document["created"] == "2020-09-13T12:26:41Z"


def test_a_command_that_changes_nothing_makes_no_layer(rig: Rig) -> None:
    image = rig.build("FROM busybox:stable\nRUN true\nRUN ls /etc/hosts /proc/self\n")
    assert image.manifest.layers == rig.base.manifest.layers
    assert [entry.get("empty_layer") for entry in image.document["history"]] == [None, True, True]


def test_places_to_mount_on_are_no_part_of_a_layer(rig: Rig) -> None:
    image = rig.build("FROM busybox:stable\nRUN echo a > /etc/a && ls /etc/hosts\n")
    assert rig.files(image) == {"/etc": "755 0:0 /", "/etc/a": "644 0:0 'a\\n'"}


def test_nor_are_folders_that_were_made_for_them(rig: Rig) -> None:
    image = rig.build("FROM scratch\nCOPY --from=busybox:stable /bin /bin\nRUN true\nRUN ls /etc/hosts && echo x > /x\n")
    assert sorted(path.relative_to(root).as_posix() for root in rig.layers(image)[:1] for path in root.rglob("*")) == ["x"]
    assert len(image.manifest.layers) == 2


def test_stages_that_nobody_needs_are_not_built(rig: Rig) -> None:
    rig.build("FROM busybox:stable AS a\nRUN false\nFROM missing AS b\nFROM busybox:stable\nRUN true\n")
    assert "Step 2/2 : RUN true" in rig.printed


def test_a_target_ends_the_build_there(rig: Rig) -> None:
    image = rig.build("FROM busybox:stable AS a\nRUN echo a > /a\nFROM a AS b\nRUN echo b > /b\nFROM b\nRUN false\n", target="B")
    assert rig.read(image, "/b") == "b\n"
    assert len([entry for entry in image.document["history"] if not entry.get("empty_layer")]) == 3


def test_independent_stages_run_at_the_same_time(rig: Rig) -> None:
    rig.build(
        "FROM busybox:stable AS a\nRUN sleep 1 && echo a > /a\nFROM busybox:stable AS b\nRUN sleep 1 && echo b > /b\n"
        "FROM scratch\nCOPY --from=a /a /\nCOPY --from=b /b /\n"
    )
    assert rig.runner.most_running == 2


def test_when_one_stage_fails_the_others_are_ended(rig: Rig) -> None:
    started = time.monotonic()
    with pytest.raises(BuildError, match="non-zero code: 3"):
        rig.build(
            "FROM busybox:stable AS a\nRUN sleep 50\nFROM busybox:stable AS b\nRUN sleep 1; exit 3\n"
            "FROM scratch\nCOPY --from=a /a /\nCOPY --from=b /b /\n"
        )
    assert time.monotonic() - started < 20


def test_a_build_can_be_cancelled(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    event = threading.Event()
    monkeypatch.setattr(rig, "cancelled", lambda: event)
    timer = threading.Timer(1, event.set)
    timer.start()
    with pytest.raises(BuildError):
        rig.build("FROM busybox:stable\nRUN sleep 50\n")
    timer.join()


def test_a_failed_command_is_named_with_its_code_and_line(rig: Rig) -> None:
    with pytest.raises(BuildError) as caught:
        rig.build("FROM busybox:stable\nRUN echo before; exit 7\n")
    assert "before\n" in rig.printed
    assert caught.value.code == 7
    assert caught.value.message == (
        "Dockerfile:2: RUN echo before; exit 7: The command '/bin/sh -c echo before; exit 7' returned a non-zero code: 7"
    )


def test_a_heredoc_is_a_script(rig: Rig) -> None:
    image = rig.build(
        "FROM busybox:stable\nRUN <<EOF\necho one > /one\nif true; then\n  echo two > /two\nfi\nEOF\nRUN cat <<-E > /three\n\t3\n\tE\n"
    )
    assert [rig.read(image, path) for path in ("/one", "/two", "/three")] == ["one\n", "two\n", "3\n"]


def test_variables_of_env_win_over_arguments(rig: Rig) -> None:
    image = rig.build("FROM busybox:stable\nARG A=arg\nENV A=env\nARG B=$A-b\nRUN echo $A $B > /x\n", args={"A": "given"})
    assert rig.read(image, "/x") == "env env-b\n"


def test_a_proxy_is_seen_and_counts_for_nothing(rig: Rig) -> None:
    dockerfile = "FROM busybox:stable\nRUN echo $HTTP_PROXY > /x\n"
    image = rig.build(dockerfile, args={"HTTP_PROXY": "http://u:secret@p"})
    assert rig.read(image, "/x") == "http://u:secret@p\n"
    assert "secret" not in str(image.document)
    rig.build(dockerfile, args={"HTTP_PROXY": "http://other"})
    assert rig.hits == 1


def test_an_argument_that_nobody_took_is_told(rig: Rig) -> None:
    rig.build("ARG A\nFROM busybox:stable\nARG B\n", args={"A": "1", "B": "2", "C": "3", "D": "4", "SOURCE_DATE_EPOCH": "5"})
    assert "[Warning] One or more build-args [C D] were not consumed\n" in rig.printed


def test_a_pinned_base_is_that_one_and_no_other(rig: Rig) -> None:
    old = rig.base.digest
    rig.add_image("busybox:stable", {"Labels": {"new": "yes"}})
    assert rig.build("FROM busybox:stable\n").config["Labels"] == {"new": "yes"}
    assert "Labels" not in rig.build("FROM busybox:stable\n", bases={"busybox:stable": old}).config
    with pytest.raises(BuildError, match="Dockerfile:2: tools: gitopsd-bases names no digest for it"):
        rig.build("FROM busybox:stable\nCOPY --from=tools a b\n", bases={"busybox:stable": old})
    with pytest.raises(BuildError, match=f"Dockerfile:1: busybox@{old}: gitopsd-bases says sha256:0"):
        rig.build(f"FROM busybox@{old}\n", bases={f"busybox@{old}": "sha256:" + "0" * 64})


def test_a_base_that_is_not_here_is_pulled_and_pull_asks_again(rig: Rig, tmp_path: Path) -> None:
    with our_registry(tmp_path / "registry") as registry:
        name = f"{registry}/tools/base:1"
        rig.images.tag("busybox:stable", name)
        first = rig.images.push(name, lambda message: None)
        rig.images.remove(name)
        image = rig.build(f"FROM {name}\nRUN echo pulled > /x\n")
        assert rig.read(image, "/x") == "pulled\n"
        assert any("Pulling from" in str(event.get("status")) for event in rig.output)
        rig.build(f"FROM {name}\n")
        assert not any("Pulling from" in str(event.get("status")) for event in rig.output)
        rig.add_image(name, {"Labels": {"new": "yes"}})
        rig.images.push(name, lambda message: None)
        rig.images.tag("busybox:stable", name)
        assert rig.build(f"FROM {name}\n", pull=True).config["Labels"] == {"new": "yes"}
        pinned = rig.build(f"FROM {name}\n", bases={name: first})
        assert "Labels" not in pinned.config


ERRORS: dict[str, tuple[str, dict[str, Any], str]] = {
    "no such Dockerfile": ("FROM busybox:stable\n", {"dockerfile": "no/Dockerfile"}, "no/Dockerfile: no such file in the build context"),
    "all problems": ("FROM busybox:stable\nADD a b\nRUNN\n", {}, "Dockerfile:2: ADD is not there yet\nDockerfile:3: unknown instruction RUNN"),
    "a base that nobody has": ("FROM nowhere.invalid/has\n", {}, "Dockerfile:1: nowhere.invalid/has: "),
    "a name that is none": ("FROM UPPER\n", {}, "Dockerfile:1: UPPER: "),
    "another platform": ("FROM --platform=linux/s390x busybox:stable\n", {}, "Dockerfile:1: FROM --platform=linux/s390x: expected"),
    "another platform asked for": ("FROM busybox:stable\n", {"platform": "linux/s390x"}, "build: platform=linux/s390x: expected"),
    "a tag that is none": ("FROM busybox:stable\n", {"tags": ("a b",)}, "build: t=a b: "),
    "a variable that must be there": ("FROM busybox:stable\nUSER ${nobody:?who}\n", {}, "Dockerfile:2: nobody: who"),
    "a port that is none": ("FROM busybox:stable\nEXPOSE 70000\n", {}, "Dockerfile:2: EXPOSE: '70000': expected a port"),
}  # fmt: skip


@pytest.mark.parametrize(("dockerfile", "options", "message"), ERRORS.values(), ids=ERRORS)
def test_what_is_wrong_is_said_before_anything_runs(rig: Rig, dockerfile: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(BuildError) as caught:
        rig.build(dockerfile, **options)
    assert caught.value.message.startswith(message)
    assert "Step" not in rig.printed


def test_our_own_platform_may_be_said(rig: Rig) -> None:
    rig.build("FROM --platform=$BUILDPLATFORM busybox:stable\nARG TARGETARCH\nRUN echo $TARGETARCH\n", platform=str(PLATFORM))
    assert f"{PLATFORM.architecture}\n" in rig.printed


@pytest.mark.parametrize("compression", ["", "gz", "bz2", "xz"])
def test_a_context_may_be_compressed(rig: Rig, compression: str) -> None:
    files = {"Dockerfile": "FROM scratch\nCOPY big small /\n", "big": "x" * 3_000_000, "small": "s", "l": link("small")}
    image = rig.build_tar(tar(files, compression))
    assert (len(rig.read(image, "/big")), rig.read(image, "/small")) == (3_000_000, "s")


def test_the_dockerfile_may_be_anywhere_in_the_context_and_have_its_own_ignore_file(rig: Rig) -> None:
    files = {
        "build/web.Dockerfile": "FROM busybox:stable\nCOPY . /x/\n",
        "build/web.Dockerfile.dockerignore": "a\n",
        ".dockerignore": "b\n",
        "a": "",
        "b": "",
    }
    image = rig.build("", files, dockerfile="./build/web.Dockerfile")
    assert "/x/b" in rig.files(image)
    assert "/x/a" not in rig.files(image)
