"""Random networks, each as a document and as torch code that computes the same.

The torch code is written as for any torch model: modules of torch.nn on feature maps with channels first, and on
sequences with features last. It knows nothing of the conversion.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

Map = torch.Tensor


class Value(NamedTuple):
    """An output of the document. shape: in Keras, without the batch."""

    name: str
    shape: tuple[int, ...]


@dataclass
class Network:
    """A document, and torch modules by the names of its layers.

    rank: of spatial axes. first: True if the document has channels first. steps: torch's code, in order.
    determined: True if a layer reads the input, perhaps through silent ones, that says where its channels are.
    """

    rng: np.random.Generator
    rank: int
    first: bool
    shape: tuple[int, ...]
    determined: bool = False
    lines: list[str] = field(default_factory=list)
    modules: dict[str, nn.Module] = field(default_factory=dict)
    steps: list[tuple[str, tuple[str, ...], Callable[..., Map]]] = field(default_factory=list)

    @property
    def text(self) -> str:
        return f"inputs: {{x: {list(self.shape)}}}\nlayers:\n" + "".join(f"  - {line}\n" for line in self.lines)

    def outputs(self, x: np.ndarray, moved: bool) -> np.ndarray:
        """Return the output of torch's code. moved: True if torch has the channels of the input first."""
        env = {"x": torch.from_numpy(np.moveaxis(x, -1, 1) if moved else x).contiguous()}
        with torch.no_grad():
            for name, inputs, step in self.steps:
                env[name] = step(*(env[each] for each in inputs))
        return env[self.steps[-1][0]].numpy()

    def pick(self, *choices: object) -> object:
        return choices[int(self.rng.integers(len(choices)))]

    def put(
        self, type_: str, options: str, inputs: tuple[Value, ...], shape: tuple[int, ...], code: Callable[..., Map]
    ) -> Value:
        """Add a layer to the document and its code to torch's."""
        name = f"n{len(self.lines)}"
        source = inputs[0].name if len(inputs) == 1 else f"[{', '.join(value.name for value in inputs)}]"
        self.lines.append(f"{type_}: {{name: {name}, from: {source}{options and ', '}{options}}}")
        if isinstance(code, nn.Module):
            self.modules[name] = code
        self.steps.append((name, tuple(value.name for value in inputs), code))
        return Value(name, shape)

    # feature maps: (space..., channels) or (channels, space...) in Keras, always channels first in torch

    def split(self, x: Value) -> tuple[tuple[int, ...], int]:
        return (x.shape[1:], x.shape[0]) if self.first else (x.shape[:-1], x.shape[-1])

    def join(self, space: tuple[int, ...], channels: int) -> tuple[int, ...]:
        return (channels, *space) if self.first else (*space, channels)

    @property
    def format(self) -> str:
        return f"data_format: channels_{'first' if self.first else 'last'}"

    @property
    def axis(self) -> int:
        return 1 if self.first else int(self.rng.choice([-1, self.rank + 1]))

    def module(self, name: str) -> type[nn.Module]:
        cls: type[nn.Module] = getattr(nn, f"{name}{self.rank}d")
        return cls

    def conv(self, x: Value, filters: int = 0, same: bool = False) -> Value:
        space, channels = self.split(x)
        filters = filters or int(self.rng.integers(1, 5))
        size = 3 if same else min(int(self.rng.integers(1, 4)), *space)
        groups = 2 if channels % 2 == 0 and filters % 2 == 0 and self.rng.random() < 0.3 else 1
        space = space if same else tuple(n - size + 1 for n in space)
        options = f"filters: {filters}, kernel_size: {size}, groups: {groups}, {self.format}"
        code = self.module("Conv")(channels, filters, size, groups=groups, padding="same" if same else 0)
        return self.put(
            f"conv{self.rank}d",
            f"{options}, padding: {'same' if same else 'valid'}",
            (x,),
            self.join(space, filters),
            code,
        )

    def transposed(self, x: Value) -> Value:
        space, channels = self.split(x)
        code = self.module("ConvTranspose")(channels, 3, 2)
        options = f"filters: 3, kernel_size: 2, {self.format}"
        shape = self.join(tuple(n + 1 for n in space), 3)
        return self.put(f"conv{self.rank}d_transpose", options, (x,), shape, code)

    def depthwise(self, x: Value) -> Value:
        space, channels = self.split(x)
        if self.rank == 3:
            return self.conv(x)
        code = self.module("Conv")(channels, channels * 2, 1, groups=channels)
        options = f"kernel_size: 1, depth_multiplier: 2, {self.format}"
        return self.put(f"depthwise_conv{self.rank}d", options, (x,), self.join(space, channels * 2), code)

    def pool(self, x: Value) -> Value:
        space, channels = self.split(x)
        if min(space) < 2:
            return self.relu(x)
        kind, module = self.pick(("max", "MaxPool"), ("average", "AvgPool"))
        shape = self.join(tuple(n // 2 for n in space), channels)
        return self.put(
            f"{kind}_pooling{self.rank}d", f"pool_size: 2, {self.format}", (x,), shape, self.module(module)(2)
        )

    def batch_norm(self, x: Value) -> Value:
        code = self.module("BatchNorm")(self.split(x)[1], eps=1e-3)
        return self.put("batch_normalization", f"axis: {self.axis}", (x,), x.shape, code)

    def group_norm(self, x: Value) -> Value:
        channels = self.split(x)[1]
        code = nn.GroupNorm(1, channels, eps=1e-3)
        return self.put("group_normalization", f"groups: 1, axis: {self.axis}", (x,), x.shape, code)

    def layer_norm(self, x: Value) -> Value:
        space, channels = self.split(x)
        axes = list(range(1, self.rank + 2))
        return self.put(
            "layer_normalization", f"axis: {axes}", (x,), x.shape, nn.LayerNorm([channels, *space], eps=1e-3)
        )

    def slopes(self, x: Value) -> Value:
        axes = [axis + self.first for axis in range(1, self.rank + 1)]
        return self.put("p_re_lu", f"shared_axes: {axes}", (x,), x.shape, nn.PReLU(self.split(x)[1]))

    def relu(self, x: Value) -> Value:
        return self.put("re_lu", "", (x,), x.shape, nn.ReLU())

    def residual(self, x: Value) -> Value:
        y = self.conv(x, self.split(x)[1], same=True)
        return self.put("add", "", (x, y), x.shape, torch.add)

    def concatenated(self, x: Value) -> Value:
        a, b = self.conv(x, 2, same=True), self.conv(x, 3, same=True)
        axis = 1 if self.first else -1
        return self.put(
            "concatenate", f"axis: {axis}", (a, b), self.join(self.split(x)[0], 5), lambda a, b: torch.cat([a, b], 1)
        )

    def excited(self, x: Value) -> Value:
        """Multiply each channel by a dense layer's output, as in Hu et al. (2018)."""
        channels = self.split(x)[1]
        factors = self.dense(self.global_pool(x), channels)
        ones = (1,) * self.rank
        shape = self.join(ones, channels)
        y = self.put(
            "reshape", f"target_shape: {list(shape)}", (factors,), shape, lambda v: v.reshape(-1, channels, *ones)
        )
        return self.put("multiply", "", (x, y), x.shape, torch.mul)

    # vectors

    def flatten(self, x: Value) -> Value:
        options = self.format if self.rng.random() < 0.5 else ""
        return self.put("flatten", options, (x,), (int(np.prod(x.shape)),), nn.Flatten())

    def global_pool(self, x: Value) -> Value:
        axes = tuple(range(2, self.rank + 2))
        return self.put(
            f"global_average_pooling{self.rank}d",
            self.format,
            (x,),
            (self.split(x)[1],),
            lambda x: x.mean(axes),
        )

    def vector(self, x: Value) -> Value:
        """Add a layer that takes a flattened feature map feature by feature, or none."""
        (size,) = x.shape
        kind = self.rng.integers(4)
        if kind == 0:
            return self.put("batch_normalization", "", (x,), x.shape, nn.BatchNorm1d(size, eps=1e-3))
        if kind == 1:
            return self.put("layer_normalization", "", (x,), x.shape, nn.LayerNorm(size, eps=1e-3))
        if kind == 2:
            return self.put("p_re_lu", "", (x,), x.shape, nn.PReLU(size))
        return x

    def dense(self, x: Value, units: int = 3) -> Value:
        return self.put("dense", f"units: {units}", (x,), (*x.shape[:-1], units), nn.Linear(x.shape[-1], units))

    # sequences: (steps, features) in both

    def recurrent(self, x: Value) -> Value:
        kind, module = self.pick(("lstm", nn.LSTM), ("gru", nn.GRU), ("simple_rnn", nn.RNN))
        return self.put(
            kind,
            "units: 3, return_sequences: true",
            (x,),
            (x.shape[0], 3),
            First(module(x.shape[1], 3, batch_first=True)),
        )

    def step_norm(self, x: Value) -> Value:
        return self.put("layer_normalization", "", (x,), x.shape, nn.LayerNorm(x.shape[-1], eps=1e-3))

    def swapped(self, x: Value) -> Value:
        return self.put("permute", "dims: [2, 1]", (x,), x.shape[::-1], lambda x: x.transpose(1, 2))


class First(nn.Module):
    """The first output of a module, under the module's own names."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Map) -> Map:
        return self.module(x)[0]  # type: ignore[no-any-return]


CHANNELS = (
    *("conv", "transposed", "depthwise", "pool", "batch_norm", "group_norm", "slopes"),
    *("residual", "concatenated", "excited"),
)
"""Methods with a torch module that has the channels in axis 1, so they say where torch has those of their input."""
SILENT = ("layer_norm", "relu")
"""Methods whose torch modules take any axes."""


def image_network(seed: int) -> tuple[Network, bool]:
    """Return a network over feature maps, and True if torch has the channels of its input elsewhere than Keras."""
    rng = np.random.default_rng(seed)
    rank, first = 1 + seed % 3, bool(seed // 3 % 2)
    space, channels = tuple(int(n) for n in rng.integers(3, 5, rank)), int(rng.integers(1, 4))
    net = Network(rng, rank, first, (channels, *space) if first else (*space, channels))
    start = Value("x", net.shape)
    ends = []
    for _ in range(1 + int(rng.random() < 0.6)):
        x = start
        for _ in range(int(rng.choice([0, 1, 1, 2, 2, 3]))):
            method = str(rng.choice([*CHANNELS, *SILENT]))
            net.determined |= method in CHANNELS
            x = getattr(net, method)(x)
        end = net.flatten(x) if rng.random() < 0.8 else net.global_pool(x)
        ends.append(net.dense(net.vector(end)))
    if len(ends) > 1:
        net.put("add", "", (ends[0], ends[1]), (3,), torch.add)
    return net, not first


def sequence_network(seed: int) -> tuple[Network, bool]:
    """Return a network over sequences, with features last in both frameworks."""
    rng = np.random.default_rng(seed)
    net = Network(rng, 1, False, (int(rng.integers(3, 6)), int(rng.integers(2, 5))))
    x = Value("x", net.shape)
    for method in rng.choice(["recurrent", "dense", "step_norm", "swapped", "relu"], int(rng.integers(1, 4))):
        x = getattr(net, method)(x)
    y = net.dense(net.vector(net.flatten(x)))
    z = net.dense(net.flatten(Value("x", net.shape)))
    net.put("add", "", (y, z), (3,), torch.add)
    return net, False
