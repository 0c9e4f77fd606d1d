"""Properties of the Dockerfile language: whatever is written, the answer is a value or a DockerfileError."""

import contextlib
import re

from hypothesis import given, settings
from hypothesis import strategies as st

from gitopsd.dockerfile.errors import DockerfileError
from gitopsd.dockerfile.expand import expand_text, expand_word, expand_words
from gitopsd.dockerfile.ignore import parse_ignore
from gitopsd.dockerfile.instructions import expanded
from gitopsd.dockerfile.lex import lex
from gitopsd.dockerfile.parse import Dockerfile, parse
from gitopsd.dockerfile.stages import bases

FRAGMENTS = st.sampled_from(
    ["FROM a", "FROM a AS b", "RUN ", "COPY --from=b ", "ENV ", "ARG ", "HEALTHCHECK --interval=", "CMD ",
     "LABEL ", "EXPOSE ", "USER ",
     "\n", "\n", "\\\n", "# ", "# escape=`\n", "<<EOF", "<<-'E'", "EOF\n", "[", "]", '"', "'", "$", "${", "}", ":-", "/", "=",
     " ", "\t", "1s",
     "--chown=", "`", "\\", "\r\n", "ONBUILD ", "é", "\ufeff", "\x00"]
)  # fmt: skip
DOCKERFILES = st.one_of(st.binary(max_size=200), st.lists(FRAGMENTS, max_size=40).map(lambda parts: "".join(parts).encode()))
WORDS = st.one_of(st.text(max_size=60), st.lists(st.sampled_from([*"$${}:-+?#%/\\'\"ab* `"]), max_size=40).map("".join))
ENVIRONMENTS = st.dictionaries(st.sampled_from(["a", "b", "ab"]), st.text(max_size=20), max_size=3)


@given(DOCKERFILES, ENVIRONMENTS)
@settings(max_examples=600)
def test_any_bytes_are_a_dockerfile_or_a_dockerfile_error(data: bytes, env: dict[str, str]) -> None:
    try:
        dockerfile = parse(data)
    except DockerfileError as error:
        wrong = [problem for problem in error.problems if not problem.message or not 0 <= problem.line <= data.count(b"\n") + 1]
    else:
        wrong = []
        use(dockerfile, env, data.count(b"\n") + 1)
    assert not wrong


def use(dockerfile: Dockerfile, env: dict[str, str], lines: int) -> None:
    for stage in dockerfile.stages:
        for instruction in (stage.base, *stage.instructions):
            assert 1 <= instruction.line <= instruction.end_line <= lines
            with contextlib.suppress(DockerfileError):
                expanded(instruction, env, dockerfile.escape)
    with contextlib.suppress(DockerfileError):
        bases(dockerfile, env)


@given(st.lists(st.sampled_from(["RUN a", "USER b", "ENV c=d"]), max_size=6), st.data())
def test_comments_and_empty_lines_between_instructions_change_nothing(lines: list[str], data: st.DataObject) -> None:
    noisy = ["FROM x"]
    for line in lines:
        noisy += data.draw(st.lists(st.sampled_from(["", "# c", "  # d"]), max_size=2))
        noisy.append(line)
    plain = [line.text for line in lex("\n".join(["FROM x", *lines]).encode())[0].lines]
    assert [line.text for line in lex("\n".join(noisy).encode())[0].lines] == plain


@given(WORDS, ENVIRONMENTS)
@settings(max_examples=600)
def test_any_word_expands_or_is_a_dockerfile_error(word: str, env: dict[str, str]) -> None:
    for expand in (expand_word, expand_words, expand_text):
        with contextlib.suppress(DockerfileError):
            expand(word, env)


@given(st.text())
def test_single_quotes_keep_everything(text: str) -> None:
    text = text.replace("'", "")
    assert expand_word(f"'{text}'", {"a": "b"}) == text


@given(st.text(max_size=30))
def test_escaping_every_character_keeps_everything(text: str) -> None:
    assert expand_word("".join("\\" + character for character in text), {"a": "b"}) == text


def _naive(pattern: str) -> re.Pattern[str]:
    """The same pattern as one plain expression that may go back on itself."""
    out = ""
    at = 0
    while at < len(pattern):
        if pattern.startswith("**", at):
            at += 3 if pattern.startswith("**/", at) else 2
            out += "(?:.*/)?" if at < len(pattern) else ".*"
            continue
        character = pattern[at]
        out += {"*": "[^/]*", "?": "[^/]"}.get(character, re.escape(character))
        at += 1
    return re.compile(out, re.DOTALL)


@given(
    st.lists(st.sampled_from(["a", "b", "*", "**/", "**", "/", "?"]), min_size=1, max_size=9).map("".join),
    st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=5),
)
@settings(max_examples=2000)
def test_a_pattern_without_going_back_matches_what_it_matches_with(pattern: str, names: list[str]) -> None:
    try:
        ignore = parse_ignore(pattern.encode())
    except DockerfileError:
        return
    cleaned = "/".join(part for part in pattern.split("/") if part)
    if not cleaned or (cleaned.startswith("**") and not set("*?") & set(cleaned[2:])):
        return
    above = ["/".join(names[: depth + 1]) for depth in range(len(names))]
    assert ignore.leaves_out(above[-1]) == any(_naive(cleaned).fullmatch(path) for path in above)


@given(st.binary(max_size=80), st.text(min_size=1, max_size=20))
def test_any_bytes_are_patterns_or_a_dockerfile_error(data: bytes, path: str) -> None:
    with contextlib.suppress(DockerfileError):
        parse_ignore(data).leaves_out(path.strip("/"))
