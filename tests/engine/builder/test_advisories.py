"""What went wrong in other builders, each as a test that ours does not do it."""

import os
import stat
import tarfile
from pathlib import Path
from typing import Any

import pytest

from gitopsd.engine.builder.errors import BuildError
from tests.engine.builder.rig import Rig, link, tar

pytestmark = pytest.mark.host


def test_cve_2024_24557_an_image_somebody_pulled_does_not_stand_in_for_a_step(rig: Rig) -> None:
    """Its config says that it came from our base by our very instruction; the classic builder believed that."""
    good = rig.build("FROM busybox:stable\nRUN echo good > /x\n")
    document = {**good.document, "history": [*rig.base.document["history"], {"created_by": "RUN /bin/sh -c echo bad > /y"}]}
    with rig.images.blobs.lease() as lease:
        rig.images.commit({**document, "parent": rig.base.id}, good.manifest.layers, ["evil"], lease)
    image = rig.build("FROM busybox:stable\nRUN echo bad > /y\n")
    assert rig.hits == 0
    assert rig.read(image, "/y") == "bad\n"


def test_cve_2024_24557_a_health_check_is_never_taken_from_another_build(rig: Rig) -> None:
    rig.build("FROM busybox:stable\nHEALTHCHECK CMD true\nCMD a\n")
    image = rig.build("FROM busybox:stable\nHEALTHCHECK NONE\nCMD a\n")
    assert image.config["Healthcheck"] == {"Test": ["NONE"]}


def test_onbuild_triggers_of_a_base_are_refused_not_passed_over(rig: Rig) -> None:
    rig.add_image("trigger:1", {"OnBuild": ["RUN evil"]})
    with pytest.raises(BuildError, match="Dockerfile:1: trigger:1: its ONBUILD triggers are not there yet"):
        rig.build("FROM trigger:1\n")


def test_cve_2024_23652_cleaning_up_after_run_follows_no_link(rig: Rig, tmp_path: Path) -> None:
    """The command turns the folder that holds a mount's place into a link to the host; what is empty there stays."""
    host = tmp_path / "host"
    host.mkdir()
    (host / "hosts").touch()
    rig.build(f"FROM busybox:stable\nRUN mv /etc /etc2 && ln -s {host} /etc\n")
    assert (host / "hosts").exists()


def test_cve_2021_3602_nothing_of_the_host_s_environment_is_in_a_command(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITOPSD_TEST_SECRET", "leaked")
    rig.build("FROM busybox:stable\nARG A=b\nRUN env\n")
    assert rig.runner.commands[-1].environment == ("A=b", "PATH=/bin")
    assert "leaked" not in rig.printed


def test_cve_2026_33747_no_frontend_but_the_known_one_is_run(rig: Rig) -> None:
    with pytest.raises(
        BuildError, match="Dockerfile:1: syntax=evil/frontend:1: expected docker/dockerfile, no other frontend is there"
    ):
        rig.build("# syntax=evil/frontend:1\nFROM busybox:stable\n")


ESCAPES: dict[str, dict[str, Any]] = {
    "a name with dots": {"../evil": "x"},
    "dots in the middle": {"a/../../evil": "x"},
    "through a link": {"a": link("/tmp"), "a/evil": "x"},
    "through a link to the parent": {"a": link(".."), "a/evil": "x"},
    "a hard link to the host": {"a": link("/etc/shadow", hard=True)},
    "a hard link with dots": {"a": link("../../etc/shadow", hard=True)},
    "a hard link to a link": {"a": link("/etc/shadow"), "b": link("a", hard=True)},
    "a folder that becomes a link": {"a": None, "a/x": "1", "a": link("/tmp"), "a/y": "2"},  # noqa: F601
}


@pytest.mark.parametrize("files", ESCAPES.values(), ids=ESCAPES)
def test_a_hostile_context_is_refused_and_nothing_is_written(rig: Rig, files: dict[str, Any]) -> None:
    before = set(os.listdir("/tmp"))
    with pytest.raises(BuildError, match="build context: "):
        rig.build("FROM busybox:stable\nCOPY . /x/\n", files)
    assert "evil" not in set(os.listdir("/tmp")) - before


def test_a_context_that_is_no_tar_or_breaks_off_is_refused(rig: Rig) -> None:
    whole = tar({"Dockerfile": "FROM busybox:stable\n", "a": "x" * 5000})
    for data in (b"", b"not a tar", whole[:3000], b"\x1f\x8b" + b"\0" * 100):
        with pytest.raises(BuildError):
            rig.build_tar(data)


def test_a_link_out_of_the_context_reads_nothing_of_the_host(rig: Rig) -> None:
    for target in ("/etc/shadow", "../../../../../etc/shadow", "/proc/self/environ"):
        with pytest.raises(BuildError, match="not found: a"):
            rig.build("FROM busybox:stable\nCOPY a /x\n", {"a": link(target)})


def test_a_link_out_of_a_stage_reads_nothing_of_the_host(rig: Rig, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("host")
    for target in (str(secret), f"../../../../..{secret}", "/proc/1/root/etc/shadow"):
        with pytest.raises(BuildError, match="not found: /a"):
            rig.build(f"FROM busybox:stable AS made\nRUN ln -s {target} /a\nFROM busybox:stable\nCOPY --from=made /a /x\n")


def test_a_destination_out_of_the_stage_writes_nothing_to_the_host(rig: Rig, tmp_path: Path) -> None:
    host = tmp_path / "host"
    host.mkdir()
    for number, target in enumerate((str(host), f"../../../../../..{host}")):
        rig.build(f"FROM busybox:stable\nRUN ln -s {target} /d{number} && mkdir -p {host}\nCOPY a /d{number}/a\n", {"a": "x"})
    assert list(host.iterdir()) == []


def test_the_accounts_of_a_stage_are_read_inside_it(rig: Rig, tmp_path: Path) -> None:
    """CVE-2024-9676: a link or a FIFO where /etc/passwd should be."""
    host = tmp_path / "passwd"
    host.write_text("ghost:x:1234:1234::/:/bin/sh\n")
    for command, message in (
        (f"ln -s {host} /etc/passwd", "unable to find user ghost"),
        ("busybox mkfifo /etc/passwd", "not a regular file"),
    ):
        with pytest.raises(BuildError, match=message):
            rig.build(f"FROM busybox:stable\nRUN rm /etc/passwd && {command}\nCOPY --chown=ghost a /x\n", {"a": "x"})


def test_a_device_in_a_context_is_refused(rig: Rig) -> None:
    device = tarfile.TarInfo()
    device.type, device.devmajor, device.devminor, device.mode = tarfile.CHRTYPE, 1, 1, 0o666
    with pytest.raises(BuildError, match="a device is not taken from a build context"):
        rig.build("FROM busybox:stable\nCOPY mem /x\n", {"mem": device})


def test_who_packed_a_context_owns_nothing_in_the_image(rig: Rig) -> None:
    image = rig.build("FROM busybox:stable\nCOPY a /x\n", {"a": "x"})
    assert rig.files(image)["/x"] == "644 0:0 'x'"


def test_folders_of_the_builder_are_for_root_alone(rig: Rig) -> None:
    for folder in ("cache", "work"):
        assert stat.S_IMODE((rig.folder / "data/builder" / folder).stat().st_mode) == 0o700
