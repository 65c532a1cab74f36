"""A file over HTTP, read by ranges. Every answer is checked, and all must be of one version of the file.

https://www.rfc-editor.org/rfc/rfc9110#name-range-requests
"""

from __future__ import annotations

import http.client
import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import quote

from paramctl.errors import InputError, without_credentials
from paramctl.store.location import MissingFile
from paramctl.store.remote.credentials import of_url
from paramctl.store.remote.http import Connections, Exchange, Origin, TooSlow, origin_of, split, without_user
from paramctl.store.remote.retries import TEMPORARY, Tries, TryLater, seconds_to_wait

MAX_WHOLE = 1 << 23
"""Bytes of a file to read from a server that sends no ranges."""
LEAST_PART = 1 << 16
"""Bytes of an answer to a longer range. A server may send a part of it, but not byte by byte."""
AT_ONCE = 1 << 18
PLAIN = ("", "identity", "aws-chunked")
"""Content-Encodings with the bytes of the file. S3 keeps the last with a file that was uploaded in chunks."""
CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})")
NO_RANGE = re.compile(r"bytes \*/(\d{1,18})")
REASONS = {
    401: "requires a login (401). Write it into ~/.netrc",
    403: "forbidden (403)",
    404: "no such file (404)",
    410: "no such file any more (410)",
}


class Version(NamedTuple):
    """The facts by which an answer shows a version of a file."""

    etag: str | None
    modified: str | None
    size: int

    def agrees(self, other: Version) -> bool:
        same = [mine == yours for mine, yours in zip(self[:2], other[:2], strict=True) if mine and yours]
        return self.size == other.size and (not same or same[0])


@dataclass(frozen=True, slots=True)
class Access:
    """The way to a server: the connections, the credentials with their origin, and words for statuses.

    on_answer: called with the headers of the first answer.
    """

    connections: Connections
    credentials: tuple[Origin, Mapping[str, str]]
    reasons: Mapping[int, str] = field(default_factory=lambda: REASONS)
    on_answer: Callable[[http.client.HTTPMessage], None] = lambda headers: None


