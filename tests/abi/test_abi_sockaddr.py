"""Unix addresses: round trips, strace's form, and the host kernel as the judge of what is valid."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import raw_calls
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from afunix.abi import sockaddr
from afunix.abi.errno import Errno, SyscallError

AF_UNIX = b"\1\0"

ABSTRACT = st.binary(max_size=107).map(lambda name: b"\0" + name)
PATH = (
    st.binary(min_size=1, max_size=108)
    .map(lambda path: path.replace(b"\0", b"n").replace(b"/", b"s"))
    .filter(lambda path: path not in (b".", b".."))
)


@settings(deadline=None)
@given(ABSTRACT | PATH)
def test_what_is_encoded_is_decoded(address: bytes) -> None:
    """Every named address comes back; a 108-byte path is reported in a form too long to be passed back."""
    raw = sockaddr.encode(address)
    if len(raw) <= sockaddr.SOCKADDR_UN_SIZE:
        assert sockaddr.decode(raw) == address
        assert sockaddr.decode_bind(raw) == address
    else:
        assert len(raw) == 111
        assert sockaddr.decode(raw[:-1]) == address


def outcome(raw: bytes) -> bytes | str | None:
    try:
        return sockaddr.decode_bind(raw)
    except SyscallError as error:
        return error.errno.name


RAW = st.one_of(
    st.binary(max_size=130).map(lambda raw: raw.replace(b"/", b"s")),
    (ABSTRACT | PATH).map(lambda address: AF_UNIX + address),
    st.tuples(PATH, st.binary(max_size=100)).map(lambda parts: AF_UNIX + parts[0] + b"\0" + parts[1]),
    st.integers(0, 140).map(lambda length: (AF_UNIX + b"p" * 140)[:length]),
    st.integers(0, 140).map(lambda length: (AF_UNIX + bytes(140))[:length]),
    st.sampled_from([b"\0\0/x", b"\2\0/x", b"\1\1/x", b"\1", b""]),
)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(raw=AF_UNIX)
@example(raw=AF_UNIX + b"x" * 108)
@example(raw=AF_UNIX + b"\0")
@given(raw=RAW)
def test_bind_of_the_host(raw: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The host refuses what we refuse, and reports what we encode (NAME-1, -2, -3, -5, -10)."""
    monkeypatch.chdir(tmp_path)
    ours = outcome(raw)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        assert raw_calls.getsockname(sock) == sockaddr.encode(b"")
        theirs = raw_calls.bind(sock, raw)
        reported = raw_calls.getsockname(sock)
    if isinstance(ours, bytes) and ours[:1] != b"\0":
        with contextlib.suppress(OSError):
            os.unlink(ours)
    if ours is None:
        assert theirs == 0
        assert reported == sockaddr.encode(sockaddr.autobind_name(int(reported[3:], 16)))
        assert len(reported) == 8
    elif isinstance(ours, bytes):
        # A random name can be taken already, which the host only finds out once it took the address for valid.
        if theirs == 0:
            assert reported == sockaddr.encode(ours)
        else:
            assert theirs == "EADDRINUSE"
    else:
        assert theirs == ours == "EINVAL"


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=130))
@example(AF_UNIX)
def test_connect_of_the_host(raw: bytes) -> None:
    """EINVAL from connect for the same addresses, the bare family among them (NAME-2)."""
    try:
        sockaddr.decode(raw)
        invalid = False
    except SyscallError:
        invalid = True
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        assert (raw_calls.connect(sock, raw) == "EINVAL") == invalid


def test_no_address_is_no_autobind() -> None:
    """Length 2 means autobind to bind and EINVAL to connect (NAME-1, NAME-2)."""
    assert sockaddr.decode_bind(AF_UNIX) is None
    with pytest.raises(SyscallError) as raised:
        sockaddr.decode(AF_UNIX)
    assert raised.value.errno is Errno.EINVAL


def test_family() -> None:
    assert sockaddr.family(b"\0\0") == 0
    assert sockaddr.family(b"\x0a\x01rest") == 0x10A
    for short in (b"", b"\1"):
        with pytest.raises(SyscallError, match="EINVAL"):
            sockaddr.family(short)


def test_autobind_names() -> None:
    """Five lowercase hex digits, of 20 bits (NAME-1)."""
    assert sockaddr.autobind_name(0) == b"\x0000000"
    assert sockaddr.autobind_name(0xABCDE) == b"\0abcde"
    assert sockaddr.autobind_name(0x10000F) == b"\x000000f"


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        (b"", "{sa_family=AF_UNIX}"),
        (b"/tmp/x", '{sa_family=AF_UNIX, sun_path="/tmp/x"}'),
        (b"\0name", '{sa_family=AF_UNIX, sun_path=@"name"}'),
        (b"\0", '{sa_family=AF_UNIX, sun_path=@""}'),
        (b"\0\0\0", r'{sa_family=AF_UNIX, sun_path=@"\0\0"}'),
        (b'\0a"\\\n\r\t\v\f\x7f\xff', r'{sa_family=AF_UNIX, sun_path=@"a\"\\\n\r\t\v\f\177\377"}'),
        (b"\0\x012\x019\x01a", r'{sa_family=AF_UNIX, sun_path=@"\0012\19\1a"}'),
    ],
)
def test_show(address: bytes, shown: str) -> None:
    assert sockaddr.show(address) == shown


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_strace_shows_the_same(tmp_path: Path) -> None:
    """Each byte, before and after a digit, in strace's own words."""
    names = [b"\0" + bytes([byte]) + follow for byte in range(256) for follow in (b"", b"7", b"8", b"z")]
    names += [b"/" + bytes([byte, 0x30]) for byte in range(1, 256)]
    program = (
        "import ctypes, socket\n"
        "libc = ctypes.CDLL(None)\n"
        "with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:\n"
        f"    for raw in {[sockaddr.encode(name) for name in names]!r}:\n"
        "        libc.connect(sock.fileno(), raw, len(raw))\n"
    )
    log = tmp_path / "log"
    command = ["strace", "-f", "-o", str(log), "-e", "trace=connect", sys.executable, "-c", program]
    subprocess.run(command, check=True)
    lines = [line for line in log.read_text().splitlines() if "connect(" in line]
    assert [line[line.index("{") : line.rindex("}") + 1] for line in lines] == [sockaddr.show(name) for name in names]
