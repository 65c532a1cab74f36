"""paramctl summary: what a model holds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from paramctl.cli import options
from paramctl.cli.command import Command
from paramctl.cli.render import Column, branches, choose, emit, json_text, plain, printable, rows, style, table

if TYPE_CHECKING:
    from paramctl.address.resolve import Filters
    from paramctl.inspect.summary import LayerRow, ParameterRow, Summary


def _count_text(row: LayerRow) -> str:
    if row.parameters is None:
        return "" if row.expanded else "?"
    return f"{row.parameters:,}"


def _count_note(row: LayerRow) -> str:
    """Where what is not counted here is counted: ``(= shared)``, ``(kernel = tokens/embeddings)``."""
    notes = [f"{name} = {path}" if name else f"= {path}" for name, path in dict.fromkeys(row.shared)]
    return f"({', '.join(notes[:2])}{', ...' if len(notes) > 2 else ''})" if notes else ""


def _size_text(row: ParameterRow) -> str:
    return f"{row.size:,}" if row.counted_at == row.path else "0"


def _bytes_text(row: ParameterRow) -> str:
    return f"{row.bytes:,}" if row.counted_at == row.path else "0"


def _size_note(row: ParameterRow) -> str:
    return "" if row.counted_at == row.path else f"(= {row.counted_at})"


def _shape_text(shape: tuple[int | None, ...] | None) -> str:
    return "?" if shape is None else str(shape)


LAYER_COLUMNS = [
    Column("path", "Layer", lambda row: row.path),
    Column("type", "Type", lambda row: row.type),
    Column("output_shape", "Output shape", lambda row: row.output_shape, lambda row: _shape_text(row.output_shape)),
    Column("parameters", "Parameters", lambda row: row.parameters, _count_text, True, _count_note),
    Column("trainable", "Trainable", lambda row: row.trainable, right=True),
    Column("non_trainable", "Non-trainable", lambda row: row.non_trainable, right=True),
    Column("bytes", "Bytes", lambda row: row.bytes, right=True),
    Column("reuse_of", "Reuse of", lambda row: row.reuse_of),
    Column("from", "From", lambda row: list(row.from_)),
]
LAYER_TABLE = ("path", "type", "output_shape", "parameters")
LAYER_JSON = ("path", "type", "output_shape", "parameters", "reuse_of", "from")

PARAMETER_COLUMNS = [
    Column("path", "Parameter", lambda row: row.path),
    Column("shape", "Shape", lambda row: list(row.shape)),
    Column("dtype", "Dtype", lambda row: row.dtype),
    Column("trainable", "Trainable", lambda row: row.trainable),
    Column("size", "Size", lambda row: row.size, _size_text, True, _size_note),
    Column("axes", "Axes", lambda row: None if row.axes is None else list(row.axes)),
    Column("fan_in", "Fan in", lambda row: row.fan_in, right=True),
    Column("fan_out", "Fan out", lambda row: row.fan_out, right=True),
    Column("scheme", "Scheme", lambda row: row.scheme),
    Column("tied_to", "Tied to", lambda row: row.tied_to),
    Column("kind", "Kind", lambda row: row.kind),
    Column("bytes", "Bytes", lambda row: row.bytes, _bytes_text, right=True),
]
PARAMETER_TABLE = ("path", "shape", "dtype", "size", "axes", "fan_in", "fan_out", "trainable", "scheme")
PARAMETER_JSON = tuple(column.key for column in PARAMETER_COLUMNS[:10])

OF_LAYERS = ("output_shape", "axes", "fan_in", "fan_out", "scheme")
"""The columns that only a model with layers can fill."""


@click.command(cls=Command)
@options.model
@options.patterns
@click.option(
    "--depth", type=click.IntRange(min=1), metavar="N", help="How many levels of blocks to expand. [default: all]"
)
@click.option("--parameters", is_flag=True, help="A row for each parameter, not for each layer.")
@click.option(
    "--columns",
    metavar="NAME,...",
    help="Which columns, in this order, of "
    + ", ".join(column.key for column in LAYER_COLUMNS)
    + "; with --parameters, of "
    + ", ".join(column.key for column in PARAMETER_COLUMNS)
    + ".",
)
@options.filters
@options.define
@options.input_shape
@options.format_("table", "tree", "json", "jsonl", "csv", "markdown")
def summary(
    model: str | None,
    patterns: tuple[str, ...],
    depth: int | None,
    parameters: bool,
    columns: str | None,
    keep: Filters,
    define: tuple[str, ...],
    input_shape: tuple[str, ...],
    format: str,
) -> None:
    """Show what a model holds: its layers, output shapes and parameters, counted once each.

    Only rows that are not expanded carry a count, and a shared array counts where it first
    stands; so the rows add up to the total. A pattern shows what it matches and all below; the totals are
    then those of what is shown.

    With --parameters, a row for each parameter: shape, dtype, the role of each axis, fans, and the scheme
    that initializes it. An axis is summed over for each output (in), counts outputs (out), is a position of
    the receptive field (field), or counts what stands side by side (batch), as channels or rows of a table
    do. In csv, jsonl and json a tied parameter has its own size; tied_to says whose values it has.

    \b
    paramctl summary
    paramctl summary resnet50.yaml --depth 1
    paramctl summary gpt2.yaml -D width=1024 -D depth=24 -D heads=16
    paramctl summary gpt2.yaml 'block-0/**/kernel' --parameters
    paramctl summary mlp.yaml --format jsonl | jq .parameters
    """
    if columns is not None and format in ("json", "tree"):
        raise click.UsageError(f"--columns chooses among the columns of rows, and {format} has none.")
    if depth is not None and parameters and format in ("table", "jsonl", "csv", "markdown"):
        raise click.UsageError("--depth is for layers; with --parameters there is a row for each parameter.")
    available = PARAMETER_COLUMNS if parameters else LAYER_COLUMNS
    chosen = choose(available, columns, PARAMETER_TABLE if parameters else LAYER_TABLE)
    everything = PARAMETER_JSON if parameters else LAYER_JSON
    from paramctl.inspect.summary import summarize

    found = options.open_argument(model, define, input_shape)
    stored = found.checkpoint
    schemes = {path: note.scheme for path, note in stored.notes.items()} if stored else None
    facts = summarize(found.model, patterns, depth, schemes, keep)
    if not facts.inputs and not columns:  # a file without a document knows names, and no layers
        chosen = [column for column in chosen if column.key not in OF_LAYERS]
    items: list[Any] = list(facts.parameters if parameters else facts.layers)
    if format == "json":
        emit([json_text(_object(facts))])
    elif format in ("jsonl", "csv"):
        emit(rows(format, items, chosen if columns else choose(available, None, everything)))
    elif format == "markdown":
        emit(rows(format, items, chosen))
    else:
        emit(_heading(facts))
        emit(_tree(facts, parameters) if format == "tree" else table(items, chosen))
        emit(_totals(facts))
        if stored and stored.apart:
            emit([f"Beside them: {stored.apart.words}"])


def _object(facts: Summary) -> dict[str, Any]:
    """All there is, as one object. The totals are null where an input's shape is wanting."""
    layer_columns = choose(LAYER_COLUMNS, None, LAYER_JSON)
    parameter_columns = choose(PARAMETER_COLUMNS, None, PARAMETER_JSON)
    known, counts = not facts.unbuilt, facts.totals
    return {
        "model": facts.model,
        "inputs": [{"name": each.name, "shape": each.shape, "dtype": each.dtype} for each in facts.inputs],
        "outputs": facts.outputs,
        "layers": [{column.key: column.value(row) for column in layer_columns} for row in facts.layers],
        "parameters": [{column.key: column.value(row) for column in parameter_columns} for row in facts.parameters],
        "ties": [{"keep": tie.kept, "tie": tie.tied, "transpose": tie.transpose} for tie in facts.ties],
        "totals": {
            "parameters": counts.parameters if known else None,
            "trainable": counts.trainable if known else None,
            "non_trainable": counts.non_trainable if known else None,
            "bytes": sum(counts.bytes.values()) if known else None,
            "bytes_by_dtype": counts.bytes if known else None,
        },
    }


