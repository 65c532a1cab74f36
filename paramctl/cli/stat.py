"""paramctl stat: statistics of values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from paramctl.cli import options, progress
from paramctl.cli.command import Command
from paramctl.cli.render import ROW_FORMATS, Column, emit, number, numeric, rows

if TYPE_CHECKING:
    from paramctl.address.resolve import Filters


def _mean(row: Any) -> float | str | None:
    """A complex one as dump has it, for JSON has no such number."""
    return str(row.mean) if isinstance(row.mean, complex) else row.mean


def _mean_text(row: Any) -> str:
    return f"{row.mean:,.4g}" if isinstance(row.mean, complex) else number(row.mean)


COLUMNS = [
    Column("path", "Parameter", lambda row: row.path),
    Column("shape", "Shape", lambda row: list(row.shape), lambda row: str(row.shape)),
    Column("dtype", "Dtype", lambda row: row.dtype),
    numeric("size", "Size"),
    Column("mean", "Mean", _mean, _mean_text, right=True),
    numeric("stddev", "Stddev"),
    numeric("min", "Min"),
    numeric("max", "Max"),
    numeric("norm", "Norm"),
    numeric("zeros", "Zeros"),
    Column("nan", "NaN", lambda row: row.nan, right=True),
    Column("inf", "Inf", lambda row: row.inf, right=True),
    Column("first", "First at", lambda row: None if row.first is None else list(row.first)),
]


@click.command(cls=Command)
@options.source
@options.addresses
@options.filters
@options.seed
@options.define
@options.input_shape
@options.format_(*ROW_FORMATS)
def stat(
    source: str | None,
    addresses: tuple[str, ...],
    keep: Filters,
    seed: int | None,
    define: tuple[str, ...],
    input_shape: tuple[str, ...],
    format: str,
) -> None:
    """Print statistics of values: of a model, drawn by its initializers, or of a checkpoint.

    A row for each parameter, or each slice of one: its size, the mean, the standard deviation (of the population:
    divided by the size, not by one less), the least and the greatest value, the norm (L2), how many values are zero
    (-0.0 is), NaN and infinite, and where the first stands that is NaN or infinite. Without an address, every array
    once.

    NaN and Inf are counted, and left out of everything else: mean, stddev, min, max and norm are those of the finite
    values, and are empty (null in JSON) where there is none. Sums are in float64, whatever the dtype; min and max are
    exact. A norm that float64 cannot hold is empty. A bool counts as 0 or 1. Complex numbers have no min and max; their
    mean is complex (text in JSON), and their stddev and norm are those of their distances from the mean and from 0.

    Finding NaN is no failure: the exit code is 0.

    \b
    paramctl stat model.safetensors
    paramctl stat mlp.yaml '**/kernel' --seed 1
    paramctl stat mlp.h5 'dense/kernel[:, 0]' --format json
    paramctl stat model.safetensors --format jsonl | jq -r 'select(.nan + .inf > 0) | .path'
    """
    from paramctl.inspect.stat import statistics
    from paramctl.source.base import select_values
    from paramctl.store import check_sums

    found = options.open_argument(source, define, input_shape)
    if found.checkpoint is not None and not addresses:
        check_sums(found.checkpoint.file)
    made = options.as_drawn(found, seed)
    with progress.bar("counting") as report:
        counted = statistics(select_values(made, addresses, keep), report)
    emit(rows(format, counted, COLUMNS))
