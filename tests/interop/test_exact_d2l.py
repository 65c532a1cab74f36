"""D2L's chapters in real torch print the lines that tests/exact_d2l.py records."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from tests.exact_d2l import PAGES


def mlp() -> nn.Sequential:
    net = nn.Sequential(nn.LazyLinear(8), nn.ReLU(), nn.LazyLinear(1))
    net(torch.rand(size=(2, 4)))
    return net


def init_normal(module: nn.Module) -> None:
    if type(module) is nn.Linear:
        nn.init.normal_(module.weight, mean=0, std=0.01)
        nn.init.zeros_(module.bias)


def init_constant(module: nn.Module) -> None:
    if type(module) is nn.Linear:
        nn.init.constant_(module.weight, 1)
        nn.init.zeros_(module.bias)


def init_xavier(module: nn.Module) -> None:
    if type(module) is nn.Linear:
        nn.init.xavier_uniform_(module.weight)


def init_42(module: nn.Module) -> None:
    if type(module) is nn.Linear:
        nn.init.constant_(module.weight, 42)


def my_init(module: nn.Module) -> None:
    if type(module) is nn.Linear:
        nn.init.uniform_(module.weight, -10, 10)
        module.weight.data *= module.weight.data.abs() >= 5


def access() -> list[Tensor]:
    net = mlp()
    return [net[2].weight, net[2].bias]


def tied() -> list[Tensor]:
    shared = nn.LazyLinear(8)
    net = nn.Sequential(nn.LazyLinear(8), nn.ReLU(), shared, nn.ReLU(), shared, nn.ReLU(), nn.LazyLinear(1))
    net(torch.rand(size=(2, 4)))
    return [shared.weight[0], net[6].weight]


def block1() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 4), nn.ReLU())


def block2() -> nn.Sequential:
    net = nn.Sequential()
    for i in range(4):
        net.add_module(f"block {i}", block1())
    return net


def nested() -> list[Tensor]:
    torch.rand(size=(2, 4))
    rgnet = nn.Sequential(block2(), nn.Linear(4, 1))
    return [rgnet[0][1][0].bias, rgnet[1].weight]


def normal() -> list[Tensor]:
    net = mlp()
    net.apply(init_normal)
    return [net[0].weight[0], net[0].bias[0]]


def constant() -> list[Tensor]:
    net = mlp()
    net.apply(init_normal)
    net.apply(init_constant)
    return [net[0].weight[0], net[0].bias[0]]


def _by_block() -> nn.Sequential:
    net = mlp()
    net.apply(init_normal)
    net.apply(init_constant)
    net[0].apply(init_xavier)
    net[2].apply(init_42)
    return net


def by_block() -> list[Tensor]:
    net = _by_block()
    return [net[0].weight[0], net[2].weight]


def custom() -> list[Tensor]:
    net = _by_block()
    net.apply(my_init)
    return [net[0].weight[:2].T]  # the model has the transpose


CELLS: dict[str, Callable[[], list[Tensor]]] = {
    "access": access,
    "tied": tied,
    "nested": nested,
    "normal": normal,
    "constant": constant,
    "by block": by_block,
    "custom": custom,
}


def printed(values: Tensor) -> str:
    return ", ".join(f"{value:.4f}" for value in values.detach().reshape(-1).tolist())


def test_the_chapter_prints_these_lines() -> None:
    assert CELLS.keys() == PAGES.keys()
    for name, cell in CELLS.items():
        torch.manual_seed(0)
        assert list(PAGES[name].lines.values()) == [printed(values) for values in cell()], name