def _heading(facts: Summary) -> Iterator[str]:
    inputs = ", ".join(f"{each.name} {_shape_text(each.shape)}" for each in facts.inputs)
    yield style(printable(f"{facts.model}: {inputs}" if inputs else facts.model), bold=True)
    yield ""


class Leaf(NamedTuple):
    """One line of the tree: a layer, or a parameter of one."""

    depth: int
    name: str
    type: str
    shape: str
    parameters: str
    note: str


TREE_COLUMNS = [
    Column("name", "Layer", lambda line: line.name),
    Column("type", "Type", lambda line: line.type),
    Column("shape", "Shape", lambda line: line.shape),
    Column("count", "Parameters", lambda line: line.parameters, None, True, lambda line: line.note),
]


def _tree(facts: Summary, parameters: bool) -> Iterator[str]:
    """The layers drawn as a tree; with parameters, these are its leaves and carry the counts."""
    lines = list(_leaves(facts, parameters))
    stems = branches([line.depth for line in lines])
    return table([line._replace(name=stem + line.name) for stem, line in zip(stems, lines, strict=True)], TREE_COLUMNS)


def _leaves(facts: Summary, parameters: bool) -> Iterator[Leaf]:
    rows = {row.path: row for row in facts.parameters} if parameters else {}
    for layer in facts.layers:
        own = [rows[path] for path in layer.holds if path in rows]
        count, note = ("", "") if own else (_count_text(layer), _count_note(layer))
        yield Leaf(
            layer.depth,
            layer.path.rpartition(facts.separator)[2],
            layer.type,
            _shape_text(layer.output_shape),
            count,
            note,
        )
        for row in own:
            name = row.path[len(layer.path) + 1 :]
            yield Leaf(layer.depth + 1, name, row.dtype, plain(row.shape), _size_text(row), _size_note(row))


def _totals(facts: Summary) -> Iterator[str]:
    counts = facts.totals
    yield ""
    if facts.unbuilt:
        layers = "1 layer waits" if facts.unbuilt == 1 else f"{facts.unbuilt:,} layers wait"
        yield f"Total parameters: ? ({layers} for the shape of an input: give it by --input-shape)"
        return
    width = len(f"{counts.parameters:,}")
    yield f"Total parameters:  {counts.parameters:>{width},}"
    if counts.unknown < counts.parameters or not counts.parameters:
        if counts.trainable or not counts.unknown:
            yield f"    trainable:     {counts.trainable:>{width},}"
        yield f"    non-trainable: {counts.non_trainable:>{width},}"
        if counts.unknown:
            yield f"    not told:      {counts.unknown:>{width},}"
    for dtype, size in counts.bytes.items():
        yield f"Bytes in {dtype}: {size:,}{_binary(size)}"
    for tie in facts.ties:
        transposed = ", transposed" if tie.transpose else ""
        yield printable(f"Tied: {tie.tied} = {tie.kept}{transposed}")


def _binary(size: int) -> str:
    """Bytes in the largest unit that fits, `` (97.8 MiB)``; nothing below one of them."""
    for power, unit in ((4, "TiB"), (3, "GiB"), (2, "MiB"), (1, "KiB")):
        if size >= 1024**power:
            return f" ({size / 1024**power:.1f} {unit})"
    return ""
