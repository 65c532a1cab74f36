"""Flax' own initial values: the keys and the laws of the parameters of its modules."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import frexp
from typing import Any, NamedTuple

import numpy as np

from paramctl.conversion.exact.flax_keys import PlacedTensor, linen, nnx
from paramctl.conversion.exact.flax_laws import DEFAULTS, Initializer, constant, initializer_of
from paramctl.conversion.exact.order import OrderItem
from paramctl.conversion.exact.plan import ExactPlan, Promise
from paramctl.core.dtypes import numpy_dtype
from paramctl.core.parameter import Axis, Parameter
from paramctl.core.views import inverse
from paramctl.declare.located import Located
from paramctl.errors import AddressError
from paramctl.init.distributions import Centered, Constant, Orthogonal, Uniform
from paramctl.init.engines.base import DrawRequest
from paramctl.init.engines.flax import FLAX, Keyed, VarianceScaling
from paramctl.init.engines.jax_random import DTYPES
from paramctl.init.registry import SchemeMismatch, format_scheme
from paramctl.init.rules import AssignedScheme
from paramctl.model import Model

VERSIONS = "jax>=0.10, flax>=0.12"
MACHINE = "x86-64 with FMA"


class Draw(NamedTuple):
    """The values of a tensor. text: its initializer."""

    request: DrawRequest
    text: str


@dataclass(frozen=True, slots=True)
class Flax:
    """An interface of Flax on a CPU, with JAX's default settings.

    name: by which a user chooses it. tensors: the function from a model and an order of construction to the parameters.
    """

    name: str
    tensors: Callable[[Model, Sequence[OrderItem]], Iterator[PlacedTensor]]
    preset: str = "flax"

    def plan(self, model: Model, assigned: Mapping[str, AssignedScheme], order: Sequence[OrderItem]) -> ExactPlan:
        """Return the plan of a model whose modules have the assigned schemes as kernel_init, bias_init and so on."""
        placed = {each.name: each for each in self.tensors(model, order)}
        shapes = {path: parameter.shape for path, parameter in model.parameters.items()}
        inverses = inverse({name: each.tensor.arrangement for name, each in placed.items()}, shapes)
        arrangements = {path: inverses[path] for path in assigned}
        draws, tensors = {}, {}
        for path, arrangement in arrangements.items():
            for name in arrangement.paths:
                draws[name] = self._draw(placed[name], path, assigned[path].node, model.parameters[path])
                tensors[name] = _parameter(placed[name], model.parameters[path])
        sources = {path: [draws[name] for name in each.paths] for path, each in arrangements.items()}
        return ExactPlan(
            FLAX,
            {name: draw.request for name, draw in draws.items()},
            tensors,
            arrangements,
            {path: _promise(each) for path, each in sources.items()},
            {path: " + ".join(dict.fromkeys(draw.text for draw in each)) for path, each in sources.items()},
        )

    def _draw(self, placed: PlacedTensor, path: str, node: Located | None, parameter: Parameter) -> Draw:
        """Return the draw of a tensor. node: the scheme of the parameter that it is a part of; None for the default."""
        tensor = placed.tensor
        shape = tensor.arrangement.shape
        try:
            initializer = _initializer(tensor.default, node)
            law = initializer.law(tensor.drawn or shape)
            if not isinstance(law, Constant):
                _check(law, tensor.has_key, parameter.dtype)
                law = Keyed(placed.data, law)
        except SchemeMismatch as mismatch:
            scheme = format_scheme(node) if node is not None else tensor.default
            raise AddressError(f"--exactly {self.name}: {mismatch}", f"{scheme} for {path}") from None
        return Draw(DrawRequest(law, shape, numpy_dtype(parameter.dtype)), initializer.text)


def _initializer(default: str, node: Located | None) -> Initializer:
    """Return the initializer of a tensor."""
    if default == "absent":  # in a part of a parameter that Flax computes without
        return constant(0.0)
    return DEFAULTS[default] if node is None else initializer_of(node)


def _check(law: Any, has_key: bool, dtype: str) -> None:
    """Raise SchemeMismatch for a law whose values in JAX are unknown."""
    if not has_key:
        raise SchemeMismatch("Flax gives this variable no random key")
    if dtype not in DTYPES:
        raise SchemeMismatch(f"jax.random draws no {dtype} by default")
    if isinstance(law, (Orthogonal, Centered)) and dtype != "float32":
        raise SchemeMismatch(f"JAX has no orthogonal matrices in {dtype}")


def _parameter(placed: PlacedTensor, parameter: Parameter) -> Parameter:
    """Return a tensor as a parameter. parameter: the one that it is a part of."""
    axes = tuple(Axis(size, "unknown") for size in placed.tensor.arrangement.shape)
    return Parameter(placed.name, axes, parameter.kind, parameter.trainable, None, parameter.dtype)


def _promise(draws: Sequence[Draw]) -> Promise:
    """Return how far the values of draws agree with Flax': as far as those that agree the least."""
    laws = [draw.request.distribution for draw in draws]
    random = [law.law for law in laws if isinstance(law, Keyed)]
    dtype = draws[0].request.dtype
    if any(isinstance(law, (Orthogonal, Centered)) for law in random):
        return Promise(False, f"the values of {draws[0].text} are only close, because they depend on LAPACK")
    return Promise(True, f"{VERSIONS}, {MACHINE}" if any(_needs_fma(law, dtype) for law in random) else VERSIONS)


def _needs_fma(law: Any, dtype: np.dtype[Any]) -> bool:
    """Return whether the bits of values depend on fused multiply-adds."""
    if isinstance(law, Uniform):  # with one exact operation, it does not matter whether both round at once
        with np.errstate(over="ignore"):
            width = np.float32(law.high) - np.float32(law.low)
        return dtype == np.float32 and law.low != 0 and frexp(width)[0] != 0.5
    return not (isinstance(law, VarianceScaling) and law.shape == "uniform")


LINEN, NNX = Flax("flax:linen", linen), Flax("flax:nnx", nnx)
