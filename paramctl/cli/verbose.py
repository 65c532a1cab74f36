"""The lines of --verbose: which files were read, as which format, how much of them, and the time it took."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from time import monotonic
from typing import Any

import click

from paramctl.cli.display import display
from paramctl.cli.render import tell
from paramctl.core.text import binary, quantity

DETAILS = 2
"""The verbosity of -vv."""


class Activity:
    """The work of a command, as the audit events of paramctl report it: see EVENTS."""

    def __init__(self, details: bool) -> None:
        self.details, self.begun = details, monotonic()
        self.files: dict[str, None] = {}
        self.arrays: set[tuple[str, str]] = set()
        self.bytes = 0
        self.lock = Lock()

    def opened(self, name: str, format_: str, model: Any) -> None:
        """Report a file whose header was read."""
        from paramctl.model import totals

        owners = list(model.owners())
        count, sizes = totals(owners).parameters, totals(owners).bytes
        arrays, values = quantity(len(owners), "array"), quantity(count, "value")
        size = sum(sizes.values())
        text = f"{name}: {format_}: {arrays}, {values}, {size:,} bytes{binary(size)}"
        if name not in self.files:
            self.files[name] = None
            tell(f"{text}, after {self.seconds()}" if self.details else text)

    def read(self, name: str, path: str, size: int) -> None:
        """Count a piece of an array whose values were read, in any thread."""
        with self.lock:
            self.arrays.add((name, path))
            self.bytes += size

    def seconds(self) -> str:
        return f"{monotonic() - self.begun:.2f} s"

    def lines(self, command: str) -> Iterator[str]:
        """Yield the last lines: what was read in all, and the time; with details, the cost in processor and memory."""
        files, arrays = quantity(len(self.files), "file"), quantity(len(self.arrays), "array")
        values = f", values of {arrays}: {self.bytes:,} bytes{binary(self.bytes)}" if self.arrays else ""
        yield f"{command}: {files}{values}, {self.seconds()}"
        if self.details:
            import resource

            used = resource.getrusage(resource.RUSAGE_SELF)
            unit = 1 if sys.platform == "darwin" else 1024
            memory = binary(used.ru_maxrss * unit).strip(" ()")
            yield f"{command}: processor {used.ru_utime + used.ru_stime:.2f} s, memory {memory}"


EVENTS = {"paramctl.open": Activity.opened, "paramctl.read": Activity.read}
"""The audit events (sys.audit) that the modules which read files raise. Without --verbose, nothing listens."""

_running: list[Activity] = []
"""The command that is reported: at most one. A hook cannot be removed, so it is added once."""


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _running and event in EVENTS:
        EVENTS[event](_running[-1], *arguments)


_hooks: list[Any] = []


@contextmanager
def reported(context: click.Context) -> Iterator[None]:
    """Report the work of a command on standard error, if --verbose asks for it."""
    verbosity = display().verbosity
    if not verbosity:
        yield
        return
    if not _hooks:
        sys.addaudithook(_hook)
        _hooks.append(_hook)
    activity = Activity(verbosity >= DETAILS)
    _running.append(activity)
    try:
        yield
    finally:
        _running.remove(activity)
        for line in activity.lines(context.command_path):
            tell(line)
