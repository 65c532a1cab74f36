"""Whole recurrences as one operation, because a step alone is too little work for a call of NumPy's functions."""

from __future__ import annotations

import numpy as np

from paramctl.core.dtypes import Array


def lstm(inputs: Array, kernel: Array, mask: Array | None = None) -> Array:
    """Return the outputs (steps, batch, units) of an LSTM with tanh and sigmoid, whose state starts at 0.

    inputs: of the gates i, f, c, o, (steps, batch, 4 * units). kernel: from an output to the gates.
    mask: (steps, batch, 1), False at the steps that keep the state.
    """
    steps, batch, size = inputs.shape
    units, dtype = size // 4, inputs.dtype
    # sigmoid(x) = (tanh(x / 2) + 1) / 2, so one tanh serves all gates; outputs are twice the true ones until the end
    scale, offset = (np.repeat(np.array(each, dtype), units) for each in ([0.5, 0.5, 1, 0.5], [1, 1, 0, 1]))
    kernel = kernel * (scale / 2)
    half = np.array(0.5, dtype)
    outputs = np.empty((steps, batch, units), dtype)
    gates = np.empty((batch, size), dtype)
    i, f, c, o = (gates[:, start : start + units] for start in range(0, size, units))
    carry, before, kept = (np.zeros((batch, units), dtype) for _ in range(3))
    skips = [None] * steps if mask is None else ~mask
    # a step takes a few microseconds, so look-ups count; np.dot and np.matmul take longer than the method
    add, multiply, tanh = np.add, np.multiply, np.tanh
    for scaled, output, skipped in zip(inputs * scale, outputs, skips, strict=True):
        before.dot(kernel, gates)
        add(gates, scaled, gates)
        tanh(gates, gates)
        add(gates, offset, gates)
        multiply(i, c, i)
        if skipped is not None:
            np.copyto(kept, carry)
        multiply(f, carry, carry)
        add(carry, i, carry)
        multiply(carry, half, carry)
        tanh(carry, output)
        multiply(output, o, output)
        if skipped is not None:
            np.copyto(carry, kept, where=skipped)
            np.copyto(output, before, where=skipped)
        before = output
    outputs *= half
    return outputs


def lstm_by_inputs(result: Array, inputs: Array, kernel: Array, mask: Array | None, vector: Array) -> Array:
    """Return the product of a vector with the derivative of lstm by its inputs. result: of lstm."""
    steps, _, size = inputs.shape
    units = size // 4
    gates = inputs + (previous(result).reshape((-1, units)) @ kernel).reshape(inputs.shape)
    i, f, c, o = (gates[..., start : start + units] for start in range(0, size, units))
    i, f, c, o = _sigmoid(i), _sigmoid(f), np.tanh(c), _sigmoid(o)
    # the carries are not kept, because a forward pass alone does not need them
    carries = np.empty_like(result)
    carry = np.zeros_like(result[0])
    for step in range(steps):
        new = f[step] * carry + i[step] * c[step]
        carry = carries[step] = new if mask is None else np.where(mask[step], new, carry)
    squashed = np.tanh(carries)
    # derivatives of the carry by the arguments of i, f and c, and of the output by the argument of o and by the carry
    inner = [c * i * (1 - i), previous(carries) * f * (1 - f), i * (1 - c * c)]
    of_output, to_carry = squashed * o * (1 - o), o * (1 - squashed * squashed)
    slopes: Array = np.empty_like(gates)
    by_carry, by_output = np.zeros_like(carry), np.zeros_like(carry)
    for step in range(steps)[::-1]:
        by_output = vector[step] + by_output
        # a masked step passes both on to the step before it
        carry_kept, output_kept = by_carry, by_output
        by_carry = by_carry + by_output * to_carry[step]
        parts = [*(by_carry * part[step] for part in inner), by_output * of_output[step]]
        np.concatenate(parts, axis=-1, out=slopes[step])
        by_carry = by_carry * f[step]
        if mask is not None:
            slopes[step] *= mask[step]
        by_output = slopes[step] @ kernel.T
        if mask is not None:
            by_carry = np.where(mask[step], by_carry, carry_kept)
            by_output = np.where(mask[step], by_output, output_kept)
    return slopes


def lstm_by_kernel(result: Array, inputs: Array, kernel: Array, mask: Array | None, vector: Array) -> Array:
    """Return the product of a vector with the derivative of lstm by its kernel. result: of lstm."""
    slopes = lstm_by_inputs(result, inputs, kernel, mask, vector)
    product: Array = previous(result).reshape((-1, kernel.shape[0])).T @ slopes.reshape((-1, kernel.shape[1]))
    return product


def previous(steps: Array) -> Array:
    """Return the step before each step, and zeros before the first."""
    before = np.zeros_like(steps)
    before[1:] = steps[:-1]
    return before


def _sigmoid(x: Array) -> Array:
    y: Array = 0.5 * np.tanh(0.5 * x) + 0.5
    return y
