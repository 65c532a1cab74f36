"""HTTP: connections that are kept, proxies, and redirects. TLS certificates are always verified."""

from __future__ import annotations

import http.client
import io
import ssl
import threading
from collections.abc import Mapping
from functools import cached_property
from typing import Any, NamedTuple
from urllib.parse import SplitResult, quote, urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

import paramctl
from paramctl.errors import InputError
from paramctl.parallel import check_awaited
from paramctl.store.remote.credentials import basic_proxy
from paramctl.store.remote.retries import Deadline

TIMEOUT = 20.0
"""Seconds to wait for a connection, and for the next bytes."""
MAX_REDIRECTS = 10
REDIRECTS = frozenset({301, 302, 303, 307, 308})
MAX_DISCARDED = 1 << 16
"""Bytes of an unneeded body to read, so that the connection can be used again."""
MOST_DISCARDING = 1.0
"""Seconds to wait for that body."""
PORTS = {"http": 80, "https": 443}
BROKEN = (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError, ConnectionAbortedError)
"""The errors on a kept connection that the server has closed meanwhile."""

Origin = tuple[str, str, int]


def split(url: str) -> SplitResult:
    """Return the parts of a URL of HTTP. Raises ValueError for one that is malformed."""
    parts = urlsplit(url.strip())
    if parts.scheme not in PORTS or not parts.hostname:
        raise ValueError("must be a URL such as https://HOST/PATH")
    parts.hostname.encode("idna")
    try:
        _ = parts.port
    except ValueError as error:  # its text may have a part of a password
        hint = "In a password, write %2F for /, %3F for ?, %23 for #"
        raise ValueError(f"must have a port from 0 to 65535. {hint}") from error
    return parts


def origin_of(parts: SplitResult) -> Origin:
    return parts.scheme, parts.hostname or "", parts.port or PORTS[parts.scheme]


def without_user(parts: SplitResult) -> str:
    """Return a URL without user, password and fragment, its characters escaped as a request must have them."""
    host = parts.netloc.rpartition("@")[2]
    path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~")
    query = quote(parts.query, safe="/%:@!$&'()*+,;=~?")
    return parts._replace(netloc=host, path=path, query=query, fragment="").geturl()


class TooSlow(TimeoutError):
    """An answer that comes byte by byte."""


class _Timed(io.RawIOBase):
    """The bytes of an answer. They must come at LEAST_SPEED, which no timeout of a socket demands."""

    def __init__(self, raw: io.RawIOBase) -> None:
        self.raw, self.received = raw, 0
        self.deadline = Deadline(TIMEOUT)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int | None:
        check_awaited()  # Ctrl-C must not wait for a slow answer
        if self.deadline.is_over(self.received):
            raise TooSlow
        size = self.raw.readinto(buffer)
        self.received += size or 0
        return size

    def close(self) -> None:
        self.raw.close()
        super().close()


