"""The pager: output that is longer than the terminal is shown in less, or in the user's pager, as git does."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from typing import Any, TextIO

import click

from paramctl.cli.display import display, is_terminal, screen
from paramctl.cli.fitting import display_width
from paramctl.cli.signals import Terminated

DEFAULT = "less"
SETTINGS = {"LESS": "FRX", "LV": "-c"}
"""Variables that the pager gets if they are not set. LESS: end if all fits, show colors, leave the text there."""

INTERRUPTED = 2
"""The exit code of less after Ctrl-C, if it is set to end then. A pager that ends with another code is broken."""

SIGNAL_BASE = 128
SHELL = re.compile(r"[|&;<>()$`*?~#]")
"""The characters of a command that only a shell understands."""
STYLE = re.compile(r"\x1b\[[0-9;]*m")


class PagedOutput:
    """Standard output of a command: held until it is longer than the screen, and from then on sent to a pager.

    Notes wait until the output is shown. If the pager is missing or fails, the output is written without it.
    """

    def __init__(self, terminal: TextIO, command: str, variable: str | None) -> None:
        self.terminal, self.command, self.variable = terminal, command, variable
        self.texts: list[str] = []
        self.notes: list[str] = []
        self.lines = 0
        self.process: Any = None
        self.is_read = False

    def __getattr__(self, name: str) -> Any:
        """Return the terminal's attribute: its encoding, its descriptor, whether it is a terminal."""
        return getattr(self.terminal, name)

    def hold(self, note: str) -> bool:
        """Keep a note, and return True, if something is written that the terminal lacks or that the pager shows."""
        if self.texts:
            self.notes.append(note)
        return bool(self.texts)

    def write(self, text: str) -> int:
        if not isinstance(text, str):  # a library that writes b"" learns from the error that this is a text stream
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        self.texts.append(text)
        if self.is_read:
            self._send(text)
        elif self.process is None:
            columns, lines = screen()
            widths = (display_width(STYLE.sub("", line)) for line in text.split("\n"))
            self.lines += text.count("\n") + sum(max(width - 1, 0) // columns for width in widths)
            if self.lines >= lines:  # the prompt takes the last line
                self._start()
        return len(text)

    def flush(self) -> None:
        """Do nothing: held output is written at the end."""

    def _start(self) -> None:
        import subprocess  # most commands need none

        environment = SETTINGS | dict(os.environ)
        try:
            words = ["sh", "-c", self.command] if SHELL.search(self.command) else shlex.split(self.command)
            self.process = subprocess.Popen(words, stdin=subprocess.PIPE, env=environment)  # noqa: S603
        except (OSError, ValueError) as error:
            self.process = False
            self._explain(getattr(error, "strerror", None) or str(error))
            return
        with suppress(ValueError):  # not in the main thread
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the pager
        self.is_read = True
        self._send("".join(self.texts))

    def _send(self, text: str) -> None:
        try:
            self.process.stdin.write(text.encode(self.terminal.encoding or "utf-8", "backslashreplace"))
        except OSError:  # the pager has ended, which is no error
            self.is_read = False

    def _explain(self, reason: str) -> None:
        if self.variable is not None:  # the default pager may be missing on a small system
            self.notes.append(f"{self.variable}: {self.command}: {reason}. Printed without a pager")

    def finish(self) -> None:
        """Show everything: wait until the pager ends, or write the held text, and then the notes."""
        if self.process:
            with suppress(OSError):
                self.process.stdin.close()
            code = self.process.wait()
            # a signal, such as that of a closed window, is the user's; so is Ctrl-C
            if 0 < code < SIGNAL_BASE and code != INTERRUPTED:
                self.process = False
                self._explain(f"exit code {code}")
        if not self.process:
            self.terminal.write("".join(self.texts))
            self.terminal.flush()
        for note in self.notes:
            click.echo(note, err=True)

    def stop(self) -> None:
        """End the pager because a signal ends the command; without a pager, write the held text."""
        if self.process:
            self.process.terminate()
            self.process.wait()
        else:
            self.finish()


@contextmanager
def paged(is_listing: bool) -> Iterator[None]:
    """Show standard output in a pager, if it is a terminal and options and variables do not prevent it.

    is_listing: True for a command whose output is shown in a pager unless --no-pager says otherwise.
    """
    wanted = display().pager
    wanted = is_listing and os.environ.get("TERM", "dumb") != "dumb" if wanted is None else wanted
    variable = next((name for name in ("PARAMCTL_PAGER", "PAGER") if name in os.environ), None)
    command = os.environ[variable].strip() if variable else DEFAULT
    missing = variable is None and shutil.which(DEFAULT) is None if wanted else False
    if not wanted or not is_terminal() or command in ("", "cat") or missing:
        yield
        return
    previous = signal.getsignal(signal.SIGINT)
    output = PagedOutput(sys.stdout, command, variable)
    end, shown = output.finish, display()
    shown.hold = output.hold
    try:
        with redirect_stdout(output):
            yield
    except Terminated:
        end = output.stop
        raise
    finally:
        shown.hold = None
        end()
        with suppress(ValueError):
            signal.signal(signal.SIGINT, previous)
