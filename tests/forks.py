"""Command lines of paramctl, run as forks of a process that has imported it: see fork_server.py.

With PARAMCTL_TORTURE set, every one of them is a process from its start on.
"""

import json
import os
import pty
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

ROOT = Path(__file__).parent.parent
TORTURE = bool(os.environ.get("PARAMCTL_TORTURE"))
"""True to run the long forms of the tests, as ``make torture`` does."""

ROUNDS = 10 if TORTURE else 1
"""The factor by which torture multiplies random trials."""

REAL = [sys.executable, "-m", "paramctl"]
SERVED = {
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "HDF5_USE_FILE_LOCKING": "FALSE",
    "HDF5_PLUGIN_PRELOAD": "::",
}
"""The variables that libraries read when they are imported, and that paramctl sets before."""

READ_AT_START = ("PYTHON", "LANG", "LC_", "LD_", "MALLOC_", "HDF5_", "NPY_", "OPENBLAS_", "OMP_")
PASSED_ON = {
    "cwd",
    "env",
    "input",
    "capture_output",
    "stdin",
    "stdout",
    "stderr",
    "text",
    "encoding",
    "check",
    "timeout",
}


class Used(NamedTuple):
    """The end of a command, and its cost: seconds of processor time, and megabytes of its largest process."""

    code: int
    elapsed: float
    cpu: float
    megabytes: float
    processes: int


class Fork:
    """A command line that has been started."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection, self.answers = connection, connection.makefile()
        self.pid = int(self.answers.readline())

    def ended(self) -> Used:
        line = self.answers.readline()
        assert line, "the fork server is gone"
        return Used(*json.loads(line))

    def gone(self, seconds: float) -> bool:
        """Return whether every process of the command has ended, after at most so many seconds."""
        return bool(select.select([self.connection], [], [], seconds)[0]) and not self.connection.recv(1)


class ForkServer:
    """The process that is forked, started once."""

    def __init__(self) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="forks-")
        self.path = f"{self.folder.name}/socket"
        self.started_in = dict(os.environ)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(self.path)
        listener.listen(100)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.fork_server", str(listener.fileno())],
            cwd=ROOT,
            env=os.environ | SERVED | {"PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            pass_fds=[listener.fileno()],
        )
        listener.close()

    def fork(
        self,
        arguments: Sequence[str],
        folder: str | Path,
        files: Sequence[int],
        env: Mapping[str, str] | None = None,
        before: str = "",
        anew: bool = False,
        delay: float | None = None,
        by: int = signal.SIGKILL,
        whole: bool = False,
        code: str = "",
    ) -> Fork:
        """Start a command line.

        files: its standard files. before: Python, run in its process first. anew: as ``python -m paramctl``. delay:
        when a signal ends it. whole: its end is that of every process it starts. code: Python to run instead.
        """
        request = {"arguments": [*arguments], "folder": str(folder), "env": dict(os.environ if env is None else env)}
        request |= {"before": before, "anew": anew, "delay": delay, "signal": by, "whole": whole}
        request |= {"code": code}
        data = json.dumps(request).encode()
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(self.path)
        socket.send_fds(connection, [len(data).to_bytes(8, "little")], list(files))
        connection.sendall(data)
        connection.settimeout(patience())
        return Fork(connection)

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()
        self.folder.cleanup()


class ServedWorker:
    """A ``subprocess.Popen`` of ``python -c CODE`` by a fork, with pipes for input and output."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str], **_: object) -> None:
        requests, to_requests = os.pipe()
        from_answers, answers = os.pipe()
        null = os.open(os.devnull, os.O_WRONLY)
        self.fork = fork_server().fork([], os.getcwd(), [requests, answers, null], env, code=command[-1])
        for file in (requests, answers, null):
            os.close(file)
        self.stdin, self.stdout = os.fdopen(to_requests, "wb"), os.fdopen(from_answers, "rb")
        self.pid = self.fork.pid
        self.returncode: int | None = None

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            self.returncode = self.fork.ended().code
        return self.returncode

    def kill(self) -> None:
        if self.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)


def serve_workers(module: Any) -> None:
    """Let a module of paramctl start its workers as forks, in this process too."""
    if not TORTURE and sys.platform == "linux":
        module.subprocess = SimpleNamespace(**vars(subprocess) | {"Popen": ServedWorker})


