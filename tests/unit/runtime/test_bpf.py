"""The device program is run by an interpreter of its six instructions, against what its rules say."""

import struct

from hypothesis import given
from hypothesis import strategies as st

from gitopsd.engine.kernel.bpf import Rule, device_program

ACCESS = st.sets(st.sampled_from("rwm"), min_size=1).map(lambda letters: "".join(sorted(letters)))
NUMBER = st.integers(-1, 3)
RULES = st.lists(st.tuples(st.sampled_from("abc"), NUMBER, NUMBER, ACCESS), max_size=6)
BITS = {"m": 1, "r": 2, "w": 4}


def interpret(program: bytes, kind: int, access: int, major: int, minor: int) -> int:
    context = struct.pack("<III", access << 16 | kind, major, minor)
    registers = [0] * 11
    position = 0
    while True:
        code, pair, offset, value = struct.unpack_from("<BBhi", program, position * 8)
        target, source = pair & 15, pair >> 4
        position += 1
        if code == 0x61:
            registers[target] = struct.unpack_from("<I", context, offset)[0]
        elif code == 0xBC:
            registers[target] = registers[source] & 0xFFFFFFFF
        elif code == 0x54:
            registers[target] &= value
        elif code == 0x74:
            registers[target] >>= value
        elif code == 0x55:
            position += offset if registers[target] != value else 0
        elif code == 0xB7:
            registers[target] = value
        elif code == 0x95:
            return registers[0]
        else:
            raise AssertionError(f"instruction {code:#x}")


def allowed(rules: list[Rule], kind: str, access: str, major: int, minor: int) -> bool:
    return any(
        wanted in ("a", kind) and first in (-1, major) and second in (-1, minor) and set(access) <= set(given)
        for wanted, first, second, given in rules
    )


@given(RULES, st.sampled_from("bc"), ACCESS, st.integers(0, 3), st.integers(0, 3))
def test_the_program_allows_exactly_what_a_rule_covers(rules: list[Rule], kind: str, access: str, major: int, minor: int) -> None:
    bits = sum(BITS[letter] for letter in access)
    answer = interpret(device_program(rules), {"b": 1, "c": 2}[kind], bits, major, minor)
    assert answer == int(allowed(rules, kind, access, major, minor))
