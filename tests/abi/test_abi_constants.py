"""The numbers of `constants` and `seccomp` against the system's headers and the running kernel."""

from __future__ import annotations

import array
import ctypes
import fcntl
import mmap
import os
import platform
import socket

import pytest
from host_headers import c_compiler, compare_constants, integers, macros

from afunix.abi import arch, bpf, constants, seccomp

# Headers that can't go together in one program stand in different groups.
HEADERS = [
    """
    #include <fcntl.h>
    #include <netinet/in.h>
    #include <netinet/tcp.h>
    #include <poll.h>
    #include <signal.h>
    #include <sys/epoll.h>
    #include <sys/ioctl.h>
    #include <sys/socket.h>
    #include <sys/stat.h>
    #include <sys/uio.h>
    #include <linux/close_range.h>
    #include <linux/net.h>
    #include <linux/sockios.h>
    #include <linux/un.h>
    """,
    """
    #include <asm/ioctls.h>
    #include <asm/socket.h>
    #include <linux/audit.h>
    #include <linux/bpf_common.h>
    #include <linux/eventpoll.h>
    #include <linux/fcntl.h>
    #include <linux/filter.h>
    #include <linux/fs.h>
    #include <linux/pidfd.h>
    #include <linux/prctl.h>
    #include <linux/seccomp.h>
    #include <linux/socket.h>
    #include <linux/stat.h>
    #include <linux/uio.h>
    #include <linux/unistd.h>
    """,
]

# Constants that the headers of some supported system lack, by the Linux version that brought them.
NEWER = {
    "6.5": {"SO_PASSPIDFD", "SO_PEERPIDFD", "SCM_PIDFD"},
    "6.6": {"SECCOMP_IOCTL_NOTIF_SET_FLAGS", "SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP"},
    "6.9": {
        "PIDFD_SIGNAL_PROCESS_GROUP",
        "PIDFD_SIGNAL_THREAD",
        "PIDFD_SIGNAL_THREAD_GROUP",
        "PIDFD_THREAD",
        "RWF_NOAPPEND",
    },
    "6.10": {"F_DUPFD_QUERY"},
    "6.11": {"RWF_ATOMIC"},
    "6.12": {
        "F_CREATED_QUERY",
        "MSG_SOCK_DEVMEM",
        "SCM_DEVMEM_DMABUF",
        "SCM_DEVMEM_LINEAR",
        "SO_DEVMEM_DMABUF",
        "SO_DEVMEM_DONTNEED",
        "SO_DEVMEM_LINEAR",
    },
    "6.13": {"SCM_TS_OPT_ID"},
    "6.14": {"RWF_DONTCACHE", "SO_RCVPRIORITY"},
    "6.16": {"SO_PASSRIGHTS"},
    "6.18": {"SCM_INQ", "SO_INQ"},
}

# Constants that live inside the kernel, or that older C libraries leave out.
NOT_IN_HEADERS = {
    "BPF_JMP_JA",
    "BPF_JMP_JEQ_K",
    "BPF_JMP_JGE_K",
    "BPF_LD_W_ABS",
    "BPF_RET_K",
    "MAX_RW_COUNT",
    "MSG_CMSG_COMPAT",
    "MSG_EOF",
    "MSG_NO_SHARED_FRAGS",
    "MSG_PROBE",
    "MSG_SENDPAGE_DECRYPTED",
    "MSG_SENDPAGE_NOPOLICY",
    "MSG_SPLICE_PAGES",
    "RCV_SHUTDOWN",
    "REFUSE",
    "SCM_MAX_FD",
    "SCM_SECURITY",
    "SCM_TIMESTAMPING_NEW",
    "SCM_TIMESTAMPING_OLD",
    "SCM_TIMESTAMPNS_NEW",
    "SCM_TIMESTAMPNS_OLD",
    "SCM_TIMESTAMP_NEW",
    "SCM_TIMESTAMP_OLD",
    "SEND_SHUTDOWN",
    "SHUTDOWN_MASK",
    "SOCK_TYPE_MASK",
    "SOL_SCTP",
    "SOL_UDP",
    "SOL_UDPLITE",
    "SOL_IPV6",
    "SOL_ICMPV6",
    "SOL_VSOCK",
    "UIO_FASTIOV",
}


