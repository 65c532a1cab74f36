"""The arithmetic of attention: heads, rotations, and weighted means of values."""

from collections.abc import Sequence
from math import prod, sqrt
from typing import Any

from paramctl.model.layers.call import Array, Call

MASKED = -1e30
"""The addend of the score of a key that a query does not attend to: so large that no digit of the score is left."""


def project(call: Call, name: str, x: Array, inputs: int = 1) -> Array:
    """Return x (..., features) times a kernel, plus its bias. inputs: the number of the kernel's axes for features."""
    kernel, bias = call.parameters[f"{name}/kernel"], call.parameters.get(f"{name}/bias")
    outputs = kernel.shape[inputs:]
    kernel = call.xp.reshape(kernel, (x.shape[-1], prod(outputs)))
    bias = bias if bias is None else call.xp.reshape(bias, (prod(outputs),))
    return call.xp.reshape(call.xp.linear(x, kernel, bias), (*x.shape[:-1], *outputs))


def split_positions(xp: Any, x: Array, axes: Sequence[int]) -> Array:
    """Return x (..., size) as (others..., positions, size): the positions along some axes as one axis."""
    order = _order(len(x.shape) - 1, axes)
    moved = xp.transpose(x, (*order, len(order)))
    kept = len(order) - len(axes)
    return xp.reshape(moved, (*moved.shape[:kept], prod(moved.shape[kept:-1]), x.shape[-1]))


def join_positions(xp: Any, x: Array, axes: Sequence[int], sizes: Sequence[int]) -> Array:
    """Return x (others..., positions, size) as (sizes..., size): the inverse of split_positions."""
    order = _order(len(sizes), axes)
    apart = xp.reshape(x, (*(sizes[axis] for axis in order), x.shape[-1]))
    return xp.transpose(apart, (*map(order.index, range(len(order))), len(order)))


def _order(count: int, axes: Sequence[int]) -> list[int]:
    return [*(axis for axis in range(count) if axis not in axes), *axes]


def rotate(xp: Any, x: Array, theta: float) -> Array:
    """Return vectors (..., positions, size) rotated by their positions. Su et al. (2021).

    The value i of the first half and the value i of the second are one pair, as in Llama's code in transformers; the
    paper pairs neighbors. The pair i at position p turns by p * theta^(-2i / size).
    """
    positions, half = x.shape[-2], x.shape[-1] // 2
    angles = xp.arange(positions)[:, None] * theta ** (-xp.arange(half) / half)
    cos, sin = (function(angles).astype(x.dtype) for function in (xp.cos, xp.sin))
    first, second = x[..., :half], x[..., half:]
    return xp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


def attend(
    call: Call,
    query: Array,
    key: Array,
    value: Array,
    mask: Array | None,
    dropout: float,
    addend: Array | None = None,
) -> Array:
    """Return softmax(query @ key^T / sqrt(size) + addend) @ value, for each head.

    query, key, value: (..., heads, positions, size). With fewer heads, keys and values serve several query heads each.
    mask: True where a query attends to a key, to be broadcast to (..., heads, queries, keys).
    dropout: the rate at which weights are dropped in training.
    addend: (heads, queries, keys), or None for 0.
    """
    xp = call.xp
    *heads, queries, size = query.shape
    keys = key.shape[-2]
    # the query heads that share a key are further positions for it
    grouped = (*key.shape[:-2], prod(heads) // prod(key.shape[:-2]) * queries)
    scale = 1 / sqrt(size)
    if mask is not None:
        # a query that attends to no key has scores of 0, which no derivative passes
        scale = scale * xp.any(mask, axis=-1, keepdims=True).astype(query.dtype)
    scores = xp.reshape(query * scale, (*grouped, size)) @ xp.swapaxes(key, -1, -2)
    if addend is not None:
        scores = xp.reshape(scores, (*heads, queries, keys)) + addend
    if mask is not None:
        # added, because the derivative of a sum is free
        scores = xp.reshape(scores, (*heads, queries, keys)) + xp.where(mask, 0.0, MASKED).astype(scores.dtype)
    weights = xp.exp(scores - xp.max(scores, axis=-1, keepdims=True))
    total = xp.sum(weights, axis=-1, keepdims=True)
    if call.training and dropout:
        weights = weights * call.dropout_factors(dropout, weights.shape, weights.dtype)
    # divided after the product, which has fewer values
    mixed = xp.reshape(weights, (*grouped, keys)) @ value
    return xp.reshape(mixed, (*heads, queries, value.shape[-1])) / xp.reshape(total, (*heads, queries, 1))
