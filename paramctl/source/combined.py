"""A source whose arrays are computed from the arrays of several sources, value by value: means, expressions.

Values are computed in float64 and rounded once, to the dtype that is written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, Protocol

import numpy as np

from paramctl.core.dtypes import Array, to_native
from paramctl.declare.located import Located
from paramctl.errors import AddressError, OutputError
from paramctl.model.layers.array_parser import Formula, elementwise_formula
from paramctl.source.base import Derived, Description, Source
from paramctl.source.derived import Cast
from paramctl.store.contents import Origin, read_alias


class Operands:
    """The values of one piece of an array, by the name of their source. Each is read when it is first used."""

    def __init__(self, combined: Combined, path: str, start: int, stop: int) -> None:
        self.combined, self.piece = combined, (path, start, stop)
        self.arrays: dict[str, Array] = {}

    def __getitem__(self, name: str) -> Array:
        if name not in self.arrays:
            self.arrays[name] = self.read(name)
        return self.arrays[name]

    def read(self, name: str) -> Array:
        """Read the values of a source in the dtype of the computation, without keeping them."""
        return widened(self.combined.read_from(name, *self.piece))


def widened(values: Array) -> Array:
    """Return floating-point values in the dtype in which they are computed: float64 or complex128."""
    return to_native(values).astype(np.complex128 if values.dtype.kind == "c" else np.float64)


class Rule(Protocol):
    """A function of the values of several sources, for each value alone."""

    def compute(self, operands: Operands) -> Array:
        """Return the result for one piece of an array."""

    def describe(self) -> Description:
        """Return a description in the types of JSON; see rule_from_json."""


@dataclass(frozen=True, slots=True)
class Mean:
    """The mean of the sources. weights: the factor of each source, by its name; the factors sum to 1. None is equal."""

    names: tuple[str, ...]
    weights: tuple[float, ...] | None = None

    def compute(self, operands: Operands) -> Array:
        # one source after another, so that a mean of many files takes the memory of two
        total: Array = operands.read(self.names[0])
        if self.weights is None:
            for name in self.names[1:]:
                total = total + operands.read(name)
            return total / len(self.names)
        total = total * self.weights[0]
        for name, weight in zip(self.names[1:], self.weights[1:], strict=True):
            total = total + operands.read(name) * weight
        return total

    def describe(self) -> Description:
        return {"names": list(self.names), "weights": None if self.weights is None else list(self.weights)}


class Expression:
    """An expression of the sources' names, such as ``a + 0.5 * (b - a)``. Raises DocumentError for another text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.formula: Formula = elementwise_formula(Located(text, "expression"))
        if not self.formula.names:
            raise AddressError("an expression must use the name of a file", repr(text))

    def compute(self, operands: Operands) -> Array:
        values: Array = self.formula.root.compute(np, operands)  # type: ignore[arg-type]  # only items are used
        return values

    def describe(self) -> Description:
        return {"expression": self.text}


def rule_from_json(description: Mapping[str, Any]) -> Rule:
    """Return the rule of a description."""
    if "expression" in description:
        return Expression(description["expression"])
    weights = description["weights"]
    return Mean(tuple(description["names"]), None if weights is None else tuple(weights))


class Combined(Derived):
    """A source whose arrays are computed by a rule from those of several sources.

    sources: by the names that the rule uses. typed: the first of them, in the dtypes of the result.
    kept: the name of the source of each array that is copied, not computed.
    names: the names that arrays have in each source, where they differ from those of the first.
    """

    def __init__(
        self,
        sources: Mapping[str, Source],
        rule: Rule,
        typed: Cast,
        origin: Origin,
        kept: Mapping[str, str],
        names: Mapping[str, Mapping[str, str]],
        **options: Any,
    ) -> None:
        super().__init__(typed.base, typed.model, origin, "combine", **options)
        self.sources, self.rule, self.typed = sources, rule, typed
        self.kept, self.names = kept, names

    def read_from(self, name: str, path: str, start: int, stop: int) -> Array:
        """Return values of an array as one of the sources has them."""
        return read_alias(self.sources[name], self.names[name].get(path, path), start, stop)

    def read(self, path: str, start: int, stop: int) -> Array:
        if path in self.kept:
            return self.typed.cast(path, self.read_from(self.kept[path], path, start, stop))
        operands = Operands(self, path, start, stop)
        with np.errstate(all="ignore"):
            values = self.rule.compute(operands)
        if "overflow" not in self.typed.losses(path):
            self._check_finite(path, values, operands)
        return self.typed.cast(path, values)

    def _check_finite(self, path: str, values: Array, operands: Operands) -> None:
        """Raise OutputError if a value is infinite or NaN although no file has it so: 1 / 0, or infinity - infinity."""
        bad = np.flatnonzero(~np.isfinite(values))
        if not bad.size:
            return
        parts = [operands.read(name)[bad] for name in self.sources]
        infinite = np.any([~np.isfinite(part) for part in parts], axis=0)
        is_nan = np.any([np.isnan(part) for part in parts], axis=0)
        new = bad[np.where(np.isnan(values[bad]), ~is_nan, ~infinite)]
        if new.size:
            index = tuple(map(int, np.unravel_index(operands.piece[1] + new[0], self.model.parameters[path].shape)))
            place = f"{path}{list(index)}" if index else path
            result = "NaN" if np.isnan(values[new[0]]) else "infinite"
            rule = f"the result is {result}, and no file has that here (use --allow overflow to write it anyway)"
            raise OutputError(f"{place}: {rule}")

    def describe(self) -> Description:
        sources = {name: source.describe() for name, source in self.sources.items()}
        return {"source": self.operation, "sources": sources, "rule": self.rule.describe(), **self.options}


def checked_weights(weights: Sequence[float], count: int) -> tuple[float, ...]:
    """Return the weights of a mean of so many files. Raises AddressError unless they are finite and sum to 1."""
    if len(weights) != count:
        raise AddressError("weights must be one number for each file", f"{len(weights)} weights for {count} files")
    total = sum(weights)
    if not all(map(isfinite, weights)) or abs(total - 1) > 1e-9:
        hint = f"Divide each by {total:g}." if isfinite(total) and total else ""
        raise AddressError("weights must sum to 1", f"{total:.10g}", hint)
    return tuple(weights)