@pytest.fixture(params=["x86_64", "aarch64"])
def machine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def ours() -> dict[str, int]:
    return {
        **integers(constants),
        **integers(seccomp),
        **integers(bpf),
    }


def test_every_constant_equals_the_headers(machine: str) -> None:
    """Each constant that a header defines has our value; those that none defines are known by name."""
    cc = c_compiler(machine)
    values = {name: value for name, value in ours().items() if name not in ("X32_BIT", "AUDIT_ARCH_X86_64")}
    defined = set()
    for headers in HEADERS:
        wrong, here = compare_constants(cc, headers, values)
        assert not wrong
        defined |= here
    assert values.keys() - defined <= NOT_IN_HEADERS.union(*NEWER.values())
    assert len(defined) > 350


def test_the_comparison_notices_a_wrong_constant() -> None:
    """One false number among true ones is found."""
    cc = c_compiler(platform.machine())
    wrong, defined = compare_constants(cc, HEADERS[0], {"AF_UNIX": 1, "SO_PASSCRED": 15, "NO_SUCH": 3})
    assert wrong == {"SO_PASSCRED"}
    assert defined == {"AF_UNIX", "SO_PASSCRED"}


def test_machine_dependent_constants(machine: str) -> None:
    """The open flags, AUDIT_ARCH and x32 bit of each machine are its headers' own."""
    cc = c_compiler(machine)
    this = arch.by_machine(machine)
    audit = {"AUDIT_ARCH_X86_64" if machine == "x86_64" else "AUDIT_ARCH_AARCH64": this.audit_arch}
    # The C library defines O_LARGEFILE as 0 where it means nothing; the kernel's header has the number.
    flags = {
        "O_DIRECT": this.o_direct,
        "O_DIRECTORY": this.o_directory,
        "O_LARGEFILE": this.o_largefile,
        "O_NOFOLLOW": this.o_nofollow,
        "O_TMPFILE": this.o_tmpfile,
    }
    x32 = {"__X32_SYSCALL_BIT": this.x32_bit} if this.x32_bit else {}
    expected = {**audit, **flags, **x32}
    headers = "#include <elf.h>\n#include <linux/audit.h>\n#include <linux/fcntl.h>\n#include <asm/unistd.h>\n"
    wrong, defined = compare_constants(cc, headers, expected)
    assert not wrong
    assert defined == expected.keys()


@pytest.mark.parametrize("prefix", ["SO_", "SCM_", "MSG_", "POLL", "EPOLL", "SHUT_", "SECCOMP_RET_", "SECCOMP_ADDFD"])
def test_no_constant_of_the_headers_is_missing(prefix: str) -> None:
    """What the headers define in a family of names that we have whole, we have."""
    cc = c_compiler(platform.machine())
    names = {
        name
        for headers in HEADERS
        for name in macros(cc, headers)
        if name.startswith(prefix) and not name.startswith(("POLL_", "SO_TIMESTAMPING_"))
    }
    not_modelled = {
        "EPOLL_IOC_TYPE",
        "EPOLL_PACKED",
        "EPOLL_URING_WAKE",
        "MSG_SENDPAGE_NOTLAST",
        "SCM_SRCRT",
        "SECCOMP_RET_KILL",
        "SECCOMP_RET_ACTION",
    }
    assert names
    assert names - not_modelled <= ours().keys()


def kernel_at_least(version: str) -> None:
    """Skip a test of what the running kernel is too old for."""
    running = tuple(int(part) for part in platform.release().split("-")[0].split(".")[:2])
    wanted = tuple(int(part) for part in version.split("."))
    if running < wanted:
        pytest.skip(f"needs Linux {version}, this is {platform.release()}")


