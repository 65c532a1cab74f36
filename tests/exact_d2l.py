"""D2L's chapters "Parameter Management" and "Parameter Initialization", PyTorch tab, after torch.manual_seed(0).

Each page has the document of its network, the order of its program, and the lines that its cells print, which
tests/interop/test_exact_d2l.py compares with those of the chapter's own code.
"""

from __future__ import annotations

from typing import NamedTuple

MLP = "input: [4]\nlayers: [{dense: {units: 8, activation: relu}}, {dense: 1}]\n"
TIED = """
input: [4]
layers:
  - dense: {units: 8, activation: relu}
  - dense: {name: shared, units: 8, activation: relu}
  - reuse: shared
  - dense: 1
"""
NESTED = """
input: [4]
blocks:
  block1: {layers: [{dense: {units: 8, activation: relu}}, {dense: {units: 4, activation: relu}}]}
  block2: {layers: [{block1: {name: "block-${i}", repeat: 4}}]}
layers: [block2, {dense: 1}]
"""
FORWARD = ("rand(2, 4)", "**")
"""The modules are lazy: they draw when the network is first applied, after its input."""
NORMAL = ("**/kernel=random_normal:stddev=0.01", "**/bias=zeros")
CONSTANT = ("**/kernel=constant:1", "**/bias=zeros")
BY_BLOCK = ("dense/kernel=xavier_uniform", "dense_1/kernel=constant:42")
CUSTOM = ("**/kernel={mixture: [[0.25, {uniform: [5, 10]}], [0.5, zeros], [0.25, {uniform: [-10, -5]}]]}",)


class Page(NamedTuple):
    """A network and the lines that the chapter prints of it: the address of the values, and the values."""

    document: str
    order: tuple[str, ...]
    lines: dict[str, str]


PAGES = {
    "access": Page(
        MLP,
        FORWARD,
        {
            "dense_1/kernel": "-0.1568, -0.0128, 0.2261, 0.3515, 0.1403, 0.0478, 0.2371, -0.2082",
            "dense_1/bias": "0.0659",
        },
    ),
    "tied": Page(
        TIED,
        FORWARD,
        {
            "shared/kernel[:, 0]": "-0.1568, -0.0128, 0.2261, 0.3515, 0.1403, 0.0478, 0.2371, -0.2082",
            "dense_1/kernel": "0.1387, 0.0212, -0.1725, 0.1673, -0.3391, -0.2096, -0.0885, -0.1722",
        },
    ),
    "nested": Page(
        NESTED,
        ("rand(2, 4)",),
        {
            "block2/block-1/dense/bias": "-0.1244, 0.0226, 0.0730, 0.1186, 0.1962, 0.0300, -0.2440, 0.2366",
            "dense/kernel": "0.1737, -0.1824, 0.1898, 0.3330",
        },
    ),
    "normal": Page(
        MLP, (*FORWARD, *NORMAL), {"dense/kernel[:, 0]": "-0.0045, -0.0057, -0.0056, 0.0059", "dense/bias[0]": "0.0000"}
    ),
    "constant": Page(
        MLP,
        (*FORWARD, *NORMAL, *CONSTANT),
        {"dense/kernel[:, 0]": "1.0000, 1.0000, 1.0000, 1.0000", "dense/bias[0]": "0.0000"},
    ),
    "by block": Page(
        MLP,
        (*FORWARD, *NORMAL, *CONSTANT, *BY_BLOCK),
        {
            "dense/kernel[:, 0]": "-0.0127, -0.5325, -0.5454, -0.0390",
            "dense_1/kernel": "42.0000, 42.0000, 42.0000, 42.0000, 42.0000, 42.0000, 42.0000, 42.0000",
        },
    ),
    "custom": Page(
        MLP,
        (*FORWARD, *NORMAL, *CONSTANT, *BY_BLOCK, *CUSTOM),
        {"dense/kernel[:, 0:2]": "-0.0000, 6.3506, 0.0000, 9.4941, 6.3584, -0.0000, 9.4725, -8.9832"},
    ),
}
"""The pages of the chapters, each after the ones before it."""
