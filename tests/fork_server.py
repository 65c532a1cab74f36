"""Command lines run quickly: forks of a process that has imported everything, and that may be told to kill them.

``Server`` is for the tests; run as a program, this is the process behind it. It takes a line of JSON for each command
line, and answers with its process id, and when it has ended with its exit code, its errors and its time.
"""

import gc
import importlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parent.parent
PATIENCE = 10.0
PR_SET_CHILD_SUBREAPER = 36

IMPORTED = (
    *("ctypes", "numpy.random", "paramctl.cli.values", "paramctl.init.schemes", "paramctl.inspect.plan"),
    *("paramctl.store.hdf5.format", "paramctl.store.npz.format", "paramctl.store.safetensors.format"),
)


class Ended(NamedTuple):
    """How a command line ended: its exit code, or minus the signal that killed it, and what it said."""

    code: int
    err: str
    seconds: float


class Server:
    """Runs command lines one after another."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.fork_server"]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def _send(self, order: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{json.dumps(order)}\n")
        self.process.stdin.flush()

    def _answer(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def start(
        self,
        folder: Path,
        arguments: list[str],
        before: str = "",
        anew: bool = False,
        delay: float | None = None,
        by: int = signal.SIGKILL,
    ) -> int:
        """Begin a command line; its process id.

        before: Python, run in its process first. anew: as ``python -m paramctl``. delay: when to end it by a signal.
        """
        order = {"folder": str(folder), "arguments": arguments, "before": before, "anew": anew}
        self._send(order | {"delay": delay, "signal": by})
        return int(self._answer())

    def ended(self) -> Ended:
        return Ended(*self._answer())

    def run(self, folder: Path, arguments: list[str], before: str = "", **options: Any) -> Ended:
        self.start(folder, arguments, before, **options)
        return self.ended()

    def orphans(self) -> bool:
        """Whether processes that command lines left behind are still there after a while."""
        self._send(None)
        return bool(self._answer())

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(30)


def main() -> None:
    ctypes, *_ = map(importlib.import_module, IMPORTED)
    with suppress(AttributeError):  # whoever loses its parent becomes a child of this process, on Linux
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    gc.disable()
    for line in sys.stdin:
        order = json.loads(line)
        _say(_ended(order) if order else _orphans())


def _say(answer: object) -> None:
    sys.stdout.write(f"{json.dumps(answer)}\n")
    sys.stdout.flush()


def _ended(order: Mapping[str, Any]) -> Ended:
    reading, writing = os.pipe()
    begun = time.monotonic()
    pid = os.fork()
    if not pid:
        _become(order, writing)
    os.close(writing)
    _say(pid)
    if order["delay"] is not None:
        time.sleep(order["delay"])
        os.kill(pid, order["signal"])
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    seconds = time.monotonic() - begun
    with open(reading, errors="replace") as errors:
        return Ended(code, errors.read(), seconds)


def _become(order: Mapping[str, Any], errors: int) -> None:
    """The forked process: a command line of its own."""
    from paramctl import cli
    from paramctl.store.io import atomic

    null = os.open(os.devnull, os.O_RDWR)
    for number, file in enumerate((null, null, errors)):
        os.dup2(file, number)
    sys.stdout, sys.stderr = open(1, "w"), open(2, "w")  # noqa: SIM115
    os.chdir(order["folder"])
    exec(order["before"], {"os": os, "signal": signal, "resource": resource, "atomic": atomic})  # noqa: S102
    if order["anew"]:
        os.execv(sys.executable, [sys.executable, "-m", "paramctl", *order["arguments"]])  # noqa: S606
    os._exit(cli.run(order["arguments"]))


def _orphans() -> bool:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                time.sleep(0.01)
        except ChildProcessError:
            return False
    return True


if __name__ == "__main__":
    main()
