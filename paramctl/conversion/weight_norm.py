"""Weight normalization, folded: torch's ``weight_g`` and ``weight_v`` as the weight that the module computes.

``weight = g * v / ||v||``, with a norm for each index of the axes that g has, as in Salimans and Kingma (2016).
torch.nn.utils.weight_norm names the two ``weight_g`` and ``weight_v``, torch.nn.utils.parametrizations.weight_norm
``parametrizations.weight.original0`` and ``original1``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from math import prod
from typing import NamedTuple

import numpy as np

from paramctl.conversion.report import TensorRow
from paramctl.core.dtypes import Array, cast
from paramctl.core.parameter import FLOAT_DTYPES, Parameter
from paramctl.errors import OutputError
from paramctl.model import Model, Tie
from paramctl.source.base import BlockCache, Derived, Source
from paramctl.store.checkpoint import build_model
from paramctl.store.contents import Piece, blocks, read_alias

_PARAMETRIZED = re.compile(r"(?P<module>.*\.|)parametrizations\.(?P<name>[^.]+)\.original0")


class Factors(NamedTuple):
    """The names of the magnitude and the direction of a weight."""

    g: str
    v: str


def fold(source: Source, expects: Callable[[], Container[str]]) -> tuple[Source, Mapping[str, Factors]]:
    """Return a source with folded weights where a model expects these, and the factors of each by its name.

    expects: returns the names of the model; called only if the source has normalized weights.
    """
    normalized = _normalized(source.model)
    # without any, the torch layout of the model need not be computed
    expected = expects() if normalized else ()
    foldable = {name: factors for name, factors in normalized.items() if name in expected and factors.g not in expected}
    return (Folded(source, foldable), foldable) if foldable else (source, {})


def spectral_hint(names: Container[str], expected: Iterable[str]) -> str:
    """Return a hint if a weight that a model expects is kept under the names of spectral normalization."""
    for name in expected:
        module, dot, last = name.rpartition(".")
        prefix = f"{module}{dot}"
        old = {f"{name}_orig", f"{name}_u"}
        new = {f"{prefix}parametrizations.{last}.original", f"{prefix}parametrizations.{last}.0._u"}
        if any(all(each in names for each in group) for group in (old, new)):
            remove = "torch.nn.utils.remove_spectral_norm, or parametrize.remove_parametrizations"
            return f"{name} has spectral normalization. Remove it in torch with {remove}."
    return ""


def folded_rows(rows: Sequence[TensorRow], folded: Mapping[str, Factors]) -> list[TensorRow]:
    """Return rows with both factors as the source of each folded weight."""
    result = []
    for row in rows:
        if not any(name in folded for name in row.source):
            result.append(row)
            continue
        names = tuple(each for name in row.source for each in folded.get(name, (name,)))
        how = "" if row.status == "mapped" else f"and {row.status}"
        if row.status == "skipped":  # by --partial, because of another shape
            result.append(replace(row, source=names))
        else:
            result.append(replace(row, source=names, status="folded", note=row.note or how))
    return result


def _normalized(model: Model) -> dict[str, Factors]:
    """Return the factors of each normalized weight, by the name of the weight, which the model must lack."""
    foldable = {}
    for name in model.parameters:
        match = _PARAMETRIZED.fullmatch(name)
        if match:
            weight, factors = f"{match['module']}{match['name']}", Factors(name, f"{name.removesuffix('0')}1")
        elif name.endswith("_g"):
            weight, factors = name.removesuffix("_g"), Factors(name, f"{name.removesuffix('g')}v")
        else:
            continue
        if factors.v in model.parameters and weight not in model.parameters and _fit(model, factors):
            foldable[weight] = factors
    return foldable


def _fit(model: Model, factors: Factors) -> bool:
    """Return whether shapes and dtypes are those of weight normalization. Over all axes, g is one number."""
    g, v = (model.parameters[name] for name in factors)
    dtypes = {model.owner(name).dtype for name in factors}
    if len(dtypes) > 1 or not dtypes <= {*FLOAT_DTYPES}:
        return False
    sizes = zip(g.shape, v.shape, strict=False)
    # (5, 1) with (5, 6) is a norm for each row; (1, 1) or () is one norm over all values
    return g.shape == () or (len(g.shape) == len(v.shape) and all(size in (1, whole) for size, whole in sizes))


class Folded(Derived):
    """A source whose normalized weights are folded. factors: of each, by the name of the weight."""

    def __init__(self, base: Source, factors: Mapping[str, Factors]) -> None:
        model = base.model
        names = {name: weight for weight, pair in factors.items() for name in pair}
        # the weight stands where the direction did, so that the order of the arrays stays
        weights = {pair.v: _weight(model, name, pair) for name, pair in factors.items()}
        parameters = {
            weights[path].path if path in weights else path: weights.get(path, parameter)
            for path, parameter in model.parameters.items()
            if path not in names or path in weights
        }
        folded, _ = build_model(model.name, parameters, _ties(model, factors, names))
        provenance = {path: facts for path, facts in base.origin.provenance.items() if path not in names}
        origin = replace(
            base.origin,
            companion=None,
            provenance=provenance,
            document=base.origin.document or model.document,
            keras=None,
            extents={},
            rewrite=None,
        )
        super().__init__(base, folded, origin, "fold", factors={name: list(pair) for name, pair in factors.items()})
        self.factors = factors
        self._scales = BlockCache(max(len(factors), 1))

    def pieces(self, parameter: Parameter) -> Iterator[Piece]:
        return blocks(parameter) if parameter.path in self.factors else self.base.pieces(parameter)

    def read(self, path: str, start: int, stop: int) -> Array:
        if path not in self.factors:
            return self.base.read(path, start, stop)
        pair, parameter = self.factors[path], self.model.parameters[path]
        scales = self._scales.get(path, partial(self._scale, pair))
        # in float64, so that only the cast at the end rounds
        values = read_alias(self.base, pair.v, start, stop).astype(np.float64)
        with np.errstate(all="ignore"):  # a direction of zeros is 0 / 0, as in torch
            product = values * scales[self._index(pair, start, stop)]
        try:
            return cast(product, parameter.dtype)
        except OverflowError as error:
            raise OutputError(f"{path}: {error}") from error

    def _scale(self, pair: Factors) -> Array:
        """Return g / ||v||, flat."""
        g, v = (self.base.model.parameters[name] for name in pair)
        # piece by piece, so that memory is bounded by a piece and the size of g
        squares = np.zeros(g.size)
        for _, start, stop in blocks(v):
            values = read_alias(self.base, pair.v, start, stop).astype(np.float64)
            squares += np.bincount(self._index(pair, start, stop), values * values, g.size)
        with np.errstate(all="ignore"):
            scales: Array = read_alias(self.base, pair.g, 0, g.size).astype(np.float64) / np.sqrt(squares)
        return scales

    def _index(self, pair: Factors, start: int, stop: int) -> Array:
        """Return, for each flat index of v in a range, the flat index of g. g (2, 1) and v (2, 3): 0 0 0 1 1 1."""
        g, v = (self.base.model.parameters[name].shape for name in pair)
        flat = np.arange(start, stop)
        index = np.zeros(stop - start, np.intp)
        for axis, size in enumerate(g):
            if size > 1:
                index += flat // prod(v[axis + 1 :]) % size * prod(g[axis + 1 :])
        return index


def _weight(model: Model, name: str, pair: Factors) -> Parameter:
    v = model.parameters[pair.v]
    trainable = {model.owner(each).trainable for each in pair}
    return replace(v, path=name, trainable=trainable.pop() if len(trainable) == 1 else None)


def _ties(model: Model, factors: Mapping[str, Factors], names: Mapping[str, str]) -> tuple[Tie, ...]:
    """Return the ties of other arrays, and of weights of which both factors are tied to those of one other weight."""
    ties = [tie for tie in model.ties if tie.kept not in names and tie.tied not in names]
    # a.weight_g = b.weight_g and a.weight_v = b.weight_v becomes a.weight = b.weight; one of the two alone is no tie
    by_tied = model.tied
    for name, pair in factors.items():
        pairs = [by_tied.get(each) for each in pair]
        kept = {names.get(tie.kept) for tie in pairs if tie is not None and not tie.transpose}
        other = kept.pop() if len(kept) == 1 and None not in pairs else None
        if other is not None and [tie.kept for tie in pairs if tie] == list(factors[other]):
            ties.append(Tie(other, name))
    return tuple(ties)
