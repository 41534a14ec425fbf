"""A service that gets its sockets from the service manager (sd_listen_fds) and keeps one thing in its descriptor store.

Each message to one of its sockets is answered with the socket's type, its name, what came, and how often a process of
the service has been started, which it knows from a descriptor that it gets back after a restart. "end" ends it.
"""

import os
import select
import socket
import sys

FIRST = 3

assert int(os.environ["LISTEN_PID"]) == os.getpid()
names = os.environ.get("LISTEN_FDNAMES", "").split(":")
sockets = {}
kept = -1
for number, name in enumerate(names, FIRST):
    if name == "kept":
        kept = number
    else:
        sockets[number] = (socket.socket(fileno=number), name)


def notify(message: str, fds: "list[int]") -> None:
    if "NOTIFY_SOCKET" in os.environ:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.connect(os.environ["NOTIFY_SOCKET"].replace("@", "\0", 1))
            socket.send_fds(manager, [message.encode()], fds)


fresh = kept < 0
if fresh:
    kept = os.memfd_create("kept", os.MFD_CLOEXEC)
count = int(os.pread(kept, 16, 0) or b"0") + 1
os.pwrite(kept, str(count).encode(), 0)
if fresh:
    notify("FDSTORE=1\nFDNAME=kept", [kept])
notify(f"READY=1\nSTATUS=started {count} times", [])

poll = select.poll()
for number in sockets:
    poll.register(number, select.POLLIN)
ended = False
while not ended:
    for number, _ in poll.poll():
        sock, name = sockets[number]
        kind = socket.SocketKind(sock.type).name
        if sock.type == socket.SOCK_DGRAM:
            data, back = sock.recvfrom(1000)
            sock.sendto(f"{kind} {name}: {data.decode()} ({count})".encode(), back)
        else:
            connection, _ = sock.accept()
            with connection:
                data = connection.recv(1000)
                connection.sendall(f"{kind} {name}: {data.decode()} ({count})".encode())
        ended = ended or data == b"end"
sys.exit(0)
