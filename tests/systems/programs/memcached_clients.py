"""Clients of memcached, all connected at once: each stores values of its own and fetches them again.

Usage: memcached_clients.py SOCKET CLIENTS VALUES
"""

import selectors
import socket
import sys


class Client:
    """One connection, which takes turns between storing a value and fetching it."""

    def __init__(self, path: str, number: int, values: int) -> None:
        self.number = number
        self.left = values
        self.right = 0
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(path)
        self.sock.setblocking(False)
        self.unsent = b""
        self.heard = b""
        self.next()

    def next(self) -> None:
        """Ask for the next value to be stored, and for it in return."""
        self.left -= 1
        key = b"client-%d-%d" % (self.number, self.left)
        value = key * (1 + 37 * self.left)
        self.expected = b"STORED\r\nVALUE %b 0 %d\r\n%b\r\nEND\r\n" % (key, len(value), value)
        self.unsent += b"set %b 0 0 %d\r\n%b\r\nget %b\r\n" % (key, len(value), value, key)
        self.heard = b""

    def ready(self, events: int) -> int:
        """Do what can be done, and say what for to wait; 0 at the end."""
        if events & selectors.EVENT_WRITE:
            self.unsent = self.unsent[self.sock.send(self.unsent) :]
        if events & selectors.EVENT_READ:
            data = self.sock.recv(65536)
            if not data:
                raise EOFError(self.number)
            self.heard += data
            if len(self.heard) >= len(self.expected):
                self.right += self.heard == self.expected
                if not self.left:
                    return 0
                self.next()
        return selectors.EVENT_READ | (selectors.EVENT_WRITE if self.unsent else 0)


def main(path: str, clients: int, values: int) -> None:
    """All clients at once."""
    both = selectors.EVENT_READ | selectors.EVENT_WRITE
    with selectors.DefaultSelector() as selector:
        all_clients = [Client(path, number, values) for number in range(clients)]
        for client in all_clients:
            selector.register(client.sock, both, client)
        while selector.get_map():
            for key, events in selector.select():
                client = key.data
                if wanted := client.ready(events):
                    selector.modify(client.sock, wanted, client)
                else:
                    selector.unregister(client.sock)
                    client.sock.close()
    print(f"{clients} clients, {sum(client.right for client in all_clients)} values")


main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
