"""A WSGI application: says back what it was asked, and sends as much as it is asked for."""

import hashlib
from collections.abc import Callable, Iterable
from typing import Any


def application(
    environ: dict[str, Any], start_response: Callable[[str, list[tuple[str, str]]], Any]
) -> Iterable[bytes]:
    """/echo digests the body, /size/N sends N bytes, all else names itself."""
    path = environ["PATH_INFO"]
    if path == "/echo":
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        answer = f"{len(body)} bytes {hashlib.sha256(body).hexdigest()}\n".encode()
    elif path.startswith("/size/"):
        answer = b"x" * int(path.rpartition("/")[2])
    else:
        answer = f"{environ['REQUEST_METHOD']} {path}?{environ['QUERY_STRING']}\n".encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(answer)))])
    return [answer]
