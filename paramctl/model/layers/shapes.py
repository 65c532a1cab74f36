"""Shapes of a layer's inputs and outputs: batch axis first, None for an unknown size."""

from __future__ import annotations

from collections.abc import Iterable
from math import prod
from typing import TypeAlias

Sizes: TypeAlias = tuple[int | None, ...]
"""A shape, batch axis first. None is an unknown size."""


class ShapeError(ValueError):
    """An input shape that a layer cannot take. The message is the rule; the builder adds the layer and the shapes."""


def known_size(shape: Sizes, axis: int) -> int:
    """Return the size of an axis. Raises ShapeError if it is unknown: a parameter's shape depends on it."""
    size = shape[axis]
    if size is None:
        name = "the last axis" if axis == -1 else f"axis {axis}"
        raise ShapeError(f"{name} of the input must have a known size")
    return size


def product(*sizes: int | None) -> int | None:
    """Return the product of sizes, or None if one of them is unknown."""
    known = [size for size in sizes if size is not None]
    return prod(known) if len(known) == len(sizes) else None


def total(*counts: int | None) -> int | None:
    """Return the sum of counts, or None if one of them is unknown."""
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def axis_of(axis: int, shape: Sizes) -> int:
    """Return an axis as a non-negative index; -1 is the last axis, 0 the batch. Raises ShapeError outside the shape."""
    if not -len(shape) <= axis < len(shape):
        raise ShapeError(f"axis {axis} is out of range")
    return axis % len(shape)


def axes_of(axes: Iterable[int], shape: Sizes) -> list[int]:
    """Return axes as non-negative indices. Raises ShapeError if one is repeated, as 2 and -1 of three axes."""
    indices = [axis_of(axis, shape) for axis in axes]
    if len(set(indices)) < len(indices):
        raise ShapeError(f"the axes {indices} must not repeat")
    return indices
