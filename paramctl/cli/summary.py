"""paramctl summary: the layers, shapes and parameter counts of a model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import click

import paramctl
from paramctl.cli import inputs, options
from paramctl.cli.command import Command
from paramctl.cli.display import style
from paramctl.cli.memory import print_memory
from paramctl.cli.metadata import check_alone, print_metadata
from paramctl.cli.render import Column, branches, choose, emit, json_text, plain, rows, table, tell
from paramctl.cli.several import of_each, refuse_standard_input, split_files, summary_lines
from paramctl.cli.summary_columns import (
    COSTS,
    LAYER_COLUMNS,
    LAYER_JSON,
    LAYER_TABLE,
    OF_LAYERS,
    PARAMETER_COLUMNS,
    PARAMETER_JSON,
    PARAMETER_TABLE,
    count_note,
    count_text,
    shape_text,
    size_note,
    size_text,
)
from paramctl.cli.summary_totals import total_lines
from paramctl.core.text import abbreviate, printable
from paramctl.inspect.optimizers import OPTIMIZERS

if TYPE_CHECKING:
    from paramctl.inspect.summary import Summary


EPILOG = f"""
Columns: {", ".join(column.key for column in LAYER_COLUMNS)}.

Columns with --parameters: {", ".join(column.key for column in PARAMETER_COLUMNS)}.
"""


@click.command(cls=Command, short_help="Show layers, shapes and parameter counts", epilog=EPILOG)
@options.model
@options.patterns
@click.option("--depth", type=click.IntRange(min=1), metavar="N", show_default="all", help="Levels of blocks to expand")
@click.option("--parameters", is_flag=True, help="Print a row for each parameter instead of each layer")
@click.option("--columns", metavar="NAME,...", help="Columns to print, in this order; listed below")
@click.option("--memory", is_flag=True, help="Estimate the bytes for inference and for training instead")
@click.option(
    "--optimizer", type=click.Choice(tuple(OPTIMIZERS)), show_default="adam", help="With --memory: of the training"
)
@click.option("--batch", type=click.IntRange(1), metavar="N", show_default="1", help="With --memory: examples at once")
@click.option("--metadata", is_flag=True, help="Print what the file records beside its arrays instead")
@options.filters
@options.state
@options.define
@options.input_shape
@options.format_("table", "tree", "json", "jsonl", "csv", "markdown")
def summary(
    model: str | None,
    patterns: tuple[str, ...],
    depth: int | None,
    parameters: bool,
    columns: str | None,
    memory: bool,
    optimizer: str | None,
    batch: int | None,
    metadata: bool,
    filters: dict[str, Any],
    state: bool,
    define: tuple[str, ...],
    input_shape: tuple[str, ...],
    format: str,
) -> int:
    """Show the layers of a model, their output shapes, and the number of their parameters.

    A shared array is counted once, at its first occurrence, and a block that is expanded has no count of its own, so
    the rows add up to the total. Parameters that a Keras file has in its configuration, but not among its arrays, are
    listed as missing. With patterns, shows only the matches and everything below them, and their total.

    Weights that bitsandbytes, GPTQ, AWQ or compressed-tensors packed in 2, 3, 4 or 8 bits, and those of NVFP4 and of
    MXFP4 in gpt-oss, count as the parameters that they hold, if the names, dtypes and shapes of the arrays leave no
    doubt. Scales and zeros are counted apart.

    With --parameters, prints a row for each parameter: shape, dtype, the role of each axis, fans, and its
    initialization scheme. The roles: 'in' is summed over for each output, 'out' indexes the outputs, 'field' is a
    position in the receptive field, and 'batch' indexes independent entries, such as channels or rows of an embedding.
    In csv, jsonl and json, a tied parameter has its own size, and tied_to names the parameter that has its values.

    The arrays of the file's optimizer are not parameters: a line has their number, values and bytes, and no other
    total includes them. With --state, prints a row for each of them after those of --parameters.

    With --metadata, prints the metadata of a safetensors file, the attributes of an HDF5 file, the configuration of a
    Keras file, the keys of GGUF, or plain values beside the arrays of another format, and paramctl's own record. On a
    terminal, long values are shortened. No other option but --format applies.

    The columns macs and activations have the multiply-accumulates for one example, and the number of values of the
    output. Here a layer that is applied again counts again, and a row of a block has the sum of the layers inside. With
    these columns, the table and json have their totals. COSTS in paramctl-model(5) says which operations count.

    Several files give one table with a column File, and a table of totals. A file that cannot be read is an error, but
    the others are shown.

    With --memory, prints an estimate of the bytes that inference and training take. The filters do not apply; --dtype
    is the dtype to assume for floating-point parameters and activations. COSTS in paramctl-model(5) has the formula.

    \b
    Examples:
      paramctl summary
      paramctl summary resnet50.yaml --depth 1
      paramctl summary gpt2.yaml -D width=1024 -D depth=24 -D heads=16
      paramctl summary *.safetensors --parameters
      paramctl summary gpt2.yaml 'block-0/**/kernel' --parameters
      paramctl summary mlp.yaml --format jsonl | jq .parameters
      paramctl summary resnet50.yaml --columns path,output_shape,macs,activations
      paramctl summary model.safetensors --metadata
      paramctl summary resnet50.yaml --memory --optimizer adamw --batch 32 --dtype bfloat16
    """
    files, patterns = split_files(model, patterns)
    refuse_standard_input(files)
    if memory:
        if len(files) > 1:
            raise click.UsageError("--memory is for one model")
        _check_memory_options(bool(patterns), depth, parameters, columns, filters, state)
        arrays = inputs.open_argument(model, define, input_shape)
        print_memory(
            paramctl.memory(arrays, optimizer=optimizer or "adam", batch=batch or 1, dtype=filters["dtype"]), format
        )
        return 0
    if metadata:
        if len(files) > 1:
            raise click.UsageError("--metadata is for one file")
        check_alone(format)
        print_metadata(paramctl.metadata(inputs.open_argument(model)), model, format)
        return 0
    parameters = parameters or state
    if optimizer is not None or batch is not None:
        raise click.UsageError(f"--{'batch' if optimizer is None else 'optimizer'} requires --memory")
    view = _view(parameters, columns, depth, state, format, len(files) > 1)

    def facts_of(file: str | None) -> Summary:
        arrays = inputs.open_argument(file, define, input_shape, lenient=len(files) > 1)
        if state:
            inputs.note_state(arrays, file)
        facts = paramctl.summary(arrays, *patterns, depth=depth, **filters, state=state)
        if facts.missing and (len(files) > 1 or format not in ("table", "tree", "json")):  # these show the parameters
            names = abbreviate([*facts.missing])
            tell(f"{facts.model}: missing from the file: {names}")
        return facts

    if len(files) == 1:
        _print_one(facts_of(model), view)
        return 0
    summaries, code = of_each(files, facts_of)
    if summaries:
        shown = view.shown if format in ("table", "markdown") else view.exported
        emit(summary_lines(summaries, view.rows, shown, format, view.as_object))
    return code


class _View(NamedTuple):
    """The rows and columns to print.

    parameters: True for rows of parameters, False for layers. shown: the columns of a table. exported: of csv and JSON
    lines. chosen: True if --columns names them.
    """

    parameters: bool
    shown: list[Column]
    exported: list[Column]
    chosen: bool
    format: str

    def rows(self, facts: Summary) -> list[Any]:
        return [*facts.parameters, *facts.optimizer] if self.parameters else [*facts.layers]

    def as_object(self, facts: Summary) -> dict[str, Any]:
        return _object(facts, self.parameters, self.shown if self.chosen else None)


def _view(
    parameters: bool, columns: str | None, depth: int | None, state: bool, format: str, is_several: bool
) -> _View:
    """Return the rows and columns that options select. Raises UsageError for options that exclude each other."""
    if columns is not None and format == "tree":
        raise click.UsageError(f"--columns requires a format with columns (got {format})")
    if depth is not None and parameters and format in ("table", "jsonl", "csv", "markdown"):
        raise click.UsageError("--depth applies to layers, and --parameters prints no rows for them")
    if is_several and format == "tree":
        raise click.UsageError("--format tree is for one file")
    available = PARAMETER_COLUMNS if parameters else LAYER_COLUMNS
    kind = ("kind",) if state else ()
    shown = choose(available, columns, (*PARAMETER_TABLE, *kind) if parameters else LAYER_TABLE)
    exported = choose(available, columns, (*PARAMETER_JSON, *kind) if parameters else LAYER_JSON)
    return _View(parameters, shown, exported, columns is not None, format)


def _print_one(facts: Summary, view: _View) -> None:
    """Print the summary of one file."""
    shown, items = view.shown, view.rows(facts)
    if not facts.inputs and not view.chosen:
        shown = [column for column in shown if column.key not in OF_LAYERS]
    if view.format == "json":
        emit([json_text(view.as_object(facts))])
    elif view.format in ("jsonl", "csv"):
        emit(rows(view.format, items, view.exported))
    elif view.format == "markdown":
        emit(rows(view.format, items, shown))
    else:
        emit(_heading(facts))
        emit(_tree(facts, view.parameters) if view.format == "tree" else table(items, shown))
        emit(total_lines(facts))
        emit(f"Total {COSTS[each.key]}: {_total_text(facts, each.key)}" for each in shown if each.key in COSTS)


def _check_memory_options(
    patterns: bool, depth: int | None, parameters: bool, columns: str | None, filters: dict[str, Any], state: bool
) -> None:
    """Raise UsageError for options that select rows, which --memory has none of."""
    options = {
        "a pattern": patterns,
        "--depth": depth is not None,
        "--parameters": parameters,
        "--columns": columns is not None,
        "--trainable or --frozen": filters["trainable"] is not None,
        "--kind": filters["kind"] is not None,
        "--min-size": filters["min_size"] is not None,
        "--state": state,
    }
    for name, is_used in options.items():
        if is_used:
            raise click.UsageError(f"--memory is an estimate for the whole model, so it does not support {name}")


def _total_text(facts: Summary, key: str) -> str:
    """Return the total of a cost, or why it is unknown."""
    count = getattr(facts.cost, key)
    return f"unknown ({facts.why_unknown})" if count is None else f"{count:,}"


def _object(facts: Summary, parameters: bool, chosen: list[Column] | None) -> dict[str, Any]:
    """Return the summary as one JSON object.

    parameters: True if chosen is columns of parameters. chosen: the columns of the rows; the usual ones by default.

    The totals are null if the shape of an input is unknown. The counts of trainable and non-trainable values are null
    if the file does not record them for every value, and the number of values for which it does not is given.
    """
    layer_columns = choose(LAYER_COLUMNS, None, LAYER_JSON)
    parameter_columns = choose(PARAMETER_COLUMNS, None, PARAMETER_JSON)
    if chosen is not None:
        layer_columns, parameter_columns = (layer_columns, chosen) if parameters else (chosen, parameter_columns)
    costs = [column.key for column in layer_columns if column.key in COSTS]
    known, counts = not facts.unbuilt, facts.totals
    packed = [each._asdict() | {"parameters": each.parameters} for each in facts.packed]
    return {
        "model": facts.model,
        "inputs": [{"name": input_.name, "shape": input_.shape, "dtype": input_.dtype} for input_ in facts.inputs],
        "outputs": facts.outputs,
        "layers": [{column.key: column.value(row) for column in layer_columns} for row in facts.layers],
        "parameters": [{column.key: column.value(row) for column in parameter_columns} for row in facts.parameters],
        **(
            {"missing": [{"path": path, "shape": shape} for path, shape in facts.missing.items()]}
            if facts.missing
            else {}
        ),
        "ties": [{"keep": tie.kept, "tie": tie.tied, "transpose": tie.transpose} for tie in facts.ties],
        "totals": {
            "parameters": counts.parameters if known else None,
            "trainable": counts.trainable if known else None,
            "non_trainable": counts.non_trainable if known else None,
            **({"unknown": counts.unknown} if known and counts.unknown else {}),
            "bytes": sum(counts.bytes.values()) if known else None,
            "bytes_by_dtype": counts.bytes if known else None,
            **(
                {"bits_by_dtype": {name: each.bits for name, each in facts.encodings.items()}}
                if facts.encodings
                else {}
            ),
            **({"stored": facts.stored, "scales": facts.scales} if facts.packed or facts.scales else {}),
            **{key: getattr(facts.cost, key) for key in costs},
        },
        **({"packed": packed} if packed else {}),
        **({"optimizer_state": _state(facts, parameter_columns)} if facts.optimizer_totals else {}),
    }


def _state(facts: Summary, columns: list[Column]) -> dict[str, Any]:
    """Return the optimizer's state as JSON has it: the totals, and the rows if they were asked for."""
    assert facts.optimizer_totals is not None
    rows = [{column.key: column.value(row) for column in columns} for row in facts.optimizer]
    return {**facts.optimizer_totals._asdict(), **({"rows": rows} if rows else {})}


