"""Sizes, offsets and signs of every binary layout against the C compiler, for both machines."""

from __future__ import annotations

import platform
import re
import struct

import pytest
from host_headers import c_compiler, false_assertions

from afunix.abi import arch, bpf, message, netlink, seccomp, sockaddr, structs

HEADERS = """
#include <poll.h>
#include <stddef.h>
#include <time.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <linux/filter.h>
#include <linux/net_tstamp.h>
#include <linux/netlink.h>
#include <linux/seccomp.h>
#include <linux/time_types.h>
#include <linux/unix_diag.h>
"""

ARGS = tuple(f"args[{index}]" for index in range(6))
DATA_ARGS = tuple(f"data.{argument}" for argument in ARGS)

# Our layout, the C type, and the C field of each value that the layout reads, in order.
LAYOUTS: dict[str, tuple[struct.Struct, str, tuple[str, ...]]] = {
    "iovec": (message.IOVEC, "struct iovec", ("iov_base", "iov_len")),
    "msghdr": (
        message.MSGHDR,
        "struct msghdr",
        (
            "msg_name",
            "msg_namelen",
            "msg_iov",
            "msg_iovlen",
            "msg_control",
            "msg_controllen",
            "msg_flags",
        ),
    ),
    "cmsghdr": (message.CMSGHDR, "struct cmsghdr", ("cmsg_len", "cmsg_level", "cmsg_type")),
    "int": (structs.INT, "int", ()),
    "socklen_t": (structs.SOCKLEN, "socklen_t", ()),
    "size_t": (structs.SIZE, "size_t", ()),
    "ucred": (structs.UCRED, "struct ucred", ("pid", "uid", "gid")),
    "timeval": (structs.TIMEVAL, "struct timeval", ("tv_sec", "tv_usec")),
    "sock_timeval": (structs.TIMEVAL, "struct __kernel_sock_timeval", ("tv_sec", "tv_usec")),
    "timespec": (structs.TIMESPEC, "struct timespec", ("tv_sec", "tv_nsec")),
    "linger": (structs.LINGER, "struct linger", ("l_onoff", "l_linger")),
    "so_timestamping": (structs.SO_TIMESTAMPING, "struct so_timestamping", ("flags", "bind_phc")),
    "sock_txtime": (structs.SOCK_TXTIME, "struct sock_txtime", ("clockid", "flags")),
    "pollfd": (structs.POLLFD, "struct pollfd", ("fd", "events", "revents")),
    "nlmsghdr": (
        netlink.HEADER,
        "struct nlmsghdr",
        ("nlmsg_len", "nlmsg_type", "nlmsg_flags", "nlmsg_seq", "nlmsg_pid"),
    ),
    "nlattr": (netlink.ATTRIBUTE, "struct nlattr", ("nla_len", "nla_type")),
    "sockaddr_nl": (netlink.SOCKADDR_NL, "struct sockaddr_nl", ("nl_family", "nl_pad", "nl_pid", "nl_groups")),
    "unix_diag_req": (
        netlink.UNIX_DIAG_REQ,
        "struct unix_diag_req",
        (
            "sdiag_family",
            "sdiag_protocol",
            "pad",
            "udiag_states",
            "udiag_ino",
            "udiag_show",
            "udiag_cookie[0]",
            "udiag_cookie[1]",
        ),
    ),
    "unix_diag_msg": (
        netlink.UNIX_DIAG_MSG,
        "struct unix_diag_msg",
        ("udiag_family", "udiag_type", "udiag_state", "pad", "udiag_ino", "udiag_cookie[0]", "udiag_cookie[1]"),
    ),
    "sock_filter": (bpf.SOCK_FILTER, "struct sock_filter", ("code", "jt", "jf", "k")),
    "sock_fprog": (bpf.SOCK_FPROG, "struct sock_fprog", ("len", "filter")),
    "seccomp_data": (
        seccomp.DATA,
        "struct seccomp_data",
        ("nr", "arch", "instruction_pointer", *ARGS),
    ),
    "seccomp_notif": (
        seccomp.NOTIF,
        "struct seccomp_notif",
        ("id", "pid", "flags", "data.nr", "data.arch", "data.instruction_pointer", *DATA_ARGS),
    ),
    "seccomp_notif, the call only": (
        seccomp.NOTIF_CALL,
        "struct seccomp_notif",
        ("id", "pid", "data.nr", *DATA_ARGS),
    ),
    "seccomp_notif_resp": (
        seccomp.RESP,
        "struct seccomp_notif_resp",
        ("id", "val", "error", "flags"),
    ),
    "seccomp_notif_addfd": (
        seccomp.ADDFD,
        "struct seccomp_notif_addfd",
        ("id", "flags", "srcfd", "newfd", "newfd_flags"),
    ),
    "seccomp_notif_sizes": (
        seccomp.NOTIF_SIZES,
        "struct seccomp_notif_sizes",
        ("seccomp_notif", "seccomp_notif_resp", "seccomp_data"),
    ),
}

# Where the sign differs on purpose: to the kernel msg_namelen is an int and msg_flags unsigned (struct
# user_msghdr), poll masks are easier to handle unsigned, and unpack_ucred brings back a pid's sign.
OTHER_SIGN = {"msg_namelen", "msg_flags", "events", "revents", "pid"}

POINTERS = {"iov_base", "msg_name", "msg_iov", "msg_control", "filter"}


