"""Multiply-accumulates against those that torch counts while it computes, and against torchinfo's mult-adds.

torch.utils.flop_counter counts each matrix product, convolution and attention as it runs, two operations for each
multiply-accumulate, so the numbers are equal. Keras computes on torch here.
"""

import json
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import torchinfo
from torch import Tensor, nn
from torch import empty as empty_tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import paramctl
from paramctl.inspect.optimizers import OPTIMIZERS
from paramctl.model.layers import LAYERS
from tests.interop.cases import Case
from tests.interop.test_configurations import BATCH, arrays_below, comparable, output_alone, source_of
from tests.interop.test_layers import IN_KERAS

RECURRENT = {"simple_rnn", "lstm", "gru", "bidirectional"}


def counted(call: Any) -> float:
    """The multiply-accumulates of a call. The fused kernel of attention on CPU counts nothing, so it is not used."""
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        call()
    return counter.get_total_flops() / 2


def is_equal(case: Case, name: str, ours: int | None, theirs: float) -> bool:
    if name in RECURRENT:  # Keras may compute the first step twice, to learn its shape
        steps = case.inputs["x"][0]
        return ours is not None and theirs in (ours, ours * (steps + 1) / steps)
    if {case.options.get(option) for option in ("key_dim", "value_dim", "head_dim")} & {1}:
        return ours is not None and theirs <= ours  # a sum of one product is elementwise to einsum
    return ours == theirs


@pytest.mark.parametrize("name", IN_KERAS)
def test_every_option_of_a_layer(name: str, tmp_path: Path) -> None:
    layer = LAYERS[name]
    cases = comparable(layer).computed
    assert cases
    source = source_of(layer, cases, tmp_path)
    rows = {row.path: row for row in paramctl.summary(source.model).layers}
    rng = np.random.default_rng(0)
    for number, case in enumerate(cases):
        subject = f"subject-{number}"
        inputs = [rng.random((BATCH, *shape), "float32") for shape in case.inputs.values()]
        if rows[subject].macs is None:  # the number for one example depends on the others
            axes = case.options.get("attention_axes", [case.options.get("axis", -1)])
            assert 0 in {axis % inputs[0].ndim for axis in axes}
            continue
        arrays = arrays_below(source, subject)
        theirs = counted(lambda: output_alone(layer, case, subject, arrays, inputs)) / BATCH  # noqa: B023
        assert is_equal(case, name, rows[subject].macs, theirs), (json.dumps(case), rows[subject].macs, theirs)


def convolution(inputs: int, outputs: int, size: int, stride: int = 1, groups: int = 1, act: bool = True) -> nn.Module:
    """A convolution without bias, with normalization and activation, as torchvision has them."""
    layer = nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs), *([nn.ReLU()] if act else []))


class Sum(nn.Module):
    """A residual block: the sum of two branches."""

    def __init__(self, branch: nn.Module, shortcut: nn.Module | None = None) -> None:
        super().__init__()
        self.branch, self.shortcut = branch, shortcut

    def forward(self, x: Tensor) -> Tensor:
        return self.branch(x) + (x if self.shortcut is None else self.shortcut(x))


def lenet() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(1, 6, 5, padding=2), nn.Sigmoid(), nn.AvgPool2d(2), nn.Conv2d(6, 16, 5), nn.Sigmoid()),
        *(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(400, 120), nn.Linear(120, 84), nn.Linear(84, 10)),
    )


def vgg16() -> nn.Module:
    modules: list[nn.Module] = []
    inputs = 3
    for filters, times in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(times):
            modules += [nn.Conv2d(inputs, filters, 3, padding=1), nn.ReLU()]
            inputs = filters
        modules.append(nn.MaxPool2d(2))
    return nn.Sequential(*modules, nn.Flatten(), *(nn.Linear(*s) for s in ((25088, 4096), (4096, 4096), (4096, 1000))))


