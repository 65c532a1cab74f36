"""A progress bar on standard error, for work that takes more than a second, if standard error is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any, TypeVar

import click

SHOW_AFTER = 1.0
"""Seconds of work before the bar appears."""

T = TypeVar("T")


@contextmanager
def bar(label: str) -> Iterator[Callable[[int, int], None]]:
    """Give a function to call with the bytes done and the bytes in total; it draws the bar."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield lambda done, total: None
        return
    begun = monotonic()
    drawn: Any = None
    position = 0

    def report(done: int, total: int) -> None:
        nonlocal drawn, position
        if drawn is None and monotonic() - begun > SHOW_AFTER:
            drawn = click.progressbar(
                length=total,
                label=label,
                file=sys.stderr,
                item_show_func=lambda _: f"{position / 1e6 / max(monotonic() - begun, 1e-9):,.0f} MB/s",
                update_min_steps=max(1, total // 1000),
            )
            drawn.__enter__()
        if drawn is not None:
            step, position = done - position, done
            drawn.update(step, current_item=done)

    try:
        yield report
    finally:
        if drawn is not None:
            drawn.__exit__(None, None, None)


def shown(items: Iterable[T], total: int, bytes_of: Callable[[T], int], label: str) -> Iterator[T]:
    """Yield the items, and draw the bar on the way; ``total`` and ``bytes_of`` are in bytes."""
    done = 0
    with bar(label) as report:
        for item in items:
            yield item
            done += bytes_of(item)
            report(done, total)
