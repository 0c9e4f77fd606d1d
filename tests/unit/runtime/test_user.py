import pytest

from gitopsd.engine.runtime.user import UserError, parse

PASSWD = b"root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001:App:/home/app:/bin/sh\n1:x:7:7::/seven:/bin/sh\n# app2:x:5:5::/:\n"
GROUP = b"root:x:0:\nwheel:x:10:app,root\napp:x:1001:app\nlogs:x:20:app\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", (0, 0, [0, 10], "/root")),
        ("0", (0, 0, [0, 10], "/root")),
        ("app", (1000, 1001, [1001, 10, 20], "/home/app")),
        ("1000", (1000, 1001, [1001, 10, 20], "/home/app")),
        ("app:logs", (1000, 20, [20], "/home/app")),
        ("app:5", (1000, 5, [5], "/home/app")),
        ("4242", (4242, 0, [0], "/")),
        ("4242:4243", (4242, 4243, [4243], "/")),
        ("2147483647", (2147483647, 0, [0], "/")),
    ],
)
def test_users_are_read_as_docker_reads_them(text: str, expected: tuple[int, int, list[int], str]) -> None:
    assert parse(text, PASSWD, GROUP) == expected


def test_cve_2016_3697_a_number_is_a_number_even_if_passwd_has_such_a_name() -> None:
    assert parse("1", PASSWD, GROUP)[0] == 1


@pytest.mark.parametrize("text", ["2147483648", "4294967296", "0:2147483648", "99999999999999999999"])
def test_cve_2024_40635_an_id_out_of_range_is_refused_and_never_wraps_to_root(text: str) -> None:
    with pytest.raises(UserError, match="not a number from 0"):
        parse(text, PASSWD, GROUP)


@pytest.mark.parametrize("text", ["nobody-here", "app:nobody-here", "-1", "+0", "\uff11"])
def test_an_unknown_name_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="unable to find"):
        parse(text, PASSWD, GROUP)


def test_a_passwd_with_an_id_that_is_no_number_is_refused() -> None:
    with pytest.raises(UserError):
        parse("evil", b"evil:x:0x0:0::/:\n", GROUP)