@cache
def fork_server() -> ForkServer:
    """Return the server of this process; tests/conftest.py closes it."""
    return ForkServer()


class Ended(NamedTuple):
    """The end of a command line: its exit code, or minus the signal that killed it, and its errors."""

    code: int
    err: str
    seconds: float


class Server:
    """Runs command lines one after another, and watches the processes that they leave behind."""

    def __init__(self) -> None:
        self.forks: list[Fork] = []
        self.errors = -1

    def start(
        self,
        folder: Path,
        arguments: list[str],
        before: str = "",
        anew: bool = False,
        delay: float | None = None,
        by: int = signal.SIGKILL,
    ) -> int:
        """Start a command line and return its process id; the options are those of ``ForkServer.fork``."""
        env = fork_server().started_in | {"PYTHONPATH": str(ROOT)}
        null = os.open(os.devnull, os.O_RDWR)
        self.errors, errors = os.pipe()
        fork = fork_server().fork(arguments, folder, [null, null, errors], env, before, anew, delay, by)
        os.close(null)
        os.close(errors)
        self.forks = [each for each in self.forks if not each.gone(0)] + [fork]
        return fork.pid

    def ended(self) -> Ended:
        used = self.forks[-1].ended()
        return Ended(used.code, _drain(self.errors).decode(errors="replace"), used.elapsed)

    def run(self, folder: Path, arguments: list[str], before: str = "", **options: Any) -> Ended:
        self.start(folder, arguments, before, **options)
        return self.ended()

    def orphans(self) -> bool:
        """Return whether processes that command lines left behind are still there after a while."""
        return not all(fork.gone(patience(20)) for fork in self.forks)


def shell_command() -> str:
    """Return what runs paramctl in a shell: quickly, without its start, if this is no torture."""
    if TORTURE:
        return f"{sys.executable} -m paramctl"
    return f"{sys.executable} -ISs {ROOT}/tests/fork_client.py {fork_server().path}"


LAUNCHER = """
import ctypes, json, os, subprocess, sys, time
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # who is left behind by its parent is ours to wait for
begun = time.monotonic()
process = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
out, err = process.stdout.read(), process.stderr.read()
cpu, memory, processes = 0, 0, 0
while True:
    try:
        number, status, used = os.wait4(-1, 0)
    except ChildProcessError:
        break
    if number == process.pid:
        code = os.waitstatus_to_exitcode(status)
    cpu += used.ru_utime + used.ru_stime
    memory = max(memory, used.ru_maxrss / (1024 if sys.platform == "linux" else 1024**2))
    processes += 1
out, err = (text.decode(errors="replace") for text in (out, err))
print(json.dumps([out, err, [code, time.monotonic() - begun, cpu, memory, processes]]))
"""
"""Runs a command from a small process, for a child's memory begins as its parent's; counts what all it starts cost."""


class Ran(NamedTuple):
    """A command line that was run, and what it and every process that it started have cost."""

    code: int
    out: str
    err: str
    seconds: float
    megabytes: float
    """Of the largest of them."""
    processes: int


def launched(*command: str) -> Ran:
    """Run any command and return what it cost."""
    done = subprocess.run([sys.executable, "-c", LAUNCHER, *command], stdout=subprocess.PIPE, cwd=ROOT, check=True)
    out, err, used = json.loads(done.stdout)
    code, _, cpu, megabytes, processes = used
    return Ran(code, out, err, cpu, megabytes, processes)


def measured(*arguments: str) -> Ran:
    """Run a command line of paramctl and return what it costs, the start of each of its processes included."""
    if TORTURE or sys.platform != "linux":
        return launched(*REAL, *arguments)
    null = os.open(os.devnull, os.O_RDWR)
    (out, to_out), (err, to_err) = os.pipe(), os.pipe()
    process = fork_server().fork(arguments, ROOT, [null, to_out, to_err], whole=True)
    for file in (null, to_out, to_err):
        os.close(file)
    with ThreadPoolExecutor(2) as pool:
        outputs = [pool.submit(_drain, file) for file in (out, err)]
        try:
            used = process.ended()
        except TimeoutError:
            kill(process.pid)  # else its outputs would be read without an end
            raise
    printed, said = (output.result().decode(errors="replace") for output in outputs)
    seconds = used.cpu + used.processes * start_cpu()
    return Ran(used.code, printed, said, seconds, used.megabytes, used.processes)


