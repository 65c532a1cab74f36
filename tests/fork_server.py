"""A program that runs command lines as forks of itself, which has imported all of paramctl.

A fork is a process like any other: with its own files, folder, environment, signals, limits and exit code. Only the
start of Python and the imports are saved, 0.2 to 0.4 s each. The processes that parse HDF5 are forks too: of the
command that starts them, or of this program for a test that calls the library. tests/forks.py is the other side;
tests/fork_client.py is ``paramctl`` for a shell.

A request is a connection to the listening socket (whose descriptor is the argument): three open files, then JSON. Lines of JSON answer it:
the process id, then the exit code and costs. The connection closes when no process of that command is left.
"""

import atexit
import gc
import importlib
import json
import os
import pkgutil
import resource
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
import types
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, NoReturn

FIRST_OTHER = 3
PR_SET_CHILD_SUBREAPER = 36
MOST_DESCRIPTORS = 256


def main() -> None:
    """Serve requests until standard input ends."""
    listener = socket.socket(fileno=int(sys.argv[1]))
    prctl = _import_everything()
    gc.collect()
    gc.freeze()  # so that no fork copies pages only to count references
    while True:
        ready, _, _ = select.select([listener, 0], [], [])
        if 0 in ready:
            return
        connection, _ = listener.accept()
        if not os.fork():
            listener.close()
            with suppress(AttributeError):  # a process that loses its parent becomes a child of this one, on Linux
                prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
            _supervise(connection)
        connection.close()
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def _import_everything() -> Any:
    """Import every module of paramctl, and what its functions import; return C's prctl."""
    import ctypes
    import difflib  # noqa: F401
    import zipfile  # noqa: F401

    import h5py  # noqa: F401
    import numpy.random  # noqa: F401
    import tabulate  # noqa: F401
    import yaml  # noqa: F401

    import paramctl

    for module in pkgutil.walk_packages(paramctl.__path__, "paramctl."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for module in list(sys.modules.values()):
        if module.__name__.startswith("paramctl.") and getattr(module, "subprocess", None) is subprocess:
            vars(module)["subprocess"] = types.SimpleNamespace(**vars(subprocess) | {"Popen": ForkedWorker})
    return getattr(ctypes.CDLL(None), "prctl", None)


def _supervise(connection: socket.socket) -> NoReturn:
    """Start one command, report how it ends, and wait for every process that it leaves behind."""
    size, files, _, _ = socket.recv_fds(connection, 8, 3)
    data = b""
    while len(data) < int.from_bytes(size, "little"):
        data += connection.recv(1 << 16)
    request = json.loads(data)
    begun = time.monotonic()
    pid = os.fork()
    if not pid:
        _become(request, files)
    for file in files:
        os.close(file)
    _answer(connection, pid)
    if request["delay"] is not None:
        time.sleep(request["delay"])
        os.kill(pid, request["signal"])
    code, elapsed, cpu, megabytes, processes = 0, 0.0, 0.0, 0.0, 0
    while True:
        try:
            ended, status, used = os.wait4(-1, 0)
        except ChildProcessError:
            break
        cpu += used.ru_utime + used.ru_stime
        megabytes = max(megabytes, used.ru_maxrss / (1024 if sys.platform == "linux" else 1024**2))
        processes += 1
        if ended == pid:
            code, elapsed = os.waitstatus_to_exitcode(status), time.monotonic() - begun
            if not request["whole"]:
                _answer(connection, [code, elapsed, cpu, megabytes, processes])
    if request["whole"]:
        _answer(connection, [code, elapsed, cpu, megabytes, processes])
    os._exit(0)


def _answer(connection: socket.socket, answer: object) -> None:
    with suppress(OSError):  # the other side may have given up
        connection.sendall(f"{json.dumps(answer)}\n".encode())


def _become(request: Mapping[str, Any], files: Sequence[int]) -> NoReturn:
    """Turn this fork into the process of a command line."""
    from paramctl.cli import main
    from paramctl.store.io import atomic

    os.environ.clear()
    os.environ.update(request["env"])
    _take_files(files)
    os.chdir(request["folder"])
    sys.path[0] = os.getcwd()  # as python -m has it
    names = {"os": os, "signal": signal, "resource": resource, "atomic": atomic}
    exec(request["before"], names)  # noqa: S102
    if request["anew"]:
        os.execv(sys.executable, [sys.executable, "-m", "paramctl", *request["arguments"]])  # noqa: S606
    if code := request.get("code"):
        os.setsid()
        _exit_as_python_does(lambda: exec(code, {"__name__": "__main__"}))  # noqa: S102
    sys.argv = ["paramctl", *request["arguments"]]
    _exit_as_python_does(lambda: main.main())


def _take_files(files: Sequence[int]) -> None:
    """Make these the three standard files, close all others, and handle signals as a new process does."""
    for number, file in enumerate([os.dup(file) for file in files]):
        os.dup2(file, number)
    os.closerange(FIRST_OTHER, MOST_DESCRIPTORS)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGCHLD"):
        signal.signal(getattr(signal, name), signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    encoding = sys.stdout.encoding
    sys.stdin = open(0, encoding=encoding, closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding=encoding, closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", 1, encoding=encoding, errors="backslashreplace", closefd=False)  # noqa: SIM115
    gc.enable()


def _exit_as_python_does(run: Any) -> NoReturn:
    """Run, then join threads, call exit handlers, flush, and exit: with 120 if an output cannot be flushed."""
    code = 0
    try:
        run()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            code = 120
    os._exit(code & 0xFF)


class ForkedWorker:
    """A ``subprocess.Popen`` of ``python -c CODE`` that forks this process instead, with pipes for input and output."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str], **_: object) -> None:
        requests, self._requests = os.pipe()
        self._answers, answers = os.pipe()
        sys.stdout.flush()  # a fork would write the buffered text again, among its answers
        self.pid = os.fork()
        if not self.pid:
            os.setsid()
            os.environ.clear()
            os.environ.update(env)
            _take_files([requests, answers, os.open(os.devnull, os.O_WRONLY)])
            code = compile(command[-1], "<string>", "exec")
            _exit_as_python_does(lambda: exec(code, {"__name__": "__main__"}))  # noqa: S102
        os.close(requests)
        os.close(answers)
        self.stdin, self.stdout = os.fdopen(self._requests, "wb"), os.fdopen(self._answers, "rb")
        self.returncode: int | None = None

    def wait(self, timeout: float | None = None) -> int:
        """Wait without reaping, so that the fork server counts this process and its cost."""
        if self.returncode is None:
            ended = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
            assert ended is not None
            self.returncode = ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
        return self.returncode

    def kill(self) -> None:
        if self.returncode is None:
            os.kill(self.pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
