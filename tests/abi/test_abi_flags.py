"""Names of flags and numbers in traces."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from afunix.abi import constants, flags

SETS = [flags.MSG, flags.SOCK_FLAGS, flags.POLL, flags.EPOLL, flags.SPLICE_F, flags.RWF]


@pytest.mark.parametrize(
    ("value", "table", "shown"),
    [
        (0, flags.MSG, "0"),
        (0x4040, flags.MSG, "MSG_DONTWAIT|MSG_NOSIGNAL"),
        (0x40000002, flags.MSG, "MSG_PEEK|MSG_CMSG_CLOEXEC"),
        (0x800002, flags.MSG, "MSG_PEEK|0x800000"),
        (0x800000, flags.MSG, "0x800000 /* MSG_??? */"),
        (-0x80000000, flags.MSG, "MSG_CMSG_COMPAT"),
        (0x80000011, flags.EPOLL, "EPOLLIN|EPOLLHUP|EPOLLET"),
        (0x1F, flags.SPLICE_F, "SPLICE_F_MOVE|SPLICE_F_NONBLOCK|SPLICE_F_MORE|SPLICE_F_GIFT|0x10"),
        (0o2004000, flags.SOCK_FLAGS, "SOCK_CLOEXEC|SOCK_NONBLOCK"),
        (1, flags.SOCK_FLAGS, "0x1 /* SOCK_??? */"),
    ],
)
def test_flags(value: int, table: flags.Table, shown: str) -> None:
    assert flags.flags(value, table) == shown


@pytest.mark.parametrize(
    ("value", "table", "shown"),
    [
        (1, flags.AF, "AF_UNIX"),
        (0x63, flags.AF, "0x63 /* AF_??? */"),
        (0, flags.SHUT, "SHUT_RD"),
        (-1, flags.SHUT, "0xffffffff /* SHUT_??? */"),
        (0, flags.EPOLL_CTL, "0 /* EPOLL_CTL_??? */"),
        (1, flags.SOL, "SOL_SOCKET"),
        (1000, flags.SOL, "0x3e8 /* SOL_?? */"),
        (16, flags.SO[constants.SOL_SOCKET], "SO_PASSCRED"),
        (20, flags.SO[constants.SOL_SOCKET], "SO_RCVTIMEO_OLD"),
        (26, flags.SO[constants.SOL_SOCKET], "SO_ATTACH_FILTER"),
        (1, flags.SO[constants.SOL_TCP], "TCP_NODELAY"),
        (1, flags.SCM, "SCM_RIGHTS"),
        (253, flags.SCM, "0xfd /* SCM_??? */"),
        (84, flags.SCM, "SCM_INQ"),
        (0x541B, flags.SIOC, "SIOCINQ"),
        (0x5411, flags.SIOC, "SIOCOUTQ"),
        (0x89E0, flags.SIOC, "SIOCUNIXFILE"),
        (4, flags.F, "F_SETFL"),
        (2, flags.F, "F_SETFD"),
    ],
)
def test_enum(value: int, table: flags.Table, shown: str) -> None:
    assert flags.enum(value, table) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (1, "SOCK_STREAM"),
        (0o2000001, "SOCK_STREAM|SOCK_CLOEXEC"),
        (0o2004005, "SOCK_SEQPACKET|SOCK_CLOEXEC|SOCK_NONBLOCK"),
        (0x40001, "SOCK_STREAM|0x40000 /* SOCK_??? */"),
        (0xC0001, "SOCK_STREAM|SOCK_CLOEXEC|0x40000"),
        (0, "0"),
        (7, "0x7 /* SOCK_??? */"),
        (0x80007, "SOCK_CLOEXEC|0x7"),
        (0x80010, "SOCK_CLOEXEC|0x10"),
    ],
)
def test_socket_type(value: int, shown: str) -> None:
    """As strace shows each of these."""
    assert flags.socket_type(value) == shown


@settings(deadline=None)
@given(st.sampled_from(SETS), st.integers(0, 0xFFFFFFFF))
def test_a_shown_set_adds_up(table: flags.Table, value: int) -> None:
    """The names and the rest of a shown set of flags are the value again."""
    shown = flags.flags(value, table).split(" ")[0]
    numbers = {name: number for number, name in table.names.items()}
    total = 0
    for part in shown.split("|"):
        total += numbers[part] if part in numbers else int(part, 16)
    assert total == value


@pytest.mark.parametrize("table", SETS)
def test_flags_are_single_bits(table: flags.Table) -> None:
    """No number that is not a flag slipped into a table of flags."""
    assert all(value.bit_count() == 1 for value in table.names)
    assert len(table.names) > 1
