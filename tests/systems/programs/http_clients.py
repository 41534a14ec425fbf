"""HTTP clients at a Unix socket, all at once: each asks several times over one connection, and checks each answer.

Usage: http_clients.py SOCKET CLIENTS REQUESTS; the server is wsgi_application.py or what speaks like it.
"""

import hashlib
import http.client
import socket
import sys
import threading


class Connection(http.client.HTTPConnection):
    """A connection to a path."""

    def connect(self) -> None:
        """Connect it."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(20)
        self.sock.connect(self.host)


def client(path: str, number: int, requests: int, right: list[int]) -> None:
    """What one client does."""
    connection = Connection(path)
    for request in range(requests):
        body = b"%d of %d" % (request, number) * (1 + 4001 * (request % 3))
        connection.request("POST", "/echo", body, {"Host": "localhost"})
        answer = connection.getresponse().read().decode()
        right[number] += answer == f"{len(body)} bytes {hashlib.sha256(body).hexdigest()}\n"
    connection.close()


def main(path: str, clients: int, requests: int) -> None:
    """All clients at once."""
    right = [0] * clients
    threads = [threading.Thread(target=client, args=(path, number, requests, right)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(f"{clients} clients, {sum(right)} right answers")


main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
