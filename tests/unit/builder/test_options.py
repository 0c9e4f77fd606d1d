"""The query of POST /build."""

import pytest

from gitopsd.engine.builder.errors import BuildError
from gitopsd.engine.builder.options import BuildOptions, from_query

DIGEST = "sha256:" + "a" * 64


def test_what_the_docker_cli_sends_at_its_defaults_asks_for_nothing_special() -> None:
    query = {
        "buildargs": ["{}"], "cachefrom": ["[]"], "cgroupparent": [""], "cpuperiod": ["0"], "cpuquota": ["0"], "cpusetcpus": [""],
        "cpusetmems": [""], "cpushares": ["0"], "dockerfile": ["Dockerfile"], "labels": ["{}"], "memory": ["0"], "memswap": ["0"],
        "networkmode": ["default"], "rm": ["1"], "shmsize": ["0"], "target": [""], "ulimits": ["null"], "version": ["1"],
    }  # fmt: skip
    assert from_query(query) == BuildOptions()


def test_docker_py_writes_booleans_as_python_does() -> None:
    assert from_query({"nocache": ["False"], "pull": ["True"], "q": ["False"], "squash": ["False"]}) == BuildOptions(pull=True)


def test_everything_that_is_there_is_taken() -> None:
    options = from_query(
        {
            "dockerfile": ["web/Dockerfile"],
            "t": ["a:1", "b"],
            "buildargs": ['{"A": "1", "SOURCE_DATE_EPOCH": "12", "FROM_ENV": null}'],
            "labels": ['{"l": "v"}'],
            "target": ["final"],
            "nocache": ["1"],
            "pull": ["1"],
            "q": ["1"],
            "platform": ["Linux/AMD64"],
            "gitopsd-bases": [f'{{"busybox:stable": "{DIGEST}"}}'],
        }
    )
    assert options == BuildOptions(
        dockerfile="web/Dockerfile",
        target="final",
        args={"A": "1", "SOURCE_DATE_EPOCH": "12"},
        labels={"l": "v"},
        tags=("a:1", "b"),
        nocache=True,
        pull=True,
        quiet=True,
        platform="linux/amd64",
        epoch=12,
        bases={"busybox:stable": DIGEST},
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [("remote", "https://x"), ("cachefrom", '["a"]'), ("memory", "100"), ("extrahosts", "a:1"), ("squash", "1"), ("networkmode", "host"),
     ("outputs", "[{}]"), ("ulimits", '[{"Name":"nofile"}]'), ("session", "abc")],
)  # fmt: skip
def test_what_is_not_there_yet_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(BuildError, match=f"build: .*{name}.* not there yet") as caught:
        from_query({name: [value]})
    assert caught.value.status == 501


def test_a_build_for_buildkit_is_told_the_other_way() -> None:
    with pytest.raises(BuildError, match="DOCKER_BUILDKIT=0"):
        from_query({"version": ["2"]})


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("buildargs", "[", "buildargs=.: expected a JSON object"),
        ("buildargs", '{"a": 1}', "expected a JSON object of strings"),
        ("buildargs", '{"a=b": "c"}', "a name has no '='"),
        ("labels", "[1]", "labels"),
        ("buildargs", '{"SOURCE_DATE_EPOCH": "yesterday"}', "SOURCE_DATE_EPOCH=yesterday: expected seconds"),
        ("gitopsd-bases", '{"a": "sha256:1"}', "gitopsd-bases: a: expected the digest"),
    ],
)
def test_what_cannot_be_read_says_what_was_expected(name: str, value: str, message: str) -> None:
    with pytest.raises(BuildError, match=message):
        from_query({name: [value]})
