"""The networks of tests/exact_flax_networks.py in flax.linen: compact modules, with attributes of setup() for names.

A compact module numbers the modules of a class in the order in which they are made. Each has a line of its own, because
``Dense(1)(Dense(8)(x))`` makes the last one first.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
from jax import random
from jax.nn import initializers as init

MODULES: dict[str, Callable[..., nn.Module]] = {}
"""The module of each network, as a function of the dtype."""


class Compact(nn.Module):
    """A module whose code is a function of one that makes layers, and of the inputs."""

    code: Callable[..., Any]
    dtype: str = "float32"

    @nn.compact
    def __call__(self, *inputs: Any) -> Any:
        return self.code(partial(_make, self.dtype), *inputs)


def _make(dtype: str, layer: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return layer(*args, param_dtype=dtype, **kwargs)


def program(function: Callable[..., Any]) -> Callable[..., Any]:
    """Register the code of a network: a function of one that makes layers, and of the inputs."""
    MODULES[function.__name__.replace("_", " ")] = partial(Compact, function)
    return function


@program
def mlp(make: Any, x: Any) -> Any:
    x = nn.relu(make(nn.Dense, 8)(x))
    return make(nn.Dense, 1)(x)


@program
def named_mlp(make: Any, x: Any) -> Any:
    return make(nn.Dense, 1, use_bias=False, name="fc2")(nn.relu(make(nn.Dense, 8, name="fc1")(x)))


@program
def regularized_mlp(make: Any, x: Any) -> Any:
    x = nn.Dropout(0.5, deterministic=True)(nn.relu(make(nn.Dense, 8)(x)))
    x = make(nn.LayerNorm, use_bias=False, epsilon=1e-3)(nn.relu(make(nn.Dense, 8)(x)))
    return make(nn.Dense, 3, name="head")(nn.Dropout(0.5, deterministic=True)(x))


@program
def lenet(make: Any, x: Any) -> Any:
    x = nn.avg_pool(nn.sigmoid(make(nn.Conv, 6, (5, 5))(x)), (2, 2), (2, 2))
    x = nn.avg_pool(nn.sigmoid(make(nn.Conv, 16, (5, 5), padding="VALID")(x)), (2, 2), (2, 2))
    x = nn.sigmoid(make(nn.Dense, 20)(x.reshape(len(x), -1)))
    return make(nn.Dense, 10)(x)


class Add(nn.Module):
    """The residual block of a unit, with its shortcut."""

    dtype: str

    @nn.compact
    def __call__(self, x: Any) -> Any:
        norm = partial(nn.BatchNorm, use_running_average=True, param_dtype=self.dtype, epsilon=1e-3)
        conv = partial(nn.Conv, 8, use_bias=False, param_dtype=self.dtype)
        y = norm()(conv(kernel_size=(3, 3))(x))
        y = norm()(conv(kernel_size=(3, 3))(nn.relu(y)))
        return y + norm()(conv(kernel_size=(1, 1))(x))


class Unit(nn.Module):
    """A unit of the residual network, whose block is an attribute."""

    dtype: str

    def setup(self) -> None:
        self.add = Add(self.dtype)

    def __call__(self, x: Any) -> Any:
        return nn.relu(self.add(x))


@program
def resnet(make: Any, x: Any) -> Any:
    x = make(nn.Conv, 8, (3, 3))(x)
    for number in range(2):
        x = Unit(make.args[0], name=f"unit{number}")(x)
    return make(nn.Dense, 10)(x.mean((1, 2)))


@program
def mobilenet(make: Any, x: Any) -> Any:
    conv = partial(make, nn.Conv, padding="VALID")
    x = conv(12, (1, 1), use_bias=False)(x)
    x = make(nn.BatchNorm, use_running_average=True, epsilon=1e-3)(x)
    x = conv(24, (3, 3), feature_group_count=12, use_bias=False)(x)
    x = conv(24, (3, 3), feature_group_count=24, use_bias=False)(x)
    x = conv(5, (1, 1))(x)
    return conv(10, (3, 3), feature_group_count=5)(x)


@program
def decoder(make: Any, x: Any) -> Any:
    x = make(nn.Conv, 4, (3, 3), name="down")(x)
    x = make(nn.ConvTranspose, 6, (2, 2), (2, 2), padding="VALID")(x)
    return make(nn.Conv, 2, (1, 1))(make(nn.GroupNorm, 2, epsilon=1e-3)(x))


@program
def volume(make: Any, x: Any) -> Any:
    x = make(nn.Conv, 3, (1, 2, 3), padding="VALID")(x)
    x = make(nn.ConvTranspose, 2, (2, 3, 1), padding="VALID", use_bias=False)(x)
    return make(nn.Dense, 3)(x.reshape(len(x), -1))


@program
def signal(make: Any, x: Any) -> Any:
    x = make(nn.Conv, 8, (3,), padding="VALID")(x)
    x = make(nn.Conv, 8, (2,), padding="VALID", feature_group_count=8)(x)
    return make(nn.ConvTranspose, 3, (3,), padding="VALID")(x)


@program
def encoder(make: Any, x: Any) -> Any:
    x = x + make(nn.MultiHeadDotProductAttention, 2)(x)
    x = make(nn.LayerNorm, epsilon=1e-3)(x)
    y = nn.relu(make(nn.Dense, 16)(x))
    x = x + make(nn.Dense, 8)(y)
    return make(nn.RMSNorm)(x)


@program
def cross_attention(make: Any, x: Any, memory: Any) -> Any:
    attention = partial(make, nn.MultiHeadDotProductAttention, deterministic=True)
    x = attention(2, qkv_features=6, dropout_rate=0.1, name="cross")(x, memory)
    return make(nn.Dense, 3)(attention(4, use_bias=False)(x))


class Net(nn.Module):
    """The inner block of the nested network."""

    @nn.compact
    def __call__(self, x: Any) -> Any:
        x = nn.relu(nn.Dense(6)(x))
        return nn.relu(nn.Dense(3)(x))


class NestMlp(nn.Module):
    """The outer block of the nested network."""

    @nn.compact
    def __call__(self, x: Any) -> Any:
        return nn.Dense(5)(Net()(x))


@program
def nested(make: Any, x: Any) -> Any:
    x = nn.Dense(4)(NestMlp()(x))
    return NestMlp(name="last")(Net()(x))


class Words(nn.Module):
    """A compact module with one recurrent layer as an attribute, which then holds its cell."""

    dtype: str = "float32"

    def setup(self) -> None:
        self.last = nn.RNN(nn.LSTMCell(3, recurrent_kernel_init=init.lecun_normal(), param_dtype=self.dtype))

    @nn.compact
    def __call__(self, x: Any) -> Any:
        x = nn.Embed(33, 7, param_dtype=self.dtype)(x)
        cell = nn.LSTMCell(5, recurrent_kernel_init=init.glorot_uniform(), param_dtype=self.dtype)
        x = self.last(nn.RNN(cell)(x))[:, -1]
        return nn.sigmoid(nn.Dense(1, param_dtype=self.dtype)(x))


class Recurrent(nn.Module):
    """A compact module with two recurrent layers as attributes."""

    dtype: str = "float32"

    def setup(self) -> None:
        cells = [nn.LSTMCell(3, recurrent_kernel_init=init.he_normal()) for _ in range(2)]
        self.both = nn.Bidirectional(*map(nn.RNN, cells))
        self.last = nn.RNN(nn.GRUCell(2, recurrent_kernel_init=init.glorot_normal()))

    @nn.compact
    def __call__(self, x: Any) -> Any:
        cells = [nn.GRUCell(4, recurrent_kernel_init=init.lecun_normal()) for _ in range(2)]
        x = self.both(nn.Bidirectional(*map(nn.RNN, cells))(x))
        x = nn.RNN(nn.SimpleCell(6, recurrent_kernel_init=init.normal(0.1)))(x)
        return self.last(x)[:, -1]


@program
def shared(make: Any, x: Any) -> Any:
    fc = make(nn.Dense, 4, name="fc")
    x = nn.relu(fc(nn.relu(fc(x))))
    x = make(nn.Dense, 4)(x)
    return make(nn.Dense, 2)(x)


@program
def schemes(make: Any, x: Any) -> Any:
    conv = partial(make, nn.Conv, padding="VALID")
    x = conv(8, (3, 3), kernel_init=init.variance_scaling(2.0, "fan_out", "normal"))(x)
    x = conv(4, (3, 3), kernel_init=init.he_normal(), bias_init=init.constant(0.5))(x)
    x = conv(4, (1, 1), kernel_init=partial(random.uniform, minval=-0.3, maxval=0.45))(x)
    x = make(nn.LayerNorm, scale_init=init.normal(0.02), bias_init=init.ones)(x)
    x = make(nn.Dense, 6, kernel_init=init.glorot_normal(), bias_init=init.normal(0.01))(x.reshape(len(x), -1))
    x = make(nn.Dense, 6, kernel_init=init.truncated_normal(0.02))(x)
    x = make(nn.Dense, 5, kernel_init=init.glorot_uniform())(x)
    x = make(nn.Dense, 5, kernel_init=init.he_uniform())(x)
    x = make(nn.Dense, 9, kernel_init=init.variance_scaling(0.7, "fan_geo_avg", "uniform"))(x)
    return make(nn.Dense, 9, kernel_init=init.lecun_uniform())(x)


MODULES |= {"words": Words, "recurrent": Recurrent}


def module_of(name: str, dtype: str) -> nn.Module:
    """Return the module of a network. name: of the network: ``lenet in float16`` is lenet."""
    return MODULES[name.partition(" in ")[0].partition(",")[0]](dtype=dtype)
