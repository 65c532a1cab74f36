"""paramctl summary: the layers, shapes and parameter counts of a model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import click

import paramctl
from paramctl.cli import inputs, options
from paramctl.cli.command import Command
from paramctl.cli.completions import complete_columns
from paramctl.cli.display import display, screen, style, table_width
from paramctl.cli.render import FOR_PEOPLE, ROW_FORMATS, Column, emit, json_text, rows, table, tell
from paramctl.cli.several import of_each, refuse_standard_input, split_files, summary_lines
from paramctl.cli.summary_columns import COSTS, LAYER_COLUMNS, PARAMETER_COLUMNS, shape_text
from paramctl.cli.summary_totals import left_out_lines, of_files, total_lines
from paramctl.cli.summary_tree import tree_lines
from paramctl.cli.summary_view import View, view_of
from paramctl.core.text import abbreviate, printable
from paramctl.inspect.optimizers import OPTIMIZERS, PHASES
from paramctl.inspect.sorts import SORTS

if TYPE_CHECKING:
    from paramctl import Model, Weights
    from paramctl.inspect.summary import Summary


HEADING_LINES = 4
"""The lines of a table before its rows."""

EPILOG = f"""
Columns: {", ".join(column.key for column in LAYER_COLUMNS)}.

Columns with --parameters: {", ".join(column.key for column in PARAMETER_COLUMNS)}.
"""


def _columns(context: click.Context) -> Sequence[Column]:
    """Return the columns of the rows that the options select."""
    return PARAMETER_COLUMNS if context.params.get("parameters") or context.params.get("state") else LAYER_COLUMNS


@click.command(cls=Command, short_help="Show layers, shapes, parameters and memory", epilog=EPILOG)
@options.model
@options.patterns
@click.option("--depth", type=click.IntRange(min=1), metavar="N", show_default="all", help="Levels of blocks to expand")
@click.option("--parameters", is_flag=True, help="Print a row for each parameter instead of each layer")
@click.option(
    "--columns",
    metavar="NAME,...",
    shell_complete=complete_columns(_columns),
    help="Columns to print, in this order; listed below",
)
@click.option(
    "--sort",
    type=click.Choice(SORTS),
    show_default="the model's",
    help="Order of the rows, largest first, and the share of each",
)
@click.option(
    "--top", type=click.IntRange(min=1), metavar="N", show_default="all", help="Only the N first rows; largest first"
)
@click.option(
    "--group/--no-group",
    default=None,
    show_default="if too long for a terminal",
    help="Print one row for equal blocks",
)
@click.option("--memory", is_flag=True, help="Estimate the bytes for inference and for training instead")
@click.option(
    "--optimizer", type=click.Choice(tuple(OPTIMIZERS)), show_default="adam", help="With --memory: of the training"
)
@click.option("--batch", type=click.IntRange(1), metavar="N", show_default="1", help="With --memory: examples at once")
@click.option(
    "--fits", type=options.Size(), metavar="SIZE", help="With --memory: test whether it fits, such as in 24GB or 24GiB"
)
@click.option(
    "--for",
    "phase",
    type=click.Choice(PHASES),
    show_default="inference",
    help="With --fits: the phase whose fit is the exit code",
)
@click.option("--metadata", is_flag=True, help="Print what the file records beside its arrays instead")
@partial(options.filters, dtype_help="Only arrays of this dtype; with --memory: the dtype to assume for all values")
@options.state
@options.define
@options.input_shape
@options.format_("table", "tree", *ROW_FORMATS[1:])
def summary(
    model: str | None,
    patterns: tuple[str, ...],
    depth: int | None,
    parameters: bool,
    columns: str | None,
    sort: str | None,
    top: int | None,
    group: bool | None,
    memory: bool,
    optimizer: str | None,
    batch: int | None,
    fits: int | None,
    phase: str | None,
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

    The layers of a checkpoint without a model have the types that the names and shapes of their arrays tell without
    doubt, such as dense, conv2d or layer_normalization. Others are groups.

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

    With --sort or --top, prints the rows that count something, largest first or by path, and two more columns. The
    column percent has the share of the total parameters of the selection, and cumulative that of all rows up to it;
    with --sort bytes or macs, the shares are of these. A block that is expanded has no count of its own, and no row
    here; --depth 1 ranks whole blocks. A line has the number of rows that --top left out, and totals include them.
    Without --sort, --top sorts by parameters, or by bytes or macs if --columns has these first. In json, both layers
    and parameters are sorted.

    With --group, prints one row for equal blocks: block-[0..11], with their number as x12 and the sum of all. Equal
    blocks have equal types, output shapes, costs, and relative paths, shapes, dtypes, schemes and ties of their
    parameters; others stay apart, as layers.[0..2,4..31] and layers.3. The rows inside have the sums of all blocks too,
    and the path of each row is an address of all its layers or parameters. This is the default on a terminal for a
    table that is longer than the screen.

    Several files give one table with a column File, and a table of totals. A file that cannot be read is an error, but
    the others are shown. --sort and --top rank the rows of all files together, and the shares are of their total.

    With --memory, prints an estimate of the bytes that inference and training take. The filters do not apply; --dtype
    is the dtype to assume for floating-point parameters and activations. COSTS in paramctl-model(5) has the formula.
    If the activations are unknown, a total is at least the rest.

    With --fits, also prints whether the totals of inference and of training fit in a size. The exit code is 0 if the
    phase of --for fits, 1 if it does not, and 2 if that is unknown. The estimate leaves memory out, so leave 1 or 2 GB
    of the device free. KB, MB and GB are powers of 1,000, and KiB, MiB and GiB powers of 1,024.

    \b
    Examples:
      paramctl summary
      paramctl summary resnet50.yaml --depth 1
      paramctl summary gpt2.yaml -D width=1024 -D depth=24 -D heads=16
      paramctl summary *.safetensors --parameters
      paramctl summary gpt2.yaml 'block-0/**/kernel' --parameters
      paramctl summary mlp.yaml --format jsonl | jq .parameters
      paramctl summary resnet50.yaml --columns path,output_shape,macs,activations
      paramctl summary model.safetensors --parameters --top 10
      paramctl summary gpt2.yaml --depth 1 --sort parameters
      paramctl summary gpt2.yaml --group
      paramctl summary model.safetensors --metadata
      paramctl summary resnet50.yaml --memory --optimizer adamw --batch 32 --dtype bfloat16
      paramctl summary gpt2.yaml --memory --dtype bfloat16 --fits 22GB --for training
    """
    files, patterns = split_files(model, patterns)
    refuse_standard_input(files)
    if memory:
        if len(files) > 1:
            raise click.UsageError("--memory is for one model")
        from paramctl.cli.memory import print_memory  # most summaries need neither this nor the next

        _check_memory_options(bool(patterns), depth, parameters, columns, sort, top, group, filters, state)
        arrays = inputs.open_argument(model, define, input_shape)
        estimate = paramctl.memory(arrays, optimizer=optimizer or "adam", batch=batch or 1, dtype=filters["dtype"])
        return print_memory(estimate, format, fits, phase)
    if metadata:
        if len(files) > 1:
            raise click.UsageError("--metadata is for one file")
        from paramctl.cli.metadata import check_alone, print_metadata

        check_alone(format)
        print_metadata(paramctl.metadata(inputs.open_argument(model)), model, format)
        return 0
    parameters = parameters or state
    _check_requires_memory({"--optimizer": optimizer, "--batch": batch, "--fits": fits, "--for": phase})
    view = view_of(parameters, columns, depth, state, format, len(files) > 1, sort, top, bool(group))

    def opened(file: str | None) -> Model | Weights:
        arrays = inputs.open_argument(file, define, input_shape, lenient=len(files) > 1)
        if state:
            inputs.note_state(arrays, file)
        return arrays

    def facts_of(arrays: Model | Weights, view: View) -> Summary:
        facts = paramctl.summary(
            arrays,
            *patterns,
            depth=depth,
            **filters,
            state=state,
            group=view.group,
            only=view.only,
        )
        if facts.missing and (len(files) > 1 or format not in ("table", "tree", "json")):  # these show the parameters
            names = abbreviate([*facts.missing])
            tell(f"{facts.model}: missing from the file: {names}")
        return facts

    if len(files) == 1:
        arrays = opened(model)
        _print_fitted(lambda view: facts_of(arrays, view), view, group)
        return 0
    summaries, code = of_each(files, lambda file: facts_of(opened(file), view))
    if summaries:
        emit(_lines_of_several(summaries, view))
    return code


