"""Fans by each convention: the true ones, and those that Keras and torch compute from a shape.

The frameworks' agree with the true ones for dense layers and plain convolutions, and differ where a
kernel is grouped, depthwise or transposed, and in attention.
"""

from __future__ import annotations

from math import prod

from paramctl.core.parameter import Parameter

CONVENTIONS = ("true", "keras", "torch")

Fans = tuple[int | float, int | float]


def fans(parameter: Parameter, convention: str = "true") -> Fans | None:
    """(fan_in, fan_out) of a parameter by one of the CONVENTIONS; None if it has none.

    Only what truly has fans, or an embedding by the frameworks' shapes, has them.
    keras: keras.initializers' compute_fans, and EinsumDense's own axes in attention (Keras 3.15).
    torch: torch.nn.init's fans of the weight in torch's layout; attention's query, key and value
    packed into one weight of three times the width.
    """
    roles = [axis.role for axis in parameter.axes]
    if convention == "true" or parameter.kind != "weight" or len(roles) < 2 or "unknown" in roles:
        return parameter.fans
    if "field" not in roles and "batch" not in roles:
        fan_in = prod(axis.size for axis in parameter.axes if axis.role == "in")
        fan_out = prod(axis.size for axis in parameter.axes if axis.role == "out")
        packed = convention == "torch" and roles == ["in", "out", "out"]
        return (fan_in, 3 * fan_out) if packed else parameter.fans
    *field, first, last = parameter.shape
    if convention == "keras":
        return first * prod(field), last * prod(field)
    if "field" not in roles:  # a table of embeddings
        return last, first
    if "batch" in roles:  # depthwise: (channels * multiplier, 1, field...)
        return prod(field), first * last * prod(field)
    return first * prod(field), last * prod(field)


def account(parameter: Parameter, convention: str = "true") -> str:
    """How the fans come about, in words."""
    if fans(parameter, convention) is None:
        return "no fans: it does not map inputs to outputs"
    if convention != "true":
        return f"as {convention.capitalize() if convention == 'keras' else convention} computes them from the shape"
    each = ", ".join(f"{axis.role} {axis.size}" for axis in parameter.axes)
    groups = max(axis.groups for axis in parameter.axes)
    thinned = prod(axis.stride for axis in parameter.axes)
    notes = [f"{groups} groups" if groups > 1 else "", f"strides {thinned}" if thinned > 1 else ""]
    return "; ".join([each, *filter(None, notes)])
