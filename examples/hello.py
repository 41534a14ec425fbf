"""A server and a client on a Unix socket: a greeting with an open file in it, and an answer.

    python3 examples/hello.py                          on Linux's own sockets
    afunix run --trace -- python3 examples/hello.py    on afunix, with each call shown

It says the same both times.
"""

from __future__ import annotations

import os
import socket
import sys
import tempfile
from pathlib import Path


def say(text: str) -> None:
    """Print at once: the two processes take turns."""
    print(text, flush=True)


def serve(listener: socket.socket, letter: Path) -> None:
    """Greet whoever comes, hand over the letter, and wait for the answer."""
    connection, _ = listener.accept()
    with connection, letter.open("rb") as file:
        say("server: hands over an open file")
        socket.send_fds(connection, [b"read this"], [file.fileno()])
        say(f"server: is told {connection.recv(100).decode()!r}")


def visit(address: Path) -> None:
    """Connect, read the file that comes with the greeting, and say what was in it."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(address))
        greeting, descriptors, _, _ = socket.recv_fds(connection, 100, 1)
        with open(descriptors[0], encoding="utf-8") as file:
            text = file.read()
        say(f"client: is told {greeting.decode()!r} and reads {text!r}")
        connection.sendall(text.upper().encode())


def main() -> int:
    """Be the server; a child is the client. Returns the client's exit status."""
    with tempfile.TemporaryDirectory(prefix="hello-") as name, socket.socket(socket.AF_UNIX) as listener:
        address, letter = Path(name, "socket"), Path(name, "letter")
        letter.write_text("hello", encoding="utf-8")
        listener.bind(str(address))
        listener.listen()
        child = os.fork()
        if not child:
            listener.close()
            visit(address)
            os._exit(0)
        serve(listener, letter)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    sys.exit(main())
