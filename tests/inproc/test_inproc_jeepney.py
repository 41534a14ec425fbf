"""jeepney, a D-Bus client, over the drop-in: authentication, calls, and descriptors, against a small bus."""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Iterator

import pytest
from jeepney import DBusAddress, MessageType, Parser, new_method_call, new_method_return  # type: ignore[import-untyped]
from jeepney.fds import FileDescriptor  # type: ignore[import-untyped]
from jeepney.io.blocking import open_dbus_connection  # type: ignore[import-untyped]

import afunix

NAME = "/run/afunix-bus"
LETTERS = DBusAddress("/org/example", bus_name="org.example", interface="org.example.Letters")


class Bus:
    """Serves one connection: says OK to who its credentials say it is, then answers Hello, Fail and Read."""

    def __init__(self) -> None:
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(NAME)
        self.listener.listen()
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def serve(self) -> None:
        connection, _ = self.listener.accept()
        with connection, connection.makefile("rb", buffering=0) as lines:
            _, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
            assert lines.read(1) == b"\0"
            assert lines.readline() == b"AUTH EXTERNAL %b\r\n" % str(uid).encode().hex().encode()
            connection.sendall(b"OK 1234deadbeef\r\n")
            assert lines.readline() == b"NEGOTIATE_UNIX_FD\r\n"
            connection.sendall(b"AGREE_UNIX_FD\r\n")
            assert lines.readline() == b"BEGIN\r\n"
            self.messages(connection)

    def messages(self, connection: socket.socket) -> None:
        parser = Parser()
        serial = 0
        while True:
            data, fds, _, _ = socket.recv_fds(connection, 4096, 10)
            if not data:
                return
            parser.add_data(data, [FileDescriptor(fd) for fd in fds])
            while (message := parser.get_next_message()) is not None:
                serial += 1
                member = message.header.fields[3]
                if member == "Hello":
                    reply = new_method_return(message, "s", (":1.1",))
                else:
                    with message.body[0].to_file("rb") as file:
                        reply = new_method_return(message, "ay", (file.read(),))
                connection.sendall(reply.serialise(serial=serial))


@pytest.fixture
def bus(afunix_patch: afunix.Kernel) -> Iterator[str]:
    bus = Bus()
    yield f"unix:path={NAME}"
    bus.thread.join(20)
    assert not bus.thread.is_alive()
    bus.listener.close()
    os.unlink(NAME)


def test_jeepney(bus: str) -> None:
    """A method call whose argument is a descriptor of the host."""
    with open_dbus_connection(bus, enable_fds=True) as connection:
        assert connection.unique_name == ":1.1"
        fd = os.memfd_create("letter")
        os.write(fd, b"letter")
        os.lseek(fd, 0, os.SEEK_SET)
        with open(fd, "rb") as file:
            reply = connection.send_and_get_reply(new_method_call(LETTERS, "Read", "h", (file,)), timeout=10)
        assert reply.header.message_type == MessageType.method_return
        assert bytes(reply.body[0]) == b"letter"
