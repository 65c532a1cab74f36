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
def bar(label: str, unit: str = "") -> Iterator[Callable[[int, int], None]]:
    """Yield a function that draws the bar, given the work that is done and that in total.

    unit: of the work, such as ``rows``; bytes by default.
    """
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
                item_show_func=lambda _: _rate(position / max(monotonic() - start, 1e-9), unit),
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


def _rate(amount: float, unit: str) -> str:
    """Return an amount of work in a second, in words. unit: empty for bytes."""
    return f"{amount:,.0f} {unit}/s" if unit else f"{amount / 1e6:,.0f} MB/s"
