"""Checks of output units: those whose incoming weights are all zero, and those with the same incoming weights.

Only arrays in which such units are possible are read a second time: those with enough zeros, and those in which the
samples of two units are equal.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import numpy as np

from paramctl.address.quoting import address_of
from paramctl.core.dtypes import Array, numpy_dtype
from paramctl.core.parameter import Parameter, bytes_of
from paramctl.errors import InputError
from paramctl.init.distributions import Normal, Orthogonal, TruncatedNormal, Uniform
from paramctl.inspect.check.expected import recorded_laws
from paramctl.inspect.check.facts import Facts
from paramctl.inspect.check.registry import Observation, check
from paramctl.inspect.check.sample import sample_indices, sampled_positions, units_and_positions, units_of
from paramctl.inspect.check.subject import Subject
from paramctl.inspect.fold import PieceToMeasure, fold
from paramctl.source.base import SelectedValues
from paramctl.store.contents import blocks, connections

DENSE_LAWS = (Uniform, Normal, TruncatedNormal, Orthogonal)
"""The distributions that draw no equal units. Others, such as an identity, may have units of zeros."""

SHOWN = 5

RECURRENT = "recurrent_kernel"


@check("warning")
def dead_units(subject: Subject) -> Iterator[Observation]:
    """Find output units whose incoming weights and bias are all zero."""
    for selected, facts, parameter in _candidates(subject):
        units = units_of(parameter)
        if units is None or facts.tally.zeros < units.positions:
            continue
        if _is_second(subject, parameter):
            continue
        try:
            dead = _dead(subject, parameter)
        except InputError:  # the bias is found as unreadable
            continue
        if dead.any():
            text = f"{_count(int(dead.sum()), units.number)} only zeros: {_listed(dead)}"
            yield Observation(_place(subject, parameter, int(dead.argmax())), text, (selected.path,))


def _dead(subject: Subject, parameter: Parameter) -> Array:
    """Return the units of a layer whose incoming weights and bias are all zero. Raises InputError."""
    dead = ~_unit_sums(subject, parameter).nonzero & _without_bias(subject, parameter)
    recurrent = _sibling(subject, parameter, RECURRENT)
    if recurrent is not None and units_of(recurrent) is not None:
        dead &= ~_unit_sums(subject, subject.source.model.owner(recurrent.path)).nonzero
    return dead


def _is_second(subject: Subject, parameter: Parameter) -> bool:
    """Return whether the units of a weight have weights of inputs too, with which they are found."""
    kernel = _sibling(subject, parameter, "kernel") if parameter.path.endswith(RECURRENT) else None
    return kernel is not None and units_of(kernel) is not None


@check("warning")
def equal_units(subject: Subject) -> Iterator[Observation]:
    """Find output units with the same incoming weights."""
    for selected, facts, parameter in _candidates(subject):
        positions = sampled_positions(parameter)
        if not positions or not _has_equal_samples(facts.sample, parameter, positions):
            continue
        sums = _unit_sums(subject, parameter)
        _, inverse, counts = np.unique(sums.digests, axis=0, return_inverse=True, return_counts=True)
        # units of zeros are dead, and found as such
        equal = (counts[inverse.reshape(-1)] > 1) & sums.nonzero
        if equal.any():
            text = f"{_count(int(equal.sum()), len(equal))} the incoming weights of another: {_listed(equal)}"
            yield Observation(_place(subject, parameter, int(equal.argmax())), text, (selected.path,))


def _candidates(subject: Subject) -> Iterator[tuple[SelectedValues, Facts, Parameter]]:
    """Yield the weights whose units may be dead or equal: not those that another check finds, or that are meant so."""
    for selected, facts in subject.measured:
        if not selected.selection.everything or not facts.is_finite or facts.is_zero or facts.is_constant:
            continue
        laws = recorded_laws(subject.source, selected.path)
        recorded = subject.source.origin.provenance.get(selected.path)
        if (recorded is not None and recorded.scheme and not laws) or any(
            not isinstance(law, DENSE_LAWS) for law in laws
        ):
            continue
        yield selected, facts, subject.source.model.owner(selected.path)


def _has_equal_samples(sample: bytes, parameter: Parameter, positions: int) -> bool:
    values = np.frombuffer(sample, numpy_dtype(parameter.dtype))
    # the sample has the order of the array; by unit, its rows are compared as bytes
    indices = sample_indices(parameter, positions)
    rows = np.empty(indices.shape, values.dtype)
    rows.reshape(-1)[np.argsort(indices, axis=None)] = values
    return len(np.unique(rows.view(f"V{rows.itemsize * positions}"))) < len(rows)


class UnitSums(NamedTuple):
    """Of each unit: whether a value is not zero, and a checksum of 128 bits of its values."""

    nonzero: Array
    digests: Array

    def join(self, later: UnitSums) -> UnitSums:
        """Return the sums of both together."""
        return UnitSums(self.nonzero | later.nonzero, self.digests + later.digests)


def _unit_sums(subject: Subject, parameter: Parameter) -> UnitSums:
    pieces = (
        PieceToMeasure(path, bytes_of(parameter.dtype, stop - start), partial(_sums, subject, parameter, start, stop))
        for path, start, stop in blocks(parameter)
    )
    return fold(pieces, threads=subject.threads or connections(subject.source))[parameter.path]


def _sums(subject: Subject, parameter: Parameter, start: int, stop: int) -> UnitSums:
    """Return the sums of the units over the values from one index to another.

    The checksum is the sum of the bits of each value, times two numbers that depend on its position, modulo 2^64.
    """
    units = units_of(parameter)
    assert units is not None
    values = subject.source.read(parameter.path, start, stop)
    unit, position = units_and_positions(parameter, start, stop)
    nonzero = np.zeros(units.number, np.bool_)
    nonzero[unit[values != 0]] = True
    digests = np.zeros((units.number, 2), np.uint64)
    bits = values.view(f"u{values.itemsize}").astype(np.uint64)
    for number in (0, 1):
        np.add.at(digests[:, number], unit, bits * _mixed(2 * position.astype(np.uint64) + np.uint64(number)))
    return UnitSums(nonzero, digests)


def _mixed(numbers: Array) -> Array:
    """Return a number of 64 random bits for each number. Source: splitmix64, Steele, Lea and Flood (2014)."""
    mixed = (numbers + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray((mixed ^ (mixed >> np.uint64(31))) | np.uint64(1))


def _without_bias(subject: Subject, parameter: Parameter) -> Array:
    """Return the units whose bias is zero; all if the layer has none, and none if the bias has another shape."""
    units = units_of(parameter)
    assert units is not None
    bias = _sibling(subject, parameter, "bias")
    if bias is None:
        return np.ones(units.number, np.bool_)
    # the bias of a GRU has two rows, of the inputs and of the state
    if bias.shape[-len(units.shape) :] != units.shape:
        return np.zeros(units.number, np.bool_)
    owner = subject.source.model.owner(bias.path)
    zero = subject.source.read(owner.path, 0, owner.size) == 0
    return np.asarray(zero.reshape(-1, units.number).all(axis=0))


def _sibling(subject: Subject, parameter: Parameter, name: str) -> Parameter | None:
    """Return the parameter of the same layer with a name."""
    model = subject.source.model
    folder = parameter.path.rpartition(model.separator)[0]
    return model.parameters.get(f"{folder}{model.separator}{name}")


def _place(subject: Subject, parameter: Parameter, unit: int) -> str:
    """Return the address of a unit's values: ``dense/kernel[:, 3]``."""
    units = units_of(parameter)
    assert units is not None
    index = iter(np.unravel_index(unit, units.shape))
    places = [str(next(index)) if axis.role == "out" else ":" for axis in parameter.axes]
    return f"{address_of(parameter.path, subject.source.model.separator)}[{', '.join(places)}]"


def _count(count: int, total: int) -> str:
    return f"{count:,} of {total:,} output units {'has' if count == 1 else 'have'}"


def _listed(chosen: Array) -> str:
    numbers = np.flatnonzero(chosen)
    more = len(numbers) - SHOWN
    return ", ".join(map(str, numbers[:SHOWN].tolist())) + (f" and {more:,} more" if more > 0 else "")