def kill(pid: int) -> None:
    """Kill a process and all that it has started."""
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in children.read_text().split():
            kill(int(child))
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


@cache
def start_cpu() -> float:
    """Return the processor time that a process takes to start and to import what paramctl may need: no fork has it."""
    return launched(sys.executable, "-c", "import numpy, h5py, yaml, paramctl.cli").seconds


@cache
def start_seconds() -> float:
    """Return how long the smallest command takes as a process on this machine now: the unit of every time limit."""
    begun = time.monotonic()
    subprocess.run([*REAL, "summary", f"{ROOT}/sample_models/mlp.yaml"], cwd=ROOT, check=True, capture_output=True)
    return time.monotonic() - begun


def patience(runs: int = 200) -> float:
    """Return the seconds after which a process hangs: as long as so many of the smallest commands take."""
    return runs * start_seconds()


def needs_a_start(options: Mapping[str, Any]) -> bool:
    """Return whether only a process from its start on can be run with these options of ``subprocess.run``."""
    if TORTURE or not options.keys() <= PASSED_ON or sys.platform != "linux":
        return True
    here, env = fork_server().started_in, options["env"]
    return any(here.get(key) != env.get(key) for key in here.keys() | env if key.startswith(READ_AT_START))


def run(arguments: Sequence[str], **options: Any) -> "subprocess.CompletedProcess[Any]":
    """Run a command line: ``subprocess.run`` by a fork."""
    if needs_a_start(options):
        return subprocess.run([*REAL, *arguments], **options)
    given, text = options.get("input"), options.get("text") or options.get("encoding")
    encoding = options.get("encoding") or "utf-8"
    default = subprocess.PIPE if options.get("capture_output") else None
    feeds, files, read = None, [], []
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        file = options.get(name, default if number else None)
        if number == 0 and given is not None:
            taken, feeds = os.pipe()
        elif file == subprocess.PIPE and number:
            reader, taken = os.pipe()
            read.append((name, reader))
        elif file == subprocess.DEVNULL:
            taken = os.open(os.devnull, os.O_RDWR)
        elif file == subprocess.STDOUT:
            taken = os.dup(files[1])
        else:
            taken = os.dup(number if file is None else file if isinstance(file, int) else file.fileno())
        files.append(taken)
    process = fork_server().fork(arguments, options["cwd"], files, options["env"])
    for file in files:
        os.close(file)
    with ThreadPoolExecutor(3) as pool:
        if feeds is not None:
            pool.submit(_feed, feeds, given.encode(encoding) if isinstance(given, str) else given)
        outputs = {name: pool.submit(_drain, reader) for name, reader in read}
        try:
            code = process.ended().code
        except TimeoutError:
            kill(process.pid)
            raise subprocess.TimeoutExpired([*REAL, *arguments], options["timeout"]) from None
    out, err = (outputs[name].result() if name in outputs else None for name in ("stdout", "stderr"))
    if text:
        out, err = (_text(data, encoding) if data is not None else None for data in (out, err))
    done = subprocess.CompletedProcess([*REAL, *arguments], code, out, err)
    if options.get("check"):
        done.check_returncode()
    return done


def _feed(descriptor: int, data: bytes) -> None:
    with suppress(BrokenPipeError), os.fdopen(descriptor, "wb", 0) as file:
        file.write(data)


def _drain(descriptor: int) -> bytes:
    with os.fdopen(descriptor, "rb") as file:
        return file.read()


def _text(data: bytes, encoding: str) -> str:
    return data.decode(encoding).replace("\r\n", "\n").replace("\r", "\n")


AT_ONCE = "from paramctl.cli import progress; progress.SHOW_AFTER = 0.0"
"""Code that lets a progress bar appear however short the work is."""


def on_a_terminal(arguments: Sequence[str], folder: Path, before: str = "") -> str:
    """Run paramctl with a terminal for its three streams, and return what that shows. before: code to run first."""
    ours, theirs = pty.openpty()
    process = fork_server().fork(arguments, folder, [theirs, theirs, theirs], before=before)
    os.close(theirs)
    shown = b""
    with suppress(OSError):  # the terminal is closed when the process ends
        while more := os.read(ours, 4096):
            shown += more
    assert process.ended().code == 0
    return shown.decode()
