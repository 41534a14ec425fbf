"""The service manager's side of sd_notify: notified.py PATH COUNT binds a datagram socket and says what comes.

It says whom the kernel names as the sender, and closes the descriptors that come along, which ends a barrier.
"""

import os
import socket
import stat
import sys

path, count = sys.argv[1], int(sys.argv[2])
sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
sock.bind(path)
for _ in range(count):
    data, controls, flags, _ = sock.recvmsg(4096, 4096)
    print(" ".join(line if not line.startswith("MAINPID") else "MAINPID" for line in data.decode().split()))
    for _, kind, value in controls:
        numbers = [int.from_bytes(value[at : at + 4], sys.byteorder) for at in range(0, len(value), 4)]
        if kind == socket.SCM_CREDENTIALS:
            pid, uid, gid = numbers
            print(f"  of process {'known' if os.path.exists(f'/proc/{pid}') or pid else pid}, user {uid}, group {gid}")
        else:
            for fd in numbers:
                kinds = {stat.S_IFIFO: "pipe", stat.S_IFREG: "file", stat.S_IFSOCK: "socket"}
                print(f"  with a {kinds[stat.S_IFMT(os.fstat(fd).st_mode)]}")
                os.close(fd)
    if flags & ~socket.MSG_CMSG_CLOEXEC:
        print(f"  flags {flags:#x}")
    sys.stdout.flush()
