"""The columns of stat: those of every row, those that options add, and the quantiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from paramctl.cli.bars import sparkline
from paramctl.cli.render import Column, choose, number, numeric

QUANTILES = (0.01, 0.25, 0.5, 0.75, 0.99)
"""The probabilities of --quantiles without a value."""


def _mean(row: Any) -> float | str | None:
    """Return the mean, a complex one as text: JSON has no complex numbers."""
    return str(row.mean) if isinstance(row.mean, complex) else row.mean


def _mean_text(row: Any) -> str:
    return f"{row.mean:,.4g}" if isinstance(row.mean, complex) else number(row.mean)


def _histogram(row: Any) -> dict[str, Any] | None:
    """Return the counts of a row's values, and the range that the bins divide."""
    if row.histogram is None:
        return None
    return {"low": row.histogram.edges[0], "high": row.histogram.edges[-1], "counts": list(row.histogram.counts)}


def _name(row: Any) -> str | None:
    return None if row.per == "total" else row.path  # in JSON, no array called total is mistaken for the total


COLUMNS = [
    Column("path", "Parameter", _name, lambda row: row.path),
    Column("shape", "Shape", lambda row: row.shape),
    Column("dtype", "Dtype", lambda row: row.dtype),
    Column("arrays", "Arrays", lambda row: row.arrays, right=True),
    numeric("size", "Size", priority=2),
    Column("mean", "Mean", _mean, _mean_text, right=True, priority=0),
    numeric("stddev", "Std", priority=0),
    numeric("min", "Min"),
    numeric("max", "Max"),
    numeric("norm", "L2 norm", priority=2),
    numeric("zeros", "Zeros", priority=2),
    Column("nan", "NaN", lambda row: row.nan, right=True, priority=0),
    Column("inf", "Inf", lambda row: row.inf, right=True, priority=0),
    Column("first", "First non-finite", lambda row: None if row.first is None else list(row.first), priority=3),
    numeric("sparsity", "Sparsity"),
    numeric("skewness", "Skewness"),
    numeric("kurtosis", "Excess kurtosis"),
    numeric("l1", "L1 norm"),
    numeric("linf", "Linf norm"),
    numeric("rms", "RMS"),
    Column("histogram", "Histogram", _histogram, lambda row: sparkline(row.histogram.counts) if row.histogram else ""),
    numeric("spectral_norm", "Spectral norm"),
    numeric("stable_rank", "Stable rank"),
    numeric("condition", "Condition"),
    numeric("rank", "Rank"),
    Column("spectral_note", "Note", lambda row: row.spectral_note),
]
OF_ARRAYS = ("path", "shape", "dtype", "size", "mean", "stddev", "min", "max", "norm", "zeros", "nan", "inf", "first")
OF_GROUPS = ("arrays", "size", "mean", "stddev", "min", "max", "norm", "zeros", "nan", "inf")
MOMENTS = ("sparsity", "skewness", "kurtosis")
NORMS = ("l1", "linf", "rms")
NOTE = "spectral_note"
SPECTRAL = ("spectral_norm", "stable_rank", "condition", "rank", NOTE)
HISTOGRAM = ("histogram",)
NOT_OF_GROUPS = ("shape", "dtype", "first", *SPECTRAL)


def quantile_column(probability: float) -> Column:
    """Return the column of a quantile, such as q0.5."""
    from paramctl.inspect.stat_rules import quantile_name

    name = quantile_name(probability)
    return replace(
        numeric(name, name),
        value=lambda row: row.quantiles.get(probability),
        text=lambda row: number(row.quantiles.get(probability)),
    )


def stat_columns(
    keys: str | None, per: str, added: Sequence[str], probabilities: Sequence[float], asked: Sequence[float]
) -> list[Column]:
    """Return the columns to print.

    keys: the value of --columns. asked: the probabilities of the quantiles in it.
    added: the keys of columns that options add. probabilities: of --quantiles.
    """
    quantiles = [quantile_column(each) for each in dict.fromkeys((*asked, *probabilities))]
    known = [*COLUMNS, *quantiles]
    usual: Sequence[str] = OF_ARRAYS
    if per != "parameter":
        group = replace(COLUMNS[0], key=per, heading=per.capitalize())
        known = [group, *(column for column in known[1:] if column.key not in NOT_OF_GROUPS)]
        usual = (per, *OF_GROUPS)
    chosen = choose(known, keys, usual)
    present = {column.key for column in chosen}
    more = dict.fromkeys((*added, *(quantile_column(each).key for each in probabilities)))
    wanted = [key for key in more if key not in present]
    return [*chosen, *choose(known, None, wanted, asked={*wanted} - {NOTE})]


def chosen_keys(keys: str | None) -> list[str]:
    """Return the keys in the value of --columns, that of the column of a quantile for any way to write it."""
    names = [key.strip() for key in keys.split(",")] if keys is not None else []
    return [quantile_key(key) for key in names]


def quantile_key(key: str) -> str:
    """Return q0.5 for q0.50, and any other text unchanged."""
    from paramctl.inspect.stat_rules import probability_of

    probability = probability_of(key)
    return key if probability is None else quantile_column(probability).key