class HttpRanges:
    """A file at a URL.

    name: for errors; by default the URL, without credentials.
    """

    def __init__(self, url: str, access: Access | None = None, name: str = "") -> None:
        try:
            parts = split(url)
        except ValueError as error:
            raise InputError(f"{name or without_credentials(url)}: {error}") from error
        # without_credentials cannot know where a query with spaces ends
        host = parts.netloc.rpartition("@")[2]
        self.name = name or parts._replace(netloc=host, query="", fragment="").geturl()
        self.given, self.url = url, without_user(parts)
        self.access = access or Access(Connections(), (origin_of(parts), of_url(parts)))
        self.size: int | None = None
        self.pinned: Version | None = None
        self.resolved = ""
        """The URL to which the server has redirected, so that further requests go there at once."""
        self.whole: bytes | None = None

    def address(self) -> str | None:
        return None if "?" in self.given or "@" in split(self.given).netloc else self.url

    def version(self) -> list[Any]:
        return [] if self.pinned is None else [self.pinned.etag or self.pinned.modified]

    def sibling(self, name: str) -> HttpRanges:
        path, mark, query = self.given.partition("?")
        return HttpRanges(f"{path.rpartition('/')[0]}/{quote(name)}{mark}{query}", self.access)

    def fetch(self, start: int, stop: int) -> bytes | bytearray:
        data = bytearray()
        tries = Tries(self.name)
        while start + len(data) < (stop if self.size is None else min(stop, self.size)):
            if self.whole is not None:  # from a server without ranges
                return self.whole[start:stop]
            try:
                self._receive(start + len(data), stop, data)
            except TryLater as error:
                tries.wait(error)
        return data

    def fetch_whole(self, most: int) -> bytes:
        """Return all the bytes of a short answer, such as that of an API, without asking for a range."""
        tries = Tries(self.name)
        while self.whole is None:
            try:
                with _Answer(self, {}) as exchange:
                    self._check_status(exchange, 0)
                    self._receive_whole(exchange, most)
            except TryLater as error:
                tries.wait(error)
        return self.whole

    def _receive(self, start: int, stop: int, data: bytearray) -> None:
        """Request a range, and append its bytes; those before a failure too. Raises TryLater."""
        headers = {"Range": f"bytes={start}-{stop - 1}"}
        if self.pinned is not None and self.resolved and (etag := self.pinned.etag) and not etag.startswith("W/"):
            headers["If-Match"] = etag  # only where the ETag comes from: a server that redirects has others
        with _Answer(self, headers) as exchange:
            response = exchange.response
            if response.status == 416 and (match := NO_RANGE.fullmatch(response.headers.get("Content-Range", ""))):
                self._pin(exchange, int(match[1]))
                if int(match[1]) <= start:
                    return
            self._check_status(exchange, start)
            if response.status != 206:  # 200: the server ignores ranges
                self._receive_whole(exchange, MAX_WHOLE)
                return
            match = CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
            first, last, size = map(int, match.groups()) if match else (-1, 0, 0)
            if first != start or not first <= last < min(stop, size):
                raise InputError(f"{self.name}: the server answers with another range than bytes {start}-{stop - 1}")
            self._pin(exchange, size)
            self._read_body(exchange, data, last + 1 - first)
            # a server may limit the length of an answer, and the loop in fetch requests the rest
            if last + 1 < min(stop, size) and last - first < LEAST_PART:
                raise TryLater("the server sends less than was asked for", 0)

    def _receive_whole(self, exchange: Exchange, most: int) -> None:
        """Keep a whole file that is short. Raises InputError for a long one."""
        length = exchange.response.length  # None for a chunked body
        data = bytearray()
        if length is None or length <= most:
            self._read_body(exchange, data, most + 1 if length is None else length, must_end=length is not None)
        if len(data) > most or (length or 0) > most:
            rule = f"the server sends no ranges, only whole files, of which at most {most:,} bytes are read"
            raise InputError(f"{self.name}: {rule}. Download it, or use a pipe: curl -L URL | paramctl ... -")
        self._pin(exchange, len(data))
        self.whole = bytes(data)

    def _read_body(self, exchange: Exchange, data: bytearray, size: int, must_end: bool = True) -> None:
        """Append the bytes of a body. Raises TryLater for one that ends early, or comes too slowly.

        Raises InputError for one that is longer.
        """
        end = len(data) + size
        try:
            while len(data) < end and (block := exchange.response.read1(min(AT_ONCE, end - len(data)))):
                data += block
            # the read finds the end of a chunked body, so that the connection can be kept
            is_longer = len(data) == end and bool(exchange.response.read1(1))
        except (OSError, http.client.HTTPException) as error:
            raise _later("the connection broke", error) from error
        if is_longer and must_end:  # such as a whole file, whose first bytes are no part of the range
            raise InputError(f"{self.name}: the server sends more bytes than its headers say")
        if must_end and len(data) < end:
            raise TryLater("the connection ended early")

    def _check_status(self, exchange: Exchange, start: int) -> None:
        """Raise InputError or TryLater unless an answer has bytes of the file as they are."""
        response = exchange.response
        status = response.status
        if status == 412:
            raise self._changed()
        if status in TEMPORARY:
            wait = seconds_to_wait(response.headers.get("Retry-After"))
            raise TryLater(f"the server answers {_status(status)}", wait)
        if status in (401, 403, 404, 410) and self.resolved != self.url and exchange.url == self.resolved:
            self.resolved = ""  # a signed URL has expired: the server that made it gives another
            raise TryLater(f"the server answers {_status(status)}", 0)
        if status not in (200, 206):
            # the caller of a set names the index that lists the missing file
            kind = MissingFile if status in (404, 410) else InputError
            raise kind(f"{self.name}: {self.access.reasons.get(status, f'the server answers {_status(status)}')}")
        if response.headers.get("Transfer-Encoding", "chunked").strip().lower() not in ("chunked", "identity"):
            raise InputError(f"{self.name}: the server sends the file in an unsupported Transfer-Encoding")
        encoding = ", ".join(response.headers.get_all("Content-Encoding", [])).strip().lower()
        if encoding not in PLAIN:
            raise InputError(f"{self.name}: the server compresses the file ({encoding}), so it has no ranges")

    def _pin(self, exchange: Exchange, size: int) -> None:
        """Keep the version of the first answer. Raises InputError if a later one has another."""
        headers = exchange.response.headers
        version = Version(headers.get("ETag"), headers.get("Last-Modified"), size)
        if self.pinned is None:  # the first answer decides which version is read
            self.access.on_answer(exchange.hops[0])
            self.pinned, self.size = version, size
        elif not self.pinned.agrees(version):
            raise self._changed()
        self.resolved = exchange.url

    def _changed(self) -> InputError:
        return InputError(f"{self.name}: changed while it was being read. Run the command again")


class _Answer:
    """The answer to a request for a file, whose connection is released at the end. Raises TryLater and InputError."""

    def __init__(self, file: HttpRanges, headers: Mapping[str, str]) -> None:
        self.connections = file.access.connections
        try:
            self.exchange = self.connections.get(file.resolved or file.url, headers, file.access.credentials)
        except InputError:
            raise
        except (ssl.SSLCertVerificationError, ConnectionRefusedError) as error:
            raise InputError(f"{file.name}: {_words(error)}") from error
        except (TimeoutError, ConnectionError, ssl.SSLError, http.client.HTTPException) as error:
            if isinstance(error, http.client.InvalidURL):
                raise InputError(f"{file.name}: must be a URL of printable characters") from error
            raise _later("no answer", error) from error
        except (OSError, ValueError) as error:  # such as a host that does not exist
            raise InputError(f"{file.name}: {_words(error)}") from error

    def __enter__(self) -> Exchange:
        return self.exchange

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and self.exchange.response.status in (200, 206):  # the body may be long, or slow
            self.exchange.connection.close()
        else:
            self.connections.discard(self.exchange)


def _status(status: int) -> str:
    return f"{status} {http.client.responses.get(status, '')}".strip()


def _later(failure: str, error: Exception) -> TryLater:
    """Return a failure of the network as one that may pass."""
    return TryLater("the server is too slow" if isinstance(error, TooSlow) else f"{failure} ({_words(error)})")


def _words(error: Exception) -> str:
    """Return the reason of an error of the network, in one line and without credentials."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate cannot be verified ({error.verify_message})"
    if isinstance(error, TimeoutError):
        return "timed out"
    is_foreign = isinstance(error, (http.client.BadStatusLine, http.client.UnknownProtocol))
    if is_foreign and not isinstance(error, http.client.RemoteDisconnected):
        return "not HTTP"  # their texts are what the server sent, which may be the credentials
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return without_credentials(" ".join(str(text).split()))
