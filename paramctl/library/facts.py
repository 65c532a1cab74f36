"""Functions that return facts as plain rows, and print nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from paramctl.address.resolve import Filters, resolve
from paramctl.conversion.convert import align
from paramctl.inspect import schema as inspect_schema
from paramctl.inspect.diff import DiffRow, compare
from paramctl.inspect.difference import Tolerance
from paramctl.inspect.layers import OptionRow, TypeRow, option_rows, type_rows
from paramctl.inspect.schemes import EffectRow, SchemeRow, effect_row, scheme_rows
from paramctl.inspect.stat import StatRow, statistics
from paramctl.inspect.summary import Summary, summarize
from paramctl.inspect.ties import equal_arrays
from paramctl.library.opening import Openable, as_model, as_source, openable
from paramctl.model import Model, Tie
from paramctl.source.base import select_values
from paramctl.source.from_checkpoint import parse_scheme
from paramctl.source.open import require_built
from paramctl.source.save import Progress, verify


def summary(
    model: Openable,
    *patterns: str,
    depth: int | None = None,
    trainable: bool | None = None,
    dtype: str | None = None,
    kind: str | None = None,
    min_size: int | None = None,
) -> Summary:
    """Summarize a model or a checkpoint: rows of layers and of parameters, and totals that count each array once.

    patterns: only their matches, and everything below them. depth: levels of blocks to expand; all by default.
    trainable, dtype, kind, min_size: only parameters like this.
    Raises AddressError for a pattern that matches nothing.
    """
    filters = Filters(trainable, dtype, kind, min_size)
    model_or_weights = openable(model)
    if isinstance(model_or_weights, Model):
        return summarize(model_or_weights, patterns, depth, None, filters)
    provenance = model_or_weights.source.origin.provenance
    schemes = {path: recorded.scheme for path, recorded in provenance.items()}
    return summarize(model_or_weights.model, patterns, depth, schemes, filters)


@dataclass(frozen=True, slots=True)
class Statistics:
    """Statistics of arrays. rows: one for each array or slice."""

    rows: list[StatRow]


def stat(
    weights: Openable,
    *addresses: str,
    trainable: bool | None = None,
    dtype: str | None = None,
    kind: str | None = None,
    min_size: int | None = None,
    seed: int | None = None,
    progress: Progress | None = None,
) -> Statistics:
    """Compute the statistics of arrays, or of the slices that addresses select: mean, std, min, max, norm, NaN, Inf.

    Sums are in float64, and NaN and infinities are left out of all but their counts. Raises AddressError.
    """
    source = as_source(weights, seed)
    if not addresses:
        verify(source)
    selected = select_values(source, addresses, Filters(trainable, dtype, kind, min_size))
    return Statistics(statistics(selected, progress))


@dataclass(frozen=True, slots=True)
class Difference:
    """The differences between two models or files. rows: one for each parameter that differs."""

    rows: list[DiffRow]

    @property
    def equal(self) -> bool:
        return not self.rows


def diff(
    a: Openable,
    b: Openable,
    *,
    rtol: float = 0.0,
    atol: float = 0.0,
    equal_nan: bool = False,
    any_dtype: bool = False,
    structure: bool = False,
    rename: Mapping[str, str] | Sequence[str] = (),
    like: Openable | None = None,
    seed: int | None = None,
    progress: Progress | None = None,
) -> Difference:
    """Compare two models or files of any formats: names, shapes, dtypes, ties and values.

    Values are equal if |a - b| <= atol + rtol |b|. equal_nan: any NaN equals any other. any_dtype: ignore a difference
    in dtype if the values are equal. structure: compare no values. rename: new names for b. like: the model with the
    layers of the arrays, if neither side records them.
    """
    rules = [f"{old}={new}" for old, new in rename.items()] if isinstance(rename, Mapping) else list(rename)
    reference = as_source(like) if like is not None else None
    first, second, names = align(as_source(a, seed), as_source(b, seed), rules, reference)
    tolerance = Tolerance(rtol, atol, equal_nan)
    rows = compare(
        first, second, names, tolerance=tolerance, structure=structure, any_dtype=any_dtype, progress=progress
    )
    return Difference(rows)


def ties(model: Openable) -> tuple[Tie, ...]:
    """Return the ties of a model or checkpoint: pairs of a kept path and a tied one."""
    return as_model(model).ties


def find_ties(weights: Openable, *, progress: Progress | None = None) -> list[list[str]]:
    """Return groups of arrays that are equal but not tied. All arrays of a common shape and dtype are read."""
    return equal_arrays(as_source(weights), progress)


def schemes(
    *names: str, parameter: tuple[Openable, str] | None = None, fan_convention: str = "true"
) -> list[SchemeRow] | list[EffectRow]:
    """List the named schemes, or the effect of some of them on parameters of a model.

    names: all schemes by default. parameter: a model and an address.
    """
    if parameter is None:
        return scheme_rows(names)
    model = require_built(as_model(parameter[0]))
    parameters = [model.parameters[path] for path in resolve(model, parameter[1]).paths]
    effects = ((parse_scheme(name, "names"), target) for name in names for target in parameters)
    return [effect_row(scheme, target, fan_convention) for scheme, target in effects]


def layers(*types: str) -> list[TypeRow] | list[OptionRow]:
    """List the layer types and activations of model documents, or the options of some. Raises AddressError."""
    return option_rows(types) if types else type_rows()


def schema() -> dict[str, Any]:
    """Return the JSON schema (draft 7) of model documents."""
    return inspect_schema.schema()
