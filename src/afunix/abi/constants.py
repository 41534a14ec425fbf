"""Linux numbers by their Linux names: families, flags, options, commands and limits.

The values are those of x86-64 and aarch64, which agree in all that stands here. Where names share a value,
the one that traces show comes first.
"""

from __future__ import annotations

from typing import Final

# Address families (include/linux/socket.h); a protocol family is the same number.
AF_UNSPEC: Final = 0
AF_UNIX: Final = 1
AF_LOCAL: Final = 1
AF_INET: Final = 2
AF_INET6: Final = 10
AF_NETLINK: Final = 16
AF_PACKET: Final = 17
AF_ALG: Final = 38
AF_VSOCK: Final = 40
PF_UNSPEC: Final = 0
PF_UNIX: Final = 1
PF_LOCAL: Final = 1
PF_INET: Final = 2
PF_INET6: Final = 10
PF_NETLINK: Final = 16
PF_PACKET: Final = 17
PF_ALG: Final = 38
PF_VSOCK: Final = 40

# Socket types, and the flags that socket(2), socketpair(2) and accept4(2) take (include/linux/net.h).
SOCK_STREAM: Final = 1
SOCK_DGRAM: Final = 2
SOCK_RAW: Final = 3
SOCK_RDM: Final = 4
SOCK_SEQPACKET: Final = 5
SOCK_DCCP: Final = 6
SOCK_PACKET: Final = 10
SOCK_TYPE_MASK: Final = 0xF
SOCK_NONBLOCK: Final = 0o4000
SOCK_CLOEXEC: Final = 0o2000000

# Flags of send(2), recv(2) and msg_flags (include/linux/socket.h). The kernel clears those marked internal
# from what a program passes (MSG_INTERNAL_SENDMSG_FLAGS).
MSG_OOB: Final = 0x1
MSG_PEEK: Final = 0x2
MSG_DONTROUTE: Final = 0x4
MSG_TRYHARD: Final = 0x4
MSG_CTRUNC: Final = 0x8
MSG_PROBE: Final = 0x10
MSG_PROXY: Final = 0x10
MSG_TRUNC: Final = 0x20
MSG_DONTWAIT: Final = 0x40
MSG_EOR: Final = 0x80
MSG_WAITALL: Final = 0x100
MSG_FIN: Final = 0x200
MSG_EOF: Final = 0x200
MSG_SYN: Final = 0x400
MSG_CONFIRM: Final = 0x800
MSG_RST: Final = 0x1000
MSG_ERRQUEUE: Final = 0x2000
MSG_NOSIGNAL: Final = 0x4000
MSG_MORE: Final = 0x8000
MSG_WAITFORONE: Final = 0x10000
MSG_SENDPAGE_NOPOLICY: Final = 0x10000  # internal
MSG_BATCH: Final = 0x40000
MSG_NO_SHARED_FRAGS: Final = 0x80000  # internal
MSG_SENDPAGE_DECRYPTED: Final = 0x100000  # internal
MSG_SOCK_DEVMEM: Final = 0x2000000
MSG_ZEROCOPY: Final = 0x4000000
MSG_SPLICE_PAGES: Final = 0x8000000  # internal
MSG_FASTOPEN: Final = 0x20000000
MSG_CMSG_CLOEXEC: Final = 0x40000000
MSG_CMSG_COMPAT: Final = 0x80000000  # the caller is a 32-bit program; sendmsg and recvmsg refuse it

