"""Well-known tools at both ends of a socket: socat and nc, each way, by path and abstract name."""

import contextlib
import os
import socket
import subprocess
from collections.abc import Iterator

import check


@contextlib.contextmanager
def _listening(*command: str, said: str = "istening on") -> "Iterator[subprocess.Popen[bytes]]":
    """A tool that listens; it says so on standard error."""
    reading, writing = os.pipe()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=writing) as process:
        os.close(writing)
        with open(reading, errors="replace") as stderr:
            check.read_until(stderr, said)
            try:
                yield process
            except BaseException:
                process.kill()
                raise


def _socat(*addresses: str) -> "tuple[str, ...]":
    return ("socat", "-d", "-d", "-t", "5", *addresses)


def _nc(*arguments: str) -> "tuple[str, ...]":
    return ("nc", "-v", "-N", "-U", *arguments)


def _both_ways(listener: "tuple[str, ...]", client: "tuple[str, ...]") -> None:
    """A line each way, then the end of each side; both tools are satisfied."""
    with _listening(*listener) as server:
        with subprocess.Popen(
            client, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as caller:
            assert server.stdin
            assert server.stdout
            assert caller.stdin
            assert caller.stdout
            for i in range(3):
                caller.stdin.write(b"from the client %d\n" % i)
                caller.stdin.flush()
                print("server", server.stdout.readline())
                server.stdin.write(b"from the server %d\n" % i)
                server.stdin.flush()
                print("client", caller.stdout.readline())
            caller.stdin.close()
            server.stdin.close()
            assert server.stdout.read() == b""
            assert caller.stdout.read() == b""
            print("client ended with", caller.wait(10))
        print("server ended with", server.wait(10))


def _bulk(listener: "tuple[str, ...]", client: "tuple[str, ...]") -> None:
    """Some megabytes from the client to the server."""
    payload = os.urandom(5 << 20)
    with _listening(*listener) as server:
        assert server.stdin
        assert server.stdout
        server.stdin.close()
        with subprocess.Popen(client, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as caller:
            assert caller.stdin
            pid = os.fork()
            if pid == 0:
                caller.stdin.write(payload)
                caller.stdin.close()
                os._exit(0)
            caller.stdin.close()
            assert server.stdout.read() == payload
            assert os.waitpid(pid, 0)[1] == 0
            assert caller.wait(10) == 0
        assert server.wait(10) == 0
    print(len(payload), "bytes")


def case_socat_to_socat() -> None:
    name = check.path("server")
    _both_ways(_socat(f"UNIX-LISTEN:{name}", "-"), _socat("-", f"UNIX-CONNECT:{name}"))


def case_socat_abstract() -> None:
    name = f"afunix-{os.getpid():08}-tools"
    _both_ways(_socat(f"ABSTRACT-LISTEN:{name}", "-"), _socat("-", f"ABSTRACT-CONNECT:{name}"))


def case_socat_seqpacket() -> None:
    name = check.path("server")
    _both_ways(_socat(f"UNIX-LISTEN:{name},type=5", "-"), _socat("-", f"UNIX-CONNECT:{name},type=5"))


def case_nc_to_nc() -> None:
    name = check.path("server")
    _both_ways(_nc("-l", name), _nc(name))


def case_nc_to_socat() -> None:
    name = check.path("server")
    _both_ways(_socat(f"UNIX-LISTEN:{name}", "-"), _nc(name))


def case_socat_to_nc() -> None:
    name = check.path("server")
    _both_ways(_nc("-l", name), _socat("-", f"UNIX-CONNECT:{name}"))


def case_bulk_socat_to_socat() -> None:
    name = check.path("server")
    _bulk(_socat("-u", f"UNIX-LISTEN:{name}", "-"), _socat("-u", "-", f"UNIX-CONNECT:{name}"))


def case_bulk_nc_to_nc() -> None:
    name = check.path("server")
    _bulk(_nc("-l", name), _nc(name))


def case_socat_forks_a_shell() -> None:
    """A child for each connection, whose standard files are one end of another socket pair."""
    name = check.path("server")
    with _listening(*_socat(f"UNIX-LISTEN:{name},fork", "EXEC:'tr a-z A-Z'")) as server:
        for i in range(5):
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(name)
                client.sendall(b"number %d" % i)
                client.shutdown(socket.SHUT_WR)
                with client.makefile("rb") as reading:
                    print(reading.read())
        server.terminate()
    print("done")


def case_socat_relays() -> None:
    """Unix to TCP to Unix: two relays and an echo server of our own."""
    echo, inner = check.path("echo"), check.path("inner")
    with socket.socket(socket.AF_UNIX) as listener, socket.socket() as spare:
        listener.bind(echo)
        listener.listen()
        spare.bind(("127.0.0.1", 0))
        port = spare.getsockname()[1]
        spare.close()

        def serve() -> None:
            peer, _ = listener.accept()
            with peer:
                while data := peer.recv(1000):
                    peer.sendall(data.upper())

        with (
            check.child(serve),
            _listening(*_socat(f"TCP-LISTEN:{port},bind=127.0.0.1", f"UNIX-CONNECT:{echo}")),
            _listening(*_socat(f"UNIX-LISTEN:{inner}", f"TCP:127.0.0.1:{port}")),
            socket.socket(socket.AF_UNIX) as client,
        ):
            client.connect(inner)
            for i in range(20):
                client.sendall(b"through both %d" % i)
                assert client.recv(1000) == b"THROUGH BOTH %d" % i
            client.shutdown(socket.SHUT_WR)
            assert client.recv(1000) == b""
    print("20 lines through two relays")


def case_socat_datagrams() -> None:
    inbox, sender = check.path("inbox"), check.path("sender")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as letters:
        letters.bind(inbox)
        for i in range(3):
            subprocess.run(["socat", "-u", "-", f"UNIX-SENDTO:{inbox}"], input=b"letter %d" % i, timeout=10, check=True)
            print(letters.recv(100))
        command = _socat("-", f"UNIX-SENDTO:{inbox},bind={sender}")
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0
        ) as process:
            assert process.stdin
            assert process.stdout
            process.stdin.write(b"question")
            data, address = letters.recvfrom(100)
            assert address == sender
            letters.sendto(data + b" and answer", address)
            print(process.stdout.read(100))
            process.terminate()
    print("done")


if __name__ == "__main__":
    check.main(globals())
