"""The functions of jax.nn.initializers that give a parameter the values of a scheme, and their laws.

Fans are JAX's, from the shape in which the values are drawn. They are computed in Python's floats, in the order of
JAX's source, because its last bit decides over those of the values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from math import prod, sqrt
from typing import Any, NamedTuple

from paramctl.declare.located import Located
from paramctl.init.distributions import Centered, Constant, Normal, Orthogonal, TruncatedNormal, Uniform
from paramctl.init.engines.flax import VarianceScaling
from paramctl.init.gains import GAINS
from paramctl.init.registry import SchemeMismatch, bound_scheme

Shape = tuple[int, ...]
Options = Mapping[str, Any]


class Initializer(NamedTuple):
    """An initializer: its text in JAX, and the law of the values of a shape.

    law raises SchemeMismatch for a shape to which the initializer does not apply.
    """

    text: str
    law: Callable[[Shape], Any]


def initializer_of(node: Located) -> Initializer:
    """Return the initializer of a scheme. Raises SchemeMismatch if JAX has none that gives its values."""
    scheme, options = bound_scheme(node)
    if scheme.name not in INITIALIZERS:
        raise SchemeMismatch(f"jax.nn.initializers has no {scheme.name}")
    return INITIALIZERS[scheme.name](options)


def constant(value: float) -> Initializer:
    """Return the initializer of one value, which draws nothing."""
    text = {0.0: "zeros", 1.0: "ones"}.get(value, f"constant({value})")
    return Initializer(text, lambda shape: Constant(value))


def variance_scaling(scale: float, mode: str, shape: str) -> Initializer:
    """Return variance_scaling. shape: of the distribution, in JAX's words."""
    name = NAMES.get((scale, mode, shape), f"variance_scaling({scale}, {mode}, {shape})")
    return Initializer(name, partial(_scaled, scale, mode, shape, -1))


def _scaled(scale: float, mode: str, distribution: str, out_axis: int, shape: Shape) -> VarianceScaling:
    if len(shape) < 2 or 0 in shape:
        raise SchemeMismatch("requires an axis of inputs and one of outputs")
    field = prod(shape) / shape[-2] / shape[out_axis]
    fan_in, fan_out = shape[-2] * field, shape[out_axis] * field
    fans = {
        "fan_in": fan_in,
        "fan_out": fan_out,
        "fan_avg": (fan_in + fan_out) / 2,
        "fan_geo_avg": (fan_in * fan_out) ** 0.5,
    }
    return VarianceScaling(scale / fans[mode], distribution)


def _by_gain(mode: str, distribution: str, options: Options) -> Initializer:
    """Return variance_scaling for a scheme whose gain multiplies the values, and not their variance."""
    return variance_scaling(options["gain"] ** 2, mode, distribution)


def _kaiming(distribution: str, options: Options) -> Initializer:
    slope, nonlinearity = options["a"], options["nonlinearity"]
    gain = sqrt(2 / (1 + slope**2)) if nonlinearity == "leaky_relu" else GAINS[nonlinearity]
    return variance_scaling(gain**2, options["mode"], distribution)


def _scaling(options: Options) -> Initializer:
    shape = options["distribution"]
    return variance_scaling(options["scale"], options["mode"], "normal" if shape == "untruncated_normal" else shape)


def _uniform(options: Options) -> Initializer:
    low, high = options["minval"], options["maxval"]
    return Initializer(f"uniform(minval={low}, maxval={high})", lambda shape: Uniform(low, high))


def _normal(options: Options) -> Initializer:
    stddev = _centered(options)
    return Initializer(f"normal({stddev})", lambda shape: Normal(0.0, stddev))


def _truncated_normal(options: Options) -> Initializer:
    stddev = _centered(options)
    return Initializer(f"truncated_normal({stddev})", lambda shape: TruncatedNormal(0.0, stddev))


def _centered(options: Options) -> float:
    """Return the standard deviation of a normal distribution, whose mean must be 0."""
    if options["mean"]:
        raise SchemeMismatch("jax.nn.initializers has no normal distribution with a mean")
    stddev: float = options["stddev"]
    return stddev


def _orthogonal(options: Options) -> Initializer:
    gain = options["gain"]
    return Initializer("orthogonal" if gain == 1 else f"orthogonal({gain})", partial(_matrix, gain))


def _matrix(gain: float, shape: Shape) -> Orthogonal:
    if len(shape) < 2:
        raise SchemeMismatch("requires two or more axes")
    return Orthogonal(gain, prod(shape[:-1]), shape[-1])


def _delta_orthogonal(options: Options) -> Initializer:
    gain = options["gain"]
    text = "delta_orthogonal" if gain == 1 else f"delta_orthogonal({gain})"
    return Initializer(text, partial(_centered_matrix, gain))


def _centered_matrix(gain: float, shape: Shape) -> Centered:
    if len(shape) not in (3, 4, 5) or shape[-1] < shape[-2]:
        raise SchemeMismatch("requires the kernel of a convolution with at least as many outputs as inputs")
    position = 0
    for size in shape[:-2]:
        position = position * size + (size - 1) // 2
    return Centered(Orthogonal(gain, *shape[-2:]), position, prod(shape[:-2]))


NAMES = {
    (1.0, "fan_in", "truncated_normal"): "lecun_normal",
    (1.0, "fan_in", "uniform"): "lecun_uniform",
    (1.0, "fan_avg", "truncated_normal"): "glorot_normal",
    (1.0, "fan_avg", "uniform"): "glorot_uniform",
    (2.0, "fan_in", "truncated_normal"): "he_normal",
    (2.0, "fan_in", "uniform"): "he_uniform",
}
"""JAX's names of variance_scaling with these arguments."""

INITIALIZERS: dict[str, Callable[[Options], Initializer]] = {
    "zeros": lambda options: constant(0.0),
    "ones": lambda options: constant(1.0),
    "constant": lambda options: constant(options["value"]),
    "random_uniform": _uniform,
    "random_normal": _normal,
    "truncated_normal": _truncated_normal,
    "variance_scaling": _scaling,
    "glorot_uniform": partial(_by_gain, "fan_avg", "uniform"),
    "glorot_normal": partial(_by_gain, "fan_avg", "truncated_normal"),
    "xavier_normal": partial(_by_gain, "fan_avg", "normal"),
    "he_uniform": lambda options: variance_scaling(2.0, options["mode"], "uniform"),
    "he_normal": lambda options: variance_scaling(2.0, options["mode"], "truncated_normal"),
    "kaiming_uniform": partial(_kaiming, "uniform"),
    "kaiming_normal": partial(_kaiming, "normal"),
    "lecun_uniform": partial(_by_gain, "fan_in", "uniform"),
    "lecun_normal": partial(_by_gain, "fan_in", "truncated_normal"),
    "orthogonal": _orthogonal,
    "delta_orthogonal": _delta_orthogonal,
}
"""The initializer of each scheme, from the scheme's options."""

DEFAULTS = {
    "zeros": constant(0.0),
    "ones": constant(1.0),
    "lecun_normal": variance_scaling(1.0, "fan_in", "truncated_normal"),
    "orthogonal": _orthogonal({"gain": 1.0}),
    "embed": Initializer(
        "variance_scaling(1.0, fan_in, normal, out_axis=0)", partial(_scaled, 1.0, "fan_in", "normal", 0)
    ),
}
"""The default initializers of Flax' modules."""
