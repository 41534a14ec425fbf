"""System calls that Python has no function for, against what the kernel says elsewhere."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import struct
import threading
import time
from pathlib import Path

import pytest

from afunix.abi.constants import AT_EACCESS, AT_FDCWD, PIDFD_THREAD
from afunix.abi.errno import Errno, SyscallError
from afunix.abi.seccomp import SECCOMP_RET_ALLOW, SECCOMP_RET_USER_NOTIF
from afunix.supervisor import hostcalls

SI_TKILL = -6
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
RESOLVE_BENEATH = 8
RESOLVE_NO_SYMLINKS = 4


def status(path: str) -> dict[str, str]:
    return dict(line.split(":\t", 1) for line in Path(path).read_text().splitlines() if ":\t" in line)


def test_pidfd_of_a_process_and_of_a_thread() -> None:
    fd = hostcalls.pidfd_open(os.getpid())
    assert not os.get_inheritable(fd)
    copy = hostcalls.pidfd_getfd(fd, fd)
    assert os.path.sameopenfile(copy, fd)
    assert not os.get_inheritable(copy)
    with pytest.raises(SyscallError) as caught:
        hostcalls.pidfd_getfd(fd, 999_999)
    assert caught.value.errno is Errno.EBADF
    os.close(copy)
    os.close(fd)
    os.close(hostcalls.pidfd_open(threading.get_native_id(), PIDFD_THREAD))
    with pytest.raises(SyscallError) as caught:
        hostcalls.pidfd_open(1 << 22)
    assert caught.value.errno is Errno.ESRCH


def test_memory_between_processes() -> None:
    here = ctypes.create_string_buffer(b"from here", 16)
    there = ctypes.create_string_buffer(16)
    ours, theirs = ctypes.addressof(here), ctypes.addressof(there)
    read, write = os.pipe()
    child = os.fork()
    if not child:
        there.value = b"from there"
        os.write(write, b"x")
        signal.pause()
    os.read(read, 1)
    assert hostcalls.process_vm_readv(child, [(ours, 4), (ours + 8, 6)], [(theirs, 10)]) == 10
    assert here.raw == b"from" + b" her" + b" there" + bytes(2)
    assert hostcalls.process_vm_writev(child, [(ours, 4)], [(theirs, 2), (theirs + 10, 2)]) == 4
    assert hostcalls.process_vm_readv(child, [(ours, 16)], [(theirs, 16)]) == 16
    assert here.raw == b"from thereom\0\0\0\0"
    for call in (hostcalls.process_vm_readv, hostcalls.process_vm_writev):
        with pytest.raises(SyscallError) as caught:
            call(child, [(ours, 16)], [(0, 16)])
        assert caught.value.errno is Errno.EFAULT
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with pytest.raises(SyscallError) as caught:
        hostcalls.process_vm_readv(child, [(ours, 16)], [(theirs, 16)])
    assert caught.value.errno is Errno.ESRCH
    os.close(read)
    os.close(write)


def test_tgkill() -> None:
    assert hostcalls.tgkill(os.getpid(), threading.get_native_id(), 0)
    assert not hostcalls.tgkill(os.getpid(), 1, 0)
    received = []
    before = signal.signal(signal.SIGUSR1, lambda number, _: received.append(number))
    try:
        assert hostcalls.tgkill(os.getpid(), threading.get_native_id(), signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert received == [signal.SIGUSR1]


def test_signalfd_delivers_what_is_blocked() -> None:
    """The signal is for this thread: another one that does not block it would take one for the process, and die."""
    numbers = {signal.SIGUSR1, signal.SIGRTMAX}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    fd = hostcalls.signalfd(numbers)
    try:
        with pytest.raises(BlockingIOError):
            os.read(fd, 128)
        signal.pthread_kill(threading.get_ident(), signal.SIGRTMAX)
        assert select.select([fd], [], [], 10)[0]
        number, _, code, pid, uid = struct.unpack_from("<IiiII", os.read(fd, 128))
        assert (number, code, pid, uid) == (signal.SIGRTMAX, SI_TKILL, os.getpid(), os.getuid())
        assert not os.get_inheritable(fd)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        os.close(fd)


def test_actions() -> None:
    assert hostcalls.action_available(SECCOMP_RET_USER_NOTIF)
    assert hostcalls.action_available(SECCOMP_RET_ALLOW)
    assert not hostcalls.action_available(0x12340000)


def test_openat2_and_its_limits(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to("file")
    directory = os.open(tmp_path, os.O_PATH)
    fd = hostcalls.openat2(directory, b"link", os.O_RDONLY)
    assert os.read(fd, 10) == b"x"
    assert not os.get_inheritable(fd)
    os.close(fd)
    fd = hostcalls.openat2(directory, b"new", os.O_CREAT | os.O_WRONLY, 0o640)
    assert os.fstat(fd).st_mode & 0o777 == 0o640
    os.close(fd)
    for path, resolve, errno in (
        (b"link", RESOLVE_NO_SYMLINKS, Errno.ELOOP),
        (b"../x", RESOLVE_BENEATH, Errno.EXDEV),
        (b"none", 0, Errno.ENOENT),
    ):
        with pytest.raises(SyscallError) as caught:
            hostcalls.openat2(directory, path, os.O_RDONLY, 0, resolve)
        assert caught.value.errno is errno
    os.close(directory)


def test_faccessat2(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path / "file")
    Path(os.fsdecode(path)).write_text("x")
    hostcalls.faccessat2(AT_FDCWD, path, os.R_OK)
    hostcalls.faccessat2(AT_FDCWD, path, os.W_OK, AT_EACCESS)
    for wrong, mode, errno in ((path + b"s", os.F_OK, Errno.ENOENT), (path, os.X_OK, Errno.EACCES)):
        with pytest.raises(SyscallError) as caught:
            hostcalls.faccessat2(AT_FDCWD, wrong, mode)
        assert caught.value.errno is errno


@needs_root
def test_filesystem_ids_and_groups_are_one_threads() -> None:
    seen = {}
    told = threading.Event()
    done = threading.Event()

    def change() -> None:
        seen["uid"] = hostcalls.setfsuid(1234), hostcalls.setfsuid(1234)
        seen["gid"] = hostcalls.setfsgid(4321), hostcalls.setfsgid(4321)
        hostcalls.setgroups([7, 4_000_000_000])
        seen["tid"] = threading.get_native_id(), 0
        told.set()
        done.wait(10)

    thread = threading.Thread(target=change)
    thread.start()
    assert told.wait(10)
    theirs = status(f"/proc/self/task/{seen['tid'][0]}/status")
    ours = status("/proc/thread-self/status")
    done.set()
    thread.join()
    assert seen["uid"] == (0, 1234)
    assert seen["gid"] == (0, 4321)
    assert theirs["Uid"].split()[3] == "1234"
    assert theirs["Gid"].split()[3] == "4321"
    assert theirs["Groups"].split() == ["7", "4000000000"]
    assert ours["Uid"].split()[3] == ours["Gid"].split()[3] == "0"
    assert "4000000000" not in ours["Groups"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may")
def test_without_privilege_identities_do_not_change() -> None:
    with pytest.raises(SyscallError) as caught:
        hostcalls.setgroups([0])
    assert caught.value.errno is Errno.EPERM
    assert hostcalls.setfsuid(0) == os.geteuid()
    assert hostcalls.setfsuid(0) == os.geteuid()


def test_process_attributes_of_a_child() -> None:
    """In a child of its own, as they can't all be taken back: an orphan below it becomes its child."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            hostcalls.set_no_new_privs()
            hostcalls.set_child_subreaper()
            if not os.fork():
                parent = os.getpid()
                if not os.fork():
                    while os.getppid() == parent:
                        time.sleep(0.001)
                    os.write(write, b"%d " % os.getppid())
                os._exit(0)
            os.wait()
            os.wait()
            os.write(write, f"{os.getpid()} {status('/proc/self/status')['NoNewPrivs']}".encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.close(write)
    assert os.read(read, 100).split() == [b"%d" % child, b"%d" % child, b"1"]
    os.close(read)


def test_pdeathsig_comes_when_the_parent_ends() -> None:
    read, write = os.pipe()
    parent = os.fork()
    if not parent:
        if not os.fork():
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
            hostcalls.set_pdeathsig(signal.SIGUSR1)
            os.write(write, b"ready")
            os.write(write, b"%d" % signal.sigwait({signal.SIGUSR1}))
            os._exit(0)
        signal.pause()
    assert os.read(read, 5) == b"ready"
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    assert os.read(read, 5) == b"%d" % signal.SIGUSR1
    os.close(read)
    os.close(write)
