"""The one BPF program the engine needs: which devices a cgroup may use (cgroup v2 has no file for it).

The program sees (type and access, major, minor), compares with a list, and answers 1 or 0.
Instructions: Documentation/bpf/standardization/instruction-set.rst.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Sequence

from gitopsd.engine.kernel.syscalls import call

_PROG_LOAD, _PROG_ATTACH = 5, 8
_TYPE_CGROUP_DEVICE, _ATTACH_CGROUP_DEVICE, _ALLOW_MULTI = 15, 6, 2
_KINDS = {"b": 1, "c": 2}
_ACCESS = {"m": 1, "r": 2, "w": 4}

Rule = tuple[str, int, int, str]
"""Kind `b`, `c` or `a`; major and minor, -1 for any; access of `rwm`."""


def _instruction(code: int, target: int = 0, source: int = 0, offset: int = 0, value: int = 0) -> bytes:
    return struct.pack("<BBhi", code, source << 4 | target, offset, value)


def device_program(allowed: Sequence[Rule]) -> bytes:
    """The program's instructions: 1 for a request that a rule covers whole, else 0.  [pure]"""
    program = [
        _instruction(0x61, 2, 1, 0),  # r2 = access << 16 | type
        _instruction(0xBC, 3, 2),  # w3 = w2
        _instruction(0x54, 2, 0, 0, 0xFFFF),  # w2 &= 0xffff: the type
        _instruction(0x74, 3, 0, 0, 16),  # w3 >>= 16: the access
        _instruction(0x61, 4, 1, 4),  # r4 = major
        _instruction(0x61, 5, 1, 8),  # r5 = minor
    ]
    for kind, major, minor, access in allowed:
        body: list[bytes] = []
        wanted = sum(_ACCESS[letter] for letter in access)
        tests = [(2, _KINDS.get(kind, -1)), (4, major), (5, minor)]
        size = sum(value >= 0 for _, value in tests) + (3 if wanted != 7 else 0) + 2
        for register, value in tests:
            if value >= 0:
                body.append(_instruction(0x55, register, 0, size - len(body) - 1, value))  # if r != value: next rule
        if wanted != 7:
            body.append(_instruction(0xBC, 1, 3))  # w1 = access
            body.append(_instruction(0x54, 1, 0, 0, 7 & ~wanted))  # w1 &= what the rule does not give
            body.append(_instruction(0x55, 1, 0, size - len(body) - 1, 0))
        body += [_instruction(0xB7, 0, 0, 0, 1), _instruction(0x95)]  # return 1
        program += body
    return b"".join([*program, _instruction(0xB7, 0, 0, 0, 0), _instruction(0x95)])


def attach_device_program(cgroup: int, allowed: Sequence[Rule]) -> None:
    """Load the program and attach it to the cgroup that the descriptor names; it stays for the cgroup's life."""
    code = ctypes.create_string_buffer(device_program(allowed))
    license_ = ctypes.create_string_buffer(b"GPL")
    load = struct.pack(
        "<IIQQIIQII", _TYPE_CGROUP_DEVICE, (len(code) - 1) // 8, ctypes.addressof(code), ctypes.addressof(license_), 0, 0, 0, 0, 0
    )
    buffer = ctypes.create_string_buffer(load.ljust(128, b"\0"), 128)
    program = call("bpf", _PROG_LOAD, buffer, 128)
    try:
        attach = ctypes.create_string_buffer(struct.pack("<IIII", cgroup, program, _ATTACH_CGROUP_DEVICE, _ALLOW_MULTI), 16)
        call("bpf", _PROG_ATTACH, attach, 16)
    finally:
        os.close(program)
