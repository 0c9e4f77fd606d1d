"""Traffic control: a program that sees every packet which comes in by an interface, before anything else on the host does.  [pure]

In: an interface, a program of classic BPF.  Out: requests for a ROUTE socket, and whether a reply has the program.
linux/pkt_sched.h and linux/pkt_cls.h have the numbers, tc-bpf(8) what a program may answer, linux/filter.h the instructions.

It is no part of nf_tables, so a `nft flush ruleset` leaves it, and it goes with its interface.
"""

from __future__ import annotations

import struct
import sys

from gitopsd.engine.kernel.netlink import attributes, messages
from gitopsd.engine.kernel.netlink.attributes import Tree, text, u32
from gitopsd.engine.kernel.netlink.messages import Message, Request

PASS, DROP = 0xFFFFFFFF, 2  # TC_ACT_UNSPEC: whoever else looks may still judge it; TC_ACT_SHOT

_NEWQDISC, _NEWTFILTER, _GETTFILTER = 36, 44, 46
_TCMSG = struct.Struct("=BxxxiIII")
_CLSACT, _CLSACT_HANDLE, _INGRESS = 0xFFFFFFF1, 0xFFFF0000, 0xFFFFFFF2
_KIND, _OPTIONS = 1, 2
_LENGTH, _PROGRAM, _FLAGS, _DIRECT = 4, 5, 8, 1  # TCA_BPF_*; direct: what it returns is done
_PRIORITY = 1
_EVERYTHING = int.from_bytes(b"\0\3", sys.byteorder)  # ETH_P_ALL in network order

Instruction = tuple[int, int, int, int]
"""Code, where to go on if true, if not, and a value."""


def make_room(index: int) -> Request:
    """Let an interface have such programs. It may have room already (EEXIST)."""
    body = _TCMSG.pack(0, index, _CLSACT_HANDLE, _CLSACT, 0) + attributes.encode(((_KIND, text("clsact")),))
    return Request(_NEWQDISC, messages.CREATE | messages.EXCL, body, f"let a program see what comes in by interface {index}")


def put_program(index: int, program: tuple[Instruction, ...]) -> Request:
    """Put our program there, in place of the one that we put there before."""
    body = _TCMSG.pack(0, index, 1, _INGRESS, _PRIORITY << 16 | _EVERYTHING)
    tree: Tree = ((_KIND, text("bpf")), (_OPTIONS, (*_options(program), (_FLAGS, u32(_DIRECT)))))
    return Request(_NEWTFILTER, messages.CREATE, body + attributes.encode(tree), f"put a program on interface {index}")


def list_programs(index: int) -> Request:
    return Request(_GETTFILTER, 0, _TCMSG.pack(0, index, 0, _INGRESS, 0), f"list the programs on interface {index}")


def has_program(message: Message, program: tuple[Instruction, ...]) -> bool:
    """Whether what is listed is this program where we put it."""
    _, _, handle, _, info = _TCMSG.unpack_from(message.body)
    found = attributes.parse(message.body[_TCMSG.size :])
    is_ours = handle == 1 and info >> 16 == _PRIORITY and attributes.read_text(found.get(_KIND, b"")) == "bpf"
    return is_ours and attributes.holds(found.get(_OPTIONS, b""), (*_options(program), (_FLAGS, u32(_DIRECT))))


def _options(program: tuple[Instruction, ...]) -> Tree:
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
    return ((_LENGTH, struct.pack("=H", len(program))), (_PROGRAM, code))