# Levels of setsockopt(2) and of control messages (include/linux/socket.h), and protocols (linux/in.h).
SOL_IP: Final = 0
SOL_SOCKET: Final = 1
SOL_TCP: Final = 6
SOL_UDP: Final = 17
SOL_IPV6: Final = 41
SOL_ICMPV6: Final = 58
SOL_SCTP: Final = 132
SOL_UDPLITE: Final = 136
SOL_RAW: Final = 255
SOL_PACKET: Final = 263
SOL_NETLINK: Final = 270
SOL_BLUETOOTH: Final = 274
SOL_ALG: Final = 279
SOL_KCM: Final = 281
SOL_TLS: Final = 282
SOL_XDP: Final = 283
SOL_MPTCP: Final = 284
SOL_MCTP: Final = 285
SOL_SMC: Final = 286
SOL_VSOCK: Final = 287
IPPROTO_IP: Final = 0
IPPROTO_ICMP: Final = 1
IPPROTO_TCP: Final = 6
IPPROTO_UDP: Final = 17
IPPROTO_IPV6: Final = 41
IPPROTO_ICMPV6: Final = 58
IPPROTO_SCTP: Final = 132
IPPROTO_UDPLITE: Final = 136
IPPROTO_RAW: Final = 255
IPPROTO_MPTCP: Final = 262

# Options at SOL_SOCKET (include/uapi/asm-generic/socket.h).
SO_DEBUG: Final = 1
SO_REUSEADDR: Final = 2
SO_TYPE: Final = 3
SO_ERROR: Final = 4
SO_DONTROUTE: Final = 5
SO_BROADCAST: Final = 6
SO_SNDBUF: Final = 7
SO_RCVBUF: Final = 8
SO_KEEPALIVE: Final = 9
SO_OOBINLINE: Final = 10
SO_NO_CHECK: Final = 11
SO_PRIORITY: Final = 12
SO_LINGER: Final = 13
SO_BSDCOMPAT: Final = 14
SO_REUSEPORT: Final = 15
SO_PASSCRED: Final = 16
SO_PEERCRED: Final = 17
SO_RCVLOWAT: Final = 18
SO_SNDLOWAT: Final = 19
SO_RCVTIMEO_OLD: Final = 20
SO_SNDTIMEO_OLD: Final = 21
SO_RCVTIMEO: Final = 20
SO_SNDTIMEO: Final = 21
SO_SECURITY_AUTHENTICATION: Final = 22
SO_SECURITY_ENCRYPTION_TRANSPORT: Final = 23
SO_SECURITY_ENCRYPTION_NETWORK: Final = 24
SO_BINDTODEVICE: Final = 25
SO_ATTACH_FILTER: Final = 26
SO_GET_FILTER: Final = 26
SO_DETACH_FILTER: Final = 27
SO_DETACH_BPF: Final = 27
SO_PEERNAME: Final = 28
SO_TIMESTAMP_OLD: Final = 29
SO_TIMESTAMP: Final = 29
SO_ACCEPTCONN: Final = 30
SO_PEERSEC: Final = 31
SO_SNDBUFFORCE: Final = 32
SO_RCVBUFFORCE: Final = 33
SO_PASSSEC: Final = 34
SO_TIMESTAMPNS_OLD: Final = 35
SO_TIMESTAMPNS: Final = 35
SO_MARK: Final = 36
SO_TIMESTAMPING_OLD: Final = 37
SO_TIMESTAMPING: Final = 37
SO_PROTOCOL: Final = 38
SO_DOMAIN: Final = 39
SO_RXQ_OVFL: Final = 40
SO_WIFI_STATUS: Final = 41
SO_PEEK_OFF: Final = 42
SO_NOFCS: Final = 43
SO_LOCK_FILTER: Final = 44
SO_SELECT_ERR_QUEUE: Final = 45
SO_BUSY_POLL: Final = 46
SO_MAX_PACING_RATE: Final = 47
SO_BPF_EXTENSIONS: Final = 48
SO_INCOMING_CPU: Final = 49
SO_ATTACH_BPF: Final = 50
SO_ATTACH_REUSEPORT_CBPF: Final = 51
SO_ATTACH_REUSEPORT_EBPF: Final = 52
SO_CNX_ADVICE: Final = 53
SO_MEMINFO: Final = 55
SO_INCOMING_NAPI_ID: Final = 56
SO_COOKIE: Final = 57
SO_PEERGROUPS: Final = 59
SO_ZEROCOPY: Final = 60
SO_TXTIME: Final = 61
SO_BINDTOIFINDEX: Final = 62
SO_TIMESTAMP_NEW: Final = 63
SO_TIMESTAMPNS_NEW: Final = 64
SO_TIMESTAMPING_NEW: Final = 65
SO_RCVTIMEO_NEW: Final = 66
SO_SNDTIMEO_NEW: Final = 67
SO_DETACH_REUSEPORT_BPF: Final = 68
SO_PREFER_BUSY_POLL: Final = 69
SO_BUSY_POLL_BUDGET: Final = 70
SO_NETNS_COOKIE: Final = 71
SO_BUF_LOCK: Final = 72
SO_RESERVE_MEM: Final = 73
SO_TXREHASH: Final = 74
SO_RCVMARK: Final = 75
SO_PASSPIDFD: Final = 76
SO_PEERPIDFD: Final = 77
SO_DEVMEM_LINEAR: Final = 78
SO_DEVMEM_DMABUF: Final = 79
SO_DEVMEM_DONTNEED: Final = 80
SO_RCVPRIORITY: Final = 82
SO_PASSRIGHTS: Final = 83
SO_INQ: Final = 84

