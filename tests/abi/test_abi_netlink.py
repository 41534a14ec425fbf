"""Netlink messages against the headers, and there and back."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from host_headers import c_compiler, compare_constants, integers

from afunix.abi import arch, netlink

HEADERS = "#include <linux/netlink.h>\n#include <linux/sock_diag.h>\n#include <linux/unix_diag.h>\n"


def test_constants() -> None:
    values = integers(netlink)
    wrong, defined = compare_constants(c_compiler(arch.current().name), HEADERS, values)
    assert wrong == set()
    # The others are of an enumeration, which no preprocessor sees.
    assert {name for name in set(values) - defined if not name.startswith("UNIX_DIAG_")} == set()


def test_enumeration() -> None:
    text = Path("/usr/include/linux/unix_diag.h").read_text(encoding="utf-8")
    body = re.sub(r"/\*.*?\*/", "", text[text.index("enum {") : text.index("__UNIX_DIAG_MAX")], flags=re.DOTALL)
    names = re.findall(r"UNIX_DIAG_\w+", body)
    ours = {name: value for name, value in integers(netlink).items() if name.startswith("UNIX_DIAG_")}
    assert {name: names.index(name) for name in ours} == ours


@pytest.mark.parametrize("size", range(9))
def test_attributes_there_and_back(size: int) -> None:
    data = netlink.attribute(3, b"x" * size) + netlink.attribute(5, b"yz")
    assert len(data) % 4 == 0
    assert netlink.attributes(data) == {3: b"x" * size, 5: b"yz"}


@pytest.mark.parametrize("size", range(9))
def test_messages_there_and_back(size: int) -> None:
    data = netlink.message(20, 1, 2, 3, b"x" * size) + netlink.message(3, 0, 9, 9, b"")
    assert len(data) % 4 == 0
    assert list(netlink.messages(data)) == [(20, 1, 2, 3, b"x" * size), (3, 0, 9, 9, b"")]


@pytest.mark.parametrize("raw", [b"", b"\x10", b"\x0f" + bytes(15), b"\xff" + bytes(15), bytes(64)])
def test_malformed_messages_are_none(raw: bytes) -> None:
    assert list(netlink.messages(raw)) == []


@pytest.mark.parametrize("raw", [b"\0\0\1\0", b"\3\0\1\0", b"\xff\xff\1\0", b"\1"])
def test_malformed_attributes_end(raw: bytes) -> None:
    assert len(netlink.attributes(raw)) <= 1
