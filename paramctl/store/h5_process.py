"""The child process that parses and lays out HDF5 files, as its parent sees it; it may be started early."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import PurePath
from typing import Any

import paramctl


class Child:
    """The process that knows HDF5."""

    def __init__(self) -> None:
        folder = str(PurePath(paramctl.__file__).parent.parent)
        code = f"import sys; sys.path.append({folder!r}); from paramctl.store.h5_child import serve; serve()"
        quiet = {"OPENBLAS_NUM_THREADS": "1", "HDF5_USE_FILE_LOCKING": "FALSE", "HDF5_PLUGIN_PRELOAD": "::"}
        self.process = subprocess.Popen(  # noqa: S603  our own interpreter, our own code
            [sys.executable, "-P", "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | quiet,
            start_new_session=True,  # a Ctrl-C is the parent's to hear
        )
        self.lock = threading.Lock()

    def ask(self, what: str, **request: Any) -> dict[str, Any]:
        """The answer to a request. Raises Died if there is none."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps({"do": what, **request}).encode() + b"\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = b""
        if not line:
            raise Died(self.process.wait())
        answer: dict[str, Any] = json.loads(line)
        return answer

    def values(self, path: str, start: int, stop: int) -> bytes | str:
        """The bytes of values that are not contiguous, or what is wrong with them."""
        assert self.process.stdout is not None
        with self.lock:
            answer = self.ask("values", path=path, start=start, stop=stop)
            return answer["error"] if "error" in answer else self.process.stdout.read(answer["bytes"])


class Died(Exception):
    """The child ended before it answered: with an exit code, or by a signal if that is negative."""

    def __init__(self, code: int) -> None:
        if code == -signal.SIGXCPU:
            words = "takes too long to parse"
        elif code < 0:
            words = f"crashes the HDF5 library ({signal.Signals(-code).name})"
        else:
            words = f"ended the process that parses HDF5 (exit code {code})"
        super().__init__(words)


_spare: list[Child] = []


def warm_up() -> None:
    """Start the process that will be needed, while other work is done."""
    if not _spare:
        _spare.append(Child())


def child() -> Child:
    """The process that was started, or another."""
    return _spare.pop() if _spare else Child()
