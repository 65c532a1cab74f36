"""paramctl diff: the differences between two models or files."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

import paramctl
from paramctl.cli import inputs, options, progress
from paramctl.cli.command import Command
from paramctl.cli.render import ROW_FORMATS, Column, choose, emit, numeric, rows, tell
from paramctl.core.text import quantity

if TYPE_CHECKING:
    from paramctl.library.measures import Difference

COLUMNS = [
    Column("path", "Parameter", lambda row: None if row.status == "total" else row.path),
    Column("status", "Difference", lambda row: row.status, priority=0),
    Column("a", "A", lambda row: row.a, priority=2),
    Column("b", "B", lambda row: row.b, priority=2),
    numeric("different", "Differing values"),
    numeric("max_abs", "Max abs diff", priority=0),
    Column("at", "At", lambda row: None if row.at is None else list(row.at), priority=2),
    numeric("max_rel", "Max rel diff"),
    numeric("norm", "L2 norm of diff", priority=3),
    numeric("relative_norm", "Relative norm", priority=2),
    numeric("cosine", "Cosine similarity", priority=3),
]
NONFINITE = [
    numeric("nan_a", "NaN in A", priority=0),
    numeric("nan_b", "NaN in B", priority=0),
    numeric("inf_a", "Inf in A", priority=0),
    numeric("inf_b", "Inf in B", priority=0),
    Column("first_nan", "First NaN", lambda row: row.first_nan, priority=2),
    Column("first_inf", "First Inf", lambda row: row.first_inf, priority=2),
]
"""A table has those of these columns in which something is not 0."""
MEASURE = "max_abs"
"""The measure by which --top sorts without --by."""
KINDS = {
    "values": "in values",
    "dtype": "in dtype",
    "shape": "in shape",
    "ties": "in ties",
    "only in A": "only in A",
    "only in B": "only in B",
}
"""The words for the number of rows of each status, in the order in which a line has them."""


def _measures() -> Iterable[str]:
    from paramctl.inspect.ranking import MEASURES

    return MEASURES


@click.command(cls=Command, short_help="Show what differs between two models")
@click.argument(
    "a", type=click.Path(allow_dash=True), help="Model document or checkpoint, or its URL; '-' for standard input"
)
@click.argument("b", type=click.Path(allow_dash=True), help="Another, of the same format or not")
@click.option(
    "--rtol",
    type=click.FloatRange(0),
    default=0.0,
    metavar="TOL",
    show_default="0",
    help="Tolerance relative to the values of B",
)
@click.option(
    "--atol", type=click.FloatRange(0), default=0.0, metavar="TOL", show_default="0", help="Absolute tolerance"
)
@click.option("--equal-nan", is_flag=True, help="Treat every NaN as equal to every other, whatever its bits")
@click.option("--any-dtype", is_flag=True, help="Ignore a difference in dtype if the values are equal")
@click.option("--structure", is_flag=True, help="Compare names, shapes, dtypes and ties, not values")
@options.rename
@click.option("--like", metavar="MODEL", help="Model whose layers these are, if neither A nor B records them")
@click.option(
    "--by",
    type=options.LazyChoice(_measures),
    show_default="max_abs, with --top",
    help="Sort by this, largest difference first",
)
@click.option("--top", type=click.IntRange(1), metavar="N", help="Only the N largest differences")
@click.option("--total", is_flag=True, help="Add a row for all values; reads equal arrays too")
@options.state
@options.quiet("Print nothing; the exit code is the result")
@options.seed
@options.define
@options.format_(*ROW_FORMATS)
def diff(
    a: str,
    b: str,
    rtol: float,
    atol: float,
    equal_nan: bool,
    any_dtype: bool,
    structure: bool,
    rename: tuple[str, ...],
    like: str | None,
    by: str | None,
    top: int | None,
    total: bool,
    state: bool,
    quiet: bool,
    seed: int | None,
    define: tuple[str, ...],
    format: str,
) -> int:
    """Compare two models or files, of any formats, and print a row for each parameter that differs.

    Exit code: 0 no differences; 1 differences; 2 error.

    Compares names, shapes, dtypes, ties and values. Not metadata, nor which parameters are trained. Values a and b are
    equal if |a - b| <= atol + rtol |b|; this is exact where one of them is an integer. Infinities of one sign are
    equal. A NaN equals only a NaN with the same dtype and bits, or any other with --equal-nan. Other NaN and infinities
    differ, whatever the tolerance.

    A line on standard error has the number of arrays that differ.

    Max abs diff and max rel diff are those of the values that differ. The norms and the cosine are those of all
    values of the parameter; the relative norm is the norm of A - B over the norm of A. They are empty (null in JSON)
    if not finite, or if the norm of A is 0. NaN and infinities are counted on each side, among the values that differ.

    --by and --top put rows without numbers first, such as a missing parameter, then those with NaN or infinities.

    If one side has the layout of torch.nn modules and the other that of a document, the arrays of one are rearranged
    first. This needs the model's layers: from A, from B or from --like. --rename applies to B, and -D to each model
    document.

    With --state, the arrays of the files' optimizers are compared too, under their own names.

    \b
    Examples:
      paramctl diff before.h5 after.h5
      paramctl diff mlp.yaml mlp.h5 -q && echo equal
      paramctl diff gpt2.yaml small.h5 -D depth=2 --structure
      paramctl diff keras.weights.h5 exported.safetensors --rtol 1e-5
      paramctl diff float.safetensors bfloat16.safetensors --any-dtype --rtol 0.01
      paramctl diff a.safetensors b.safetensors --rename 'model.**=**' --by relative_norm --top 10
    """
    if a == "-" and b == "-":
        raise click.UsageError("Only one of A and B can be standard input")
    first, second = (inputs.open_argument(path, define, lenient=True) for path in (a, b))
    reference = inputs.open_argument(like, define, lenient=True) if like is not None else None
    if define and not any(isinstance(arrays, paramctl.Model) for arrays in (first, second, reference)):
        raise click.UsageError("-D requires a model document")
    with progress.bar("comparing") as report:
        difference = paramctl.diff(
            first,
            second,
            rtol=rtol,
            atol=atol,
            equal_nan=equal_nan,
            any_dtype=any_dtype,
            structure=structure,
            rename=rename,
            like=reference,
            by=by,
            top=top,
            total=total,
            seed=seed,
            state=state,
            progress=report,
        )
    if not quiet and (difference.rows or format in ("json", "csv")):
        shown = [*difference.rows, *([difference.total] if difference.total else [])]
        exact = format in ("json", "jsonl", "csv")
        found = [column for column in NONFINITE if exact or any(column.value(row) for row in shown)]
        asked = (by or MEASURE,) if by or top else ()
        columns = choose(COLUMNS + found, None, [each.key for each in COLUMNS + found], asked)
        emit(rows(format, shown, columns))
    if not quiet:
        for line in _closing(difference, _conditions(rtol, atol, equal_nan, any_dtype, structure)):
            tell(line)
    return 0 if difference.equal else 1


def _conditions(rtol: float, atol: float, equal_nan: bool, any_dtype: bool, structure: bool) -> str:
    """Return the options that make values or arrays equal, in brackets; empty if everything was compared exactly."""
    of_values = [f"rtol {rtol}" * bool(rtol), f"atol {atol}" * bool(atol), "any NaN equals another" * equal_nan]
    words = ["values not compared"] if structure else of_values
    words = [*filter(None, words), *(["dtypes ignored"] if any_dtype else [])]
    return f" ({', '.join(words)})" if words else ""


def _closing(difference: Difference, conditions: str) -> Iterable[str]:
    """Yield the lines that close a comparison: the rows that --top left out, the result, and a hint about names."""
    counts, arrays = difference.counts, difference.arrays
    differing = sum(counts.values())
    if left_out := differing - len(difference.rows):
        yield f"{quantity(left_out, 'more row')}, not shown"
    compared = quantity(arrays, "array")
    if not differing:
        yield f"no differences: {compared} compared{conditions}"
    else:
        kinds = ", ".join(f"{counts[status]:,} {words}" for status, words in KINDS.items() if counts.get(status))
        verb = "differs" if differing == 1 else "differ"
        named = "" if counts.get("values") == differing else f": {kinds}"
        yield f"{differing:,} of {compared} {verb}{conditions}{named}"
    if difference.hint:
        yield f"note: the names differ. {difference.hint}"
