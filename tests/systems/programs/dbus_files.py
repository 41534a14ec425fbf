"""Open files over a message bus: `dbus_files.py serve` keeps files, `dbus_files.py call` gives it some and takes some.

It talks with dbus-python, a client of libdbus.
"""

import os
import socket
import sys
import tempfile
import threading

import dbus
import dbus.service
from dbus.mainloop.glib import DBusGMainLoop
from gi.repository import GLib

NAME = "org.example.Files"


class Files(dbus.service.Object):
    @dbus.service.method(NAME, in_signature="h", out_signature="s")
    def Read(self, file):
        with os.fdopen(file.take()) as opened:
            return opened.read()

    @dbus.service.method(NAME, in_signature="ah", out_signature="as")
    def ReadAll(self, files):
        return [self.Read(file) for file in files]

    @dbus.service.method(NAME, in_signature="s", out_signature="h")
    def Pipe(self, text):
        """The reading end of a pipe, into which the text is written after the answer."""
        reader, writer = os.pipe()

        def write():
            with os.fdopen(writer, "w") as opened:
                opened.write(text * 100_000)

        threading.Timer(0.05, write).start()
        answer = dbus.types.UnixFd(reader)
        os.close(reader)
        return answer

    @dbus.service.method(NAME, in_signature="", out_signature="hh")
    def Pair(self):
        ours, theirs = socket.socketpair()
        answer = dbus.types.UnixFd(ours), dbus.types.UnixFd(theirs)
        ours.close()
        theirs.close()
        return answer


def serve():
    DBusGMainLoop(set_as_default=True)
    bus = dbus.SessionBus()
    name = dbus.service.BusName(NAME, bus)
    Files(bus, "/org/example/Files")
    GLib.MainLoop().run()
    del name


def remote():
    return dbus.Interface(dbus.SessionBus().get_object(NAME, "/org/example/Files"), NAME)


def sockets():
    one, other = (socket.socket(fileno=file.take()) for file in remote().Pair())
    one.sendall(b"through a pair that another process made")
    print(other.recv(100).decode(), one.family.name)


def call():
    files = remote()
    opened = []
    for word in ("one", "two", "three"):
        file = tempfile.TemporaryFile("w+")  # noqa: SIM115 -- open to the end
        file.write(word)
        file.seek(0)
        opened.append(file)
    print(files.Read(dbus.types.UnixFd(opened[0])))
    opened[0].seek(0)
    print(*files.ReadAll([dbus.types.UnixFd(file) for file in opened]))
    with os.fdopen(files.Pipe("word").take()) as pipe:
        print(len(pipe.read()), "characters through a pipe")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(100):
        opened[1].seek(0)
        assert files.Read(dbus.types.UnixFd(opened[1])) == "two"
    print("a hundred more,", len(os.listdir("/proc/self/fd")) - before, "descriptors left open")


if __name__ == "__main__":
    {"serve": serve, "call": call, "sockets": sockets}[sys.argv[1]]()