# Control messages at SOL_SOCKET (include/linux/socket.h; those above 4 have their option's number).
# The names with _OLD and _NEW are ours, made like those of the options.
SCM_RIGHTS: Final = 1
SCM_CREDENTIALS: Final = 2
SCM_SECURITY: Final = 3
SCM_PIDFD: Final = 4
SCM_TIMESTAMP_OLD: Final = 29
SCM_TIMESTAMP: Final = 29
SCM_TIMESTAMPNS_OLD: Final = 35
SCM_TIMESTAMPNS: Final = 35
SCM_TIMESTAMPING_OLD: Final = 37
SCM_TIMESTAMPING: Final = 37
SCM_WIFI_STATUS: Final = 41
SCM_TIMESTAMPING_OPT_STATS: Final = 54
SCM_TIMESTAMPING_PKTINFO: Final = 58
SCM_TXTIME: Final = 61
SCM_TIMESTAMP_NEW: Final = 63
SCM_TIMESTAMPNS_NEW: Final = 64
SCM_TIMESTAMPING_NEW: Final = 65
SCM_DEVMEM_LINEAR: Final = 78
SCM_DEVMEM_DMABUF: Final = 79
SCM_TS_OPT_ID: Final = 81
SCM_INQ: Final = 84

# Options of other levels that programs try on any socket (linux/tcp.h, linux/in.h, linux/in6.h).
TCP_NODELAY: Final = 1
TCP_MAXSEG: Final = 2
TCP_CORK: Final = 3
TCP_KEEPIDLE: Final = 4
TCP_KEEPINTVL: Final = 5
TCP_KEEPCNT: Final = 6
TCP_INFO: Final = 11
TCP_QUICKACK: Final = 12
TCP_USER_TIMEOUT: Final = 18
TCP_FASTOPEN: Final = 23
IP_TOS: Final = 1
IP_TTL: Final = 2
IPV6_V6ONLY: Final = 26

# How of shutdown(2), and the mask that the kernel keeps: how + 1 (include/net/sock.h).
SHUT_RD: Final = 0
SHUT_WR: Final = 1
SHUT_RDWR: Final = 2
RCV_SHUTDOWN: Final = 1
SEND_SHUTDOWN: Final = 2
SHUTDOWN_MASK: Final = 3

# Bits of SO_BUF_LOCK (linux/socket.h).
SOCK_SNDBUF_LOCK: Final = 1
SOCK_RCVBUF_LOCK: Final = 2

# poll(2) (include/uapi/asm-generic/poll.h).
POLLIN: Final = 0x1
POLLPRI: Final = 0x2
POLLOUT: Final = 0x4
POLLERR: Final = 0x8
POLLHUP: Final = 0x10
POLLNVAL: Final = 0x20
POLLRDNORM: Final = 0x40
POLLRDBAND: Final = 0x80
POLLWRNORM: Final = 0x100
POLLWRBAND: Final = 0x200
POLLMSG: Final = 0x400
POLLREMOVE: Final = 0x1000
POLLRDHUP: Final = 0x2000