def test_passpidfd_and_peerpidfd() -> None:
    """The kernel takes SO_PASSPIDFD, answers SO_PEERPIDFD with a pidfd and sends SCM_PIDFD."""
    kernel_at_least("6.5")
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with left, right:
        right.setsockopt(constants.SOL_SOCKET, constants.SO_PASSPIDFD, 1)
        pidfd = right.getsockopt(constants.SOL_SOCKET, constants.SO_PEERPIDFD)
        assert "pidfd" in os.readlink(f"/proc/self/fd/{pidfd}")
        os.close(pidfd)
        left.send(b"x")
        _, items, _, _ = right.recvmsg(1, 64)
        assert [(level, kind) for level, kind, _ in items] == [(constants.SOL_SOCKET, constants.SCM_PIDFD)]
        os.close(array.array("i", items[0][2])[0])


def test_passrights() -> None:
    """SO_PASSRIGHTS is 1 on a new socket, and 0 makes sending descriptors EPERM (SCM-8)."""
    kernel_at_least("6.16")
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with left, right:
        assert right.getsockopt(constants.SOL_SOCKET, constants.SO_PASSRIGHTS) == 1
        right.setsockopt(constants.SOL_SOCKET, constants.SO_PASSRIGHTS, 0)
        with pytest.raises(PermissionError):
            socket.send_fds(left, [b"x"], [0])


def test_inq() -> None:
    """With SO_INQ a read reports in SCM_INQ what is left (SCM-8)."""
    kernel_at_least("6.18")
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with left, right:
        right.setsockopt(constants.SOL_SOCKET, constants.SO_INQ, 1)
        left.send(b"12345")
        _, items, _, _ = right.recvmsg(2, 64)
        assert [(level, kind) for level, kind, _ in items] == [(constants.SOL_SOCKET, constants.SCM_INQ)]
        assert array.array("i", items[0][2])[0] == 3


def test_dupfd_query() -> None:
    """F_DUPFD_QUERY tells whether two descriptors share one open file description."""
    kernel_at_least("6.10")
    first, second = os.pipe()
    copy = os.dup(first)
    try:
        assert fcntl.fcntl(first, constants.F_DUPFD_QUERY, copy) == 1
        assert fcntl.fcntl(first, constants.F_DUPFD_QUERY, second) == 0
    finally:
        for descriptor in (first, second, copy):
            os.close(descriptor)


def test_scm_max_fd() -> None:
    """The kernel sends SCM_MAX_FD descriptors in one message and refuses one more (SCM-1)."""
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with left, right:
        socket.send_fds(left, [b"x"], [0] * constants.SCM_MAX_FD)
        with pytest.raises(OSError, match="Invalid argument"):
            socket.send_fds(left, [b"x"], [0] * (constants.SCM_MAX_FD + 1))


def test_max_rw_count() -> None:
    """A write of 2 GiB is cut to MAX_RW_COUNT before /dev/null sees it, which touches no memory."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.write.restype = ctypes.c_ssize_t
    libc.write.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t)
    size = 1 << 31
    map_noreserve = 0x4000
    with (
        mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | map_noreserve) as memory,
        open("/dev/null", "wb") as null,
    ):
        view = ctypes.c_char.from_buffer(memory)
        written = libc.write(null.fileno(), ctypes.addressof(view), size)
        del view
    assert written == constants.MAX_RW_COUNT


def test_sockets_keep_the_type_mask_and_flags() -> None:
    """The first bit outside SOCK_TYPE_MASK is EINVAL, and SOCK_CLOEXEC and SOCK_NONBLOCK do what they say."""
    with pytest.raises(OSError, match="Invalid argument"):
        socket.socket(constants.AF_UNIX, constants.SOCK_STREAM | constants.SOCK_TYPE_MASK + 1)
    flags = constants.SOCK_CLOEXEC | constants.SOCK_NONBLOCK
    with socket.socket(constants.AF_UNIX, constants.SOCK_STREAM | flags) as both:
        assert fcntl.fcntl(both, constants.F_GETFL) & constants.O_NONBLOCK
        assert fcntl.fcntl(both, constants.F_GETFD) == constants.FD_CLOEXEC


def test_limits_of_iovecs() -> None:
    """UIO_MAXIOV buffers are taken, one more is EMSGSIZE for sendmsg."""
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with left, right:
        assert left.sendmsg([b"x"] * constants.UIO_MAXIOV) == constants.UIO_MAXIOV
        with pytest.raises(OSError, match="Message too long"):
            left.sendmsg([b"x"] * (constants.UIO_MAXIOV + 1))
