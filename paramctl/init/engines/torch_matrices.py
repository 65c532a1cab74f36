"""orthogonal_ and sparse_ of torch.nn.init, whose values depend on each other, so that they are drawn at once."""

from __future__ import annotations

import threading
from math import prod

import numpy as np

from paramctl.core.blas import one_thread
from paramctl.core.dtypes import Array
from paramctl.init.engines.base import TooLargeToDraw
from paramctl.init.engines.native import MAX_DRAWN_WHOLE
from paramctl.init.engines.torch_kernels import Kernels, Place, Tensor, after_normal
from paramctl.init.engines.torch_laws import SparseColumns

_one_at_a_time = threading.Lock()
"""Held while a matrix is drawn, so that threads do not multiply its memory."""


def orthogonal(gain: float, shape: tuple[int, ...], tensor: Tensor, kernels: Kernels) -> Array:
    """Return the values of orthogonal_, flat. Its normal numbers are torch's; LAPACK rounds as it does here."""
    _check(tensor.size)
    rows, columns = shape[0], prod(shape[1:])
    with _one_at_a_time, one_thread():
        normals = kernels.normal(tensor, 0.0, 1.0, 0, tensor.size).reshape(rows, columns)
        q, r = np.linalg.qr(normals.T if rows < columns else normals)
        q *= np.sign(np.diag(r))
        q *= q.dtype.type(gain)
        return np.ascontiguousarray(q.T if rows < columns else q).reshape(-1)


def after_sparse(shape: tuple[int, ...], tensor: Tensor) -> Place:
    """Return the place after sparse_: a permutation of the rows for each column takes a word for each row but one."""
    rows, columns = shape
    place = after_normal(tensor)
    return place._replace(word=place.word + columns * max(rows - 1, 0))


def sparse(law: SparseColumns, shape: tuple[int, ...], tensor: Tensor, kernels: Kernels) -> Array:
    """Return the values of sparse_, flat. The zeros of a column are the first rows of a random permutation.

    Source: Fisher and Yates (1938), in Durstenfeld's form; the words' remainders choose the rows.
    """
    _check(tensor.size)
    rows, columns = shape
    with _one_at_a_time:
        matrix = kernels.normal(tensor, 0.0, law.stddev, 0, tensor.size).reshape(rows, columns)
        first = after_normal(tensor).word
        words = kernels.words.read(first, columns * max(rows - 1, 0)).reshape(columns, -1)
        order, every = np.tile(np.arange(rows), (columns, 1)), np.arange(columns)
        for position in range(min(law.zeros, rows - 1)):
            chosen = position + words[:, position] % np.uint32(rows - position)
            order[every, position], order[every, chosen] = order[every, chosen], order[every, position]
        matrix[order[:, : law.zeros], every[:, None]] = 0
        return matrix.reshape(-1)


def _check(size: int) -> None:
    if size > MAX_DRAWN_WHOLE:
        raise TooLargeToDraw(f"a matrix drawn at once has at most {MAX_DRAWN_WHOLE:,} values, not {size:,}")
