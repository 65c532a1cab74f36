"""A file server on this machine that counts what it sends, and misbehaves as a test wants."""

import re
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any


@dataclass
class Request:
    """One request: its method, path with query, headers; and the status and bytes of the body that answered it."""

    method: str
    path: str
    headers: dict[str, str]
    status: int = 0
    sent: int = 0


@dataclass
class FileServer:
    """A server of the files of a folder.

    behave: called with each request before it is answered; True if it has answered itself.
    etag: of every file. ranges: False for a server that only sends whole files.
    """

    folder: Path
    port: int = 0
    requests: list[Request] = field(default_factory=list)
    behave: Callable[["Handler", Request], bool] = lambda handler, request: False
    etag: str | None = '"one"'
    ranges: bool = True
    connections: set[Any] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def bytes(self) -> int:
        return sum(request.sent for request in self.requests)

    def forget(self) -> None:
        self.requests.clear()
        self.connections.clear()


class Handler(BaseHTTPRequestHandler):
    """The handler of one connection."""

    protocol_version = "HTTP/1.1"
    files: FileServer

    def log_message(self, *_: Any) -> None:
        """Print nothing."""

    def do_HEAD(self) -> None:
        request = Request("HEAD", self.path, {name.title(): value for name, value in self.headers.items()})
        self.files.requests.append(request)
        if not self.files.behave(self, request):
            self.answer(request, 405)

    def do_GET(self) -> None:
        request = Request("GET", self.path, {name.title(): value for name, value in self.headers.items()})
        self.files.requests.append(request)
        self.files.connections.add(self.client_address)
        if self.files.behave(self, request):
            return
        path = self.files.folder / request.path.partition("?")[0].lstrip("/")
        if not path.is_file():
            self.answer(request, 404)
            return
        self.send_file(request, path.read_bytes() if path.stat().st_size < 1 << 20 else mapped(path))

    def answer(self, request: Request, status: int, body: bytes = b"", **headers: str) -> None:
        """Send an answer. headers: with underscores for hyphens."""
        request.status, request.sent = status, len(body)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if "Transfer_Encoding" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if request.method == "HEAD":
            request.sent = 0
        else:
            self.wfile.write(body)

    def send_file(self, request: Request, data: bytes | mmap, **headers: str) -> None:
        """Send the range that a request asks for."""
        if self.files.etag is not None:
            headers["ETag"] = self.files.etag
            if request.headers.get("If-Match", self.files.etag) != self.files.etag:
                self.answer(request, 412)
                return
        match = re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers.get("Range", ""))
        if match is None or not self.files.ranges:
            self.answer(request, 200, data[:], **headers)
            return
        first, last = int(match[1]), min(int(match[2]), len(data) - 1)
        if first >= len(data):
            self.answer(request, 416, Content_Range=f"bytes */{len(data)}")
            return
        headers["Content_Range"] = f"bytes {first}-{last}/{len(data)}"
        self.answer(request, 206, data[first : last + 1], **headers)

    def reset(self) -> None:
        """Break the connection, as a crash of the server does."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True


def mapped(path: Path) -> mmap:
    """Return the content of a long file, of which a range is read without the rest."""
    with path.open("rb") as file:
        return mmap(file.fileno(), 0, access=ACCESS_READ)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore connections that a client closes early."""


@contextmanager
def serving(folder: Path) -> Iterator[FileServer]:
    """Serve a folder."""
    files = FileServer(folder)
    handler = type("BoundHandler", (Handler,), {"files": files})
    server = _Server(("127.0.0.1", 0), handler)
    files.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield files
    finally:
        server.shutdown()
        server.server_close()
