"""The client: the parent's handle on a worker process, which runs the HDF5 library.

A worker whose file needs no further reads is reused for the next listing, so that a set of a hundred shards takes one
process. A worker that has parsed a file never writes one: damage in the file may have corrupted its memory. Data that
is carried over from an existing file is the exception, and is read under the same limits.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
import threading
import weakref
from contextlib import suppress
from pathlib import PurePath
from typing import Any

import paramctl
from paramctl.errors import InputError
from paramctl.store.location import Location

MAX_READERS = 32
"""Workers that keep a file open at one time."""
PART = 1 << 12
"""Bytes of the blocks in which a file behind a URL is read for the worker."""
MAX_SPARE = 2
"""One to read a file, one to write another."""

QUIET = {
    "OPENBLAS_NUM_THREADS": "1",
    "HDF5_USE_FILE_LOCKING": "FALSE",  # locks fail on some network file systems, and paramctl replaces whole files
    "HDF5_PLUGIN_PRELOAD": "::",  # never load a filter plugin that a file asks for
}


CRASHES = frozenset(
    getattr(signal, name)
    for name in ("SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGABRT", "SIGTRAP", "SIGSYS")
    if hasattr(signal, name)
)
"""The signals by which a process ends itself. Any other comes from outside."""


class WorkerExited(Exception):
    """The worker ended before it answered. The message completes a sentence about the file or the task.

    Args:
        code: the exit code, or the negative number of the signal that ended the process.
    """

    def __init__(self, code: int) -> None:
        self.crashed = -code in CRASHES
        if code in (-signal.SIGPROF, -signal.SIGXCPU):
            reason = "takes too long in the HDF5 library"
        elif code < 0 and not self.crashed:
            reason = f"was interrupted: the HDF5 worker process was killed ({signal.Signals(-code).name})"
            if code == -signal.SIGKILL:
                reason += ", as by a system that is out of memory"
        elif code < 0:
            reason = f"crashes the HDF5 library ({signal.Signals(-code).name})"
        else:
            reason = f"ends the HDF5 worker process (exit code {code})"
        super().__init__(reason)


class Client:
    """A handle on the worker for one file. The process starts with the first request.

    file: the file that the worker reads, and for whose bytes it asks if it cannot open it.
    listing: the arguments of the request that lists it, for a worker that must list it before it reads values.
    """

    def __init__(self, file: Location | None = None) -> None:
        self.file = file
        self.failure: InputError | None = None
        self.process: subprocess.Popen[bytes] | None = None
        self.lock = threading.Lock()
        self.listing: dict[str, Any] = {}
        self.refusal: str | None = None

    def ask(self, task: str, **arguments: Any) -> dict[str, Any]:
        """Return the worker's answer to one request. Its key "error" holds the reason if the file is rejected.

        Raises WorkerExited if the process ends without an answer.
        """
        if self.process is None:
            # only a listing may go to a worker that has parsed another file
            pool = _listers if task in ("list", "attributes") and _listers else _spare
            self.process = pool.pop() if pool else _start()
        process = self.process
        answer = self._answer({"task": task, **arguments})
        if task == "attributes" and "error" not in answer:
            _listers.append(process)  # it has closed the file
            self.process = None
        if task == "list" and "error" not in answer:
            if all(entry["offset"] is not None for entry in answer["arrays"]):
                _listers.append(process)  # every array has an extent, so the worker has closed the file
                self.process = None
            elif len(_readers) < MAX_READERS:
                _readers.add(self)
            else:  # each takes a process with the HDF5 library, of tens of megabytes
                return {"error": f"at most {MAX_READERS} files with chunked or converted arrays can be open at once"}
        return answer

    def read(self, path: str, start: int, stop: int) -> bytes | str:
        """Return the bytes of a dataset's values start to stop in C order, or the reason for an error as a text."""
        with self.lock:  # requests and answers of two threads would mix on one pipe
            if self.process is None and self.refusal is None:
                self.refusal = self.ask("list", **self.listing).get("error")
            if self.refusal is not None:  # of the list: no value of such a file is read
                return self.refusal
            if self.process is None:  # each array has an offset by now, so the worker has closed the file
                return "the file was changed while it was read"
            answer = self.ask("read", path=path, start=start, stop=stop)
            if "error" in answer:
                return str(answer["error"])
            assert self.process.stdout is not None
            return self.process.stdout.read(answer["bytes"])

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self.process is not None
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        message, data = request, b""
        while True:
            try:
                self.process.stdin.write(json.dumps(message).encode() + b"\n" + data)
                self.process.stdin.flush()
                line = self.process.stdout.readline()
            except BrokenPipeError:
                line = b""
            if not line.endswith(b"\n"):  # a worker killed in mid-answer leaves half a line
                raise WorkerExited(self.process.wait())
            answer: dict[str, Any] = json.loads(line)
            if "wanted" not in answer:
                break
            data = self._part(*answer["wanted"])
            message = {"bytes": len(data)}
        if self.failure is not None:  # the worker only says that it could not read
            raise self.failure
        return answer

    def _part(self, offset: int, size: int) -> bytes:
        """Return a part of the file for the worker, read in blocks: the library asks for a few bytes at a time."""
        assert self.file is not None
        begin = offset - offset % PART
        end = -(-(offset + size) // PART) * PART
        try:
            return self.file.read(begin, end - begin)[offset - begin : offset - begin + size]
        except InputError as error:
            self.failure = error
            return b""

    def __del__(self) -> None:
        """End the worker with its last reader."""
        if self.process is not None:
            _end(self.process)


def warm_up() -> None:
    """Start a worker that will be needed soon, so that it loads the HDF5 library while the parent does other work."""
    if len(_spare) < MAX_SPARE:
        _spare.append(_start())


def _start() -> subprocess.Popen[bytes]:
    folder = str(PurePath(paramctl.__file__).parent.parent)
    code = f"import sys; sys.path.append({folder!r}); from paramctl.store.hdf5.worker import serve; serve()"
    process = subprocess.Popen(  # noqa: S603  our own interpreter, our own code
        [sys.executable, "-P", "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | QUIET,
        start_new_session=True,  # the terminal's Ctrl-C must reach the parent alone, which then ends the worker
    )
    _started[process] = os.getpid()
    return process


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a worker and close its pipes. Its answers are complete, so nothing that it does is lost."""
    if _started.pop(process, None) != os.getpid():  # a fork of this process must not end the workers of its parent
        return
    process.kill()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()
    process.wait()


@atexit.register
def _end_all() -> None:
    for process in [*_started]:
        _end(process)


_started: dict[subprocess.Popen[bytes], int] = {}
"""Every worker that has not been ended, with the process that started it."""
_spare: list[subprocess.Popen[bytes]] = []
"""Workers that have parsed no file."""
_listers: list[subprocess.Popen[bytes]] = []
"""Workers that have listed a file and closed it."""
_readers: weakref.WeakSet[Client] = weakref.WeakSet()
"""Clients whose worker keeps a file open."""
