"""The keys of the parameters of Flax' modules: of flax.linen by names, of flax.nnx by the order of construction.

A layer with a name of its own is an attribute of the module that holds it, as from setup() in flax.linen. A layer
without one is in a compact module, which numbers its classes: Dense_0, Dense_1, Conv_0.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha1
from typing import NamedTuple

from paramctl.conversion.exact.order import Constructed, InitializedAgain, NamedBlocks, OrderItem, parse_order
from paramctl.errors import AddressError
from paramctl.model import Block, Model
from paramctl.model.layers.flax import FlaxModule, FlaxTensor
from paramctl.model.layers.torch import NoCounterpart


class PlacedTensor(NamedTuple):
    """A parameter of a model in Flax.

    name: in Flax: ``params/Dense_0/kernel``.
    tensor: it, with its parameters under their paths in the model.
    data: the number that is folded into the key of the seed for it; 0 if it takes no key.
    """

    name: str
    tensor: FlaxTensor
    data: int


def linen(model: Model, order: Sequence[OrderItem]) -> Iterator[PlacedTensor]:
    """Yield the parameters that init of a module of flax.linen makes.

    Raises AddressError for a layer without a counterpart, two modules of one name, and an order, which has no effect.
    That of the document is ignored, unless it initializes parameters again.
    """
    by_document = list(order) == parse_order(model.order)  # which other frameworks may need
    if order and (not by_document or any(isinstance(item, InitializedAgain) for item in order)):
        rule = "the values depend on the names of modules, so an order of construction has no effect"
        raise AddressError(f"--exactly flax:linen: {rule}", model.name)
    return _linen_blocks(model.blocks, _Scope())


@dataclass
class _Scope:
    """The names in a module. path: of the module. numbers: how many modules of each class it numbers."""

    path: tuple[str, ...] = ()
    numbers: Counter[str] = field(default_factory=Counter)
    names: set[str] = field(default_factory=set)

    def place(self, name: str | None, class_name: str, block: Block) -> tuple[str, ...]:
        """Return the path of a module. name: None for an automatic one, from the class."""
        if name is None:
            name = f"{class_name}_{self.numbers[class_name]}"
            self.numbers[class_name] += 1
        if name in self.names:
            rule = f"--exactly flax:linen: two modules have the name {name}"
            raise AddressError(rule, block.path, "Give the layer another name.")
        self.names.add(name)
        return (*self.path, name)


def _linen_blocks(blocks: Iterable[Block], scope: _Scope) -> Iterator[PlacedTensor]:
    for block in blocks:
        if block.reuse_of is not None:  # the module of its first use
            continue
        name = _own_name(block)
        modules = [module for module in _modules(block, "flax:linen") if module.tensors] if block.layer else []
        if name is None:
            paths = [scope.place(None, module.class_name, block) for module in modules]
        elif modules:
            attribute = scope.place(name, "", block)
            paths = [(*attribute, *filter(None, module.attribute.split("/"))) for module in modules]
        else:
            paths = []
        for path, module in zip(paths, modules, strict=True):
            yield from _keys(path, module)
        if block.blocks:
            yield from _linen_blocks(block.blocks, _inner(block, name, scope))


def _inner(block: Block, name: str | None, scope: _Scope) -> _Scope:
    """Return the scope of the layers in a block: that of its module, or the outer one if it is not a module.

    A custom block is a module of its type's class: ``nest_mlp`` is NestMlp. Branches and a residual block without a
    name of their own are only expressions in the code of the module around them.
    """
    is_custom = block.layer is None and block.type != "branch"
    if block.type == "branch" or (name is None and not is_custom):
        return scope
    class_name = "".join(part[:1].upper() + part[1:] for part in block.type.split("_"))
    return _Scope(scope.place(name, class_name, block))


def _own_name(block: Block) -> str | None:
    """Return the name of a block within its list, or None for an automatic one: ``dense``, ``dense_1``."""
    name = block.path.rpartition("/")[2]
    return None if re.fullmatch(rf"{re.escape(block.type)}(_[0-9]{{1,9}})?", name) else name


def _keys(path: tuple[str, ...], module: FlaxModule) -> Iterator[PlacedTensor]:
    """Yield the parameters of a module with their keys, which the parameters of each inner module are counted for."""
    counts: Counter[tuple[str, ...]] = Counter()
    for tensor in module.tensors:
        *inner, _ = tensor.name.split("/")
        scope, data = (*path, *inner), 0
        if tensor.has_key:
            counts[scope] += 1
            count = counts[scope]
            text = "".join(scope).encode() + count.to_bytes((count.bit_length() + 7) // 8, "big")
            data = int.from_bytes(sha1(text, usedforsecurity=False).digest()[:4], "big")
        collection = "params" if tensor.has_key else "batch_stats"
        yield PlacedTensor("/".join((collection, *path, tensor.name)), tensor, data)


def nnx(model: Model, order: Sequence[OrderItem]) -> Iterator[PlacedTensor]:
    """Yield the parameters of a module of flax.nnx that is made with Rngs(seed).

    order: of construction. Layers that it does not name are made after its items, in the document's order.
    Raises AddressError for a layer without a counterpart, and for an item that is no pattern of layers.
    """
    number = 0
    for block in _in_order([block for block in model.walk() if block.reuse_of is None], order):
        for module in _modules(block, "flax:nnx"):
            for tensor in module.tensors:
                name = "/".join(filter(None, (block.path, module.attribute, tensor.name)))
                yield PlacedTensor(name, tensor, number if tensor.has_key else 0)
                number += tensor.has_key
            number += module.forks


def _in_order(blocks: Sequence[Block], order: Sequence[OrderItem]) -> Iterator[Block]:
    """Yield layers in the order of construction."""
    waiting = {block.path: block for block in blocks if block.layer is not None}
    by_name = NamedBlocks(blocks)
    for item in order:
        if not isinstance(item, Constructed):
            rule = "an order names layers only; use --rule for other schemes"
            raise AddressError(f"--exactly flax:nnx: {rule}", item.text)
        for block in by_name.named(item.pattern):
            if block.path in waiting:
                yield waiting.pop(block.path)
    yield from waiting.values()


def _modules(block: Block, framework: str) -> tuple[FlaxModule, ...]:
    """Return the modules of a layer. Raises AddressError if Flax has none."""
    start = len(block.path) + 1
    shapes = {parameter.path[start:]: parameter.shape for parameter in block.parameters}
    assert block.layer is not None
    try:
        modules = block.layer.nnx(shapes) if framework == "flax:nnx" else block.layer.flax(shapes)
        return tuple(module.under(block.path) for module in modules)
    except NoCounterpart as error:
        raise AddressError(f"--exactly {framework} requires layers of Flax", f"{block.path}: {error}") from None
