"""summary --memory: an estimate of the memory that a model takes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from textwrap import wrap
from typing import TYPE_CHECKING

import click

from paramctl.cli.display import style
from paramctl.cli.render import Column, binary, branches, emit, json_text, rows, table, tell
from paramctl.core.text import decimal, printable
from paramctl.inspect.optimizers import PHASES

if TYPE_CHECKING:
    from paramctl.inspect.memory import Memory, MemoryRow


LINE = 112


def _bytes_text(row: MemoryRow) -> str:
    if row.bytes is None:
        return "?" if row.at_least is None else f"at least {row.at_least:,}"
    return f"{row.bytes:,}"


def _bytes_note(row: MemoryRow) -> str:
    return "" if row.at_least is None else binary(row.at_least).strip()


COLUMNS = [
    Column("name", "Memory", lambda row: row.name),
    Column("bytes", "Bytes", lambda row: row.bytes, _bytes_text, True, _bytes_note, priority=0),
]

EXPORTED = [
    *COLUMNS[:1],
    Column("bytes", "Bytes", lambda row: row.bytes),
    Column("at_least", "At least", lambda row: row.at_least),
]


def print_memory(memory: Memory, format: str, size: int | None, phase: str | None) -> int:
    """Write an estimate to standard output. In the formats of rows, standard error has its assumption.

    size: bytes to compare the totals with. Returns the exit code: 0, or by whether the phase takes at most this size,
    0 if so, 1 if not, and 2, with a line on standard error, if that is unknown. phase: inference by default.
    """
    if phase is not None and size is None:
        raise click.UsageError("--for requires --fits")
    if format == "json":
        emit([json_text(_object(memory, size))])
    elif format not in ("table", "tree"):
        emit(rows(format, memory.rows, EXPORTED))
        for line in (*_assumption(memory), *_fit_lines(memory, size)):
            tell(f"{memory.model}: {line}")
    else:
        heading = f"{memory.model}: batch {memory.batch:,}, {memory.dtype}, optimizer {memory.optimizer}"
        emit([style(printable(heading), bold=True), ""])
        emit(_tree(memory) if format == "tree" else table(memory.rows, COLUMNS))
        emit(["", *([f"Unknown: {memory.why_unknown}"] if memory.why_unknown else [])])
        emit(_assumption(memory))
        emit(wrap(f"An estimate. It leaves out {memory.leaves_out}.", LINE))
        emit(["", *lines] if (lines := [*_fit_lines(memory, size)]) else [])
    if size is None:
        return 0
    phase = phase or PHASES[0]
    fits = memory.total(phase).fits(size)
    if fits is None:
        tell(f"{memory.model}: whether {phase} fits is unknown: {memory.why_unknown}")
    return {True: 0, False: 1, None: 2}[fits]


def _fit_lines(memory: Memory, size: int | None) -> Iterator[str]:
    """Yield a line for each phase: whether it fits in a size."""
    for phase in PHASES if size is not None else ():
        assert size is not None
        total = memory.total(phase)
        fits, least = total.fits(size), total.at_least
        if fits is None:
            known = "" if least is None else f": it takes at least {decimal(least)}"
            yield f"whether {phase} fits in {decimal(size)} is unknown{known}"
        elif fits:
            assert least is not None
            yield f"{phase} fits in {decimal(size)}, with {decimal(size - least)} left"
        else:
            assert least is not None
            more = "at least " if total.bytes is None else ""
            yield f"{phase} does not fit in {decimal(size)}: it takes {more}{decimal(least - size)} more"


def _assumption(memory: Memory) -> Iterator[str]:
    if memory.assumed_trained:
        yield f"{memory.assumed_trained:,} values count as trained, because the file does not record it"


def _object(memory: Memory, size: int | None) -> dict[str, object]:
    return {
        "model": memory.model,
        "batch": memory.batch,
        "dtype": memory.dtype,
        "optimizer": memory.optimizer,
        "memory": [{column.key: column.value(row) for column in EXPORTED} for row in memory.rows],
        **({} if size is None else {"fits": {"size": size} | {each: memory.total(each).fits(size) for each in PHASES}}),
        **({"why_unknown": memory.why_unknown} if memory.why_unknown else {}),
        "assumed_trained": memory.assumed_trained,
        "is_estimate": True,
        "leaves_out": memory.leaves_out,
    }


def _tree(memory: Memory) -> Iterator[str]:
    """Yield the lines of a tree: each total, and its parts below it."""
    items: list[tuple[int, MemoryRow]] = []
    for total in memory.rows:
        phase, _, name = total.name.partition(" ")
        if name == "total":
            parts = (row for row in memory.rows if row.name.startswith(phase) and row is not total)
            items += [(1, replace(total, name=phase))]
            items += [(2, replace(row, name=row.name.removeprefix(f"{phase} "))) for row in parts]
    stems = branches([depth for depth, _ in items])
    return table([replace(row, name=stem + row.name) for stem, (_, row) in zip(stems, items, strict=True)], COLUMNS)
