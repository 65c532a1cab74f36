"""paramctl diff: the differences between two models or files."""

from __future__ import annotations

import click

import paramctl
from paramctl.cli import inputs, options, progress
from paramctl.cli.command import Command
from paramctl.cli.render import ROW_FORMATS, Column, emit, number, numeric, rows

COLUMNS = [
    Column("path", "Parameter", lambda row: row.path),
    Column("status", "Difference", lambda row: row.status),
    Column("a", "A", lambda row: row.a),
    Column("b", "B", lambda row: row.b),
    numeric("different", "Differing values"),
    Column("greatest", "Max abs diff", lambda row: row.max_abs, lambda row: number(row.max_abs), right=True),
    Column("at", "At", lambda row: None if row.at is None else list(row.at)),
    Column("relative", "Max rel diff", lambda row: row.max_rel, lambda row: number(row.max_rel), right=True),
    numeric("norm", "L2 norm of diff"),
    numeric("cosine", "Cosine similarity"),
]


@click.command(cls=Command, short_help="Compare two models or files")
@click.argument("a", type=click.Path(allow_dash=True), help="Model document or checkpoint, '-' for standard input")
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
@click.option("--top", type=click.IntRange(1), metavar="N", help="Only the N largest differences")
@options.quiet("Print nothing; the exit code is the result")
@options.seed
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
    top: int | None,
    quiet: bool,
    seed: int | None,
    format: str,
) -> int:
    """Compare two models or files, of any formats, and print a row for each parameter that differs.

    Exit code: 0 no differences; 1 differences; 2 error.

    Compares names, shapes, dtypes, ties and values. Values a and b are equal if |a - b| <= atol + rtol |b|.

    If one side has the layout of torch.nn modules and the other that of a document, the arrays of one are rearranged
    first. This needs the model's layers: from A, from B or from --like. --rename applies to B.

    \b
    Examples:
      paramctl diff before.h5 after.h5
      paramctl diff mlp.yaml mlp.h5 -q && echo equal
      paramctl diff keras.weights.h5 exported.safetensors --rtol 1e-5
      paramctl diff float.safetensors bfloat16.safetensors --any-dtype --rtol 0.01
      paramctl diff a.safetensors b.safetensors --rename 'model.**=**' --top 10
    """
    if a == "-" and b == "-":
        raise click.UsageError("Only one of A and B can be standard input")
    first, second = inputs.open_argument(a), inputs.open_argument(b)
    reference = inputs.open_argument(like) if like is not None else None
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
            top=top,
            seed=seed,
            progress=report,
        )
    if not quiet and (difference.rows or format in ("json", "csv")):
        emit(rows(format, difference.rows, COLUMNS))
    return 0 if difference.equal else 1
