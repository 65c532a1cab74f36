"""What is done with the HDF5 library, in a process of its own: requests are answered, under limits.

A small bad file can make the library crash, hang or eat memory before any check in Python runs. So a child under
limits (h5_limits) parses (h5_parse), and tells its parent where the values lie; and a child lays out new files
(h5_layout), which the library may crash on too, when a disk is full. One request comes as a line of JSON on standard
input, and one line of JSON answers it on standard output; values that do not lie as they are in one piece follow
theirs as bytes.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from contextlib import suppress
from typing import Any, NoReturn

from paramctl.store.hdf5 import layout as h5_layout
from paramctl.store.hdf5.limits import SECONDS, limit_parsing, limit_time, size_of_data
from paramctl.store.hdf5.parser import Parser, Refused, words_of

READ_A_SECOND = 16 << 20


def _say(answer: dict[str, Any], data: bytes = b"") -> None:
    sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n" + data)
    sys.stdout.buffer.flush()


class Session:
    """What is asked, answered; the file that is open."""

    def __init__(self) -> None:
        self.parser: Parser | None = None

    def answer(self, request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        if request["do"] == "create":
            return h5_layout.create(request), b""
        if request["do"] == "unmark":
            return h5_layout.unmark(request), b""
        if request["do"] == "list":
            return self.list(request), b""
        assert self.parser is not None
        path, start, stop = request["path"], request["start"], request["stop"]
        limit_time(SECONDS)
        limit_time(SECONDS + self.parser.touched(path, start, stop) / READ_A_SECOND)
        data = b"".join(self.parser.read(path, start, stop))
        return {"bytes": len(data)}, data

    def list(self, request: dict[str, Any]) -> dict[str, Any]:
        """What a file holds; it stays open if values are to be read from it by this process."""
        path, begin, size = request["path"], request["begin"], request["size"]
        if size is not None:
            size = max(0, min(size, os.stat(path).st_size - begin))
        there = size_of_data(path)
        there = there if size is None else min(there, size)
        limit_parsing(there)
        self.parser = Parser(path, request["named"], begin, size, there)
        answer = self.parser.list()
        if all(each["offset"] is not None for each in answer["arrays"]):
            self.parser.close()
            self.parser = None
        return answer

    def where(self) -> str:
        """Where in the file the library is at work, for an error."""
        return f"{self.parser.at}: " if self.parser and self.parser.at else ""


def serve() -> NoReturn:
    """Answer requests until there are no more."""
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a crash is told, and leaves nothing behind
    session = Session()
    for line in sys.stdin.buffer:
        try:
            answer, data = session.answer(json.loads(line))
            _say(answer, data)
        except Refused as refused:
            _say({"error": str(refused)})
        except Exception as error:  # noqa: BLE001  whatever the library makes of a damaged file
            _say({"error": f"{session.where()}{words_of(error)}"})
        limit_time(0)
    os._exit(0)  # closing what is open may crash on a damaged file


if __name__ == "__main__":
    serve()