def resnet50() -> nn.Module:
    """With the strides in the first convolution of a block, as in the paper and in the sample."""
    modules = [convolution(3, 64, 7, 2), nn.MaxPool2d(3, 2, 1)]
    inputs = 64
    for filters, times, first in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        for number in range(times):
            stride, outputs = first if number == 0 else 1, 4 * filters
            branch = [convolution(inputs, filters, 1, stride), convolution(filters, filters, 3)]
            shortcut = None if number else convolution(inputs, outputs, 1, stride, act=False)
            modules.append(Sum(nn.Sequential(*branch, convolution(filters, outputs, 1, act=False)), shortcut))
            inputs = outputs
    return nn.Sequential(*modules, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2048, 1000))


def mobilenet_v2() -> nn.Module:
    modules = [convolution(3, 32, 3, 2)]
    inputs = 32
    stages = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]
    for factor, outputs, times, first in stages:
        for number in range(times):
            width, stride = factor * inputs, 1 if number else first
            widen = [convolution(inputs, width, 1)] if factor > 1 else []
            rest = convolution(width, width, 3, stride, width), convolution(width, outputs, 1, act=False)
            block = nn.Sequential(*widen, *rest)
            modules.append(Sum(block) if number else block)
            inputs = outputs
    return nn.Sequential(
        *modules, convolution(320, 1280, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1280, 1000)
    )


NETWORKS = {"lenet": (lenet, (28, 28, 1)), "vgg16": (vgg16, (224, 224, 3))}
NETWORKS |= {"resnet50": (resnet50, (224, 224, 3)), "mobilenet_v2": (mobilenet_v2, (224, 224, 3))}


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_as_torch_and_torchinfo_count_them(name: str) -> None:
    """torchinfo also counts each bias, scale and offset, so it gets a network without them."""
    build, shape = NETWORKS[name]
    network = build().eval()
    ours = paramctl.summary(sample(name, shape)).cost.macs
    x = empty_tensor((1, shape[-1], *shape[:-1]))
    assert counted(lambda: network(x)) == ours
    for module in network.modules():
        for part in ("bias",) if isinstance(module, (nn.Conv2d, nn.Linear)) else ("weight", "bias"):
            if getattr(module, part, None) is not None:
                setattr(module, part, None)
    assert torchinfo.summary(network, input_data=x, verbose=0).total_mult_adds == ours


def sample(name: str, shape: tuple[int, ...]) -> paramctl.Model:
    return paramctl.load_model(Path(__file__).parents[2] / f"sample_models/{name}.yaml", input_shapes=shape)


OPTIMIZERS_OF_KERAS: dict[str, Any] = {
    "sgd": keras.optimizers.SGD,
    "momentum": partial(keras.optimizers.SGD, momentum=0.9),
    "nesterov": partial(keras.optimizers.SGD, momentum=0.9, nesterov=True),
    "rmsprop": keras.optimizers.RMSprop,
    "adagrad": keras.optimizers.Adagrad,
    "lion": keras.optimizers.Lion,
    "adadelta": keras.optimizers.Adadelta,
    "adam": keras.optimizers.Adam,
    "adamw": keras.optimizers.AdamW,
    "adamax": keras.optimizers.Adamax,
    "nadam": keras.optimizers.Nadam,
    "lamb": keras.optimizers.Lamb,
    "ftrl": keras.optimizers.Ftrl,
    "amsgrad": partial(keras.optimizers.Adam, amsgrad=True),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_state_of_an_optimizer(name: str) -> None:
    """Keras' variables, without single numbers such as the learning rate."""
    weights = [keras.Variable(np.ones(shape, "float32")) for shape in ((4, 4), (4,), (4, 1), (2,))]
    optimizer = OPTIMIZERS_OF_KERAS[name]()
    optimizer.build(weights)
    state = sum(int(np.prod(variable.shape)) for variable in optimizer.variables if variable.shape)
    assert state == OPTIMIZERS[name] * (16 + 4 + 4 + 2)