def values(layout: struct.Struct) -> list[tuple[str, int]]:
    """The code and offset of each value that a layout without alignment reads."""
    assert layout.format[0] == "<"
    found = []
    offset = 0
    for count, code in re.findall(r"(\d*)([a-zA-Z])", layout.format):
        for _ in range(int(count or 1)):
            if code != "x":
                found.append((code, offset))
            offset += struct.calcsize("<" + code)
    assert offset == layout.size
    return found


def assertions(layout: struct.Struct, c_type: str, fields: tuple[str, ...]) -> dict[str, str]:
    """The C conditions under which a layout is that of a C type."""
    conditions = {"size": f"sizeof({c_type}) == {layout.size}"}
    for field, (code, offset) in zip(fields, values(layout), strict=bool(fields)):
        member = f"((({c_type} *)0)->{field})"
        conditions[f"{field} offset"] = f"offsetof({c_type}, {field}) == {offset}"
        conditions[f"{field} size"] = f"sizeof{member} == {struct.calcsize('<' + code)}"
        if field not in OTHER_SIGN | POINTERS:
            conditions[f"{field} sign"] = f"((__typeof__{member})-1 < 0) == {int(code.islower())}"
    return conditions


@pytest.fixture(params=["x86_64", "aarch64"])
def machine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("name", LAYOUTS)
def test_layout(machine: str, name: str) -> None:
    """Size, and each field's offset, size and sign, on each machine: they agree byte for byte."""
    layout, c_type, fields = LAYOUTS[name]
    assert not false_assertions(c_compiler(machine), HEADERS, assertions(layout, c_type, fields))


def test_the_check_notices_a_wrong_layout() -> None:
    """A field moved by four bytes, one of another size and one of another sign are found."""
    wrong = false_assertions(
        c_compiler(platform.machine()),
        HEADERS,
        assertions(struct.Struct("<QIIiIQ6q"), "struct seccomp_notif", LAYOUTS["seccomp_notif"][2]),
    )
    assert wrong == {f"{argument} sign" for argument in DATA_ARGS}
    wrong = false_assertions(
        c_compiler(platform.machine()),
        HEADERS,
        assertions(struct.Struct("<QiQQQQI8x"), "struct msghdr", LAYOUTS["msghdr"][2]),
    )
    assert "msg_iov offset" in wrong
    assert "msg_name offset" not in wrong


def test_offsets_for_results(machine: str) -> None:
    """Where recvmsg and recvmmsg write their results, and the sizes around them."""
    conditions = {
        "namelen": f"offsetof(struct msghdr, msg_namelen) == {message.MSG_NAMELEN_OFFSET}",
        "controllen": f"offsetof(struct msghdr, msg_controllen) == {message.MSG_CONTROLLEN_OFFSET}",
        "flags": f"offsetof(struct msghdr, msg_flags) == {message.MSG_FLAGS_OFFSET}",
        "msg_len": f"offsetof(struct mmsghdr, msg_len) == {message.MMSG_LEN_OFFSET}",
        "msg_len size": "sizeof(((struct mmsghdr *)0)->msg_len) == 4",
        "mmsghdr": f"sizeof(struct mmsghdr) == {message.MMSGHDR_SIZE}",
        "sockaddr_un": f"sizeof(struct sockaddr_un) == {sockaddr.SOCKADDR_UN_SIZE}",
        "sun_path": f"offsetof(struct sockaddr_un, sun_path) == {sockaddr.SUN_PATH_OFFSET}",
        "sockaddr_storage": f"sizeof(struct sockaddr_storage) == {sockaddr.SOCKADDR_STORAGE_SIZE}",
    }
    assert not false_assertions(c_compiler(machine), HEADERS, conditions)


def test_epoll_event(machine: str) -> None:
    """The one layout that differs: packed on x86-64, with a hole on aarch64."""
    layout = arch.by_machine(machine).epoll_event
    conditions = assertions(layout, "struct epoll_event", ("events", "data.u64"))
    assert not false_assertions(c_compiler(machine), HEADERS, conditions)


def test_times_of_32_bit_programs(machine: str) -> None:
    """The old widths: two 32-bit fields (struct old_timeval32 and old_timespec32, inside the kernel)."""
    assert not false_assertions(
        c_compiler(machine),
        "struct old_timeval32 { int tv_sec; int tv_usec; };\n#include <stddef.h>",
        assertions(structs.TIMEVAL_32, "struct old_timeval32", ("tv_sec", "tv_usec")),
    )
    assert structs.TIMESPEC_32.format == structs.TIMEVAL_32.format


@pytest.mark.parametrize("length", [0, 1, 4, 7, 8, 9, 12, 1012])
def test_cmsg_macros(machine: str, length: int) -> None:
    """CMSG_LEN, CMSG_SPACE and CMSG_ALIGN."""
    conditions = {
        "len": f"CMSG_LEN({length}) == {message.cmsg_len(length)}",
        "space": f"CMSG_SPACE({length}) == {message.cmsg_space(length)}",
        "align": f"CMSG_ALIGN({length}) == {message.cmsg_align(length)}",
    }
    assert not false_assertions(c_compiler(machine), HEADERS, conditions)


def test_ucred_keeps_the_absent_id() -> None:
    """-1 goes out as 0xffffffff and comes back as -1 (SCM-6); other ids are unsigned, a pid is not."""
    assert structs.pack_ucred(0, -1, -1) == bytes(4) + b"\xff" * 8
    assert structs.unpack_ucred(structs.pack_ucred(0, -1, -1)) == (0, -1, -1)
    assert structs.unpack_ucred(structs.pack_ucred(-5, 0xFFFFFFFE, 65534)) == (-5, 0xFFFFFFFE, 65534)
