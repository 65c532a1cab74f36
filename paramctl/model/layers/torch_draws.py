"""The calls of torch.nn.init in the constructor of a layer's torch.nn module: what it draws, and in which order.

Each layer gives its own by `Layer.torch_draws`; the helpers here are shared by several layers.
Source: torch 2.13, reset_parameters of Linear, _ConvNd, RNNBase, MultiheadAttention, Embedding and PReLU.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod, sqrt
from types import MappingProxyType
from typing import Any, NamedTuple

from paramctl.model.layers.torch import Shapes


class InitCall(NamedTuple):
    """A call of a function of torch.nn.init: ``uniform_(bias, a=-0.5, b=0.5)``.

    tensor: the name of the tensor relative to the module.
    arguments: of the function, apart from the tensor.
    padded: True if the module sets the first row to 0 afterwards, as nn.Embedding does with padding_idx=0.
    """

    tensor: str
    function: str
    arguments: Mapping[str, Any] = MappingProxyType({})
    padded: bool = False

    def under(self, name: str) -> InitCall:
        """Return this call of a module as one of the module that holds it under a name."""
        return self._replace(tensor=f"{name}.{self.tensor}")


def symmetric(tensor: str, bound: float) -> InitCall:
    """Return the call of uniform_ for values from -bound to bound."""
    return InitCall(tensor, "uniform_", {"a": -bound, "b": bound})


def constant(tensor: str, value: float) -> InitCall:
    """Return the call of constant_, which draws nothing."""
    return InitCall(tensor, "constant_", {"val": value})


def normalization(tensors: Shapes) -> Iterator[InitCall]:
    """Yield the calls of a normalization: the weight and the running variance are 1, anything else is 0."""
    for name in tensors:
        yield constant(name, 1.0 if name in ("weight", "running_var") else 0.0)


def linear(tensors: Shapes) -> Iterator[InitCall]:
    """Yield the calls of nn.Linear and of the convolutions: for the weight, then for the bias, if it has one.

    tensors: the shapes by name.
    """
    return linear_under(tensors, "")


def linear_under(tensors: Shapes, prefix: str) -> Iterator[InitCall]:
    """Yield the calls of `linear` for the tensors whose names have this prefix."""
    weight, bias = f"{prefix}weight", f"{prefix}bias"
    yield InitCall(weight, "kaiming_uniform_", {"a": sqrt(5)})
    if bias in tensors:
        # torch takes the product of all axes but the first for the fan_in, also of a transposed convolution
        yield symmetric(bias, 1 / sqrt(prod(tensors[weight][1:])))


def separable(tensors: Shapes) -> Iterator[InitCall]:
    """Yield the calls of a separable convolution, which is two modules."""
    yield from linear_under(tensors, "depthwise.")
    yield from linear_under(tensors, "pointwise.")


def projections(tensors: Shapes) -> Iterator[InitCall]:
    """Yield the calls of attention whose projections are nn.Linear, with relative positions in an nn.Embedding."""
    for name in tensors:
        if name == "relative_position.weight":
            yield InitCall(name, "normal_")
        elif name.endswith(".weight"):
            yield from linear_under(tensors, name.removesuffix("weight"))


def multihead_attention(tensors: Shapes) -> Iterator[InitCall]:
    """Yield the calls of nn.MultiheadAttention: its out_proj is an nn.Linear, which is made first."""
    yield from linear_under(tensors, "out_proj.")
    yield from (InitCall(name, "xavier_uniform_") for name in tensors if name.endswith("proj_weight"))
    yield from (constant(name, 0.0) for name in tensors if name.endswith("bias"))
