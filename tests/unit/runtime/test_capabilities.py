import pytest

from gitopsd.engine.runtime.capabilities import DEFAULT, bounded


def names(*words: str) -> set[str]:
    return {f"CAP_{word}" for word in words}


def test_nothing_said_gives_docker_s_fourteen() -> None:
    assert set(bounded([], [])) == names(*DEFAULT)
    assert len(DEFAULT) == 14


def test_adding_and_dropping_go_by_name_with_or_without_prefix() -> None:
    assert set(bounded(["net_admin"], ["CAP_MKNOD"])) == names(*DEFAULT, "NET_ADMIN") - names("MKNOD")


def test_drop_all_leaves_what_is_added() -> None:
    assert bounded([], ["ALL"]) == []
    assert bounded(["CHOWN"], ["all"]) == ["CAP_CHOWN"]


def test_add_all_minus_some() -> None:
    found = bounded(["ALL"], ["SYS_ADMIN"])
    assert "CAP_SYS_ADMIN" not in found
    assert "CAP_SYS_PTRACE" in found


def test_an_unknown_name_is_an_error() -> None:
    with pytest.raises(ValueError, match="CAP_FLY"):
        bounded(["FLY"], [])
