"""Variables in words, as the Dockerfile reference has them."""

import time

import pytest

from gitopsd.dockerfile.errors import DockerfileError
from gitopsd.dockerfile.expand import expand_text, expand_word, expand_words

ENV = {"name": "world", "empty": "", "path": "/usr/local/bin/tool.tar.gz", "list": "80 443", "aa": "foofoo", "1": "one"}

WORDS = {
    "plain": ("hello", "hello"),
    "simple": ("hello $name!", "hello world!"),
    "braced": ("${name}s", "worlds"),
    "unset is empty": ("<$nobody>", "<>"),
    "a lone dollar": ("5$ $", "5$ $"),
    "escaped dollar": (r"\$name \${name}", "$name ${name}"),
    "escape drops itself": (r"a\b\\c", r"ab\c"),
    "single quotes hide variables": ("'$name'", "$name"),
    "double quotes do not": ("\"$name 'x'\"", "world 'x'"),
    "in double quotes only some escapes": (r'"\$ \" \\ \n"', r'$ " \ \n'),
    "positional": ("$1x ${1}", "onex one"),
    "special parameters are empty": ("[$$][$@][$?]", "[][][]"),
    "default when unset": ("${nobody:-some}${nobody-one}", "someone"),
    "default when empty": ("${empty:-full}|${empty-full}", "full|"),
    "default not taken": ("${name:-x}", "world"),
    "nested default": ("${a:-${b:-$name}}", "world"),
    "quoted default": ('${a:-"x }"}', "x }"),
    "alternative": ("${name:+set}|${empty:+set}|${empty+set}|${a+set}", "set||set|"),
    "required and there": ("${name:?gone}${empty?gone}", "world"),
    "shortest prefix": ("${path#*/}", "usr/local/bin/tool.tar.gz"),
    "longest prefix": ("${path##*/}", "tool.tar.gz"),
    "shortest suffix": ("${path%.*}", "/usr/local/bin/tool.tar"),
    "longest suffix": ("${path%%.*}", "/usr/local/bin/tool"),
    "no match leaves the value": ("${path#x*}${name%x}", "/usr/local/bin/tool.tar.gzworld"),
    "question mark": ("${name#?}", "orld"),
    "literal star": (r"${name#\*}", "world"),
    "replace the first": ("${aa/o/0}", "f0ofoo"),
    "replace all": ("${aa//o/0}", "f00f00"),
    "replace greedily": ("${aa/f*o/x}", "x"),
    "replace all greedily": ("${aa//f?/x}", "xoxo"),
    "replace with nothing": ("${aa//o/}", "ff"),
    "replace a slash": (r"${path//\//-}", "-usr-local-bin-tool.tar.gz"),
    "pattern from a variable": ("${aa//${a:-foo}/b}", "bb"),
    "variable beside text in braces": ("{$name}", "{world}"),
    "not ascii": ("häl$name☺", "hälworld☺"),
}


@pytest.mark.parametrize(("word", "expected"), WORDS.values(), ids=WORDS)
def test_a_word_expands_as_the_reference_says(word: str, expected: str) -> None:
    assert expand_word(word, ENV) == expected


ERRORS = {
    "open single quote": ("'x", "single quote"),
    "open double quote": ('"x', "double quote"),
    "open brace": ("${name", "expected '}'"),
    "open default": ("${name:-x", "expected '}'"),
    "no name": ("${}", "name of a variable"),
    "colon without a name": ("${:-x}", "name of a variable"),
    "unknown modifier": ("${name^}", "expected one of"),
    "unknown modifier after a colon": ("${name:=x}", "expected one of"),
    "required and unset": ("${nobody:?please set it}", "nobody: please set it"),
    "required and empty": ("${empty:?}", "empty: must not be empty"),
    "required without a message": ("${nobody?}", "nobody: must be set"),
    "escape in a pattern": (r"${name#\w}", "backslash"),
    "replacement without an end": ("${name/o}", "expected '/'"),
    "too deep": ("${a:-" * 40 + "}" * 40, "deep"),
}


@pytest.mark.parametrize(("word", "message"), ERRORS.values(), ids=ERRORS)
def test_a_wrong_word_is_an_error_with_its_line(word: str, message: str) -> None:
    with pytest.raises(DockerfileError, match=message.replace("'", ".").replace("}", r"\}")) as caught:
        expand_word(word, ENV, line=7)
    assert caught.value.line == 7


def test_words_are_split_where_white_space_is_not_quoted() -> None:
    assert expand_words("$list", ENV) == ("80", "443")
    assert expand_words('"$list" a\\ b  c', ENV) == ("80 443", "a b", "c")
    assert expand_words("$empty", ENV) == ()


def test_the_escape_character_may_be_a_backtick() -> None:
    assert expand_word(r"C:\$name `$name", ENV, escape="`") == r"C:\world $name"


def test_the_body_of_a_heredoc_keeps_its_quotes() -> None:
    assert expand_text('say "$name" it\'s \\$name\n', ENV) == 'say "world" it\'s $name\n'


def test_a_pattern_made_to_take_for_ever_does_not() -> None:
    started = time.monotonic()
    assert expand_word("${v%%*a*a*a*a*a*a*a*a*a*b}", {"v": "a" * 5000}) == "a" * 5000
    with pytest.raises(DockerfileError, match="too long"):
        expand_word("${v//*a*a*b/}", {"v": "a" * 50000})
    assert time.monotonic() - started < 3


def test_variables_that_multiply_are_stopped() -> None:
    word = "$v" * 50
    with pytest.raises(DockerfileError, match="grew"):
        expand_word(word, {"v": "x" * 100_000})
