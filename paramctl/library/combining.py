"""average and arithmetic: checkpoints computed from several checkpoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from paramctl.edit.combine import combine
from paramctl.errors import AddressError
from paramctl.inspect.combined import CombinedRow, combined_rows
from paramctl.library.arguments import expect
from paramctl.library.opening import Openable, as_source, texts
from paramctl.library.weights import Weights
from paramctl.source.base import Source
from paramctl.source.combined import Expression, Mean, Rule, checked_weights


def average(
    sources: Sequence[Openable],
    *,
    weights: Sequence[float] | None = None,
    partial: str | Sequence[str] = (),
    dtype: str | Sequence[str] = (),
    allow: str | Sequence[str] = (),
) -> Weights:
    """Return the mean of checkpoints that have the same names and shapes: their arithmetic mean, or a weighted one.

    weights: a number for each checkpoint; they must sum to 1.
    partial: patterns of arrays that may be missing, unexpected or of another shape. Those of the first are kept.
    dtype: DTYPE, or PATTERN=DTYPE rules; those of the first by default. Values are computed in float64.
    allow: losses that a cast may have; see convert.
    Arrays of integers are not computed: they are kept, and counters and seeds are those of the last.
    Raises AddressError for checkpoints that differ otherwise, and for weights that do not sum to 1.
    """
    expect("sources", sources, Sequence, "a list of checkpoints")
    if isinstance(sources, str) or len(sources) < 2:
        count = 1 if isinstance(sources, str) else len(sources)
        raise AddressError("an average requires at least two checkpoints", str(count))
    factors = None if weights is None else checked_weights([float(weight) for weight in weights], len(sources))
    named = {str(number): as_source(source) for number, source in enumerate(sources)}
    return _combined(named, Mean(tuple(named), factors), partial, dtype, allow)


def arithmetic(
    expression: str,
    files: Mapping[str, Openable],
    *,
    partial: str | Sequence[str] = (),
    dtype: str | Sequence[str] = (),
    allow: str | Sequence[str] = (),
) -> Weights:
    """Return the result of an expression of checkpoints, for each value of each array: ``a + 0.5 * (b - a)``.

    expression: numbers, names of files, + - * / **, sqrt, exp, log and abs.
    files: checkpoints by the names that the expression uses. The result has the metadata of the first.
    partial, dtype, allow: see average.
    Raises DocumentError for another expression, and AddressError for checkpoints that differ.
    """
    expect("expression", expression, str, "a text")
    expect("files", files, Mapping, "a mapping of checkpoints by name")
    rule = Expression(expression)
    if unused := [name for name in files if name not in rule.formula.names]:
        raise AddressError("the expression must use every file", f"{expression!r}, without {unused[0]}")
    for name, node in rule.formula.names.items():
        if name not in files:
            hint = f"Name its file with {name}=FILE."
            raise node.error("the expression has no file of this name", repr(name), hint)
    return _combined({name: as_source(file) for name, file in files.items()}, rule, partial, dtype, allow)


def _combined(
    sources: Mapping[str, Source],
    rule: Rule,
    partial: str | Sequence[str],
    dtype: str | Sequence[str],
    allow: str | Sequence[str],
) -> Weights:
    combined, notes = combine(sources, rule, texts(partial), texts(dtype), texts(allow))
    status = dict.fromkeys(combined.kept, "kept")

    def report(measured: Mapping[str, Any]) -> list[CombinedRow]:
        return combined_rows(combined.model, status, measured)

    return Weights(combined, report, notes=notes)
