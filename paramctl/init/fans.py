"""Fans by convention: the exact ones, and those that Keras and torch compute from a shape.

The frameworks' fans are exact for dense layers and plain convolutions. They differ for grouped, depthwise and
transposed kernels, and in attention.
"""

from __future__ import annotations

from math import prod

from paramctl.core.parameter import Parameter

CONVENTIONS = ("true", "keras", "torch")

Fans = tuple[int | float, int | float]


def fans(parameter: Parameter, convention: str = "true") -> Fans | None:
    """Return (fan_in, fan_out) of a parameter; None if it has none.

    convention: one of CONVENTIONS. An embedding has fans only by those of the frameworks.

    Sources: Keras 3.15, keras.initializers' compute_fans, and EinsumDense's axes in attention. torch.nn.init's fans of
    the weight in torch's layout, where attention packs query, key and value into one weight of three times the width.
    """
    roles = [axis.role for axis in parameter.axes]
    if convention == "true" or parameter.kind != "weight" or len(roles) < 2 or "unknown" in roles:
        return parameter.fans
    if "field" not in roles and "batch" not in roles:
        fan_in = prod(axis.size for axis in parameter.axes if axis.role == "in")
        fan_out = prod(axis.size for axis in parameter.axes if axis.role == "out")
        # (width, heads, head width) is a projection of attention.
        packed = convention == "torch" and roles == ["in", "out", "out"]
        return (fan_in, 3 * fan_out) if packed else parameter.fans
    *field, first, last = parameter.shape
    if roles[-1] == "field":  # in torch's layout: (outputs, inputs, field...), transposed (inputs, outputs, field...)
        last, first, *field = parameter.shape
    if convention == "keras":
        # Keras takes the last two axes as inputs and outputs, even for a transposed kernel, which has outputs first.
        return first * prod(field), last * prod(field)
    if "field" not in roles:  # an embedding: (entries, width)
        return last, first
    if "batch" in roles:  # a depthwise kernel, which torch stores as (channels * multiplier, 1, field...)
        return prod(field), first * last * prod(field)
    return first * prod(field), last * prod(field)


def fans_explained(parameter: Parameter, convention: str = "true") -> str:
    """Return the origin of the fans in words: ``field 3, field 3, in 64, out 16; 4 groups``."""
    if fans(parameter, convention) is None:
        return "no fans: it does not map inputs to outputs"
    if convention != "true":
        return f"as {convention.capitalize() if convention == 'keras' else convention} computes them from the shape"
    axes = ", ".join(f"{axis.role} {axis.size}" for axis in parameter.axes)
    groups = max(axis.groups for axis in parameter.axes)
    strides = prod(axis.stride for axis in parameter.axes)
    notes = [f"{groups} groups" if groups > 1 else "", f"strides {strides}" if strides > 1 else ""]
    return "; ".join([axes, *filter(None, notes)])