# epoll(7) (include/uapi/linux/eventpoll.h).
EPOLLIN: Final = 0x1
EPOLLPRI: Final = 0x2
EPOLLOUT: Final = 0x4
EPOLLERR: Final = 0x8
EPOLLHUP: Final = 0x10
EPOLLNVAL: Final = 0x20
EPOLLRDNORM: Final = 0x40
EPOLLRDBAND: Final = 0x80
EPOLLWRNORM: Final = 0x100
EPOLLWRBAND: Final = 0x200
EPOLLMSG: Final = 0x400
EPOLLRDHUP: Final = 0x2000
EPOLLEXCLUSIVE: Final = 0x10000000
EPOLLWAKEUP: Final = 0x20000000
EPOLLONESHOT: Final = 0x40000000
EPOLLET: Final = 0x80000000
EPOLL_CTL_ADD: Final = 1
EPOLL_CTL_DEL: Final = 2
EPOLL_CTL_MOD: Final = 3
EPOLL_CLOEXEC: Final = 0o2000000

# ioctl(2) commands on sockets (include/uapi/asm-generic/sockios.h, ioctls.h, linux/sockios.h, linux/un.h).
TCGETS: Final = 0x5401
SIOCOUTQ: Final = 0x5411
TIOCOUTQ: Final = 0x5411
SIOCINQ: Final = 0x541B
FIONREAD: Final = 0x541B
FIONBIO: Final = 0x5421
FIONCLEX: Final = 0x5450
FIOCLEX: Final = 0x5451
FIOASYNC: Final = 0x5452
FIOQSIZE: Final = 0x5460
FIOSETOWN: Final = 0x8901
SIOCSPGRP: Final = 0x8902
FIOGETOWN: Final = 0x8903
SIOCGPGRP: Final = 0x8904
SIOCATMARK: Final = 0x8905
SIOCGSTAMP_OLD: Final = 0x8906
SIOCGSTAMPNS_OLD: Final = 0x8907
SIOCGSTAMP_NEW: Final = 0x80108906
SIOCGSTAMPNS_NEW: Final = 0x80108907
SIOCGIFNAME: Final = 0x8910
SIOCGIFCONF: Final = 0x8912
SIOCGIFFLAGS: Final = 0x8913
SIOCGIFADDR: Final = 0x8915
SIOCGIFINDEX: Final = 0x8933
SIOCUNIXFILE: Final = 0x89E0
SIOCPROTOPRIVATE: Final = 0x89E0

# open(2) flags that are the same on every architecture here; O_DIRECT, O_DIRECTORY, O_NOFOLLOW, O_LARGEFILE
# and O_TMPFILE differ and stand in the syscalls_* modules (include/uapi/asm-generic/fcntl.h).
O_RDONLY: Final = 0
O_WRONLY: Final = 1
O_RDWR: Final = 2
O_ACCMODE: Final = 3
O_CREAT: Final = 0o100
O_EXCL: Final = 0o200
O_NOCTTY: Final = 0o400
O_TRUNC: Final = 0o1000
O_APPEND: Final = 0o2000
O_NONBLOCK: Final = 0o4000
O_NDELAY: Final = 0o4000
O_DSYNC: Final = 0o10000
O_ASYNC: Final = 0o20000
FASYNC: Final = 0o20000
O_NOATIME: Final = 0o1000000
O_CLOEXEC: Final = 0o2000000
O_SYNC: Final = 0o4010000
O_PATH: Final = 0o10000000