def _lines_of_several(summaries: Sequence[tuple[str, Summary]], view: View) -> Iterator[str]:
    """Yield the lines of the summaries of several files."""
    ranked = _with_shares([facts for _, facts in summaries], view)
    summaries = [(file, facts) for (file, _), facts in zip(summaries, ranked, strict=True)]
    shown = view.shown if view.format in FOR_PEOPLE else view.exported
    # a share is of the total of the files together, as its heading says
    shown = [
        replace(each, heading=f"{each.heading} of {of_files(len(ranked))}") if each.key == "percent" else each
        for each in shown
    ]
    more = [*left_out_lines(ranked, view.sort, view.parameters)]
    yield from summary_lines(summaries, view.rows_of_all(summaries), shown, view.format, view.as_object, more)
    if view.format not in ("table", "json"):
        for line in more:
            tell(line)


def _with_shares(summaries: list[Summary], view: View) -> list[Summary]:
    """Return summaries in the order of a view, with the shares of the rows in the total of all, if it has these."""
    if not view.has_shares:
        return summaries
    from paramctl.inspect.shares import rank

    return rank(summaries, view.sort, view.top)


def _is_too_long(facts: Summary, view: View) -> bool:
    """Return whether a table or tree does not fit the screen, and no option says that it need not."""
    if view.format not in ("table", "tree") or view.sort is not None or table_width() is None or display().pager:
        return False
    lines = [*view.rows(facts), *total_lines(facts)]
    return len(lines) + HEADING_LINES >= screen().lines


