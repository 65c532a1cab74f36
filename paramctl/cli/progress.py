"""A progress bar on standard error, when something takes more than a second and that is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from time import monotonic
from typing import Any, TypeVar

import click

AFTER = 1.0

T = TypeVar("T")


def shown(items: Iterable[T], total: int, bytes_of: Callable[[T], int], label: str) -> Iterator[T]:
    """The items as they come; ``total`` and ``bytes_of`` are in bytes."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield from items
        return
    begun, done, undrawn = monotonic(), 0, 0
    bar: Any = click.progressbar(
        length=total,
        label=label,
        file=sys.stderr,
        item_show_func=lambda _: f"{done / 1e6 / max(monotonic() - begun, 1e-9):,.0f} MB/s",
        update_min_steps=max(1, total // 1000),
    )
    drawn = False
    try:
        for item in items:
            yield item
            done += bytes_of(item)
            undrawn += bytes_of(item)
            if not drawn and monotonic() - begun > AFTER:
                drawn = True
                bar.__enter__()
            if drawn:
                bar.update(undrawn, current_item=item)
                undrawn = 0
    finally:
        if drawn:
            bar.__exit__(None, None, None)