def _heading(facts: Summary) -> Iterator[str]:
    inputs = ", ".join(f"{input_.name} {shape_text(input_.shape)}" for input_ in facts.inputs)
    yield style(printable(f"{facts.model}: {inputs}" if inputs else facts.model), bold=True)
    yield ""


class TreeRow(NamedTuple):
    """A line of the tree: a layer, or a parameter of one."""

    depth: int
    name: str
    type: str
    shape: str
    parameters: str
    note: str


TREE_COLUMNS = [
    Column("name", "Layer", lambda row: row.name),
    Column("type", "Type", lambda row: row.type),
    Column("shape", "Shape", lambda row: row.shape),
    Column("count", "Parameters", lambda row: row.parameters, None, True, lambda row: row.note, priority=0),
]


def _tree(facts: Summary, parameters: bool) -> Iterator[str]:
    """Yield the lines of a tree of layers; with parameters, these are its leaves and have the counts."""
    tree = list(_tree_rows(facts, parameters))
    stems = branches([row.depth for row in tree])
    return table([row._replace(name=stem + row.name) for stem, row in zip(stems, tree, strict=True)], TREE_COLUMNS)


def _tree_rows(facts: Summary, parameters: bool) -> Iterator[TreeRow]:
    by_path = {row.path: row for row in facts.parameters} if parameters else {}
    for layer in facts.layers:
        leaves = [by_path[path] for path in layer.holds if path in by_path]
        count, note = ("", "") if leaves else (count_text(layer), count_note(layer))
        name = layer.path.rpartition(facts.separator)[2]
        yield TreeRow(layer.depth, name, layer.type, shape_text(layer.output_shape), count, note)
        for leaf in leaves:
            name = leaf.path[len(layer.path) + 1 :]
            yield TreeRow(layer.depth + 1, name, leaf.dtype, plain(leaf.shape), size_text(leaf), size_note(leaf))
    if facts.optimizer:
        yield TreeRow(1, "optimizer state", "", "", "", "")
    for row in facts.optimizer:
        yield TreeRow(2, row.path, row.dtype, plain(row.shape), size_text(row), "")
