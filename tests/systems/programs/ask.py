"""ask.py stream|dgram|seqpacket PATH TEXT: sends a text to a Unix socket, waits for the answer and prints it."""

import os
import socket
import sys

kind, path, text = sys.argv[1:]
sock = socket.socket(socket.AF_UNIX, getattr(socket, f"SOCK_{kind.upper()}"))
own = f"{path}.{os.getpid()}"
if kind == "dgram":
    sock.bind(own)
sock.settimeout(10)
try:
    sock.connect(path)
    sock.sendall(text.encode())
    print(sock.recv(1000).decode())
finally:
    if kind == "dgram":
        os.unlink(own)
