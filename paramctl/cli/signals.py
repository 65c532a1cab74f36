"""Ctrl-C and other signals that end a command: temporary files are removed, and the exit code is 128 + the signal."""

import signal
import sys
from types import FrameType

SIGNAL_BASE = 128
"""Added to a signal's number, as shells do: 130 after Ctrl-C."""

RETRY_SECONDS = 0.005
"""The delay before a signal that came at a wrong moment, such as during an import, is raised again."""
THREADING = ("/threading.py", "/concurrent/futures/thread.py", "/concurrent/futures/_base.py")
"""The files of the standard library that take locks in Python code. Importing them here would take time."""
WAITING = frozenset({"wait", "join", "_wait_for_tstate_lock"})
"""The functions of threading that wait."""

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Terminated(BaseException):
    """A signal that ends the process, raised so that temporary files are removed on the way out."""

    number: int | None = None
    """The signal received, kept by the class because a library may raise its own exception instead."""


def raise_on_signals() -> None:
    """Make the first signal that ends a process raise Terminated, and ignore later ones."""

    def receive(number: int, frame: FrameType | None) -> None:
        Terminated.number = number
        sys.unraisablehook = lambda unraisable: None  # an object that was half made may fail in its __del__
        for other in SIGNALS:  # a second Ctrl-C must not interrupt the cleanup
            signal.signal(other, signal.SIG_IGN)
        signal.signal(signal.SIGALRM, terminate)
        terminate(number, frame)

    def terminate(number: int, frame: FrameType | None) -> None:
        if _must_wait(frame):
            signal.setitimer(signal.ITIMER_REAL, RETRY_SECONDS)
            return
        raise Terminated

    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:  # nohup ignores SIGHUP, and so must its child
            signal.signal(number, receive)


def ignore_signals() -> None:
    """Ignore all of these signals from here on. The work is done, so its exit code must stay while Python ends."""
    signal.setitimer(signal.ITIMER_REAL, 0)
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def exit_code() -> int:
    """Return the exit code of a command that a signal has ended."""
    return SIGNAL_BASE + (Terminated.number or 0)


def _must_wait(frame: FrameType | None) -> bool:
    """Return whether an exception would break what the main thread is doing, which takes only milliseconds.

    That is an import, in which an extension prints the exception and fails with another; and what threading does
    between taking a lock and the block that releases it, for a worker would wait for that lock for ever. Waiting for a
    lock or a thread may take long, and can be interrupted.
    """
    in_threading = False
    while frame is not None:
        path, name = frame.f_code.co_filename, frame.f_code.co_name
        if path.startswith("<frozen importlib"):
            return True
        if not in_threading and path.endswith(THREADING):
            if name not in WAITING:
                return True
            in_threading = True
        frame = frame.f_back
    return False
