"""Run as a program: puts a seccomp filter on itself or one of its threads and prints what its calls then return.

    seccomp_programs.py calls FILTER [NUMBER,ARGUMENT,...] ...
    seccomp_programs.py exec FILTER PROGRAM
    seccomp_programs.py notify FILTER NUMBER

FILTER is the filter in hexadecimal.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import sys
import threading

from afunix.abi import arch, bpf, seccomp

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


def call(number: int, *arguments: int) -> int | str:
    """The result of a call, or the name of its errno."""
    result = libc.syscall(ctypes.c_long(number), *(ctypes.c_ulong(argument) for argument in arguments))
    return errno.errorcode[ctypes.get_errno()] if result < 0 else int(result)


def install(code: bytes, flags: int) -> int:
    """Put the filter on this thread; the listener with SECCOMP_FILTER_FLAG_NEW_LISTENER."""
    memory = ctypes.create_string_buffer(code, len(code))
    fprog = ctypes.create_string_buffer(
        bpf.SOCK_FPROG.pack(len(code) // bpf.SOCK_FILTER.size, ctypes.addressof(memory)), bpf.SOCK_FPROG.size
    )
    numbers = arch.current().numbers
    assert call(numbers["prctl"], seccomp.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    result = call(numbers["seccomp"], seccomp.SECCOMP_SET_MODE_FILTER, flags, ctypes.addressof(fprog))
    assert isinstance(result, int), result
    return result


def notify(code: bytes, number: int) -> None:
    """One thread makes trapped calls; this one serves them through the listener and prints both sides."""
    ready = threading.Event()
    listeners: list[int] = []
    results: list[int | str | None] = []

    def caller() -> None:
        listeners.append(install(code, seccomp.SECCOMP_FILTER_FLAG_NEW_LISTENER))
        ready.set()
        results.append(call(number, 11, 12, 13, 14, 15, 1 << 63 | 16))
        results.append(call(number, 1))
        descriptor = call(number, 2)
        assert isinstance(descriptor, int)
        results.append(os.read(descriptor, 10).decode())
        results.append(fcntl.fcntl(descriptor, fcntl.F_GETFD))
        results.append(call(number, (1 << 31) - 1))

    thread = threading.Thread(target=caller)
    thread.start()
    ready.wait()
    listener = listeners[0]
    wake_up = seccomp.SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP
    try:
        sync: int | str = fcntl.ioctl(listener, seccomp.SECCOMP_IOCTL_NOTIF_SET_FLAGS, wake_up)
    except OSError as error:
        sync = errno.errorcode[error.errno or 0]
    notifications = []
    for answer in ("value", "errno", "descriptor", "continue"):
        request = bytearray(seccomp.NOTIF.size)
        fcntl.ioctl(listener, seccomp.SECCOMP_IOCTL_NOTIF_RECV, request)
        notifications.append(seccomp.NOTIF.unpack(request))
        identity, thread_id, *rest = seccomp.NOTIF_CALL.unpack(request)
        assert [identity, thread_id] == list(notifications[-1][:2])
        assert rest == [notifications[-1][3], *notifications[-1][6:]]
        fcntl.ioctl(listener, seccomp.SECCOMP_IOCTL_NOTIF_ID_VALID, identity.to_bytes(8, "little"))
        if answer == "descriptor":
            reading, writing = os.pipe()
            os.write(writing, b"passed")
            flags = seccomp.SECCOMP_ADDFD_FLAG_SEND
            new = seccomp.ADDFD.pack(identity, flags, reading, 0, os.O_CLOEXEC)
            fcntl.ioctl(listener, seccomp.SECCOMP_IOCTL_NOTIF_ADDFD, new)
        else:
            response = {
                "value": seccomp.RESP.pack(identity, 4242, 0, 0),
                "errno": seccomp.RESP.pack(identity, 0, -errno.EXFULL, 0),
                "continue": seccomp.RESP.pack(identity, 0, 0, seccomp.SECCOMP_USER_NOTIF_FLAG_CONTINUE),
            }[answer]
            fcntl.ioctl(listener, seccomp.SECCOMP_IOCTL_NOTIF_SEND, response)
    try:
        fcntl.ioctl(listener, seccomp.SECCOMP_IOCTL_NOTIF_ID_VALID, bytes(8))
        stale = "valid"
    except OSError as error:
        stale = errno.errorcode[error.errno or 0]
    thread.join()
    report = {"results": results, "notifications": notifications, "stale": stale, "sync": sync}
    print(json.dumps({**report, "tid": thread.native_id}))


def main() -> None:
    mode, code, *rest = sys.argv[1], bytes.fromhex(sys.argv[2]), *sys.argv[3:]
    if mode == "notify":
        notify(code, int(rest[0]))
        return
    install(code, 0)
    if mode == "exec":
        os.execv(rest[0], rest)
    print(json.dumps([call(*map(int, arguments.split(","))) for arguments in rest]))


if __name__ == "__main__":
    main()