# fcntl(2) (include/uapi/asm-generic/fcntl.h, linux/fcntl.h).
F_DUPFD: Final = 0
F_GETFD: Final = 1
F_SETFD: Final = 2
F_GETFL: Final = 3
F_SETFL: Final = 4
F_GETLK: Final = 5
F_SETLK: Final = 6
F_SETLKW: Final = 7
F_SETOWN: Final = 8
F_GETOWN: Final = 9
F_SETSIG: Final = 10
F_GETSIG: Final = 11
F_SETOWN_EX: Final = 15
F_GETOWN_EX: Final = 16
F_GETOWNER_UIDS: Final = 17
F_OFD_GETLK: Final = 36
F_OFD_SETLK: Final = 37
F_OFD_SETLKW: Final = 38
F_SETLEASE: Final = 1024
F_GETLEASE: Final = 1025
F_NOTIFY: Final = 1026
F_DUPFD_QUERY: Final = 1027
F_CREATED_QUERY: Final = 1028
F_CANCELLK: Final = 1029
F_DUPFD_CLOEXEC: Final = 1030
F_SETPIPE_SZ: Final = 1031
F_GETPIPE_SZ: Final = 1032
F_ADD_SEALS: Final = 1033
F_GET_SEALS: Final = 1034
F_GET_RW_HINT: Final = 1035
F_SET_RW_HINT: Final = 1036
F_GET_FILE_RW_HINT: Final = 1037
F_SET_FILE_RW_HINT: Final = 1038
F_OWNER_TID: Final = 0
F_OWNER_PID: Final = 1
F_OWNER_PGRP: Final = 2
FD_CLOEXEC: Final = 1

# File types and mode bits (include/uapi/linux/stat.h).
S_IFMT: Final = 0o170000
S_IFSOCK: Final = 0o140000
S_IFLNK: Final = 0o120000
S_IFREG: Final = 0o100000
S_IFBLK: Final = 0o060000
S_IFDIR: Final = 0o040000
S_IFCHR: Final = 0o020000
S_IFIFO: Final = 0o010000
S_ISUID: Final = 0o4000
S_ISGID: Final = 0o2000
S_ISVTX: Final = 0o1000
S_IRWXU: Final = 0o700
S_IWGRP: Final = 0o020
S_IWOTH: Final = 0o002
S_IRWXG: Final = 0o070
S_IRWXO: Final = 0o007

# The *at calls (include/uapi/linux/fcntl.h).
AT_FDCWD: Final = -100
AT_SYMLINK_NOFOLLOW: Final = 0x100
AT_EACCESS: Final = 0x200
AT_REMOVEDIR: Final = 0x200
AT_SYMLINK_FOLLOW: Final = 0x400
AT_NO_AUTOMOUNT: Final = 0x800
AT_EMPTY_PATH: Final = 0x1000
AT_RECURSIVE: Final = 0x8000

# Flags of splice(2), tee(2), vmsplice(2); preadv2(2), pwritev2(2); close_range(2); the pidfd calls.
SPLICE_F_MOVE: Final = 1
SPLICE_F_NONBLOCK: Final = 2
SPLICE_F_MORE: Final = 4
SPLICE_F_GIFT: Final = 8
RWF_HIPRI: Final = 0x1
RWF_DSYNC: Final = 0x2
RWF_SYNC: Final = 0x4
RWF_NOWAIT: Final = 0x8
RWF_APPEND: Final = 0x10
RWF_NOAPPEND: Final = 0x20
RWF_ATOMIC: Final = 0x40
RWF_DONTCACHE: Final = 0x80
CLOSE_RANGE_UNSHARE: Final = 2
CLOSE_RANGE_CLOEXEC: Final = 4
PIDFD_NONBLOCK: Final = 0o4000
PIDFD_THREAD: Final = 0o200
PIDFD_SIGNAL_THREAD: Final = 1
PIDFD_SIGNAL_THREAD_GROUP: Final = 2
PIDFD_SIGNAL_PROCESS_GROUP: Final = 4

# Signals that sockets raise.
SIGPIPE: Final = 13
SIGURG: Final = 23
SIGIO: Final = 29

# Limits.
UNIX_PATH_MAX: Final = 108
SCM_MAX_FD: Final = 253
UIO_MAXIOV: Final = 1024
UIO_FASTIOV: Final = 8
SOMAXCONN: Final = 4096
MAX_RW_COUNT: Final = 0x7FFFF000
