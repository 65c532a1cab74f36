"""Schemes as Keras' initializers, with the laws of their values in Keras' own arithmetic.

Source: Keras 3.15, initializers/random_initializers.py and constant_initializers.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod, sqrt
from typing import Any, NamedTuple

from paramctl.core.parameter import Parameter
from paramctl.declare.located import Located
from paramctl.init.distributions import Constant, Delta, Distribution, Normal, Orthogonal, TruncatedNormal, Uniform
from paramctl.init.fans import fans
from paramctl.init.registry import SchemeMismatch, bound_scheme, lookup
from paramctl.init.schemes import TRUNCATED_STDDEV
from paramctl.store.keras.to_config import INITIALIZERS

RANDOM = (Uniform, Normal, TruncatedNormal, Orthogonal)
FORGETTING = "unit_forget_bias"
"""The scheme of an LSTM's bias whose forget gate has 1. In Keras, it is an option of the layer."""
SCALINGS = {
    "glorot_uniform": (1.0, "fan_avg", "uniform"),
    "glorot_normal": (1.0, "fan_avg", "truncated_normal"),
    "he_uniform": (2.0, "fan_in", "uniform"),
    "he_normal": (2.0, "fan_in", "truncated_normal"),
    "lecun_uniform": (1.0, "fan_in", "uniform"),
    "lecun_normal": (1.0, "fan_in", "truncated_normal"),
}
"""The scale, mode and distribution of Keras' special cases of variance_scaling."""


class KerasInitializer(NamedTuple):
    """An initializer of Keras: its name, and its options by name.

    is_object: True for a scheme that is written as a call, False for a name alone.
    """

    name: str
    options: Mapping[str, Any]
    is_object: bool = False

    @property
    def is_random(self) -> bool:
        """True if it takes a seed."""
        return self.name not in ("zeros", "ones", "constant", "identity")


def keras_initializer(node: Located, forgets: bool = False) -> KerasInitializer:
    """Return a scheme as an initializer of Keras. Raises SchemeMismatch if Keras lacks it, or one of its options.

    forgets: True for the bias of an LSTM whose forget gate has 1, for which the scheme must say so.
    """
    registered, options = bound_scheme(node)
    if forgets:
        if registered.name != FORGETTING:
            raise SchemeMismatch(f"Keras sets the forget gate to 1, so write {FORGETTING}(initializer=...)")
        return keras_initializer(options["initializer"])
    if registered.name not in INITIALIZERS:
        raise SchemeMismatch(f"Keras has no initializer {registered.name}")
    for name, value in options.items():
        if name not in INITIALIZERS[registered.name] and value != registered.options[name].default:
            raise SchemeMismatch(f"Keras' {registered.name} has no option {name}; use variance_scaling")
    if options.get("mode") == "fan_geo_avg":
        raise SchemeMismatch("Keras has no mode fan_geo_avg")
    is_object = lookup(node)[2] is not None
    return KerasInitializer(registered.name, {name: options[name] for name in INITIALIZERS[registered.name]}, is_object)


def law_of(initializer: KerasInitializer, parameter: Parameter, shape: tuple[int, ...]) -> Distribution:
    """Return the law by which an initializer fills a shape. parameter: has the axes that Keras takes fans from."""
    name, options, _ = initializer
    match name:
        case "zeros" | "ones":
            return Constant(float(name == "ones"))
        case "constant":
            return Constant(options["value"])
        case "random_uniform":
            return Uniform(options["minval"], options["maxval"])
        case "random_normal":
            return Normal(options["mean"], options["stddev"])
        case "truncated_normal":
            return TruncatedNormal(options["mean"], options["stddev"])
        case "orthogonal":
            return Orthogonal(options["gain"], prod(shape[:-1]), shape[-1])
        case "identity":
            rows, columns = shape
            return Delta(options["gain"], ((0, columns + 1, min(shape)),), rows * columns)
        case "variance_scaling":
            return _scaled(parameter, options["scale"], options["mode"], options["distribution"])
        case _:
            return _scaled(parameter, *SCALINGS[name])


def _scaled(parameter: Parameter, scale: float, mode: str, distribution: str) -> Distribution:
    """Return the law of variance_scaling. Its operations are in Keras' order, because each of them rounds."""
    known = fans(parameter, "keras")
    if known is None:
        raise SchemeMismatch("requires fans, which only a parameter that maps inputs to outputs has")
    fan_in, fan_out = known
    scale /= max(1.0, {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2.0}[mode])
    if distribution == "uniform":
        limit = sqrt(3.0 * scale)
        return Uniform(-limit, limit)
    if distribution == "truncated_normal":
        return TruncatedNormal(0.0, sqrt(scale) / TRUNCATED_STDDEV)
    return Normal(0.0, sqrt(scale))
