"""Docker's Python client over the drop-in, against a small daemon on the standard library's HTTP server."""

from __future__ import annotations

import http.server
import json
import os
import socketserver
import struct
import threading
import time
from collections.abc import Iterator
from typing import Any

import docker  # type: ignore[import-untyped]
import pytest

import afunix

NAME = "/run/afunix-docker.sock"
CONTAINER = {"Id": "c0ffee", "Names": ["/web"], "Image": "nginx", "State": "running", "Config": {"Tty": False}}
LINES = [(1, b"to stdout\n"), (2, b"to stderr\n")]
FRAMES = b"".join(struct.pack(">BxxxL", stream, len(line)) + line for stream, line in LINES)


class Daemon(http.server.BaseHTTPRequestHandler):
    """Answers what the test asks for, by the path without its version."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        answers: dict[str, Any] = {
            "/version": {"ApiVersion": "1.45", "Version": "of-the-test"},
            "/containers/json": [CONTAINER],
            "/containers/c0ffee/json": CONTAINER,
            "/exec/e1/json": {"ExitCode": 0},
        }
        if path.endswith("/logs"):
            self.answer(FRAMES)
        elif path.endswith("/_ping"):
            self.answer(b"OK")
        else:
            key = path[path.index("/", 1) :] if path.startswith("/v1") else path
            self.answer(json.dumps(answers[key]).encode())

    def do_POST(self) -> None:
        """The exec calls; its output comes over the connection itself, which is no longer HTTP."""
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path.endswith("/exec"):
            self.answer(b'{"Id": "e1"}')
            return
        self.send_response(101, "UPGRADED")
        self.send_header("Connection", "Upgrade")
        self.end_headers()
        self.wfile.flush()
        time.sleep(0.5)  # the client reads the head through a buffer, and what is in that with it is lost to it
        self.wfile.write(FRAMES)
        self.close_connection = True

    def answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        return "a client"

    def log_message(self, *arguments: Any) -> None:
        pass


class Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = False


@pytest.fixture
def client(afunix_patch: afunix.Kernel) -> Iterator[docker.DockerClient]:
    with Server(NAME, Daemon) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        client = docker.DockerClient(base_url=f"unix://{NAME}", version="auto")
        yield client
        client.close()
        server.shutdown()
        thread.join()
    os.unlink(NAME)


def test_docker_client(client: docker.DockerClient) -> None:
    """It negotiates the version, lists, reads logs, and takes over the connection of an exec."""
    assert client.ping()
    assert client.version()["Version"] == "of-the-test"
    (container,) = client.containers.list()
    assert container.id == "c0ffee"
    assert b"".join(container.logs(stream=True)) == b"to stdout\nto stderr\n"
    assert container.exec_run("ls", demux=True).output == (b"to stdout\n", b"to stderr\n")
