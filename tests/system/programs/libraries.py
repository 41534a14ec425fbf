"""What Python's own libraries do with Unix sockets: selectors, socketserver, multiprocessing, subprocess, logging."""

import concurrent.futures
import errno
import http.client
import http.server
import logging
import logging.handlers
import multiprocessing
import multiprocessing.connection
import multiprocessing.managers
import os
import select
import selectors
import signal
import socket
import socketserver
import subprocess
import threading

import check


def case_selectors() -> None:
    kinds = (selectors.SelectSelector, selectors.PollSelector, selectors.EpollSelector)
    for kind in kinds:
        ours, theirs = socket.socketpair()
        reading, writing = os.pipe()
        with kind() as selector, ours, theirs:
            selector.register(ours, selectors.EVENT_READ, "socket")
            selector.register(reading, selectors.EVENT_READ, "pipe")
            assert selector.select(0) == []
            theirs.send(b"x")
            print([(key.data, events) for key, events in selector.select(5)])
            os.write(writing, b"x")
            print(sorted((key.data, events) for key, events in selector.select(5)))
            selector.modify(ours, selectors.EVENT_READ | selectors.EVENT_WRITE, "both")
            assert ours.recv(1) == b"x"
            print(sorted((key.data, events) for key, events in selector.select(5)))
            selector.unregister(ours)
            os.close(reading)
            os.close(writing)


def case_wake_up_descriptor() -> None:
    """A signal writes a byte into a socket pair, and select() sees it."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        for each in (ours, theirs):
            each.setblocking(False)
        signal.set_wakeup_fd(ours.fileno())
        signal.signal(signal.SIGUSR1, lambda number, frame: None)
        os.kill(os.getpid(), signal.SIGUSR1)
        assert select.select([theirs], [], [], 5)[0] == [theirs]
        assert theirs.recv(10) == bytes([signal.SIGUSR1])
        signal.set_wakeup_fd(-1)
    print("told")


class _Shouting(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        for line in self.rfile:
            self.wfile.write(line.upper())


class _Letters(socketserver.DatagramRequestHandler):
    def handle(self) -> None:
        self.wfile.write(self.rfile.read().upper())


def _shout(name: str, text: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(name)
        client.sendall(text + b"\n")
        client.shutdown(socket.SHUT_WR)
        with client.makefile("rb") as reading:
            return reading.read()


def _stream_server(kind: "type[socketserver.UnixStreamServer]") -> None:
    with kind(check.path("server"), _Shouting) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        for i in range(10):
            assert _shout(check.path("server"), b"line %d" % i) == b"LINE %d\n" % i
        server.shutdown()
        thread.join()
    print("10 requests")


def case_threading_server() -> None:
    _stream_server(type("Server", (socketserver.ThreadingMixIn, socketserver.UnixStreamServer), {}))


def case_forking_server() -> None:
    _stream_server(type("Server", (socketserver.ForkingMixIn, socketserver.UnixStreamServer), {}))


def case_datagram_server() -> None:
    with socketserver.UnixDatagramServer(check.path("server"), _Letters) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
            client.bind(check.path("client"))
            for i in range(10):
                client.sendto(b"letter %d" % i, check.path("server"))
                assert client.recv(100) == b"LETTER %d" % i
        server.shutdown()
        thread.join()
    print("10 letters")


def case_prefork_server() -> None:
    """Four processes accept on one listener; two hundred clients, four at a time."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(check.path("server"))
    listener.listen(3)

    def work() -> None:
        while True:
            peer, _ = listener.accept()
            with peer:
                request = peer.recv(100)
                if request == b"stop":
                    return
                peer.sendall(request.upper())

    pids = []
    for _ in range(4):
        pid = os.fork()
        if pid == 0:
            signal.alarm(check.WATCHDOG_SECONDS)
            status = 1
            try:
                work()
                status = 0
            finally:
                os._exit(status)
        pids.append(pid)
    listener.close()

    def call(number: int) -> bytes:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(check.path("server"))
            client.sendall(b"client %d" % number)
            return client.recv(100)

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(call, range(200)))
    assert answers == [b"CLIENT %d" % i for i in range(200)]
    for _ in pids:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(check.path("server"))
            client.sendall(b"stop")
            assert client.recv(1) == b""
    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0] * 4
    with socket.socket(socket.AF_UNIX) as client:
        check.refuses(errno.ECONNREFUSED, client.connect, check.path("server"))
    print("200 clients")


