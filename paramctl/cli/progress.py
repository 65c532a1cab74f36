"""A progress bar on standard error, for work that takes more than a second, if standard error is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any, TypeVar

import click

SHOW_AFTER = 1.0
"""Seconds of work before the bar appears: short work shows none."""

T = TypeVar("T")


@contextmanager
def bar(label: str) -> Iterator[Callable[[int, int], None]]:
    """Yield a function that draws the bar, given the bytes done and the bytes in total."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield lambda done, total: None
        return
    start = monotonic()
    visible: Any = None
    position = 0

    def report(done: int, total: int) -> None:
        nonlocal visible, position
        if visible is None and monotonic() - start > SHOW_AFTER:
            visible = click.progressbar(
                length=total,
                label=label,
                file=sys.stderr,
                item_show_func=lambda _: f"{position / 1e6 / max(monotonic() - start, 1e-9):,.0f} MB/s",
                update_min_steps=max(1, total // 1000),
            )
            visible.__enter__()
        if visible is not None:
            step, position = done - position, done
            visible.update(step, current_item=done)

    try:
        yield report
    finally:
        if visible is not None:
            visible.__exit__(None, None, None)
