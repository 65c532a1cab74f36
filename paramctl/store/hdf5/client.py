"""The child process that parses and lays out HDF5 files, as its parent sees it; it may be started early.

A process that has listed a file from which it need read nothing lists the next: a set of a hundred shards takes one.
None that has parsed somebody's file ever writes one, but for what goes along from it, under the same limits.
"""

from __future__ import annotations

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

MOST_READERS = 32


def _start() -> subprocess.Popen[bytes]:
    folder = str(PurePath(paramctl.__file__).parent.parent)
    code = f"import sys; sys.path.append({folder!r}); from paramctl.store.hdf5.worker import serve; serve()"
    quiet = {"OPENBLAS_NUM_THREADS": "1", "HDF5_USE_FILE_LOCKING": "FALSE", "HDF5_PLUGIN_PRELOAD": "::"}
    return subprocess.Popen(  # noqa: S603  our own interpreter, our own code
        [sys.executable, "-P", "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | quiet,
        start_new_session=True,  # a Ctrl-C is the parent's to hear
    )


class Worker:
    """The process that knows HDF5, for one file."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.lock = threading.Lock()

    def ask(self, what: str, **request: Any) -> dict[str, Any]:
        """The answer to a request. Raises Died if there is none."""
        if self.process is None:
            pool = _listers if what == "list" and _listers else _spare
            self.process = pool.pop() if pool else _start()
        answer = self._answer({"do": what, **request})
        if what == "list" and "error" not in answer:
            if not any(each["offset"] is None for each in answer["arrays"]):
                _listers.append(self.process)
                self.process = None
            elif len(_readers) < MOST_READERS:
                _readers.add(self)
            else:
                return {"error": f"at most {MOST_READERS} files in which values lie in chunks are read together"}
        return answer

    def __del__(self) -> None:
        """Let the process end with whoever read from it."""
        if self.process is not None and self.process.stdin is not None:
            with suppress(OSError):
                self.process.stdin.close()

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self.process is not None
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps(request).encode() + b"\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = b""
        if not line.endswith(b"\n"):  # it may have ended within its answer
            raise WorkerExited(self.process.wait())
        answer: dict[str, Any] = json.loads(line)
        return answer

    def read(self, path: str, start: int, stop: int) -> bytes | str:
        """The bytes of values that do not lie in one piece as they are, or what is wrong with them."""
        with self.lock:
            assert self.process is not None
            assert self.process.stdout is not None
            answer = self.ask("values", path=path, start=start, stop=stop)
            return answer["error"] if "error" in answer else self.process.stdout.read(answer["bytes"])


class WorkerExited(Exception):
    """The child ended before it answered: with an exit code, or by a signal if that is negative."""

    def __init__(self, code: int) -> None:
        if code in (-signal.SIGPROF, -signal.SIGXCPU):
            words = "takes too long to parse"
        elif code < 0:
            words = f"crashes the HDF5 library ({signal.Signals(-code).name})"
        else:
            words = f"ended the process that parses HDF5 (exit code {code})"
        super().__init__(words)


_spare: list[subprocess.Popen[bytes]] = []
_listers: list[subprocess.Popen[bytes]] = []
_readers: weakref.WeakSet[Worker] = weakref.WeakSet()


def warm_up() -> None:
    """Start a process that will be needed, while other work is done: one reads a file, one may write another."""
    if len(_spare) < 2:
        _spare.append(_start())


def new_worker() -> Worker:
    """One for a file: the process that was started, or another."""
    return Worker()
