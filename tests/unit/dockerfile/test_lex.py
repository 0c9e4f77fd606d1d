"""Physical lines become logical ones."""

import pytest

from gitopsd.dockerfile.errors import DockerfileError
from gitopsd.dockerfile.lex import lex


def texts(data: bytes) -> list[str]:
    source, problems = lex(data)
    assert not problems
    return [line.text for line in source.lines]


def messages(data: bytes) -> list[str]:
    return [str(problem) for problem in lex(data)[1]]


def test_comments_and_empty_lines_are_gone_and_lines_keep_their_numbers() -> None:
    source, _ = lex(b"\n# c\nFROM a\n  # d\n\n  RUN b\n")
    assert [(line.text, line.line, line.end_line) for line in source.lines] == [("FROM a", 3, 3), ("RUN b", 6, 6)]


def test_a_continuation_joins_lines_past_comments_and_empty_ones() -> None:
    source, _ = lex(b"RUN a \\\n# c\n\n  b \\  \n  c\nUSER d\n")
    assert [(line.text, line.line, line.end_line) for line in source.lines] == [("RUN a   b   c", 1, 5), ("USER d", 6, 6)]


def test_two_backslashes_at_the_end_continue_nothing() -> None:
    assert texts(b"RUN echo \\\\\nUSER a\n") == ["RUN echo \\\\", "USER a"]


def test_a_file_may_end_in_a_continuation() -> None:
    assert texts(b"RUN a \\") == ["RUN a"]
    assert texts(b"\\\n\\\n") == []


def test_a_byte_order_mark_and_carriage_returns_are_no_part_of_the_text() -> None:
    assert texts(b"\xef\xbb\xbfFROM a\r\nRUN b \\\r\n c\r\n") == ["FROM a", "RUN b  c"]


def test_the_escape_directive_changes_what_continues_a_line() -> None:
    source, _ = lex(b"# escape=`\nRUN dir c:\\\nRUN a `\n b\n")
    assert source.escape == "`"
    assert [line.text for line in source.lines] == ["RUN dir c:\\", "RUN a  b"]


@pytest.mark.parametrize("before", ["# a comment\n", "\n", "# unknown=value\n", "FROM a\n"])
def test_directives_count_only_in_front_of_everything_else(before: str) -> None:
    assert lex(f"{before}# escape=`\nRUN x\n".encode())[0].escape == "\\"


def test_wrong_directives_are_all_reported() -> None:
    assert messages(b"# escape=/\n# syntax=evil/frontend:1\n# escape=\\\nFROM a\n") == [
        "line 1: escape=/: expected \\ or `",
        "line 2: syntax=evil/frontend:1: expected docker/dockerfile, no other frontend is there",
        "line 3: the directive escape stands here twice",
    ]


@pytest.mark.parametrize("frontend", ["docker/dockerfile", "docker/dockerfile:1.7-labs", "docker.io/docker/dockerfile:1"])
def test_the_frontend_that_everybody_names_is_accepted(frontend: str) -> None:
    assert messages(f"# syntax={frontend}\n# check=skip=all\nFROM a\n".encode()) == []


def test_a_heredoc_is_taken_as_it_stands() -> None:
    source, problems = lex(b"RUN cat <<EOF >/a\n# no comment \\\n  b\n\nEOF\nUSER c\n")
    assert not problems
    assert [line.text for line in source.lines] == ["RUN cat <<EOF >/a", "USER c"]
    (heredoc,) = source.lines[0].heredocs
    assert (heredoc.name, heredoc.body, heredoc.expand) == ("EOF", "# no comment \\\n  b\n\n", True)
    assert (source.lines[0].line, source.lines[0].end_line) == (1, 5)


def test_several_heredocs_follow_each_other() -> None:
    source, _ = lex(b'COPY <<a <<-"b" /x/\n1\na\n\t2\n\tb\n')
    first, second = source.lines[0].heredocs
    assert (first.name, first.content, first.expand, first.strip_tabs) == ("a", "1\n", True, False)
    assert (second.name, second.body, second.content, second.expand) == ("b", "\t2\n", "2\n", False)


@pytest.mark.parametrize(
    "text", ["RUN a <<<EOF", "RUN echo $((1<<2))", 'RUN echo "<<EOF"', "RUN a << b", "ENV a=<<EOF", "RUN 'it <<EOF"]
)
def test_what_only_looks_like_a_heredoc_is_none(text: str) -> None:
    assert texts(f"{text}\nUSER b\n".encode()) == [text, "USER b"]


def test_a_heredoc_without_an_end_is_a_problem() -> None:
    assert messages(b"FROM a\nRUN <<EOF\nx\n") == ["line 2: expected a line 'EOF' that ends the heredoc"]


def test_bytes_that_are_no_text_are_refused_with_their_line() -> None:
    for data, message in ((b"FROM a\nRUN \xff\n", "expected UTF-8"), (b"FROM a\nRUN \0\n", "zero byte")):
        with pytest.raises(DockerfileError, match=message) as caught:
            lex(data)
        assert caught.value.line == 2
    with pytest.raises(DockerfileError, match="at most"):
        lex(b"#" * (1 << 21))