def case_connections() -> None:
    """multiprocessing.connection, with its authentication, by path and over a pair."""
    with multiprocessing.connection.Listener(check.path("server"), "AF_UNIX", authkey=b"secret") as listener:

        def serve() -> None:
            with listener.accept() as connection:
                while (request := connection.recv()) is not None:
                    connection.send([request, len(request)])

        with check.child(serve), multiprocessing.connection.Client(check.path("server"), authkey=b"secret") as client:
            for size in (0, 1, 1000, 100000, 1000000):
                client.send("x" * size)
                assert client.recv() == ["x" * size, size]
            client.send(None)
    ours, theirs = multiprocessing.Pipe()
    ours.send({"a": 1})
    assert not ours.poll()
    assert theirs.poll(5)
    print(theirs.recv())
    assert multiprocessing.connection.wait([ours, theirs], 0) == []
    theirs.close()
    assert multiprocessing.connection.wait([ours], 5) == [ours]


def _square(number: int) -> int:
    return number * number


def case_forkserver_pool() -> None:
    """The fork server takes its orders, with passed descriptors, over a Unix socket."""
    context = multiprocessing.get_context("forkserver")
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
        print(list(pool.map(_square, range(10))))


def case_manager() -> None:
    with multiprocessing.get_context("fork").Manager() as manager:
        shared = manager.dict()
        process = multiprocessing.get_context("fork").Process(target=shared.update, args=({"key": [1, 2]},))
        process.start()
        process.join()
        assert process.exitcode == 0
        print(dict(shared))


def case_subprocess_over_pair() -> None:
    for _ in range(3):
        ours, theirs = socket.socketpair()
        with ours:
            process = subprocess.Popen(["cat"], stdin=theirs.fileno(), stdout=theirs.fileno())
            theirs.close()
            ours.sendall(b"hello, cat")
            assert ours.recv(100) == b"hello, cat"
            ours.shutdown(socket.SHUT_WR)
            assert ours.recv(100) == b""
            assert process.wait(10) == 0
    print("three cats")


def case_inherited_by_number() -> None:
    """pass_fds keeps a socket over exec; everything else is closed there."""
    ours, theirs = socket.socketpair()
    number = theirs.fileno()
    script = f'read line <&{number}; echo "got $line" >&{number}; ls /proc/self/fd | wc -l >&{number}'
    with ours, ours.makefile("rwb", buffering=0) as file:
        process = subprocess.Popen(["sh", "-c", script], pass_fds=[theirs.fileno()], stdout=subprocess.DEVNULL)
        theirs.close()
        file.write(b"a line\n")
        print(file.readline(), file.readline())
        assert process.wait(10) == 0
        assert file.readline() == b""


def case_system_log() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
        log.bind(check.path("log"))
        handler = logging.handlers.SysLogHandler(check.path("log"))
        logger = logging.getLogger("test")
        logger.addHandler(handler)
        logger.warning("a warning")
        print(log.recv(1000))
        handler.close()


def case_http_over_unix() -> None:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))[::-1]
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            pass

        def address_string(self) -> str:
            return "unix"

    class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
        pass

    class Connection(http.client.HTTPConnection):
        def connect(self) -> None:
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.connect(check.path("server"))

    with Server(check.path("server"), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        connection = Connection("localhost")
        for size in (0, 10, 100000, 2000000):
            body = os.urandom(size)
            connection.request("POST", "/", body)
            response = connection.getresponse()
            assert (response.status, response.read()) == (200, body[::-1])
        connection.close()
        server.shutdown()
        thread.join()
    print("4 requests on one connection")


if __name__ == "__main__":
    check.main(globals())