class _TimedResponse(http.client.HTTPResponse):
    """An answer whose headers and body must come at LEAST_SPEED."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.timed = _Timed(self.fp.detach())
        self.fp = io.BufferedReader(self.timed)


class Exchange(NamedTuple):
    """A request that was answered.

    url: that was asked in the end. hops: the headers of each answer, redirects included.
    """

    url: str
    response: http.client.HTTPResponse
    connection: http.client.HTTPConnection
    hops: tuple[http.client.HTTPMessage, ...]


class Connections:
    """Connections by their origin, which many threads use."""

    def __init__(self) -> None:
        self.idle: dict[Origin, list[http.client.HTTPConnection]] = {}
        self.lock = threading.Lock()

    @cached_property
    def tls(self) -> ssl.SSLContext:
        return ssl.create_default_context()

    @cached_property
    def proxies(self) -> Mapping[str, str]:
        return getproxies()

    def get(self, url: str, headers: Mapping[str, str], credentials: tuple[Origin, Mapping[str, str]]) -> Exchange:
        """Send a request, and follow redirects.

        credentials: an origin, and the headers that go to no other one.
        Raises OSError, HTTPException, ValueError, and InputError for a redirect that is refused.
        """
        hops: tuple[http.client.HTTPMessage, ...] = ()
        while True:
            parts = split(url)
            # a redirect to another host, port or scheme gets no credentials
            mine = credentials[1] if origin_of(parts) == credentials[0] else {}
            connection, response = self._send(parts, {**headers, **mine})
            hops = (*hops, response.headers)
            to = response.headers.get("Location")
            if response.status not in REDIRECTS or to is None:
                return Exchange(url, response, connection, hops)
            self.discard(Exchange(url, response, connection, hops))
            if len(hops) > MAX_REDIRECTS:
                raise ValueError(f"redirected more than {MAX_REDIRECTS} times")
            target = _target(url, to)
            if parts.scheme == "https" and target.scheme != "https":
                raise ValueError("redirected from https to http, which is refused")
            url = without_user(target)

    def _send(
        self, parts: SplitResult, headers: Mapping[str, str]
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        proxy = self._proxy(parts)  # it relays http, and opens a tunnel for https
        is_relayed = proxy is not None and parts.scheme == "http"
        target = parts.geturl() if is_relayed else parts._replace(scheme="", netloc="").geturl() or "/"
        sent = {"User-Agent": f"paramctl/{paramctl.__version__}", "Accept-Encoding": "identity", **headers}
        if is_relayed and proxy is not None:
            sent |= basic_proxy(proxy)
        while True:
            connection, is_used = self._connection(parts, proxy)
            try:
                connection.request("GET", target, headers=sent)
                return connection, connection.getresponse()
            except BROKEN:
                connection.close()
                if not is_used:  # a kept connection may have been closed meanwhile, and a new one is tried
                    raise
            except BaseException:
                connection.close()
                raise

    def _connection(self, parts: SplitResult, proxy: SplitResult | None) -> tuple[http.client.HTTPConnection, bool]:
        """Return a connection, and whether it was used before."""
        with self.lock:
            idle = self.idle.get(origin_of(parts))
            if idle:
                return idle.pop(), True
        _, host, port = origin_of(parts)
        via = (host, port) if proxy is None else (proxy.hostname or "", proxy.port or PORTS.get(proxy.scheme, 80))
        connection = (
            http.client.HTTPConnection(*via, timeout=TIMEOUT)
            if parts.scheme == "http"
            else http.client.HTTPSConnection(*via, timeout=TIMEOUT, context=self.tls)
        )
        connection.response_class = _TimedResponse
        if proxy is not None and parts.scheme == "https":
            connection.set_tunnel(host, port, basic_proxy(proxy))
        return connection, False

    def _proxy(self, parts: SplitResult) -> SplitResult | None:
        url = self.proxies.get(parts.scheme) or self.proxies.get("all")
        if not url or proxy_bypass(parts.hostname or ""):
            return None
        proxy = urlsplit(url if "://" in url else f"http://{url}")
        if proxy.scheme != "http" or not proxy.hostname:
            raise InputError(f"{parts.scheme}_proxy: must be a URL http://HOST:PORT")
        return proxy

    def release(self, exchange: Exchange) -> None:
        """Keep the connection of an answer that was read to its end, and close any other."""
        response = exchange.response
        if response.isclosed() and not response.will_close:
            with self.lock:
                self.idle.setdefault(origin_of(split(exchange.url)), []).append(exchange.connection)
        else:
            exchange.connection.close()

    def discard(self, exchange: Exchange) -> None:
        """Read the short body of an unneeded answer, and keep the connection; close it for a long body."""
        response, socket = exchange.response, exchange.connection.sock
        length = response.length
        if length is not None and length <= MAX_DISCARDED and socket is not None:
            if isinstance(response, _TimedResponse):  # an error page that drips must not delay its error
                response.timed.deadline = Deadline(MOST_DISCARDING)
            socket.settimeout(MOST_DISCARDING)
            try:
                response.read()
                socket.settimeout(TIMEOUT)
            except (OSError, http.client.HTTPException):
                exchange.connection.close()
        self.release(exchange)


def _target(url: str, to: str) -> SplitResult:
    """Return the URL to which a server redirects. Raises ValueError."""
    try:
        return split(urljoin(url, to))
    except ValueError as error:
        raise ValueError("redirected, but the target must be a URL of http or https") from error
