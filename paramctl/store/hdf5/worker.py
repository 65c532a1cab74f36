"""The worker: a process of its own that runs the HDF5 library and answers requests.

A small damaged file can make the library crash, hang or exhaust memory before any check in Python runs. So the worker
parses files under limits (limits.py, parser.py) and sends its parent the offsets of the values. It also lays out new
files (layout.py), because the library may crash when a disk is full.

A request is one line of JSON on standard input. The answer is one line of JSON on standard output. The bytes of values
follow the answer that announces them. Before it answers, the worker may ask for parts of a file that it cannot open:
{"wanted": [offset, size]}, answered by {"bytes": count} and so many bytes.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from contextlib import suppress
from typing import Any, NoReturn

from paramctl.store.hdf5 import attributes, layout
from paramctl.store.hdf5.limits import SECONDS, limit_parsing, limit_time
from paramctl.store.hdf5.parser import Parser
from paramctl.store.hdf5.refusal import Refused, library_error
from paramctl.store.hdf5.window import open_whole

READ_PER_SECOND = 16 << 20


class Session:
    """The requests of one parent, and the file that is open."""

    def __init__(self) -> None:
        self.parser: Parser | None = None

    def answer(self, request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        """Return the answer to a request, and the bytes that follow it."""
        if request["task"] == "lay_out":
            like = request["like"]
            return layout.lay_out(request, open_whole(like, _ask_parent) if like else None), b""
        if request["task"] == "clear_provenance":
            return layout.clear_provenance(request), b""
        if request["task"] == "attributes":
            return attributes.read_attributes(open_whole(request["file"], _ask_parent), request["native"]), b""
        if request["task"] == "set_attributes":
            return attributes.set_attributes(request), b""
        if request["task"] == "list":
            return self._list(request), b""
        return self._read(request["path"], request["start"], request["stop"])

    def _list(self, request: dict[str, Any]) -> dict[str, Any]:
        """List a file. It stays open if only this process can read some of its values."""
        whole, begin, size = open_whole(request["file"], _ask_parent), request["begin"], request["size"]
        if size is not None:  # a zip's directory may claim a member larger than the file
            size = max(0, min(size, whole.size - begin))
        data_size = whole.data_size if size is None else min(whole.data_size, size)
        limit_parsing(data_size)  # before the library sees the file
        self.parser = Parser(whole, begin, size, data_size)
        answer = self.parser.list(request["texts"], request["lists"])
        if all(entry["offset"] is not None for entry in answer["arrays"]):
            self.parser.close()
            self.parser = None
        return answer

    def _read(self, path: str, start: int, stop: int) -> tuple[dict[str, Any], bytes]:
        assert self.parser is not None
        values = self.parser.values
        limit_time(SECONDS)  # to open the dataset, before the cost of its chunks is known
        limit_time(SECONDS + values.cost(path, start, stop) / READ_PER_SECOND)
        data = b"".join(values.read(path, start, stop))
        return {"bytes": len(data)}, data

    def place(self) -> str:
        """Return the path at which the library was at work, as the beginning of an error."""
        return f"{self.parser.path}: " if self.parser and self.parser.path else ""


def serve() -> NoReturn:
    """Answer requests until standard input ends."""
    signal.signal(signal.SIGPROF, signal.SIG_DFL)  # a parent may have ignored it
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the parent reports a crash; no core file is left behind
    session = Session()
    for line in sys.stdin.buffer:
        try:
            answer, data = session.answer(json.loads(line))
            _send(answer, data)
        except Refused as refused:
            _send({"error": str(refused)})
        except Exception as error:  # noqa: BLE001  the library raises any class for a damaged file
            _send({"error": f"{session.place()}{library_error(error)}"})
        limit_time(0)
    os._exit(0)  # closing an open damaged file may crash


def _ask_parent(offset: int, size: int) -> bytes:
    """Return a part of a file that only the parent can read, empty if it fails."""
    _send({"wanted": [offset, size]})
    return sys.stdin.buffer.read(json.loads(sys.stdin.buffer.readline())["bytes"])


def _send(answer: dict[str, Any], data: bytes = b"") -> None:
    sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n" + data)
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    serve()