def _print_fitted(facts_of: Callable[[View], Summary], view: View, group: bool | None) -> None:
    """Print the summary of one file; if group is None and it is too long for the terminal, that of equal blocks."""
    (facts,) = _with_shares([facts_of(view)], view)
    grouped = view._replace(group=True)
    if (
        group is None
        and _is_too_long(facts, view)
        and len(view.rows(short := facts_of(grouped))) < len(view.rows(facts))
    ):
        _print_one(short, grouped)
        emit(["", f"Equal blocks are one row; --no-group shows all {len(view.rows(facts)):,} rows."])
    else:
        _print_one(facts, view)


def _print_one(facts: Summary, view: View) -> None:
    """Print the summary of one file."""
    shown, items = view.shown_for(facts), view.rows(facts)
    more = [*left_out_lines([facts], view.sort, view.parameters)]
    if view.format == "json":
        emit([json_text(view.as_object(facts))])
    elif view.format not in ("table", "tree"):
        emit(rows(view.format, items, shown if view.format in FOR_PEOPLE else view.exported))
        for line in more:
            tell(f"{facts.model}: {line}")
    else:
        emit(_heading(facts))
        emit(tree_lines(facts, view.parameters) if view.format == "tree" else table(items, shown))
        emit(more)
        emit(total_lines(facts))
        emit(f"Total {COSTS[each.key]}: {_total_text(facts, each.key)}" for each in shown if each.key in COSTS)


def _check_memory_options(
    patterns: bool,
    depth: int | None,
    parameters: bool,
    columns: str | None,
    sort: str | None,
    top: int | None,
    group: bool | None,
    filters: dict[str, Any],
    state: bool,
) -> None:
    """Raise UsageError for options that select rows, which --memory has none of."""
    options = {
        "a pattern": patterns,
        "--depth": depth is not None,
        "--parameters": parameters,
        "--columns": columns is not None,
        "--sort": sort is not None,
        "--top": top is not None,
        "--group or --no-group": group is not None,
        "--trainable or --frozen": filters["trainable"] is not None,
        "--kind": filters["kind"] is not None,
        "--min-size": filters["min_size"] is not None,
        "--state": state,
    }
    for name, is_used in options.items():
        if is_used:
            raise click.UsageError(f"--memory is an estimate for the whole model, so it does not support {name}")


def _check_requires_memory(options: dict[str, object]) -> None:
    """Raise UsageError for an option of --memory. options: the values by name, None if not given."""
    for name, value in options.items():
        if value is not None:
            raise click.UsageError(f"{name} requires --memory")


def _total_text(facts: Summary, key: str) -> str:
    """Return the total of a cost, or why it is unknown."""
    count = getattr(facts.cost, key)
    return f"unknown ({facts.why_unknown})" if count is None else f"{count:,}"


def _heading(facts: Summary) -> Iterator[str]:
    inputs = ", ".join(f"{input_.name} {shape_text(input_.shape)}" for input_ in facts.inputs)
    yield style(printable(f"{facts.model}: {inputs}" if inputs else facts.model), bold=True)
    yield ""
