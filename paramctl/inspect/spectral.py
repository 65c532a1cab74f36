"""Spectral facts of matrices: the spectral norm, the stable rank, the condition number and the rank.

Up to EXACT rows or columns, they are those of all singular values: of the matrix itself, or of the triangular factor of
its QR decomposition, which is updated slab by slab. Neither loses digits, as the product of a matrix with its transpose
would. Of larger matrices, block Lanczos iteration finds the largest singular value to TOLERANCE, which the note says.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import ldexp
from typing import Any, NamedTuple

import numpy as np

from paramctl.core.blas import one_thread
from paramctl.core.dtypes import Array
from paramctl.inspect.matrix import LOADED, Kernel, Matrices
from paramctl.inspect.tally import Tally
from paramctl.source.base import SelectedValues

EXACT = 1024
"""The smaller side of matrices of which all singular values are computed."""

TOLERANCE = 1e-4
"""The largest relative error of an iteration."""

WIDTH = 8
"""The number of vectors of a block."""

MAX_BASIS = 480
"""The number of vectors after which the iteration gives up; fewer if they have more than MAX_BASIS_VALUES together."""

MAX_BASIS_VALUES = 1 << 24


HELD = 1 << 27
"""The bytes of a matrix, as float64, up to which the iteration reads it once and keeps it."""


@dataclass(frozen=True, slots=True)
class Spectrum:
    """Facts of the singular values of a matrix, or of the block-diagonal matrix of an array's kernels.

    norm: the largest; None beyond float64.
    stable_rank: the sum of the squares, divided by the square of the largest.
    condition: the largest divided by the smallest; infinite if the rank is not full.
    rank: the number of singular values above ``norm * max(rows, columns) * 2**-52``.
    note: why a fact is missing, or how exact the norm is; empty for an exact spectrum.
    """

    norm: float | None = None
    stable_rank: float | None = None
    condition: float | None = None
    rank: int | None = None
    note: str = ""


@one_thread()
def spectrum(selected: SelectedValues, counts: Tally) -> Spectrum:
    """Return the spectrum of selected values. counts: their tally."""
    matrices = Matrices.of(selected, counts)
    if isinstance(matrices, str):
        return Spectrum(note=matrices)
    if counts.zeros == counts.size:
        return Spectrum(norm=0.0, rank=0, note="all zero")
    is_small = min(matrices.shape) <= EXACT
    if is_small and selected.selection.size <= LOADED:
        return _exact(matrices, _singular_values(matrices.load()))
    if not matrices.in_order:
        return Spectrum(note=f"more than {LOADED:,} values in an order that is not a matrix's")
    if is_small:
        return _exact(matrices, np.concatenate([_by_triangles(kernel) for kernel in matrices.kernels()]))
    return _iterated(matrices)


def _exact(matrices: Matrices, values: Array) -> Spectrum:
    """Return the spectrum with all singular values."""
    values = np.sort(values.reshape(-1))[::-1]
    largest, smallest = float(values[0]), float(values[-1])
    rank = int(np.count_nonzero(values > largest * max(matrices.shape) * np.finfo(np.float64).eps))
    is_full = rank == values.size
    return Spectrum(
        norm=_scaled_back(largest, matrices.exponent),
        stable_rank=float(np.sum((values / largest) ** 2)),
        condition=largest / smallest if is_full else float("inf"),
        rank=rank,
        note="" if is_full else f"rank {rank:,} of {values.size:,}",
    )


def _scaled_back(value: float, exponent: int) -> float | None:
    try:
        return ldexp(value, exponent)
    except OverflowError:
        return None


def _singular_values(matrices: Array) -> Array:
    """Return the singular values of each of several matrices."""
    if matrices.shape[1] < matrices.shape[2]:
        matrices = matrices.swapaxes(1, 2)
    is_tall = matrices.shape[1] >= 2 * matrices.shape[2]
    reduced: Any = np.linalg.qr(matrices, mode="r") if is_tall else matrices
    return np.linalg.svd(reduced, compute_uv=False)


def _by_triangles(kernel: Kernel) -> Array:
    """Return the singular values of a matrix that is read in slabs. Source: Demmel et al. (2012)."""
    triangle: Any = None
    for slab in kernel.long_slabs():
        triangle = np.linalg.qr(slab if triangle is None else np.concatenate([triangle, slab]), mode="r")
    return np.linalg.svd(triangle, compute_uv=False)


class _Largest(NamedTuple):
    """The largest singular value of a matrix, or None if it was not found, and the sum of squares of the entries."""

    value: float | None
    squares: float


def _iterated(matrices: Matrices) -> Spectrum:
    """Return the spectrum of matrices too large for all of their singular values."""
    results = [_largest(kernel) for kernel in matrices.kernels()]
    values = [result.value for result in results if result.value is not None]
    if len(values) < len(results):
        return Spectrum(note=f"no convergence to {TOLERANCE:g}")
    largest = max(values)
    squares = sum(result.squares for result in results)
    return Spectrum(
        norm=_scaled_back(largest, matrices.exponent),
        stable_rank=squares / largest**2,
        note=f"by iteration, within {TOLERANCE:g}",
    )


def _largest(kernel: Kernel) -> _Largest:
    """Return the largest singular value, by block Lanczos iteration. Source: Golub and Underwood (1977).

    The Rayleigh quotient is never above the largest eigenvalue of A^H A, and has an eigenvalue as near as the residual
    is long.
    """
    columns = kernel.columns
    width = min(WIDTH, columns)
    rng = np.random.Generator(np.random.SFC64(0))
    block: Array = np.linalg.qr(rng.standard_normal((columns, width)))[0]
    vectors: Array = np.zeros((columns, 0))
    projected = np.zeros((0, 0))
    squares = 0.0
    held = [*kernel.row_slabs()] if kernel.bytes <= HELD else None
    while vectors.shape[1] < min(MAX_BASIS, MAX_BASIS_VALUES // columns):
        product, squares = _applied(kernel.row_slabs() if held is None else held, block)
        vectors = np.concatenate([vectors, block], axis=1)
        coefficients = vectors.conj().T @ product
        projected = _extended(projected, coefficients, width)
        product = product - vectors @ coefficients
        product -= vectors @ (vectors.conj().T @ product)  # once more, as the first time leaves rounding errors
        block, rest = np.linalg.qr(product)
        # of a matrix without full rank, the last vectors may be any, also such as are in the basis
        block = np.linalg.qr(block - vectors @ (vectors.conj().T @ block))[0]
        values, directions = np.linalg.eigh(projected)
        residual = float(np.linalg.norm(rest @ directions[-width:, -1]))
        if residual <= TOLERANCE * values[-1]:
            return _Largest(float(np.sqrt(values[-1])), squares)
    return _Largest(None, squares)


def _extended(projected: Array, coefficients: Array, width: int) -> Array:
    """Return the projection of A^H A onto the basis with one more block, whose coefficients are its last columns."""
    size = len(coefficients)
    result = np.zeros((size, size), coefficients.dtype)
    result[: size - width, : size - width] = projected
    result[:, size - width :] = coefficients
    result[size - width :, :] = coefficients.conj().T
    last = result[size - width :, size - width :]
    result[size - width :, size - width :] = (last + last.conj().T) / 2
    return result


def _applied(slabs: Iterable[Array], block: Array) -> tuple[Array, float]:
    """Return A^H A times a block of vectors, and the sum of the squares of A's entries, in one pass."""
    product: Any = 0.0
    squares = 0.0
    for slab in slabs:
        product = product + ((slab @ block).conj().T @ slab).conj().T  # no copy of the slab
        squares += float(np.vdot(slab, slab).real)
    return product, squares
