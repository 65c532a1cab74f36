"""paramctl diff: what differs between two models or files."""

from __future__ import annotations

import click

from paramctl.cli import options, progress
from paramctl.cli.command import Command
from paramctl.cli.render import ROW_FORMATS, Column, emit, number, numeric, rows

COLUMNS = [
    Column("path", "Parameter", lambda row: row.path),
    Column("status", "Differs in", lambda row: row.status),
    Column("a", "A", lambda row: row.a),
    Column("b", "B", lambda row: row.b),
    numeric("different", "Values"),
    Column("greatest", "By at most", lambda row: row.max_abs, lambda row: number(row.max_abs), right=True),
    Column("at", "At", lambda row: None if row.at is None else list(row.at)),
    Column("relative", "Relative", lambda row: row.max_rel, lambda row: number(row.max_rel), right=True),
    numeric("norm", "Norm"),
    numeric("cosine", "Cosine"),
]


@click.command(cls=Command)
@click.argument("a", type=click.Path(allow_dash=True), help="A model document or a checkpoint.")
@click.argument("b", type=click.Path(allow_dash=True), help="Another, of any kind.")
@click.option("--rtol", type=click.FloatRange(0), default=0.0, help="Relative tolerance, of B's values. [default: 0]")
@click.option("--atol", type=click.FloatRange(0), default=0.0, help="Absolute tolerance. [default: 0]")
@click.option("--equal-nan", is_flag=True, help="A NaN is the same as any other; else only as one of the same bits.")
@click.option("--any-dtype", is_flag=True, help="Another dtype is no difference, if the values are the same.")
@click.option("--structure", is_flag=True, help="Compare names, shapes, dtypes and ties, and no values.")
@options.rename
@click.option("--like", metavar="MODEL", help="Whose layers the arrays are of, where neither A nor B tells.")
@click.option("--top", type=click.IntRange(1), metavar="N", help="Only the N that differ most.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing: the exit code says it.")
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
    """Compare two models or files, of any formats, and print what differs.

    The exit code is 0 if nothing does, 1 if something does, 2 in trouble. What is compared: which names there are,
    shapes, dtypes, ties, and the values: how many differ, by how much at most and where, the norm of the
    difference, and the cosine between the two. Where the layers of one are known, or --like tells them, and the other
    has the arrays of torch.nn's modules under the same names, they are turned first. --rename is for B.

    \b
    paramctl diff before.h5 after.h5
    paramctl diff mlp.yaml mlp.h5 -q && echo same
    paramctl diff keras.weights.h5 exported.safetensors --rtol 1e-5
    paramctl diff float.safetensors bfloat16.safetensors --any-dtype --rtol 0.01
    paramctl diff a.safetensors b.safetensors --rename 'model.**=**' --top 10
    """
    if a == "-" and b == "-":
        raise click.UsageError("Standard input can be one of the two.")
    from paramctl.convert.dispatch import align
    from paramctl.inspect.diff import compare
    from paramctl.inspect.difference import Tolerance

    one = options.as_drawn(options.open_argument(a, (), ()), seed)
    other = options.as_drawn(options.open_argument(b, (), ()), seed)
    one, other, names = align(one, other, rename, options.like_model(like) if like is not None else None)
    tolerance = Tolerance(rtol, atol, equal_nan)
    with progress.bar("comparing") as report:
        found = compare(
            one, other, names, tolerance=tolerance, structure=structure, any_dtype=any_dtype, progress=report
        )
    if top is not None:
        found = sorted(found, key=lambda row: -(row.max_abs if row.max_abs is not None else float("inf")))[:top]
    if not quiet and (found or format in ("json", "csv")):
        emit(rows(format, found, COLUMNS))
    return 1 if found else 0
