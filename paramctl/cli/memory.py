"""summary --memory: an estimate of the memory that a model takes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from textwrap import wrap
from typing import TYPE_CHECKING

from paramctl.cli.display import style
from paramctl.cli.render import Column, binary, branches, emit, json_text, rows, table, tell
from paramctl.core.text import printable

if TYPE_CHECKING:
    from paramctl.inspect.memory import Memory, MemoryRow


LINE = 112


def _bytes_text(row: MemoryRow) -> str:
    return "?" if row.bytes is None else f"{row.bytes:,}"


def _bytes_note(row: MemoryRow) -> str:
    return "" if row.bytes is None else binary(row.bytes).strip()


COLUMNS = [
    Column("name", "Memory", lambda row: row.name),
    Column("bytes", "Bytes", lambda row: row.bytes, _bytes_text, True, _bytes_note, priority=0),
]


def print_memory(memory: Memory, format: str) -> None:
    """Write an estimate to standard output. In the formats of rows, standard error has its assumption."""
    if format == "json":
        emit([json_text(_object(memory))])
    elif format in ("csv", "jsonl", "markdown"):
        emit(rows(format, memory.rows, COLUMNS))
        for line in _assumption(memory):
            tell(f"{memory.model}: {line}")
    else:
        heading = f"{memory.model}: batch {memory.batch:,}, {memory.dtype}, optimizer {memory.optimizer}"
        emit([style(printable(heading), bold=True), ""])
        emit(_tree(memory) if format == "tree" else table(memory.rows, COLUMNS))
        emit(["", *([f"Unknown: {memory.why_unknown}"] if memory.why_unknown else [])])
        emit(_assumption(memory))
        emit(wrap(f"An estimate. It leaves out {memory.leaves_out}.", LINE))


def _assumption(memory: Memory) -> Iterator[str]:
    if memory.assumed_trained:
        yield f"{memory.assumed_trained:,} values count as trained, because the file does not record it"


def _object(memory: Memory) -> dict[str, object]:
    return {
        "model": memory.model,
        "batch": memory.batch,
        "dtype": memory.dtype,
        "optimizer": memory.optimizer,
        "memory": [{column.key: column.value(row) for column in COLUMNS} for row in memory.rows],
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
