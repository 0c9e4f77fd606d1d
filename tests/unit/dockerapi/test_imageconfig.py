import pytest

from gitopsd.dockerapi import imageconfig
from gitopsd.dockerapi.errors import ApiError
from gitopsd.dockerapi.signals import signal_number


def test_what_images_say_in_real_life_passes() -> None:
    found = imageconfig.read(
        {"User": "", "Env": ["PATH=/bin", "EMPTY="], "Cmd": "sh", "Entrypoint": None, "WorkingDir": "", "Labels": None, "OnBuild": None,
         "ExposedPorts": {"80": {}, "53/UDP": {}}, "Volumes": {"/data": {}, "/more": None}, "StopSignal": "SIGRTMIN+3", "ArgsEscaped": True,
         "Healthcheck": {"Test": ["CMD-SHELL", "true"], "Interval": 1_000_000}, "Hostname": "", "Image": "sha256:x"}
    )  # fmt: skip
    assert found["Cmd"] == ["sh"]
    assert found["ExposedPorts"] == {"80/tcp": {}, "53/udp": {}}
    assert found["Volumes"] == {"/data": {}, "/more": {}}
    assert found["Healthcheck"] == {"Test": ["CMD-SHELL", "true"], "Interval": 1_000_000, "Timeout": 0, "StartPeriod": 0, "StartInterval": 0,
                                    "Retries": 0}  # fmt: skip
    assert imageconfig.read({})["Healthcheck"] is None


def test_what_is_refused_is_left_out_by_its_member_or_else_its_field() -> None:
    given = {
        "Env": ["A=b", 7, "=x", "C=d"],
        "ExposedPorts": {"80/tcp": {}, "abc": {}},
        "StopSignal": 9,
        "Cmd": [1],
        "Other": 7,
        "User": "web",
    }
    found, wrong = imageconfig.tolerate(given)
    assert found["Env"] == ["A=b", "C=d"]
    assert found["ExposedPorts"] == {"80/tcp": {}}
    assert (found["StopSignal"], found["Cmd"], found["Other"], found["User"]) == ("", None, 7, "web")
    assert [text.partition(":")[0] for text in wrong] == ["ExposedPorts", "Env", "Cmd", "StopSignal"]
    assert imageconfig.tolerate({"Env": ["A=b"]}) == ({"Env": ["A=b"]}, [])


@pytest.mark.parametrize(
    "document",
    [{"history": [7]}, {"history": {"a": 1}}, {"author": "\ud800"}, {"config": {"User": 5}}, {"config": [7]}],
    ids=ascii,
)
def test_a_document_that_cannot_be_shown_is_refused(document: dict[str, object]) -> None:
    with pytest.raises(imageconfig.InvalidImage):
        imageconfig.check(document)


def test_signals_have_dockers_names() -> None:
    found = [signal_number(name) for name in ("15", "term", "SIGKILL", "RTMIN+3", "SIGRTMAX-1", "STKFLT")]
    assert found == [15, 15, 9, 37, 63, 16]
    for name in ("0", "65", "SIGNOPE", "", "-9", "9" * 5000, "SIGRTMIN+99"):
        with pytest.raises(ApiError, match="Invalid signal"):
            signal_number(name)
