"""The first things that anyone does with Unix sockets, from Python: two processes, by name, pair and passed file."""

import array
import errno
import fcntl
import os
import socket
import struct

import check


def _serve(listener: socket.socket) -> None:
    peer, address = listener.accept()
    with peer:
        print("server accepted from", repr(address))
        print("server received", peer.recv(100))
        peer.sendall(b"and good day to you")
        assert peer.recv(1) == b""


def _serve_and_call(kind: int, name: "str | bytes") -> None:
    with socket.socket(socket.AF_UNIX, kind) as listener:
        listener.bind(name)
        listener.listen()
        assert listener.getsockname() == name
        with check.child(_serve, listener), socket.socket(socket.AF_UNIX, kind) as client:
            client.connect(name)
            assert client.getpeername() == name
            assert client.getsockname() == ""
            client.sendall(b"good day")
            print("client received", client.recv(100))


def case_path_stream() -> None:
    _serve_and_call(socket.SOCK_STREAM, check.path("socket"))


def case_path_seqpacket() -> None:
    _serve_and_call(socket.SOCK_SEQPACKET, check.path("socket"))


def case_abstract_stream() -> None:
    _serve_and_call(socket.SOCK_STREAM, check.abstract("stream"))


def case_tmp_test_sock() -> None:
    with open("/tmp/test.sock.lock", "a") as lock:  # one name for the whole machine: the runs queue for it
        fcntl.flock(lock, fcntl.LOCK_EX)
        if os.path.lexists("/tmp/test.sock"):
            os.unlink("/tmp/test.sock")
        _serve_and_call(socket.SOCK_STREAM, "/tmp/test.sock")
        os.unlink("/tmp/test.sock")


def case_path_dgram() -> None:
    server, client = (socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(2))
    with server, client:
        server.bind(check.path("server"))
        client.bind(check.path("client"))

        def answer() -> None:
            data, address = server.recvfrom(100)
            assert address == check.path("client")
            print("server received", data)
            server.sendto(data.upper(), address)

        with check.child(answer):
            client.sendto(b"letter", check.path("server"))
            data, address = client.recvfrom(100)
            assert address == check.path("server")
            print("client received", data)


def case_socketpair_over_fork() -> None:
    for kind in (socket.SOCK_STREAM, socket.SOCK_SEQPACKET, socket.SOCK_DGRAM):
        ours, theirs = socket.socketpair(socket.AF_UNIX, kind)

        def body(ours: socket.socket = ours, theirs: socket.socket = theirs) -> None:
            ours.close()
            print("child received", theirs.recv(100))
            theirs.send(b"hello, parent")

        with ours, check.child(body):
            theirs.close()
            ours.send(b"hello, child")
            print("parent received", ours.recv(100))


def case_passed_file() -> None:
    """The child reads through the received descriptor; the offset is the same open file's."""
    for kind in (socket.SOCK_STREAM, socket.SOCK_SEQPACKET, socket.SOCK_DGRAM):
        with open(check.path("file"), "wb") as writing:
            writing.write(b"0123456789abcdef")
        ours, theirs = socket.socketpair(socket.AF_UNIX, kind)

        def body(ours: socket.socket = ours, theirs: socket.socket = theirs) -> None:
            ours.close()
            data, fds, flags, _ = socket.recv_fds(theirs, 100, 4)
            assert (data, len(fds), flags & socket.MSG_CTRUNC) == (b"file", 1, 0)
            print("child read", os.read(fds[0], 5))
            os.lseek(fds[0], 12, os.SEEK_SET)
            theirs.send(b"done")

        with ours, open(check.path("file"), "rb", buffering=0) as file, check.child(body):
            theirs.close()
            print("parent read", file.read(4))
            socket.send_fds(ours, [b"file"], [file.fileno()])
            assert ours.recv(100) == b"done"
            assert file.tell() == 12
            print("parent read", file.read())


def case_passed_sockets() -> None:
    """A listener and a connection go to a child, which serves them."""
    ours, theirs = socket.socketpair()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(check.path("server"))
    listener.listen()
    client = socket.socket(socket.AF_UNIX)
    client.connect(check.path("server"))
    connection, _ = listener.accept()

    def body() -> None:
        for held in (ours, listener, connection, client):
            held.close()
        data, fds, _, _ = socket.recv_fds(theirs, 10, 2)
        assert len(fds) == 2, data
        with socket.socket(fileno=fds[0]) as connected, socket.socket(fileno=fds[1]) as listening:
            assert connected.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 0
            assert listening.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
            print("child received", connected.recv(100))
            connected.sendall(b"from the child")
            peer, _ = listening.accept()
            with peer:
                print("child received", peer.recv(100))
                peer.sendall(b"accepted by the child")

    with ours, client, check.child(body):
        theirs.close()
        socket.send_fds(ours, [b"both"], [connection.fileno(), listener.fileno()])
        listener.close()
        connection.close()
        client.sendall(b"to the connection")
        print("parent received", client.recv(100))
        with socket.socket(socket.AF_UNIX) as late:
            late.connect(check.path("server"))
            late.sendall(b"to the listener")
            print("parent received", late.recv(100))
    with socket.socket(socket.AF_UNIX) as late:
        check.refuses(errno.ECONNREFUSED, late.connect, check.path("server"))


def case_credentials() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)

    def body() -> None:
        theirs.send(b"who am I?")

    with ours, theirs, check.child(body) as pid:
        data, ancillary, flags, _ = ours.recvmsg(100, socket.CMSG_SPACE(12))
        ((level, kind, content),) = ancillary
        assert (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS)
        assert struct.unpack("iII", content) == (pid, os.getuid(), os.getgid())
        print(data, flags)
        peer = struct.unpack("iII", ours.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        assert peer == (os.getpid(), os.geteuid(), os.getegid())


def case_ancillary_arrays() -> None:
    """The recipe of the library's own documentation."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        fds = array.array("i", [0, 1, 2])
        ours.sendmsg([b"three", b" of ", b"them"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
        data, ancillary, flags, address = theirs.recvmsg(100, socket.CMSG_LEN(3 * fds.itemsize))
        assert address is None or address == ""
        came = array.array("i")
        for level, kind, content in ancillary:
            assert (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS)
            came.frombytes(content)
        print(data, len(came), flags & ~socket.MSG_CMSG_CLOEXEC)
        for fd in came:
            os.close(fd)


def case_timeouts_and_errors() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(0.05)
        try:
            ours.recv(1)
        except TimeoutError:
            print("timed out")
        ours.setblocking(False)
        check.refuses(errno.EAGAIN, ours.recv, 1)
        sent = 0
        while True:
            try:
                sent += ours.send(bytes(10000))
            except BlockingIOError:
                break
        print("sent", sent)
        got = 0
        theirs.setblocking(False)
        while got < sent:
            got += len(theirs.recv(1 << 20))
        theirs.close()
        check.refuses(errno.EPIPE, ours.send, b"x")
        assert ours.recv(1) == b""
    with socket.socket(socket.AF_UNIX) as lost:
        check.refuses(errno.ENOENT, lost.connect, check.path("missing"))
        check.refuses(errno.ENOTCONN, lost.send, b"x")


def case_files_of_sockets() -> None:
    """makefile() both ways, and big ones: sendall of ten megabytes against a reader with a small buffer."""
    ours, theirs = socket.socketpair()
    payload = bytes(range(256)) * 40000

    def body() -> None:
        ours.close()
        with theirs, theirs.makefile("rwb") as file:
            assert file.readline() == b"a line\n"
            file.write(b"another line\n")
            file.flush()
            assert file.read(len(payload)) == payload
            file.write(payload[::-1])

    with ours, ours.makefile("rwb") as file, check.child(body):
        theirs.close()
        file.write(b"a line\n")
        file.flush()
        print(file.readline())
        ours.sendall(payload)
        assert file.read(len(payload)) == payload[::-1]
        print(len(payload), "bytes each way")


def case_sendfile() -> None:
    ours, theirs = socket.socketpair()
    payload = os.urandom(1 << 20)
    with open(check.path("payload"), "wb") as file:
        file.write(payload)

    def body() -> None:
        theirs.close()
        with ours, open(check.path("payload"), "rb") as file:
            assert ours.sendfile(file) == len(payload)

    with theirs, check.child(body):
        ours.close()
        with theirs.makefile("rb") as reading:
            assert reading.read() == payload
    print(len(payload), "bytes")


if __name__ == "__main__":
    check.main(globals())
